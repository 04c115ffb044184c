//! How a run ends before its time: drained, cut, aborted, paused; and what still runs then.

use std::time::Duration;

use plimsoll::judge::History;
use serde_json::json;

use super::{practice, run, settings, start, start_paused};
use crate::support::{PATIENCE, wait_until};

const HOOKS: &str = "    before: [{get: /before}]\n    after: [{get: /after}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_run_sends_nothing_new_and_lets_finish_what_is_out() {
    let target = practice(json!({"latency": "300ms"})).await;
    let load = format!(
        "{HOOKS}    load: {{executor: constant-arrival-rate, rate: 50/s, duration: 1m}}
    steps: [{{get: /load}}]"
    );
    let going = start(&settings(&target.url(), "", &load), History::default());
    wait_until("20 are there", PATIENCE, async || (target.log().received > 20).then_some(())).await;
    going.handle.drain();
    let drained = target.now_ms();
    let done = going.done().await;
    assert_eq!(done.run.verdict.as_str(), "interrupted");
    assert_eq!(done.ledger(), format!("ok={}", done.run.sent), "what was out may finish");
    let log = target.log();
    let late = log.requests.iter().filter(|entry| &*entry.path == "/load" && entry.received_ms > drained + 100.0);
    assert_eq!(late.count(), 0, "nothing new a tenth of a second after");
    assert_eq!((log.by_path["/before"].received, log.by_path["/after"].received), (1, 1));
    assert_eq!(done.run.hooks.ok, 2);
    assert!(done.took < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_at_once_and_the_cut_is_interrupted() {
    let target = practice(json!({"latency": "30s"})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 5, iterations: 3}
    steps: [{get: /load}]
    after: [{get: /after}]";
    let going = start(&settings(&target.url(), "", load), History::default());
    let there = || target.log().by_path.get("/load").map_or(0, |path| path.received);
    wait_until("all five are there", PATIENCE, async || (there() == 5).then_some(())).await;
    going.handle.drain();
    going.handle.cut();
    let done = going.done().await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("interrupted=5", "fail"));
    assert_eq!(done.run.reasons[0], "`after:` did not go well: the run was stopped before it was done");
    assert_eq!(done.run.iterations.interrupted, 5);
    assert!(done.took < Duration::from_secs(10), "{:?}", done.took);
    assert_eq!(target.log().received, 5, "the second signal leaves no time for hooks");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_after_a_drain_that_took_all_its_grace() {
    let target = practice(json!({"hang": true})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 2, iterations: 1, graceful_stop: 0s}
    steps: [{get: /a, timeout: 700ms, on_fail: continue}, {get: /b, timeout: 700ms, on_fail: continue}]
    after: [{get: /after, timeout: 300ms}]";
    let going = start(&settings(&target.url(), "    http: {timeout: 700ms}", load), History::default());
    wait_until("both are there", PATIENCE, async || (target.log().received == 2).then_some(())).await;
    going.handle.drain();
    let done = going.done().await;
    assert_eq!(done.run.verdict.as_str(), "fail", "what should put the target back did not");
    assert_eq!(done.run.hooks.failed, 1, "the hook was sent, though it was not answered");
    assert_eq!(target.log().by_path["/after"].received, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_does_not_outlive_a_stop() {
    let target = practice(json!({"hang": true})).await;
    let load = "    before: [{get: /before, timeout: 50s}, {get: /second}]
    load: {executor: probe}
    steps: [{get: /load}]";
    let going = start(&settings(&target.url(), "", load), History::default());
    wait_until("the hook is there", PATIENCE, async || (target.log().received == 1).then_some(())).await;
    going.handle.drain();
    let done = going.done().await;
    assert_eq!((done.run.verdict.as_str(), done.run.sent), ("interrupted", 0));
    assert_eq!((done.run.hooks.failed, target.log().received), (1, 1));
    assert!(done.took < Duration::from_secs(20), "{:?}", done.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_stops_a_load_within_a_quarter_of_a_second() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: constant-arrival-rate, rate: 100/s, duration: 1m}
    steps: [{get: /}]";
    let going = start(&settings(&target.url(), "", load), History::default());
    wait_until("20 are there", PATIENCE, async || (target.log().received > 20).then_some(())).await;
    going.gate.set_paused(true);
    let paused = target.now_ms();
    let done = going.done().await;
    let log = target.log();
    assert_eq!(log.requests.iter().filter(|entry| entry.received_ms > paused + 250.0).count(), 0);
    assert_eq!((done.run.verdict.as_str(), log.received), ("interrupted", done.run.sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_the_kill_switch_thrown_sends_nothing_at_all() {
    let target = practice(json!({})).await;
    let stats = "    stats: {gauges: {queued: {get: /queue/stats, json: $.queued}}}";
    let load = format!("{HOOKS}    load: {{executor: probe}}\n    steps: [{{get: /load}}]");
    let going = start_paused(&settings(&target.url(), stats, &load));
    let done = going.done().await;
    assert_eq!((done.run.verdict.as_str(), done.run.planned, done.run.hooks.ok), ("interrupted", 0, 0));
    assert_eq!(target.log().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_aborts_ends_the_run_early_with_fail() {
    let target = practice(json!({"status": 500})).await;
    let load = "    load: {executor: constant-arrival-rate, rate: 50/s, duration: 1m}
    steps: [{get: /}]
    thresholds: [{expr: rate(failed) < 50% over 1s, abort_on_fail: true}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.run.verdict.as_str(), "fail", "{:?}", done.run.reasons);
    assert!(done.took < Duration::from_secs(30), "{:?}", done.took);
    assert!(done.run.sent < 1500, "{}", done.run.sent);
    assert_eq!(done.run.outcomes.failed, done.run.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedules_timeout_is_a_deadline_and_no_interruption() {
    let target = practice(json!({"latency": "100ms"})).await;
    let load = "    schedule: {manual: true, timeout: 1s}
    load: {executor: constant-arrival-rate, rate: 20/s, duration: 10s}
    steps: [{get: /a}, {get: /b, think: 20s}, {get: /c}]
    thresholds: [count(failed) == 0]";
    let done = run(&settings(&target.url(), "", load)).await;
    let run = &done.run;
    assert_eq!(run.outcomes.interrupted + run.iterations.interrupted, 0, "{:?}", run.iterations);
    assert!((170..=185).contains(&run.dropped["deadline"]), "{:?}", run.dropped);
    assert_eq!(run.iterations.failed + run.dropped["deadline"], 200, "{:?}", run.iterations);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_pool_when_the_time_is_up_was_not_sent() {
    let target = practice(json!({"hang": true})).await;
    let load = |schedule: &str| {
        format!(
            "    schedule: {{manual: true{schedule}}}
    load: {{executor: per-vu-iterations, vus: 10, iterations: 1, connections: 3}}
    steps: [{{get: /a, timeout: 3s}}]"
        )
    };
    let done = run(&settings(&target.url(), "    http: {timeout: 3s}", &load(", timeout: 1s"))).await;
    // Three hang until their time is up; no byte of the others has left.
    assert_eq!(done.ledger(), "failed.timeout=3 dropped.deadline=7", "{:?}", done.run.first_failure);
    assert_eq!((target.log().received, done.run.planned), (3, 10));
    assert_eq!(done.run.verdict.as_str(), "fail");

    // A person who stops it has interrupted them all.
    target.reset();
    let going = start(&settings(&target.url(), "    http: {timeout: 3s}", &load("")), History::default());
    wait_until("three are there", PATIENCE, async || (target.log().received == 3).then_some(())).await;
    going.handle.drain();
    let done = going.done().await;
    assert_eq!(done.ledger(), "failed.timeout=3 interrupted=7");
}
