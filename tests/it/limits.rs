//! What this machine lacks is never the target's failure.

use std::process::Command;

use plimsoll::practice::{knobs::Knobs, target};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_makes_the_run_invalid() {
    let knobs = Knobs::ephemeral().patched(&json!({"latency": "500ms"})).expect("known knobs");
    let target = target::start(knobs).await.expect("it starts");
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "version: 1\ndaemon: {{data_dir: ./data}}\ntargets: {{t: {{base_url: \"{}\"}}}}\nscenarios:\n  s:\n    load: \
         {{executor: per-vu-iterations, vus: 100, iterations: 1, start: together}}\n    steps: [{{get: /x}}]\n",
        target.url()
    );
    std::fs::write(folder.path().join("plimsoll.yaml"), config).expect("it is ours");
    let output = tokio::task::spawn_blocking(move || {
        // Enough by the forecast, which cannot know that most of it is taken already.
        let taken = "ulimit -n 250 && for fd in $(seq 20 210); do eval \"exec $fd</dev/null\"; done";
        Command::new("bash")
            .args(["-c", &format!("{taken}; exec \"$0\" run s --json -"), env!("CARGO_BIN_EXE_plimsoll")])
            .current_dir(folder.path())
            .output()
            .expect("it runs")
    })
    .await
    .expect("it ends");
    let run: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((output.status.code(), run["verdict"].as_str()), (Some(111), Some("invalid")), "{run}");
    let (sent, dropped) = (run["sent"].as_u64(), run["dropped"]["generator"].as_u64());
    assert_eq!(sent.zip(dropped).map(|(sent, dropped)| sent + dropped), Some(100), "{run}");
    assert_eq!(run["outcomes"]["failed"], 0, "{run}");
    assert_eq!(Some(target.log().received), sent);
    target.stop().await;
}
