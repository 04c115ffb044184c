//! How load is ended: by signals, by the kill switch, and below every executor by the policy. The target's own log says
//! when the last request came.

use std::{path::Path, process::Command, time::Duration};

use plimsoll::{
    model::clock::{Clock as _, SystemClock, mono},
    practice::{
        knobs::Knobs,
        target::{self, Target},
    },
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, daemon::Plimsoll, http, wait_until};

/// From a signal to the last request that reaches the target.
const AFTER_SIGNAL_MS: f64 = 100.0;

/// The same from the kill switch.
const AFTER_SWITCH_MS: f64 = 250.0;

/// The grace of every scenario here: the longer of `graceful_stop` and the request timeout.
const GRACE: Duration = Duration::from_secs(2);

async fn practice(change: Value) -> Target {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    target.patch(&change).expect("known knobs");
    target
}

/// When each request of `path` was received, in milliseconds on the target's clock.
fn received(target: &Target, path: &str) -> Vec<f64> {
    target.log().requests.iter().filter(|entry| &*entry.path == path).map(|entry| entry.received_ms).collect()
}

/// Waits until the target has received `n` more requests of `path`.
async fn more(target: &Target, path: &str, n: usize) {
    let before = received(target, path).len();
    wait_until("load arrives", PATIENCE, async || (received(target, path).len() >= before + n).then_some(())).await;
}

/// The daemon with 200 requests per second on `/work` and hooks around them, by hand.
fn sustained(target: &Target, timeout: &str, connections: &str) -> String {
    format!(
        r#"
version: 1
daemon: {{listen: "@LISTEN@", data_dir: "@DATA@"}}
targets:
  api: {{base_url: "{}", http: {{timeout: {timeout}, connect_timeout: 1s, connections: {connections}}}}}
scenarios:
  sustained:
    load: {{executor: constant-arrival-rate, rate: 200/s, duration: 10m, max_in_flight: 2000, graceful_stop: 1s}}
    steps: [{{get: /work}}]
    after: [{{post: /after}}]
"#,
        target.url()
    )
}

async fn get(daemon: &Plimsoll, path: &str) -> Value {
    http().get(daemon.url(path)).send().await.expect("it answers").json().await.expect("JSON")
}

async fn post(daemon: &Plimsoll, path: &str) {
    let answer = http().post(daemon.url(path)).send().await.expect("it answers");
    assert_eq!(answer.status(), 200, "{}", answer.text().await.expect("text"));
}

/// What the database of a daemon says; it may be running.
fn query<T: rusqlite::types::FromSql>(data: &Path, sql: &str) -> Vec<T> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let database = rusqlite::Connection::open_with_flags(data.join("plimsoll.db"), flags).expect("a database");
    let mut statement = database.prepare(sql).expect("SQL");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn documents(data: &Path) -> Vec<Value> {
    let texts: Vec<String> = query(data, "SELECT document FROM runs ORDER BY ended_ms");
    texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

/// The laws of the ledger of requests, in a run's document.
fn assert_ledger(run: &Value) {
    let number = |value: &Value| value.as_u64().expect("a count");
    let sum = |value: &Value| value.as_object().expect("counts").values().map(number).sum::<u64>();
    assert_eq!(number(&run["planned"]), number(&run["sent"]) + sum(&run["dropped"]), "{run}");
    assert_eq!(number(&run["sent"]), sum(&run["outcomes"]), "{run}");
}

/// Nothing of `path` came later than `limit` after `at`, both in milliseconds.
fn assert_silent_after(target: &Target, path: &str, at: f64, limit: f64) {
    let last = received(target, path).into_iter().fold(0.0, f64::max);
    eprintln!("last request of {path} {:.1} ms after", last - at);
    assert!(last <= at + limit, "the last request came {:.1} ms after", last - at);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_daemon_in_mid_run() {
    let target = practice(json!({"latency": "20ms"})).await;
    let mut daemon = Plimsoll::daemon(&sustained(&target, "2s", "per_vu")).await;
    post(&daemon, "/api/v1/trigger/sustained").await;
    more(&target, "/work", 200).await;
    let (at, began) = (target.now_ms(), mono());
    daemon.process.signal(Signal::TERM);
    let status = daemon.wait_end(PATIENCE).await;
    let took = mono() - began;
    assert_eq!(status.code(), Some(0));
    assert!(took <= GRACE + Duration::from_secs(2), "{took:?}");
    assert_silent_after(&target, "/work", at, AFTER_SIGNAL_MS);
    let runs = documents(&daemon.data());
    assert_eq!((runs.len(), runs[0]["verdict"].as_str()), (1, Some("interrupted")), "{runs:?}");
    assert_ledger(&runs[0]);
    // Everything in flight was answered within the grace.
    assert_eq!(runs[0]["sent"], runs[0]["outcomes"]["ok"]);
    assert_eq!(runs[0]["sent"], received(&target, "/work").len());
    assert_eq!(target.log().by_path["/after"].answered, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_nothing_of_those_who_wait_for_a_connection() {
    // 200 requests a second on a pool that takes 25: hundreds wait when the signal comes.
    let target = practice(json!({"latency": "200ms"})).await;
    let mut daemon = Plimsoll::daemon(&sustained(&target, "20s", "5")).await;
    post(&daemon, "/api/v1/trigger/sustained").await;
    more(&target, "/work", 20).await;
    let at = target.now_ms();
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.wait_end(PATIENCE).await.code(), Some(0));
    assert_silent_after(&target, "/work", at, AFTER_SIGNAL_MS);
    let runs = documents(&daemon.data());
    assert_eq!((runs.len(), runs[0]["verdict"].as_str()), (1, Some("interrupted")), "{runs:?}");
    assert_ledger(&runs[0]);
    assert!(runs[0]["outcomes"]["interrupted"].as_u64() >= Some(1), "{}", runs[0]["outcomes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_cuts() {
    let target = practice(json!({"hang": true})).await;
    let mut daemon = Plimsoll::daemon(&sustained(&target, "60s", "per_vu")).await;
    post(&daemon, "/api/v1/trigger/sustained").await;
    more(&target, "/work", 20).await;
    daemon.process.signal(Signal::TERM);
    wait_until("it says so", PATIENCE, async || daemon.process.output().contains("stopping").then_some(())).await;
    assert_eq!(daemon.process.ended(), None);
    let began = mono();
    daemon.process.signal(Signal::TERM);
    let status = daemon.wait_end(PATIENCE).await;
    let took = mono() - began;
    eprintln!("it ended {took:?} after the second signal");
    assert_eq!(status.code(), Some(0));
    assert!(took <= Duration::from_millis(2500), "{took:?}");
    let runs = documents(&daemon.data());
    assert_eq!(
        (runs.len(), runs[0]["verdict"].as_str()),
        (1, Some("fail")),
        "what `after:` puts back is not: {runs:?}"
    );
    assert_ledger(&runs[0]);
    assert_eq!(runs[0]["sent"], runs[0]["outcomes"]["interrupted"]);
}

/// The daemon on a target that hangs: its statistics and its hooks never answer either.
async fn stuck(after: &str) -> (Target, Plimsoll) {
    let target = practice(json!({"hang": true})).await;
    let stats = "{gauges: {queued: {get: /queue/stats, json: \"$.queued\"}}}";
    let http = "http: {timeout: 2s, connect_timeout: 1s";
    let config = sustained(&target, "2s", "per_vu").replace(http, &format!("stats: {stats}, {http}"));
    let daemon = Plimsoll::daemon(&config.replace("after: [{post: /after}]", after)).await;
    post(&daemon, "/api/v1/trigger/sustained").await;
    more(&target, "/work", 20).await;
    (target, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_in_time_on_a_target_that_hangs() {
    let (target, mut daemon) = stuck("").await;
    let (at, began) = (target.now_ms(), mono());
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.wait_end(PATIENCE).await.code(), Some(0));
    let took = mono() - began;
    eprintln!("it ended {took:?} after the signal");
    assert!(took <= GRACE + Duration::from_secs(2), "{took:?}");
    assert_silent_after(&target, "/work", at, AFTER_SIGNAL_MS);
    let runs = documents(&daemon.data());
    assert_eq!((runs.len(), runs[0]["verdict"].as_str()), (1, Some("interrupted")), "{runs:?}");
    assert_ledger(&runs[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_has_five_seconds_or_until_the_second_signal() {
    for twice in [false, true] {
        let (target, mut daemon) = stuck("after: [{post: /after, timeout: 50s}, {post: /after}]").await;
        daemon.process.signal(Signal::TERM);
        wait_until("the hook", PATIENCE, async || (received(&target, "/after").len() == 1).then_some(())).await;
        let began = mono();
        if twice {
            daemon.process.signal(Signal::TERM);
        }
        assert_eq!(daemon.wait_end(PATIENCE).await.code(), Some(0));
        let took = mono() - began;
        eprintln!("it ended {took:?} after the hook was sent");
        assert!(took <= Duration::from_secs(if twice { 2 } else { 7 }), "{took:?}");
        // It is cut when the grace and the hooks' time since the signal are over, whenever the hook began.
        assert!(twice || took >= Duration::from_secs(3), "{took:?}");
        let runs = documents(&daemon.data());
        assert_eq!((runs.len(), runs[0]["verdict"].as_str()), (1, Some("fail")), "{runs:?}");
        assert_eq!(received(&target, "/after").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_no_further_hook_before_the_load() {
    let target = practice(json!({"latency": "1s"})).await;
    let hooks = "before: [{post: /first}, {post: /second}]\n    after: [{post: /after}]";
    let config = sustained(&target, "2s", "per_vu").replace("after: [{post: /after}]", hooks);
    let mut daemon = Plimsoll::daemon(&config).await;
    post(&daemon, "/api/v1/trigger/sustained").await;
    wait_until("the first hook", PATIENCE, async || (target.log().received == 1).then_some(())).await;
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.wait_end(PATIENCE).await.code(), Some(0));
    let paths: Vec<String> = target.log().requests.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/first", "/after"]);
    assert_eq!(documents(&daemon.data())[0]["verdict"], "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_hand_that_is_interrupted_exits_105() {
    let target = practice(json!({"latency": "20ms"})).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = sustained(&target, "2s", "per_vu").replace("@LISTEN@", "127.0.0.1:0").replace("@DATA@", "data");
    std::fs::write(folder.path().join("plimsoll.yaml"), config).expect("it is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["run", "sustained", "--json", "run.json"]).current_dir(folder.path());
    let mut process = Process::spawn("run", &mut command, folder.path());
    more(&target, "/work", 100).await;
    let at = target.now_ms();
    process.signal(Signal::INT);
    let status = wait_until("it ends", PATIENCE, async || process.ended()).await;
    assert_eq!(status.code(), Some(105), "{}", process.output());
    assert_silent_after(&target, "/work", at, AFTER_SIGNAL_MS);
    let text = std::fs::read_to_string(folder.path().join("run.json")).expect("it was written");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(run["verdict"], "interrupted");
    assert_ledger(&run);
    assert_eq!(target.log().by_path["/after"].answered, 1);
    assert_eq!(documents(&folder.path().join("data"))[0]["run_id"], run["run_id"]);
}

/// When the pause file was written, on the target's clock.
fn thrown_ms(target: &Target, file: &Path) -> f64 {
    let written = std::fs::metadata(file).and_then(|meta| meta.modified()).expect("the file is there");
    let written = jiff::Timestamp::try_from(written).expect("a time");
    let ago = SystemClock.now().wall.duration_since(written).as_secs_f64() * 1000.0;
    target.now_ms() - ago
}

async fn paused(daemon: &Plimsoll, is: bool) -> Value {
    wait_until("the status says so", PATIENCE, async || {
        let status = get(daemon, "/api/v1/status").await;
        let still = status["scenarios"][0]["running"] == 0 || !is;
        (status["paused"].is_string() == is && still).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kill_switch_stops_all_load() {
    let target = practice(json!({"latency": "20ms"})).await;
    let daemon = Plimsoll::daemon(&sustained(&target, "2s", "per_vu")).await;
    let folder = daemon.config().parent().expect("a folder").to_owned();
    let file = daemon.data().join("pause");
    for switch in ["plimsoll pause", "the file", "SIGUSR1", "the API"] {
        eprintln!("{switch}");
        post(&daemon, "/api/v1/trigger/sustained").await;
        more(&target, "/work", 50).await;
        match switch {
            "plimsoll pause" => {
                let output = Plimsoll::run(&folder, &["pause", "a drill"]).await;
                assert!(output.status.success(), "{output:?}");
            }
            "the file" => std::fs::write(&file, "").expect("it is ours"),
            "SIGUSR1" => daemon.process.signal(Signal::USR1),
            _ => post(&daemon, "/api/v1/pause").await,
        }
        let status = paused(&daemon, true).await;
        assert_silent_after(&target, "/work", thrown_ms(&target, &file), AFTER_SWITCH_MS);
        let reason = status["paused"].as_str().expect("a reason");
        assert!(switch != "plimsoll pause" || reason.contains("a drill"), "{reason}");
        let refused = http().post(daemon.url("/api/v1/trigger/sustained")).send().await.expect("it answers");
        assert_eq!(refused.status(), 409);
        match switch {
            "plimsoll pause" => assert!(Plimsoll::run(&folder, &["resume"]).await.status.success()),
            "the file" => std::fs::remove_file(&file).expect("it is there"),
            "SIGUSR1" => daemon.process.signal(Signal::USR2),
            _ => post(&daemon, "/api/v1/resume").await,
        }
        paused(&daemon, false).await;
        assert!(!file.exists());
    }
    let runs = documents(&daemon.data());
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| run["verdict"] == "interrupted"), "{runs:?}");
    // The hooks after the load put the target back in order even then.
    assert_eq!(target.log().by_path["/after"].answered, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_kill_9() {
    let target = practice(json!({})).await;
    let config = format!(
        r#"
version: 1
daemon: {{listen: "@LISTEN@", data_dir: "@DATA@"}}
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  tick: {{schedule: {{every: 1s}}, load: {{executor: probe}}, steps: [{{get: /tick}}]}}
"#,
        target.url()
    );
    let daemon = Plimsoll::daemon(&config).await;
    more(&target, "/tick", 2).await;
    post(&daemon, "/api/v1/pause").await;
    let at = thrown_ms(&target, &daemon.data().join("pause"));
    let daemon = daemon.killed_and_started().await;
    paused(&daemon, true).await;
    let skipped = "SELECT due_ms FROM ledger WHERE fate = 'skipped' AND detail = 'paused'";
    wait_until("three instants are skipped", PATIENCE, async || {
        (query::<i64>(&daemon.data(), skipped).len() >= 3).then_some(())
    })
    .await;
    assert_silent_after(&target, "/tick", at, AFTER_SWITCH_MS);
    let daemon = daemon.killed_and_started().await;
    post(&daemon, "/api/v1/resume").await;
    more(&target, "/tick", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_hand_respects_the_kill_switch() {
    let target = practice(json!({})).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = sustained(&target, "2s", "per_vu").replace("@LISTEN@", "127.0.0.1:0").replace("@DATA@", "data");
    std::fs::write(folder.path().join("plimsoll.yaml"), config).expect("it is ours");
    assert!(Plimsoll::run(folder.path(), &["pause", "the database moves"]).await.status.success());
    let refused = Plimsoll::run(folder.path(), &["run", "sustained"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), target.log().received), (Some(104), 0));
    insta::assert_snapshot!(said, @r"
    error: all load is paused: the database moves (file data/pause)
    help: `plimsoll resume` releases it
    ");
    assert!(Plimsoll::run(folder.path(), &["resume"]).await.status.success());

    // One that is under way stops as well.
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["run", "sustained", "--quiet"]).current_dir(folder.path());
    let mut process = Process::spawn("run", &mut command, folder.path());
    more(&target, "/work", 50).await;
    assert!(Plimsoll::run(folder.path(), &["pause"]).await.status.success());
    let status = wait_until("it ends", PATIENCE, async || process.ended()).await;
    assert_eq!(status.code(), Some(105), "{}", process.output());
    assert_silent_after(&target, "/work", thrown_ms(&target, &folder.path().join("data/pause")), AFTER_SWITCH_MS);
}

/// Runs a closed load with `policy` to its end; its document.
async fn closed(target: &Target, policy: &str, load: &str) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = format!(
        "version: 1\ndaemon: {{data_dir: data}}\npolicy: {{{policy}}}\ntargets: {{api: {{base_url: \"{}\"}}}}\n\
         scenarios:\n  closed: {{load: {{executor: per-vu-iterations, {load}}}, steps: [{{get: /work}}]}}\n",
        target.url()
    );
    std::fs::write(folder.path().join("plimsoll.yaml"), config).expect("it is ours");
    let output = Plimsoll::run(folder.path(), &["run", "closed", "--json", "-"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_caps_the_rate_of_a_closed_load() {
    let target = practice(json!({})).await;
    let run = closed(&target, "max_rate: 100/s", "vus: 20, iterations: 20").await;
    assert_eq!((run["verdict"].as_str(), run["sent"].as_u64()), (Some("pass"), Some(400)), "{run}");
    assert!(run["hints"][0].as_str().expect("a hint").contains("policy.max_rate"), "{}", run["hints"]);
    let times = received(&target, "/work");
    let busiest = times.iter().map(|from| times.iter().filter(|at| (*from..*from + 1000.0).contains(*at)).count());
    let busiest = busiest.max().expect("requests");
    let took = times[times.len() - 1] - times[0];
    eprintln!("at most {busiest} in any second, 400 in {took:.0} ms");
    // The burst that is allowed is a tenth of the cap, and a request may arrive a little later than it was let go.
    assert!(busiest <= 112, "{busiest}");
    assert!(took >= 3800.0, "{took}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_caps_the_concurrency_of_all_runs_together() {
    let target = practice(json!({"latency": "30ms"})).await;
    let config = format!(
        r#"
version: 1
daemon: {{listen: "@LISTEN@", data_dir: "@DATA@"}}
policy: {{max_concurrency: 5}}
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  one: {{load: {{executor: per-vu-iterations, vus: 5, iterations: 20}}, steps: [{{get: /one}}]}}
  two: {{load: {{executor: per-vu-iterations, vus: 5, iterations: 20, start: together}}, steps: [{{get: /two}}]}}
"#,
        target.url()
    );
    let daemon = Plimsoll::daemon(&config).await;
    for scenario in ["one", "two"] {
        post(&daemon, &format!("/api/v1/trigger/{scenario}")).await;
    }
    let runs = wait_until("both end", PATIENCE, async || {
        let runs = documents(&daemon.data());
        (runs.len() == 2).then_some(runs)
    })
    .await;
    for run in &runs {
        assert_eq!((run["verdict"].as_str(), run["sent"].as_u64()), (Some("pass"), Some(100)), "{run}");
    }
    assert!(runs.iter().any(|run| run["hints"][0].as_str().is_some_and(|hint| hint.contains("max_concurrency"))));
    assert_eq!((target.log().received, target.log().max_concurrent), (200, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_service_is_never_loaded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = r#"
version: 1
policy: {allow: ["http://*"]}
targets: {meta: {base_url: "http://169.254.169.254"}}
scenarios:
  steal: {load: {executor: probe}, steps: [{get: /latest/meta-data/}]}
"#;
    std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
    for command in [&["check"][..], &["run", "steal"], &["daemon"]] {
        let refused = Plimsoll::run(folder.path(), command).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(104), "{said}");
        assert!(said.contains("`169.254.169.254` is a link-local address"), "{said}");
    }
}
