//! `plimsoll explain`: the plan before anything is sent, and what this machine cannot carry.

use std::process::Output;

use plimsoll::practice::{knobs::Knobs, target};
use regex::Regex;
use serde_json::Value;

use crate::support::daemon::Plimsoll;

const CONFIG: &str = r#"
version: 1
daemon: {data_dir: data, listen: "127.0.0.1:1"}
targets:
  api: {base_url: "@TARGET@"}
scenarios:
  sustained:
    schedule: {cron: "0 2 * * *"}
    load: {executor: constant-arrival-rate, rate: 10/s, duration: 2s}
    steps:
      - {post: /a, body: "hello"}
      - {get: /b}
  gradual:
    load: {executor: stepped-vus, vus: [1, 5, 10], iterations: 2, pause: 100ms}
    steps: [{get: /work}]
    thresholds: [p95(latency) < 2s]
  ramp:
    load:
      executor: ramping-arrival-rate
      start_rate: 10/s
      stages: [{duration: 1m, target: 100/s}, {duration: 2m, target: 100/s}, {duration: 1m, target: 10/s}]
    steps: [{get: /work}]
  bursts:
    repeat: {times: 2, pause: 1s}
    before: [{get: /ready, until: status == 200, every: 1s, timeout: 5s}]
    load: {executor: burst, size: 20, repeat: 5, pause: 500ms, max_in_flight: 15}
    steps:
      - {get: /a, on: {rejected: {retry: {max: 2}}}}
      - {get: /b, when: n > 5}
  crowd:
    load: {executor: constant-vus, vus: 9000, duration: 1s}
    steps: [{get: /crowd}]
"#;

fn folder(target: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("plimsoll.yaml"), CONFIG.replace("@TARGET@", target)).expect("it is ours");
    folder
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What differs from machine to machine and from day to day.
fn masked(text: &str) -> String {
    let text = Regex::new(r"(?m)^  host .*$").expect("a pattern").replace_all(text, "  host      …").into_owned();
    Regex::new(r"about \S+ \S+ of memory").expect("a pattern").replace_all(&text, "about … of memory").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_drawn() {
    let folder = folder("http://127.0.0.1:9");
    let output = Plimsoll::run(folder.path(), &["explain", "ramp"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(masked(&out(&output)), @r"
    ramp  ramping-arrival-rate on api (http://127.0.0.1:9)
      schedule  only by hand
      length    4m00s, and at most 60 s of grace
      sends     18600 iterations, as many requests
      at once   at most 1000 on 1000 connections
      keeps     1 series in the run, 423 lines of /metrics, about … of memory
      host      …

      100/s │            ▂▄▆██████████████████████████████████▆▄▂
            │        ▁▃▅▇████████████████████████████████████████▇▅▃▁
            │     ▂▄▆████████████████████████████████████████████████▆▄▂
            │ ▁▃▅████████████████████████████████████████████████████████▅▃▁
            │▇██████████████████████████████████████████████████████████████▇
            └────────────────────────────────────────────────────────────────
             0                                                          4m00s

      part      from    for  what         iterations
      stage 1    0 s   60 s  10 to 100/s  3300
      stage 2   60 s  2m00s  100/s        12000
      stage 3  3m00s   60 s  100 to 10/s  3300

      must hold: rate(ok) >= 99%  (by default)
      must hold: rate(dropped) <= 1%  (by default)
      must hold: count(ok) > 0  (by default)
      valid if:  count(clock_steps) == 0
      valid if:  p99(send_lag) <= 50ms
      valid if:  count(dropped{reason=generator}) == 0
    ");
    let output = Plimsoll::run(folder.path(), &["explain", "gradual"]).await;
    insta::assert_snapshot!(masked(&out(&output)), @r"
    gradual  stepped-vus on api (http://127.0.0.1:9)
      schedule  only by hand
      length    at most 30m00s; with 60 s of grace for each part, over by 33m00s
      sends     32 iterations, as many requests
      at once   at most 10 on 10 connections
      keeps     3 series in the run, 429 lines of /metrics, about … of memory
      host      …

      10 users │                                          ██████████████████████
               │                                          ██████████████████████
               │                     ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄██████████████████████
               │                     ███████████████████████████████████████████
               │▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄███████████████████████████████████████████
               └────────────────────────────────────────────────────────────────
                0                                                       ≤ 30m00s

      part       from  latest     for  what      iterations
      level=1     0 s     0 s  10m00s  1 user    2
      level=2  100 ms  11m00s  10m00s  5 users   10
      level=3  200 ms  22m00s  10m00s  10 users  20

      must hold: p95(latency) < 2s
      must hold: rate(ok) >= 99%  (by default)
      must hold: rate(dropped) <= 1%  (by default)
      must hold: count(ok) > 0  (by default)
      valid if:  count(clock_steps) == 0
      valid if:  p99(send_lag) <= 50ms
      valid if:  count(dropped{reason=generator}) == 0
    ");
    let output = Plimsoll::run(folder.path(), &["explain", "bursts"]).await;
    insta::assert_snapshot!(masked(&out(&output)), @r"
    bursts  burst on api (http://127.0.0.1:9)
      schedule  only by hand
      length    until the last answer; a request is given 60 s at most
      sends     200 iterations, 200 to 350 requests where every answer is ok, all of it 2 times
      again     at most 400 on top where an answer is not ok
      polls     at most 4 more until the answers are as wanted
      hooks     1 beside the load: before it
      dropped   at least 50 of them: beyond max_in_flight
      at once   at most 15 on 16 connections
      keeps     10 to 20 series in the run, 608 lines of /metrics, about … of memory
      host      …

      20 at once │█           █            █            █            █
                 │█           █            █            █            █
                 │█           █            █            █            █
                 │█           █            █            █            █
                 │█           █            █            █            █
                 └────────────────────────────────────────────────────────────────
                  0                                                        ≥ 2.5 s

      must hold: rate(ok) >= 99%  (by default)
      must hold: rate(dropped) <= 1%  (by default)
      must hold: count(ok) > 0  (by default)
      valid if:  count(clock_steps) == 0
      valid if:  p99(send_lag) <= 50ms
      valid if:  count(dropped{reason=generator}) == 0
    ");
    let output = Plimsoll::run(folder.path(), &["explain", "nothing"]).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(err(&output).contains("there is no scenario `nothing`"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_does_what_was_explained() {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    let folder = folder(&target.url());
    let output = Plimsoll::run(folder.path(), &["explain", "--all", "--json"]).await;
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(target.log().received, 0, "nothing is sent");
    for name in ["sustained", "gradual"] {
        let explained = all.as_array().into_iter().flatten().find(|each| each["scenario"] == name);
        let explained = explained.unwrap_or_else(|| panic!("{all}"));
        let before = target.log().received;
        let output = Plimsoll::run(folder.path(), &["run", name, "--quiet", "--json", "-"]).await;
        let run: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(explained["planned"]["exact"], true, "{explained}");
        assert_eq!(explained["planned"]["least"], run["planned"], "{name}");
        assert_eq!(Some(target.log().received - before), run["planned"].as_u64(), "{name}");
        assert_eq!(explained["iterations"]["least"], run["iterations"]["completed"], "{name}");
        for same in ["schema", "scenario", "target", "plan", "grace_s", "config_hash", "version", "seed"] {
            let (ours, its) =
                (explained.get(same).or(explained["plan"].get(same)), run.get(same).or(run["plan"].get(same)));
            assert!(ours.is_some() && (ours == its || same == "schema"), "{same}: {ours:?}, not {its:?}");
        }
        let groups = run["groups"].as_object().expect("groups");
        for (group, counted) in groups {
            assert_eq!(explained["groups"][group]["sent"]["least"], counted["sent"], "{name} {group}");
        }
        assert_eq!(explained["groups"].as_object().map(serde_json::Map::len), Some(groups.len()), "{name}");
        assert!(explained["memory_bytes"].as_u64() > Some(0));
    }
    let sustained = &all[0];
    assert_eq!((&sustained["next"][0].as_str().is_some(), &sustained["body_bytes_per_iteration"]), (&true, &5.into()));
}

/// In a process that may open few files, and may not raise the limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_this_machine_cannot_carry_is_refused() {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    let folder = folder(&target.url());
    let limited = async |arguments: &str| {
        let line = format!("ulimit -Sn 100 && ulimit -Hn 4000 && exec \"$0\" {arguments}");
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_plimsoll")]).current_dir(folder.path()).kill_on_drop(true);
        command.output().await.expect("it starts")
    };
    for arguments in ["explain crowd", "run crowd", "daemon"] {
        let output = limited(arguments).await;
        assert_eq!(output.status.code(), Some(104), "{arguments}: {output:?}");
        let said = err(&output);
        assert!(said.contains("9000 connections and 64 for itself are 9064, and the limit is 4000"), "{said}");
        assert!(said.contains("ulimit -Hn 9064"), "{said}");
    }
    assert_eq!(target.log().received, 0, "nothing was sent");
    // 300 users need more than the soft limit: it is raised.
    let output = limited("run crowd --users 300 --quiet").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// What the run keeps and shows is as much as was said: lines of `/metrics` from the start, and memory while it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_what_was_explained() {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    let config = format!(
        r#"
version: 1
daemon: {{listen: "@LISTEN@", data_dir: "@DATA@"}}
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  kept:
    load: {{executor: stepped-vus, vus: [2, 200], iterations: 2}}
    steps: [{{get: /a}}, {{get: /b, name: b}}]
    thresholds: [p95(latency) < 10s, max(latency) < 20s]
"#,
        target.url()
    );
    let daemon = Plimsoll::daemon(&config).await;
    let output = daemon.command(&["explain", "kept", "--json"]).await;
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let metrics = daemon.text("/metrics").await;
    let ours =
        |line: &&str| !line.starts_with('#') && (line.contains("scenario=\"kept\"") || line.contains("target=\"api\""));
    assert_eq!(explained[0]["metrics"].as_u64(), Some(metrics.lines().filter(ours).count() as u64), "{metrics}");
    let folder = folder(&target.url());
    std::fs::write(folder.path().join("plimsoll.yaml"), std::fs::read_to_string(daemon.config()).expect("there"))
        .expect("it is ours");
    let small = Plimsoll::run(
        folder.path(),
        &["run", "kept", "--set", "scenarios.kept.load.vus=[1]", "--quiet", "--json", "-"],
    )
    .await;
    let large = Plimsoll::run(folder.path(), &["run", "kept", "--quiet", "--json", "-"]).await;
    let rss = |output: &Output| -> u64 {
        let run: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        run["generator"]["rss_bytes"].as_u64().expect("a number")
    };
    let (more, said) =
        (rss(&large).saturating_sub(rss(&small)), explained[0]["memory_bytes"].as_u64().expect("a number"));
    assert!(more <= said, "{more} bytes more than one user takes, and {said} were said");
}
