//! What iterations take from rows of data, and what becomes of a request that lacks a value.

use std::time::Duration;

use super::{Bench, OK, bench, execute, told};
use crate::{
    load::recorder::IterationEnd,
    model::{clock, scenario::FeedEnd},
};

/// Takes rows `a`, `b`, `c`, and has a feed that it does not use.
fn fed(load: &str, on_end: FeedEnd) -> Bench {
    let word = format!("{on_end:?}").to_lowercase();
    let rows = "[{id: a}, {id: b}, {id: c}]";
    let data = format!("{{q: {{values: {rows}, on_end: {word}}}, unused: {{values: [{{id: x}}], on_end: stop}}}}");
    let steps = "[{get: '/1/${data.q.id}'}, {get: /2, expect: 'data.q.id != \"c\"'}]";
    Bench::new(&format!("    load: {load}\n    data: {data}\n    steps: {steps}"), |_, _| OK)
}

#[tokio::test(start_paused = true)]
async fn each_iteration_takes_a_row_and_the_last_one_may_end_the_load() {
    let check = async |load: &str, on_end: FeedEnd, expected: &str, dropped: u64, ids: &str| {
        let bench = fed(load, on_end);
        let ran = execute(&bench).await;
        assert_eq!((told(&ran).as_str(), ran.dropped()), (expected, dropped), "{load} {on_end:?}");
        let seen = bench.seen();
        let taken = seen.iter().filter_map(|line| line.strip_prefix("GET /1/")).collect::<String>();
        assert_eq!(taken, ids, "{load} {on_end:?}");
    };
    let users = "{executor: per-vu-iterations, vus: 2, iterations: 3}";
    let open = "{executor: constant-arrival-rate, rate: 10/s, duration: 1s}";
    check(users, FeedEnd::Cycle, "ok=10 failed=2", 0, "abcabc").await;
    check(users, FeedEnd::Stop, "ok=5 failed=1", 0, "abc").await;
    check(users, FeedEnd::Fail, "ok=5 failed=4", 0, "abc").await;
    check(open, FeedEnd::Stop, "ok=5 failed=1", 0, "abc").await;
    // Whoever takes the last row ends the load of all, not its own part of it, and nothing beyond it was planned.
    for load in [
        "{executor: constant-vus, vus: 2, duration: 1m}",
        "{executor: shared-iterations, vus: 2, iterations: 30}",
        "{executor: ramping-vus, start_vus: 2, stages: [{duration: 1m, target: 2}]}",
        "{executor: stepped-vus, vus: [1, 1, 2], iterations: 2}",
        "{executor: stepped-vus, vus: [2, 2], duration: 1m}",
        "{executor: burst, size: 5, repeat: 3, every: 10s}",
        "{executor: users, users: 2, spawn_rate: 10/s, hold_for: 1m}",
    ] {
        let begun = clock::mono();
        check(load, FeedEnd::Stop, "ok=5 failed=1", 0, "abc").await;
        assert!(clock::mono() - begun < Duration::from_secs(20), "{load}: it does not go on without data");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_put_together_was_not_sent() {
    let check = async |step: &str, why: &str| {
        let bench = bench(&format!("      - {step}"), |_, _| OK);
        assert_eq!(bench.iterate(1).await, [IterationEnd::Failed], "{step}");
        let data = bench.data();
        let total = data.total();
        assert_eq!((told(&data).as_str(), bench.seen().len(), data.polls), ("failed=1", 0, 0), "{step}");
        assert_eq!((total.latency[2].count(), total.service_time[2].count()), (0, 0), "{step}");
        let failure = bench.shared.recorder.first_failure().expect("it failed");
        assert_eq!((failure.reason.as_str(), failure.detail.as_str()), ("capture", why), "{step}");
    };
    check(
        "{get: '/a/${words(5, 2)}'}",
        "not sent: path: `words(5, 2)`: words(5, 2): write two numbers up to 10000, the smaller one first",
    )
    .await;
    check(
        "{get: '/a/${words(5, 2)}', until: status == 200}",
        "not sent: path: `words(5, 2)`: words(5, 2): write two numbers up to 10000, the smaller one first",
    )
    .await;

    let bench = bench(
        "      - {get: /1, capture: {id: {json: $.id, required: false}, ok: {json: $.ok}}}
      - {post: '/2/${ok}', json: {ids: ['${id + 1}', '${ok}']}, on_fail: continue}
      - {get: '/3/${ok.deep}', on_fail: continue}",
        |_, _| (200, &[], r#"{"ok": 1}"#),
    );
    bench.iterate(1).await;
    assert_eq!(told(&bench.data()), "ok=1 failed=2");
    let failure = bench.shared.recorder.first_failure().expect("it failed");
    assert_eq!(failure.detail, "not sent: json: `id` has no value");

    let bench = fed("{executor: per-vu-iterations, vus: 1, iterations: 4}", FeedEnd::Fail);
    let ran = execute(&bench).await;
    // The third of them does not hold what its second step expects.
    assert_eq!((told(&ran).as_str(), ran.total().latency[2].count()), ("ok=5 failed=2", 1));
}
