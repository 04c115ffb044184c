//! What a person reads and what a program gets: help, summaries, JSON, exit codes.

mod by_hand;

use std::{
    path::Path,
    process::{Output, Stdio},
};

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};

use crate::support::{PATIENCE, Process, daemon::Plimsoll, wait_until};

/// A folder with a configuration in it, and the practice target that it names.
struct Place {
    folder: tempfile::TempDir,
    target: Target,
}

/// Scenarios for each exit code and each choice; `@TARGET@` is the practice target.
const CONFIG: &str = r#"
version: 1
daemon: {data_dir: data, listen: "127.0.0.1:1"}
vars: {greeting: hello}
targets:
  api:
    base_url: "@TARGET@"
    http: {timeout: 5s}
scenarios:
  health:
    labels: [smoke, fast]
    load: {executor: probe}
    steps: [{get: /health}]
  greets:
    labels: [smoke, slow]
    load: {executor: per-vu-iterations, vus: 2, iterations: 3}
    steps:
      - {name: hello, post: "/say/${vars.greeting}"}
      - {name: bye, post: /say/bye}
    thresholds: [p95(latency) < 5s]
  steady:
    labels: [load]
    load: {executor: constant-arrival-rate, rate: 20/s, duration: 1s}
    steps: [{get: /work}]
  late:
    labels: [broken]
    load: {executor: probe}
    steps: [{get: /work}]
    valid_if: [max(send_lag) < 0.000001s]
  silent:
    labels: [broken]
    schedule: {manual: true, timeout: 1s}
    load: {executor: probe}
    before: [{post: /slow}]
    steps: [{get: /work}]
"#;

impl Place {
    async fn new() -> Self {
        let target = target::start(Knobs::ephemeral()).await.expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = CONFIG.replace("@TARGET@", &target.url());
        std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
        Self { folder, target }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        Plimsoll::run(self.folder.path(), arguments).await
    }

    /// Runs with `--json -`; the exit code and what came out.
    async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json", "-"]].concat()).await;
        let code = output.status.code().expect("it was not killed");
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}")))
    }

    fn of_path(&self, path: &str) -> u64 {
        self.target.log().by_path.get(path).map_or(0, |log| log.received)
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Replaces what differs from run to run by words; what stands between columns, whose widths differ too, shrinks to two
/// spaces.
fn masked(text: &str) -> String {
    let times = Regex::new(r"\d[\d.]* (?:ns|µs|ms|s)\b|\d+m\d\ds").expect("a pattern");
    let rates = Regex::new(r"\d[\d.]*/s").expect("a pattern");
    let ports = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern");
    let text = ports.replace_all(text, "ADDRESS").into_owned();
    let text = times.replace_all(&text, "TIME").into_owned();
    let text = rates.replace_all(&text, "RATE").into_owned();
    Regex::new(r"(\S) {2,}").expect("a pattern").replace_all(&text, "$1  ").into_owned()
}

async fn help(arguments: &[&str]) -> String {
    // Help shows what the environment sets, and is as wide as it says.
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(arguments).arg("--help").env_clear().output().await.expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    out(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn help_says_what_there_is() {
    insta::assert_snapshot!(help(&[]).await, @r"
    Continuous synthetic load daemon: scheduled probes and sustained load, honest latency, alerts that
    are not lost

    Usage: plimsoll <COMMAND>

    Commands:
      demo     See it all work on this machine in one minute: target, load, alert, mail, page. Needs
               nothing else
      check    Check a configuration: every problem at once, with its place and what to write instead
      hit      Load one URL now, without a configuration: one request with its timings, or -n, -c, -z,
               --rate
      init     Write a plimsoll.yaml to begin with: a health probe, a small load, and mail when
               something is wrong
      explain  Show what a scenario will do before anything is sent: its timeline, its sums, and whether
               this machine can carry it
      run      Run scenarios now and print what they came to
      daemon   Run all scenarios on their schedules, serve the page, send the mails. For months
      trigger  Run a scenario now in the running daemon, so that a fix resolves its alert at once
      pause    Stop all load now, and keep it stopped over restarts
      resume   Release load that was paused
      target   Run the practice target: a back end whose queue, pool, stalls and faults you set
      schema   Print the JSON Schema of the configuration, for editors
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes: 0 pass, 2 usage, 99 a threshold failed, 101 internal error, 104 configuration or policy,
    105 interrupted, 111 invalid (the generator was late), 112 no data. The daemon exits 0 on SIGTERM.
    ");
    insta::assert_snapshot!(help(&["demo"]).await, @r"
    See it all work on this machine in one minute: target, load, alert, mail, page. Needs nothing else

    Usage: plimsoll demo [OPTIONS]

    Options:
          --listen <LISTEN>  Where the page is; port 0 takes a free one [default: 127.0.0.1:9590]
          --dir <DIR>        Keep database and mails in this directory; otherwise in one that is removed
                             at the end
          --once             End after the alert is resolved, or after 120 seconds at the latest
      -h, --help             Print help
    ");
    insta::assert_snapshot!(help(&["check"]).await, @r"
    Check a configuration: every problem at once, with its place and what to write instead

    Usage: plimsoll check [OPTIONS]

    Options:
      -c, --config <FILE>  The configuration; otherwise ./plimsoll.yaml, or /etc/plimsoll/plimsoll.yaml
                           [env: PLIMSOLL_CONFIG=]
          --env <NAME>     One of `environments:`, laid over the configuration [env:
                           PLIMSOLL_ENVIRONMENT=]
      -h, --help           Print help
    ");
    insta::assert_snapshot!(help(&["run"]).await, @r"
    Run scenarios now and print what they came to

    Usage: plimsoll run [OPTIONS] [SCENARIO]

    Arguments:
      [SCENARIO]  The scenario

    Options:
          --all              All scenarios, one after the other
          --select <LABELS>  The scenarios whose labels fit: 'smoke', 'stress and not slow', 'a or (b
                             and c)'
      -c, --config <FILE>    The configuration; otherwise ./plimsoll.yaml, or
                             /etc/plimsoll/plimsoll.yaml [env: PLIMSOLL_CONFIG=]
          --env <NAME>       One of `environments:`, laid over the configuration [env:
                             PLIMSOLL_ENVIRONMENT=]
          --json <FILE>      Write the result as JSON (schema plimsoll/run/1; an array for several
                             scenarios); - is standard output
          --samples <FILE>   Write a line of JSON for each request to this file; - is standard output
      -v, --verbose          Show the requests that are rejected or fail as they come, the first five of
                             each kind
      -q, --quiet            No progress and no summary; the exit code tells
          --notify           Send alert mails as the daemon would
      -h, --help             Print help

    Changes to the scenario:
          --target <URL>       Base URL of the target [env: PLIMSOLL_TARGET=]
          --users <N>          Users: vus, users, size or max_in_flight, as the executor has it [env:
                               PLIMSOLL_USERS=]
          --rate <RATE>        Arrival rate, such as 10/s [env: PLIMSOLL_RATE=]
          --spawn-rate <RATE>  New users per time of a load of users, such as 10/s [env:
                               PLIMSOLL_SPAWN_RATE=]
          --duration <TIME>    Duration: duration, max_duration, hold_for or deadline, as the executor
                               has it, such as 5m [env: PLIMSOLL_DURATION=]
          --timeout <TIME>     Request timeout, such as 10s [env: PLIMSOLL_TIMEOUT=]
          --var <NAME=VALUE>   A variable of `vars:`, as name=value
          --set <PATH=VALUE>   Anything in the configuration, as path=value:
                               scenarios.health.load.attempts=3
    ");
    insta::assert_snapshot!(help(&["daemon"]).await, @r"
    Run all scenarios on their schedules, serve the page, send the mails. For months

    Usage: plimsoll daemon [OPTIONS]

    Options:
      -c, --config <FILE>            The configuration; otherwise ./plimsoll.yaml, or
                                     /etc/plimsoll/plimsoll.yaml [env: PLIMSOLL_CONFIG=]
          --env <NAME>               One of `environments:`, laid over the configuration [env:
                                     PLIMSOLL_ENVIRONMENT=]
          --log-format <LOG_FORMAT>  Log lines for people or for machines; auto is text on a terminal
                                     and JSON otherwise [env: PLIMSOLL_LOG_FORMAT=] [default: auto]
      -h, --help                     Print help
    ");
    insta::assert_snapshot!(help(&["trigger"]).await, @r"
    Run a scenario now in the running daemon, so that a fix resolves its alert at once

    Usage: plimsoll trigger [OPTIONS] <SCENARIO>

    Arguments:
      <SCENARIO>  The scenario

    Options:
      -c, --config <FILE>  The configuration; otherwise ./plimsoll.yaml, or /etc/plimsoll/plimsoll.yaml
                           [env: PLIMSOLL_CONFIG=]
          --env <NAME>     One of `environments:`, laid over the configuration [env:
                           PLIMSOLL_ENVIRONMENT=]
      -h, --help           Print help
    ");
    insta::assert_snapshot!(help(&["pause"]).await, @r#"
    Stop all load now, and keep it stopped over restarts

    Usage: plimsoll pause [OPTIONS] [REASON]

    Arguments:
      [REASON]  Why, for those who find the load stopped [default: "plimsoll pause"]

    Options:
      -c, --config <FILE>  The configuration; otherwise ./plimsoll.yaml, or /etc/plimsoll/plimsoll.yaml
                           [env: PLIMSOLL_CONFIG=]
          --env <NAME>     One of `environments:`, laid over the configuration [env:
                           PLIMSOLL_ENVIRONMENT=]
      -h, --help           Print help
    "#);
    insta::assert_snapshot!(help(&["resume"]).await, @r"
    Release load that was paused

    Usage: plimsoll resume [OPTIONS]

    Options:
      -c, --config <FILE>  The configuration; otherwise ./plimsoll.yaml, or /etc/plimsoll/plimsoll.yaml
                           [env: PLIMSOLL_CONFIG=]
          --env <NAME>     One of `environments:`, laid over the configuration [env:
                           PLIMSOLL_ENVIRONMENT=]
      -h, --help           Print help
    ");
    insta::assert_snapshot!(help(&["schema"]).await, @r"
    Print the JSON Schema of the configuration, for editors

    Usage: plimsoll schema

    Options:
      -h, --help  Print help
    ");
    // The practice target's flags are its knobs; each has its line.
    let target = help(&["target"]).await;
    let knobs = serde_json::to_value(Knobs::default()).expect("plain values");
    for knob in knobs.as_object().expect("an object").keys() {
        assert!(target.contains(&format!("--{}", knob.replace('_', "-"))), "{knob}: {target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_the_shipped_configuration_would_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Plimsoll::run(root, &["check", "--config", "config/plimsoll.yaml"]).await;
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    insta::assert_snapshot!(out(&output), @r"
    health  every 5 minutes, UTC, probe on api (http://localhost:8080)
      1 iteration
      must hold: p95(latency) < 1s
      must hold: rate(ok) == 100%  (by default)
      must hold: count(ok) > 0  (by default)
      valid if:  count(clock_steps) == 0
      valid if:  p99(send_lag) <= 50ms
      valid if:  count(dropped{reason=generator}) == 0

    sustained  at 03:30 every day, UTC, constant-arrival-rate on api (http://localhost:8080)
      3000 iterations, 3000 requests, at most 500 at once, 10/s, 5m00s and at most 1m00s of grace
      must hold: rate(rejected) <= 5%
      must hold: p95(latency) < 2s
      must hold: count(dropped) == 0
      must hold: rate(failed) < 1% over 1m for 2m
      must hold: count(ok) > 0  (by default)
      valid if:  count(clock_steps) == 0
      valid if:  p99(send_lag) <= 50ms
      valid if:  count(dropped{reason=generator}) == 0

    ok: 2 scenarios in config/plimsoll.yaml
    ");
    for example in std::fs::read_dir(root.join("config/examples")).expect("examples") {
        let path = example.expect("a file").path();
        let output = Plimsoll::run(root, &["check", "--config", &path.display().to_string()]).await;
        assert_eq!(output.status.code(), Some(0), "{}: {}", path.display(), err(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_is_a_json_schema() {
    let place = Place::new().await;
    let output = place.run(&["schema"]).await;
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for key in ["version", "include", "daemon", "policy", "vars", "env", "secrets", "targets", "requests", "scenarios"]
    {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert!(output.status.success() && err(&output).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_tells_what_a_run_came_to() {
    let place = Place::new().await;
    let passed = place.run(&["run", "greets"]).await;
    assert_eq!((passed.status.code(), err(&passed).as_str()), (Some(0), ""));
    insta::assert_snapshot!(masked(&out(&passed)), @r"
    PASS  greets  on api in TIME

       requests  count  share
       planned  12
       sent  12  100 %
       ok  12  100 %  RATE
       rejected  0  0 %
       failed  0  0 %

       times  count  min  p50  p95  p99  max
       latency ok  12  TIME  TIME  TIME  TIME  TIME
       service time ok  12  TIME  TIME  TIME  TIME  TIME
       send lag (ours)  12  TIME  TIME  TIME  TIME  TIME
       iteration  6  TIME  TIME  TIME  TIME  TIME

       step  sent  ok  rejected  failed  p50 ok  p95 ok
       hello  6  6  0  0  TIME  TIME
       bye  6  6  0  0  TIME  TIME

      ok  p95(latency) < 5s  TIME
      ok  rate(ok) >= 99%  100 %  (by default)
      ok  rate(dropped) <= 1%  0 %  (by default)
      ok  count(ok) > 0  12  (by default)
    ");
    place.target.patch(&json!({"status": 503})).expect("known knobs");
    let failed = place.run(&["run", "health"]).await;
    assert_eq!((failed.status.code(), err(&failed).as_str()), (Some(99), ""));
    insta::assert_snapshot!(masked(&out(&failed)), @r#"
    FAIL  health  on api in TIME
          rate(ok) == 100% is breached: 0 %
          count(ok) > 0 is breached: 0

       requests  count  share
       planned  1
       sent  1  100 %
       ok  0  0 %
       rejected  0  0 %
       failed  1  100 %  status 1

       times  count  min  p50  p95  p99  max
       latency failed  1  TIME  TIME  TIME  TIME  TIME
       send lag (ours)  1  TIME  TIME  TIME  TIME  TIME

      FAIL  rate(ok) == 100%  0 %  (by default)
      FAIL  count(ok) > 0  0  (by default)

    first failed (status) after TIME: GET http://ADDRESS/health
          status 503 Service Unavailable
          {"error":"the practice target was told to answer so"}

    hint: 1 answer was 503 without Retry-After and counted as failed. If that is a full queue and not an outage, add under targets.api: classify: [{outcome: rejected, status: 503}]
    "#);
    let quiet = place.run(&["run", "health", "--quiet"]).await;
    assert_eq!((quiet.status.code(), out(&quiet), err(&quiet)), (Some(99), String::new(), String::new()));
}

/// The keys of a run's document, `plimsoll/run/1`; those of `outcomes` and the like below it.
const KEYS: &[&str] = &[
    "schema",
    "run_id",
    "scenario",
    "target",
    "trigger",
    "due_at",
    "started_at",
    "ended_at",
    "duration_s",
    "verdict",
    "reasons",
    "planned",
    "sent",
    "dropped",
    "outcomes",
    "rejected",
    "failed",
    "status",
    "iterations",
    "iteration_s",
    "throughput_per_s",
    "latency_s",
    "service_time_s",
    "send_lag_s",
    "timing_s",
    "steps",
    "groups",
    "stats",
    "thresholds",
    "generator",
    "hooks",
    "limit",
    "elapsed_s",
    "environment",
    "recovery_s",
    "search",
    "plan",
    "config_hash",
    "version",
    "seed",
];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_on_standard_output_is_json_alone() {
    let place = Place::new().await;
    let (code, run) = place.json(&["run", "greets"]).await;
    assert_eq!(code, 0);
    assert_eq!(keys(&run), KEYS);
    assert_eq!(keys(&run["outcomes"]), ["ok", "rejected", "failed", "interrupted"]);
    assert_eq!(keys(&run["iterations"]), ["completed", "failed", "interrupted"]);
    let times = ["count", "min", "mean", "p50", "p90", "p95", "p99", "p999", "max"];
    assert_eq!(keys(&run["latency_s"]["ok"]), times);
    assert_eq!(keys(&run["send_lag_s"]), times);
    let mut timings = keys(&run["timing_s"]);
    timings.sort_unstable();
    assert_eq!(timings, ["blocked", "connect", "dns", "tls", "transfer", "ttfb"]);
    assert_eq!(keys(&run["steps"]["hello"]), ["sent", "outcomes", "latency_s", "iterations", "iteration_s"]);
    assert_eq!(keys(&run["generator"])[..4], ["valid", "cpu_ratio", "rss_bytes", "open_fds"]);
    let threshold = keys(&run["thresholds"][0]);
    assert_eq!(threshold[..8], ["expr", "name", "value", "limit", "unit", "margin_ratio", "result", "severity"]);
    assert_eq!((&run["schema"], &run["trigger"]), (&json!("plimsoll/run/1"), &json!("manual")));
    // What only some runs have comes on top.
    place.target.patch(&json!({"status": 503})).expect("known knobs");
    let (code, run) = place.json(&["run", "health"]).await;
    assert_eq!(code, 99);
    let more: Vec<&str> = keys(&run).into_iter().filter(|key| !KEYS.contains(key)).collect();
    assert_eq!(more, ["first_failure", "hints"]);
    assert_eq!(run["first_failure"]["status"], 503);
    let cores = std::thread::available_parallelism().expect("known").get() as f64;
    let cpu = run["generator"]["cpu_ratio"].as_f64().expect("a share of one core");
    assert!(0.0 < cpu && cpu <= cores, "{cpu}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_are_chosen_by_name_by_label_or_all() {
    let place = Place::new().await;
    let names = |runs: &Value| -> Vec<String> {
        let runs = runs.as_array().expect("a list");
        runs.iter().map(|run| run["scenario"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&place.json(&["run", "--select", "smoke and not slow"]).await.1), ["health"]);
    assert_eq!(names(&place.json(&["run", "--select", "smoke or load"]).await.1), ["health", "greets", "steady"]);
    // The worst decides: one of them is invalid.
    let (code, runs) = place.json(&["run", "--all"]).await;
    assert_eq!((code, names(&runs)), (111, ["health", "greets", "steady", "late", "silent"].map(String::from).into()));

    let check = async |arguments: &[&str], code: i32, said: &str| {
        let output = place.run(arguments).await;
        assert_eq!((output.status.code(), err(&output).trim_end()), (Some(code), said), "{arguments:?}");
    };
    let all = "There are: health, greets, steady, late, silent";
    check(&["run", "helth"], 104, &format!("error: there is no scenario `helth`; did you mean `health`? {all}")).await;
    check(
        &["run", "--select", "nightly"],
        104,
        "error: no scenario has labels that fit `nightly`; there are: broken, fast, load, slow, smoke",
    )
    .await;
    check(
        &["run", "--select", "smoke slow"],
        104,
        "error: `--select smoke slow`: `slow` is not expected there; write: label and not label",
    )
    .await;
    let both = place.run(&["run", "health", "--all"]).await;
    assert_eq!(both.status.code(), Some(2), "{}", err(&both));
    let none = place.run(&["run"]).await;
    assert_eq!(none.status.code(), Some(2), "{}", err(&none));
    assert!(err(&none).starts_with("error: which scenario? There are: health, greets"), "{}", err(&none));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verdict_has_its_exit_code() {
    let place = Place::new().await;
    let check = async |arguments: &[&str], expected: i32, verdict: &str| {
        let (code, run) = place.json(arguments).await;
        assert_eq!((code, run["verdict"].as_str()), (expected, Some(verdict)), "{arguments:?}: {}", run["reasons"]);
    };
    check(&["run", "health"], 0, "pass").await;
    check(&["run", "late"], 111, "invalid").await;
    place.target.patch(&json!({"latency": "2s"})).expect("known knobs");
    check(&["run", "silent"], 112, "no_data").await;
    place.target.patch(&json!({"latency": "0ms", "status": 500})).expect("known knobs");
    check(&["run", "health"], 99, "fail").await;
    // An outage is never invalid.
    check(&["run", "late"], 99, "fail").await;
    let usage = place.run(&["run", "--frobnicate"]).await;
    assert_eq!(usage.status.code(), Some(2));
    let missing = place.run(&["run", "health", "--config", "nowhere.yaml"]).await;
    assert_eq!(missing.status.code(), Some(104), "{}", err(&missing));
    // 105 needs a signal: see the tests of stopping.
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_overrides_the_configuration() {
    let place = Place::new().await;
    let (code, run) = place.json(&["run", "steady", "--rate", "50/s", "--duration", "2s", "--users", "7"]).await;
    assert_eq!((code, &run["planned"]), (0, &json!(100)));
    let plan = &run["plan"];
    assert_eq!(
        (&plan["rate_per_s"], &plan["duration_s"], &plan["max_in_flight"]),
        (&json!(50.0), &json!(2.0), &json!(7))
    );
    let (_, run) = place.json(&["run", "greets", "--users", "4", "--var", "greeting=ahoy"]).await;
    assert_eq!((&run["plan"]["vus"], place.of_path("/say/ahoy")), (&json!(4), 12));
    let (_, run) = place.json(&["run", "greets", "--set", "scenarios.greets.load.iterations=1"]).await;
    assert_eq!((&run["sent"], place.of_path("/say/hello")), (&json!(4), 2));

    let other = target::start(Knobs::ephemeral()).await.expect("a free port");
    place.json(&["run", "health", "--target", &other.url()]).await;
    assert_eq!((other.log().received, place.of_path("/health")), (1, 0));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["run", "health"]).current_dir(place.folder.path()).env("PLIMSOLL_TARGET", other.url());
    assert!(command.output().await.expect("it starts").status.success());
    assert_eq!((other.log().received, place.of_path("/health")), (2, 0));

    place.target.patch(&json!({"hang": true})).expect("known knobs");
    let (code, run) = place.json(&["run", "health", "--timeout", "200ms"]).await;
    assert_eq!((code, &run["failed"]["timeout"]), (99, &json!(1)));
    assert!(run["duration_s"].as_f64().expect("a time") < 4.0, "{}", run["duration_s"]);

    let check = async |arguments: &[&str], said: &str| {
        let output = place.run(&[&["run", "health"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(104), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    };
    check(&["--rate", "5/s"], "scenario `health` has the executor probe, which --rate does not apply to").await;
    check(&["--timeout", "5"], "--timeout").await;
    check(&["--set", "scenarios.health.laod.attempts=3"], "did you mean").await;
    check(&["--target", "http://example.com"], "the policy does not allow `http://example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_runs_a_scenario_in_the_daemon() {
    let place = Place::new().await;
    let file = place.folder.path().join("plimsoll.yaml");
    let nobody = place.run(&["trigger", "health"]).await;
    assert_eq!(nobody.status.code(), Some(104));
    let said = err(&nobody);
    assert!(said.starts_with("error: no daemon answers on 127.0.0.1:1: "), "{said}");
    assert!(said.ends_with("run the scenario here with `plimsoll run health`\n"), "{said}");

    let text = std::fs::read_to_string(&file).expect("it is there");
    let text = text.replace("127.0.0.1:1\"", "@LISTEN@\"").replace("data_dir: data", "data_dir: \"@DATA@\"");
    let daemon = Plimsoll::daemon(&text).await;
    let config = daemon.config().display().to_string();
    let started = place.run(&["trigger", "health", "--config", &config]).await;
    assert_eq!(started.status.code(), Some(0), "{}", err(&started));
    let said = Regex::new("^run [0-9a-f-]{36} has started\n$").expect("a pattern");
    assert!(said.is_match(&out(&started)), "{}", out(&started));
    wait_until("it runs", PATIENCE, async || (place.of_path("/health") == 1).then_some(())).await;
    let wrong = place.run(&["trigger", "helth", "--config", &config]).await;
    assert_ne!(wrong.status.code(), Some(0));
    assert!(err(&wrong).contains("no scenario"), "{}", err(&wrong));
    // A second daemon on the same data directory is refused.
    let second = place.run(&["daemon", "--config", &config]).await;
    assert_eq!(second.status.code(), Some(104), "{}", err(&second));
    let held = format!("{} is in use by process ", daemon.data().display());
    assert!(err(&second).contains(&held) && err(&second).contains("help: "), "{}", err(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_no_fault() {
    let place = Place::new().await;
    for arguments in [&["schema"][..], &["run", "greets"], &["check"], &["--help"]] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(arguments).current_dir(place.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::with_capacity(16, child.stdout.take().expect("piped"));
        reader.read_line(&mut line).await.expect("a line");
        drop(reader);
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).await.expect("text");
        let status = child.wait().await.expect("it ends");
        assert!(!line.is_empty() && said.is_empty(), "{arguments:?}: {said}");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    // Nobody reads from the first byte on.
    let mut command = std::process::Command::new("sh");
    let script = "\"$PLIMSOLL\" schema | true; \"$PLIMSOLL\" run greets | true";
    command.args(["-c", script]).env("PLIMSOLL", env!("CARGO_BIN_EXE_plimsoll")).current_dir(place.folder.path());
    let mut process = Process::spawn("sh", &mut command, place.folder.path());
    wait_until("it ends", PATIENCE, async || process.ended()).await;
    assert_eq!(process.output(), "");
}
