//! `--samples` and `--verbose`: each request by itself, against the document of the run.

use std::process::Output;

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use serde_json::Value;

use crate::support::daemon::Plimsoll;

struct Place {
    folder: tempfile::TempDir,
    target: Target,
}

impl Place {
    async fn new() -> Self {
        let target = target::start(Knobs::ephemeral()).await.expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            r#"version: 1
daemon: {{data_dir: data}}
targets: {{api: {{base_url: "{}", headers: {{x-key: "${{secret.key}}"}}}}}}
secrets: {{key: {{from_file: key}}}}
scenarios:
  steps:
    load: {{executor: stepped-vus, vus: [1, 3], iterations: 4}}
    steps:
      - {{get: /a, tags: {{kind: plain}}}}
      - {{get: "/fir/0?key=${{secret.key}}", name: lost, on_fail: continue}}
    after: [{{get: /after}}]
"#,
            target.url()
        );
        std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
        std::fs::write(folder.path().join("key"), "CANARY-77").expect("it is ours");
        Self { folder, target }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        Plimsoll::run(self.folder.path(), arguments).await
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).expect("it was written");
        assert!(!text.contains("CANARY"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_and_the_lines_make_the_document() {
    let place = Place::new().await;
    let output = place.run(&["run", "steps", "--quiet", "--json", "-", "--samples", "all.ndjson"]).await;
    let (run, lines) = (json(&output), place.lines("all.ndjson"));
    assert_eq!((lines.len() as u64, run["sent"].as_u64()), (32, Some(32)), "{output:?}");
    let of = |step: &str| lines.iter().filter(|line| line["step"] == step).collect::<Vec<_>>();
    let (plain, lost) = (of("GET /a"), of("lost"));
    assert_eq!((plain.len(), lost.len()), (16, 16));
    assert!(plain.iter().all(|line| line["outcome"] == "ok" && line["labels"]["kind"] == "plain"));
    assert!(lost.iter().all(|line| line["reason"] == "status" && line["status"] == 404));
    assert!(lost.iter().all(|line| line["detail"] == "status 404 Not Found"));
    let most = plain.iter().filter_map(|line| line["latency_s"].as_f64()).fold(0.0, f64::max);
    let document = run["latency_s"]["ok"]["max"].as_f64().expect("a time");
    assert!((most - document).abs() < 2e-6, "{most} {document}");
    let bytes: u64 = lines.iter().filter_map(|line| line["bytes_read"].as_u64()).sum();
    assert!(bytes > 32 * 50, "heads and bodies: {bytes}");
    for line in &lines {
        let parts: f64 = line["timing_s"].as_object().expect("a map").values().filter_map(Value::as_f64).sum();
        assert!(parts <= line["latency_s"].as_f64().expect("a time") + 1e-4, "{line}");
        assert!(line["at"].as_str().expect("a text") >= run["started_at"].as_str().expect("a text"), "{line}");
    }
    let users: std::collections::BTreeSet<_> =
        lines.iter().filter(|line| line["labels"]["level"] == "2").filter_map(|line| line["vu"].as_u64()).collect();
    assert_eq!(users.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_shown_as_it_comes_and_not_without_end() {
    let place = Place::new().await;
    let output = place.run(&["run", "steps", "-v"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.matches("lost failed (status) vu ").count(), 5, "{told}");
    assert!(told.contains("status 404 Not Found") && !told.contains("CANARY"), "{told}");
    assert!(told.contains("note: 11 more like lost failed (status)"), "{told}");
    let quiet = place.run(&["run", "steps"]).await;
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains("lost failed"), "only where it is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn hit_tells_of_its_requests_too() {
    let place = Place::new().await;
    let url = format!("{}/health", place.target.url());
    let output = place.run(&["hit", &url, "-n", "30", "-c", "3", "--quiet", "--samples", "-"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 30), "{output:?}");
    let received = place.target.log().received;
    for (command, what) in [("hit", &*url), ("run", "steps")] {
        for option in ["--samples", "--json"] {
            let output = place.run(&[command, what, option, "nowhere/file"]).await;
            assert_eq!(output.status.code(), Some(104), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("failed to create nowhere/file"), "{output:?}");
        }
    }
    assert_eq!(place.target.log().received, received, "nothing is sent whose result would be lost");
}
