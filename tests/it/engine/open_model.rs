//! An open load waits for nobody: what a stalled target owes shows in the latency, however few connections there are.

use serde_json::json;

use super::{Done, practice, run, settings};

/// 100 requests a second for 10 s at a target that stands still for 1 s in the middle. The true latencies: nine in ten
/// at once, one in ten evenly from 0 to 1 s, so the 95th percentile is 500 ms and the 99th 900 ms.
async fn stalled_for_a_second(connections: u32) -> Done {
    let target = practice(json!({"stall": {"every": "6s", "for": "1s"}})).await;
    let load = format!(
        "    load: {{executor: constant-arrival-rate, rate: 100/s, duration: 10s, connections: {connections}}}\n    \
         steps: [{{get: /}}]"
    );
    let done = run(&settings(&target.url(), "", &load)).await;
    assert!((999..=1001).contains(&done.run.planned), "{}", done.run.planned);
    assert_eq!(done.ledger(), format!("ok={}", done.run.planned), "all are sent, none is lost");
    assert_eq!(target.log().received, done.run.sent);
    let latency = done.run.latency_s["ok"];
    assert!((0.425..=0.575).contains(&latency.p95), "p95 is 500 ms: {latency:?}");
    assert!((0.765..=1.035).contains(&latency.p99), "p99 is 900 ms: {latency:?}");
    assert!((0.9..=1.3).contains(&latency.max), "the first to wait waited a second: {latency:?}");
    assert!(done.run.send_lag_s.p95 < 0.05, "the lateness is the target's, not ours: {:?}", done.run.send_lag_s);
    assert!(done.run.generator.valid, "{:?}", done.run.generator);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ten_connections_the_waiting_is_blocked() {
    let done = stalled_for_a_second(10).await;
    let (blocked, service) = (done.run.timing_s["blocked"], done.run.service_time_s["ok"]);
    assert!(blocked.p99 > 0.7, "ninety waited for a connection: {blocked:?}");
    assert!(service.p95 < 0.2, "only ten were on the wire: {service:?}");
    let (opened, _) = done.connections();
    assert!(opened <= 10, "{opened}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_hundred_connections_the_waiting_is_service_time() {
    let done = stalled_for_a_second(200).await;
    let (blocked, service) = (done.run.timing_s["blocked"], done.run.service_time_s["ok"]);
    assert!(blocked.p99 < 0.1, "there was a connection for each: {blocked:?}");
    assert!((0.4..=0.6).contains(&service.p95) && service.p99 > 0.7, "they waited on the wire: {service:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_max_in_flight_arrivals_are_dropped_and_counted() {
    let target = practice(json!({"hang": true})).await;
    let load =
        "    load: {executor: constant-arrival-rate, rate: 100/s, duration: 1s, max_in_flight: 7, graceful_stop: 1s}
    steps: [{get: /, timeout: 5s}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.ledger(), "failed.timeout=7 dropped.max_in_flight=93");
    assert_eq!(target.log().received, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_are_all_there_before_the_first_is_answered() {
    let target = practice(json!({"latency": "1s", "parallel_limit": 4, "queue_limit": 2})).await;
    target.patch(&json!({"stall_for": "1500ms"})).expect("known knobs");
    let load = "    intent: overload
    load: {executor: per-vu-iterations, vus: 10, iterations: 1, start: together}
    steps: [{post: /api/generate, json: {model: m, prompt: \"Test ${vu}\"}}]
    thresholds: [count(rejected) == 4, count(failed) == 0]";
    let classify = "    classify: [{outcome: rejected, status: 503, reason: {header: x-reject-reason, default: full}}]";
    let done = run(&settings(&target.url(), classify, load)).await;
    assert_eq!(done.ledger(), "ok=6 rejected.queue_full=4");
    assert_eq!(done.run.verdict.as_str(), "pass", "{:?}", done.run.reasons);
    let log = target.log();
    let last_received = log.requests.iter().map(|entry| entry.received_ms).fold(0.0, f64::max);
    let first_answer = log.requests.iter().filter_map(|entry| entry.answered_ms).fold(f64::MAX, f64::min);
    assert_eq!((log.received, log.max_concurrent), (10, 10));
    assert!(last_received < first_answer, "{last_received} {first_answer}");
}
