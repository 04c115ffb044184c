//! What a target cannot make us do: take the machine's memory.

use std::path::Path;

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, wait_until};

/// The most a run of a thousand users may have resident, in KiB.
const MOST: u64 = 256 * 1024;

/// A thousand users of a target whose bodies never end; `http` and `step` say how they read them.
async fn thousand(name: &str, http: &str, step: &str, reason: &str) -> u64 {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "version: 1
daemon: {{data_dir: ./data}}
targets: {{t: {{base_url: \"{}\", http: {{{http}}}}}}}
scenarios:
  s:
    load: {{executor: per-vu-iterations, vus: 1000, iterations: 2, start: together, max_duration: 2m}}
    steps: [{{{step}}}]
    valid_if: [count(clock_steps) == 0]
",
        target.url()
    );
    std::fs::write(folder.path().join("plimsoll.yaml"), config).expect("it is ours");
    let most = peak(name, folder.path()).await;
    check(&target, &folder.path().join("run.json"), reason);
    most
}

/// Runs the scenario in a process of its own and watches it: the most it had resident, in KiB.
async fn peak(name: &str, folder: &Path) -> u64 {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["run", "s", "--quiet", "--json", "run.json"]).current_dir(folder);
    let mut process = Process::spawn(name, &mut command, folder);
    let (mut most, pid) = (0, process.pid());
    let ended = wait_until(name, PATIENCE * 3, async || {
        // The high-water mark: nothing is missed between two looks, but for what comes after the last one.
        most = most.max(high_water(pid));
        process.ended()
    })
    .await;
    assert_eq!(ended.code(), Some(99), "no request ends well: {}", process.output());
    most
}

/// `VmHWM` of a process in KiB; 0 when it is gone.
fn high_water(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn check(target: &Target, file: &Path, reason: &str) {
    let text = std::fs::read_to_string(file).expect("a document");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&run["planned"], &run["sent"]), (&json!(2000), &json!(2000)), "{run:#}");
    assert_eq!(run["failed"], json!({reason: 2000}), "{run:#}");
    assert_eq!(target.log().received, 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users_of_endless_bodies_stay_within_256_mib() {
    let (get, kept) = ("get: /a?fault=endless_body", "get: /a?fault=endless_body, expect: \"body contains 'never'\"");
    let cases = [
        // Nobody looks at the body: it is counted and forgotten.
        ("counted", "timeout: 30s, max_body: 2MB", get),
        // Somebody would, so it is kept: up to `max_body`, and what all of them may keep together.
        ("kept", "timeout: 30s, max_body: 100kB", kept),
        ("kept-together", "timeout: 30s", kept),
        ("kept-together-over-h2", "version: h2c, timeout: 30s", kept),
    ];
    for (name, http, step) in cases {
        let most = thousand(name, http, step, "body_limit").await;
        eprintln!("{name}: {most} KiB at most");
        assert!((1..=MOST).contains(&most), "{name}: {most} KiB");
    }
}
