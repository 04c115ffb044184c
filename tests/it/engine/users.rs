//! Many users on real sockets: they come at their rate, share the tasks by weight, and every load model sends what it plans.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Done, practice, run, settings};

/// Weighted users with a pause of a second.
async fn weighted(users: u32, spawn_rate: u32, hold_s: u32) -> (Done, u64) {
    let target = practice(json!({})).await;
    let scenario = format!(
        "    load: {{executor: users, users: {users}, spawn_rate: {spawn_rate}/s, hold_for: {hold_s}s, ramp_down: 1s}}
    think: {{between: [500ms, 1500ms]}}
    tasks:
      - {{weight: 40, name: start, steps: [{{get: /, name: start}}]}}
      - {{weight: 25, name: followup, steps: [{{get: /, name: followup}}]}}
      - {{weight: 15, name: agents, steps: [{{get: /, name: agents}}]}}
      - {{weight: 10, name: health, steps: [{{get: /health, name: health}}]}}
      - {{weight: 5, name: rag, steps: [{{get: /, name: rag}}]}}
      - {{weight: 5, name: history, steps: [{{get: /, name: history}}]}}"
    );
    let done = run(&settings(&target.url(), "", &scenario)).await;
    (done, target.log().received)
}

fn check(done: &Done, received: u64, users: u64) {
    assert_eq!(received, done.run.sent);
    assert_eq!(done.ledger(), format!("ok={}", done.run.sent), "{:?}", done.run.first_failure);
    assert_eq!(done.connections().0, users, "each user opens one connection and keeps it");
    let mut by_step: BTreeMap<&str, f64> = BTreeMap::new();
    for (key, series) in &done.data.series {
        *by_step.entry(&key.step).or_default() += series.sent() as f64 / done.run.sent as f64;
    }
    for (name, share) in
        [("start", 0.40), ("followup", 0.25), ("agents", 0.15), ("health", 0.10), ("rag", 0.05), ("history", 0.05)]
    {
        assert!((by_step[name] - share).abs() < 0.02, "{name}: {by_step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_weighted_users() {
    let (done, received) = weighted(1000, 500, 3).await;
    check(&done, received, 1000);
    // A thousand users with about an iteration a second each, for 3 s in full; fewer where the machine is busy.
    assert!(done.run.sent >= 2000, "{}", done.run.sent);
    assert!((5.5..20.0).contains(&done.run.duration_s), "{}", done.run.duration_s);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users_come_at_their_rate() {
    let target = practice(json!({})).await;
    let scenario = "    load: {executor: users, users: 1000, spawn_rate: 250/s, hold_for: 500ms, ramp_down: 0s}
    on_start: [{get: /came}]
    think: {constant: 10s}
    steps: [{get: /}]";
    let done = run(&settings(&target.url(), "", scenario)).await;
    let log = target.log();
    let came: Vec<f64> = log.requests.iter().filter(|one| &*one.path == "/came").map(|one| one.received_ms).collect();
    assert_eq!((came.len(), done.run.hooks.ok), (1000, 1000));
    // The n-th comes 4 n ms after the first: none by more than 1 % of the ramp sooner, none later than a busy machine is.
    for (n, at) in came.iter().enumerate() {
        let off = (at - came[0]) - 4.0 * n as f64;
        assert!((-40.0..5000.0).contains(&off), "{n}: {off} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_users() {
    let (done, received) = weighted(5000, 2500, 2).await;
    check(&done, received, 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_model_sends_what_it_plans() {
    let check = async |load: &str, expected: &str| {
        let target = practice(json!({})).await;
        let done = run(&settings(&target.url(), "", &format!("    {load}\n    steps: [{{get: /}}]"))).await;
        assert_eq!(done.ledger(), expected, "{load}: {:?}", done.run.first_failure);
        assert_eq!(target.log().received, done.run.sent, "{load}");
        done
    };
    check("load: {executor: shared-iterations, vus: 10, iterations: 123}", "ok=123").await;
    let stages = "[{duration: 1s, target: 100/s}, {duration: 1s, target: 0/s}]";
    check(&format!("load: {{executor: ramping-arrival-rate, start_rate: 0/s, stages: {stages}}}"), "ok=100").await;
    let done = check("load: {executor: burst, size: 20, repeat: 3, pause: 200ms}", "ok=60").await;
    assert_eq!(done.run.groups["burst=3"].sent, 20);
    let done = check("load: {executor: stepped-vus, vus: [1, 5, 10], iterations: 2, start: together}", "ok=32").await;
    assert_eq!(done.run.groups["level=2"].sent, 10);
    check("load: {executor: constant-arrival-rate, rate: 200/s, duration: 1s, arrivals: poisson}", "ok=200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_tried_and_all_is_released() {
    let target = practice(json!({"pool_limit": 10})).await;
    let scenario = "    intent: overload
    load: {executor: limit, hold: 10, over: 1, free: 1, cycles: 2}
    acquire: {post: /conversations, json: {user: \"${vu}\"}, capture: {id: {json: $.id}}}
    release: {delete: \"/conversations/${id}\"}
    thresholds: [\"count(ok{part=hold}) == 20\", \"count(rejected{part=over}) == 2\", \"count(ok{part=retry}) == 2\"]";
    let done = run(&settings(&target.url(), "", scenario)).await;
    assert_eq!(done.ledger(), "ok=22 rejected.status_429=2", "{:?}", done.run.first_failure);
    assert_eq!(done.run.limit.as_ref().map(|found| &found["not_released"]), Some(&json!(0)));
    assert_eq!((done.run.hooks.ok, done.run.hooks.failed), (22, 0));
    assert!(done.run.reasons.is_empty(), "{:?}", done.run.reasons);

    // Without a word about it, what is held is granted, what goes beyond is rejected, and what was freed is granted again.
    let silent: Vec<&str> =
        scenario.lines().filter(|line| !line.contains("intent") && !line.contains("thresholds")).collect();
    let reasons = async |pool: u32| {
        target.patch(&json!({"pool_limit": pool})).expect("a known knob");
        run(&settings(&target.url(), "", &silent.join("\n"))).await.run.reasons
    };
    assert_eq!(reasons(10).await, Vec::<String>::new());
    assert_eq!(reasons(11).await, ["rate(rejected{part=over}) == 100% is breached: 0 %"]);
    assert_eq!(reasons(9).await[0], "rate(ok{part=hold}) == 100% is breached: 90 %");
}
