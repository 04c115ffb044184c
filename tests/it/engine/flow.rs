//! What happens within an iteration and around it: steps, captures, checks, rules, hooks, readings, attempts, history.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use plimsoll::{
    judge::History,
    model::{
        clock::{Clock, Now, SystemClock},
        run::RunSummary,
        settings::{Redactor, Settings},
    },
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    practice, run,
    server::{OK, Server, request},
    settings, start, start_with,
};
use crate::support::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn values_travel_from_answer_to_request() {
    let target = practice(json!({})).await;
    let load = r#"    before:
      - {post: /conversations, capture: {cid: {json: $.id}}}
    load: {executor: per-vu-iterations, vus: 2, iterations: 3}
    steps:
      - {name: process, post: /process, json: {user: "${vu}"}, capture: {sid: {json: $.session_id}}}
      - {name: status, get: "/session/${sid}/status", expect: "$.session_id == sid"}
      - {name: fir, get: "/fir/${sid}", capture: {number: {regex: "FIR-([0-9a-f]+)"}}}
      - name: cached
        post: /v1/messages
        json: {model: m, messages: [{role: user, content: "Agent ${number}"}]}
        capture: {absent: {header: x-none, default: NONE}, cache: {header: x-cache}}
        expect: 'header("x-cache") == "MISS"'
      - name: last
        post: /api/generate
        json: {model: m, prompt: "${vu}.${iteration}.${absent}.${cache}"}
        expect: '$.response =~ /[12].[123].NONE.MISS/'
    after:
      - {delete: "/conversations/${cid}"}"#;
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.ledger(), "ok=30", "{:?}", done.run.first_failure);
    assert_eq!((done.run.iterations.completed, done.run.iteration_s.count), (6, 6));
    assert_eq!((done.run.hooks.ok, done.run.hooks.failed), (2, 0), "hooks are counted apart");
    let sent: BTreeMap<_, _> = done.run.steps.iter().map(|(name, step)| (name.as_str(), step.sent)).collect();
    assert_eq!(sent, BTreeMap::from([("process", 6), ("status", 6), ("fir", 6), ("cached", 6), ("last", 6)]));
    let log = target.log();
    assert_eq!((log.received, log.by_path["/conversations/{id}"].by_status[&200]), (32, 1));
    assert_eq!(log.by_path["/session/{id}/status"].by_status, BTreeMap::from([(200, 6)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_ends_its_iteration_unless_it_may_go_on() {
    let target = practice(json!({})).await;
    let check = async |steps: &str, ledger: &str, received: u64, (completed, failed): (u64, u64)| {
        target.reset();
        let load = format!("    load: {{executor: per-vu-iterations, vus: 2, iterations: 2}}\n    steps: {steps}");
        let done = run(&settings(&target.url(), "", &load)).await;
        assert_eq!((done.ledger().as_str(), target.log().received), (ledger, received), "{steps}");
        assert_eq!((done.run.iterations.completed, done.run.iterations.failed), (completed, failed), "{steps}");
    };
    // A session that nobody knows is a 404.
    check("[{get: /a}, {get: /fir/0}, {get: /b}]", "ok=4 failed.status=4", 8, (0, 4)).await;
    check("[{get: /a}, {get: /fir/0, on_fail: continue}, {get: /b}]", "ok=8 failed.status=4", 12, (4, 0)).await;
    check("[{get: /a}, {get: /fir/0, ok: 404}, {get: /b}]", "ok=12", 12, (4, 0)).await;
    check("[{get: /a}, {get: /fir/0, ok: any}, {get: /b}]", "ok=12", 12, (4, 0)).await;
    check("[{get: /fir/0, expect: status == 404}]", "ok=4", 4, (4, 0)).await;
    check("[{get: /a, expect: status == 404}]", "failed.expect=4", 4, (0, 4)).await;
    // What no answer held cannot be sent on.
    let lost = "[{get: /a, capture: {id: {json: $.none, required: false}}}, {get: '/b/${id}'}]";
    check(lost, "ok=4 failed.capture=4", 4, (0, 4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_that_matches_decides() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 503 x\r\nx-reject-reason: pool_full\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 x\r\ncontent-length: 4\r\n\r\nbusy",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nerror",
    ];
    let turn = std::sync::Arc::new(AtomicU64::new(0));
    let server = Server::start(move |mut stream| {
        let turn = turn.clone();
        async move {
            while request(&mut stream).await.is_some() {
                let answer = answers[turn.fetch_add(1, Ordering::SeqCst) as usize % 4];
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let rules = "    classify:
      - {outcome: rejected, status: 503, reason: {header: x-reject-reason, default: queue_full}}
      - {outcome: failed, status: 5xx, when: body contains \"nothing\", reason: never}
      - {outcome: rejected, status: [500, 502], when: body contains \"busy\", reason: busy}
      - {outcome: failed, status: 500, reason: too_late}
      - {outcome: failed, when: body contains \"error\", reason: error_in_200}";
    let load = "    load: {executor: per-vu-iterations, vus: 1, iterations: 8}\n    steps: [{get: /}]";
    let done = run(&settings(&server.url(), rules, load)).await;
    assert_eq!(
        done.ledger(),
        "rejected.busy=2 rejected.pool_full=2 rejected.queue_full=2 failed.error_in_200=2",
        "{:?}",
        done.run.first_failure
    );
    assert_eq!(done.run.status, BTreeMap::from([("200".into(), 2), ("500".into(), 2), ("503".into(), 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_of_a_probe_counts_and_the_last_is_judged() {
    // Every other answer of /b is an error: the first attempt fails at its second step.
    let turn = std::sync::Arc::new(AtomicU64::new(0));
    let server = Server::start(move |mut stream| {
        let turn = turn.clone();
        async move {
            while let Some(head) = request(&mut stream).await {
                let bad = head.starts_with("GET /b") && turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
                let answer = if bad { b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n" } else { OK };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let check = async |attempts: u32, ledger: &str, verdict: &str| {
        let load =
            format!("    load: {{executor: probe, attempts: {attempts}}}\n    steps: [{{get: /a}}, {{get: /b}}]");
        let done = run(&settings(&server.url(), "", &load)).await;
        assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), (ledger, verdict), "{:?}", done.run.reasons);
    };
    check(3, "ok=3 failed.status=1", "pass").await;
    check(1, "ok=1 failed.status=1", "fail").await;
    check(1, "ok=2", "pass").await;
    // What the first attempt breached is not held against the last, and does not keep it from being made.
    let load = "    load: {executor: probe, attempts: 2}
    steps: [{get: /a}, {get: /b}]
    thresholds: [{expr: count(failed) == 0, abort_on_fail: true}]";
    let done = run(&settings(&server.url(), "", load)).await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("ok=3 failed.status=1", "pass"));
    let dead = practice(json!({"status": 500})).await;
    let load = "    load: {executor: probe, attempts: 4}\n    steps: [{get: /}]";
    let done = run(&settings(&dead.url(), "", load)).await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("failed.status=4", "fail"));
    assert_eq!(dead.log().received, 4);
}

/// Panics when a task of a user asks for the wall clock for the second time.
#[derive(Debug, Default)]
struct Faulty(AtomicU64);

impl Clock for Faulty {
    fn now(&self) -> Now {
        let faulty = tokio::task::try_id().is_some() && self.0.fetch_add(1, Ordering::SeqCst) == 1;
        assert!(!faulty, "a fault of our own, for the test");
        SystemClock.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_our_own_in_one_user_fails_the_run_and_does_not_hang_it() {
    let target = practice(json!({})).await;
    let check = async |load: &str, ok: std::ops::RangeInclusive<u64>| {
        let load = format!("    load: {load}\n    steps: [{{get: '/x?at=${{now}}'}}]");
        let settings = settings(&target.url(), "", &load);
        let done = start_with(&settings, History::default(), std::sync::Arc::new(Faulty::default()), false).done();
        let done = tokio::time::timeout(PATIENCE, done).await.expect("it ends");
        assert!(ok.contains(&done.run.outcomes.ok), "{load}: {}", done.ledger());
        assert_eq!(done.run.generator.samples_lost, 1);
        assert_eq!(done.run.verdict.as_str(), "fail");
        assert!(done.run.reasons[0].contains("a fault in Plimsoll itself"), "{:?}", done.run.reasons);
    };
    // The user who crashed leaves its other iterations undone; an arrival that did costs nobody else anything.
    check("{executor: per-vu-iterations, vus: 3, iterations: 4}", 8..=11).await;
    check("{executor: constant-arrival-rate, rate: 50/s, duration: 400ms, max_in_flight: 1}", 15..=19).await;
}

/// Counts who asks for the wall clock on a thread that is not the run's.
#[derive(Debug, Default)]
struct Elsewhere(AtomicU64);

impl Clock for Elsewhere {
    fn now(&self) -> Now {
        let elsewhere = std::thread::current().name() != Some("run-s");
        self.0.fetch_add(elsewhere.into(), Ordering::SeqCst);
        SystemClock.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_judged_beside_the_runs_thread() {
    for (length, beside) in [(1000, 0), (100_000, 4)] {
        let body = format!("{{\"id\": 7, \"pad\": \"{}\"}}", "x".repeat(length));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let server = Server::answering(answer.leak().as_bytes()).await;
        let load = "    load: {executor: per-vu-iterations, vus: 2, iterations: 2}
    steps: [{get: /, expect: ['$.id == 7', 'now != \"\"']}]";
        let clock = std::sync::Arc::new(Elsewhere::default());
        let settings = settings(&server.url(), "", load);
        let done = start_with(&settings, History::default(), clock.clone(), false).done().await;
        assert_eq!(done.ledger(), "ok=4", "{:?}", done.run.first_failure);
        assert_eq!(clock.0.load(Ordering::SeqCst), beside, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_secret_is_in_the_words_of_a_failure() {
    let secret = format!("{}-{}", "s3cr3t".repeat(20), "end");
    let body = format!("{{\"token\": \"{secret}\"}}");
    let answer = format!("HTTP/1.1 200 OK\r\nx-token: {secret}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = Server::answering(answer.leak().as_bytes()).await;
    for expect in
        ["$.token == 1", "header(\"x-token\") == \"a\"", "body contains \"nothing\"", "not body contains \"s3cr3t\""]
    {
        let load = format!("    load: {{executor: probe}}\n    steps: [{{get: /, expect: '{expect}'}}]");
        let mut settings = settings(&server.url(), "", &load);
        settings.redact = Redactor::new(vec![secret.clone()]);
        let done = run(&settings).await;
        assert_eq!(done.ledger(), "failed.expect=1", "{expect}");
        let failure = done.run.first_failure.expect("the first");
        assert!(!format!("{failure:?}").contains("s3cr3t") || expect.contains("s3cr3t"), "{expect}: {failure:?}");
        assert!(!failure.detail.contains("s3cr3ts"), "{expect}: {failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_keeps_the_load_from_running_and_says_so() {
    let target = practice(json!({})).await;
    let load = "    before: [{get: /fir/0}, {get: /never}]
    load: {executor: probe}
    steps: [{get: /load}]
    after: [{get: /after}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!((done.run.sent, done.run.verdict.as_str()), (0, "fail"));
    assert!(done.run.reasons[0].contains("did not end ok (status)"), "{:?}", done.run.reasons);
    assert_eq!((done.run.hooks.ok, done.run.hooks.failed), (1, 1));
    let paths: Vec<_> = target.log().requests.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/fir/{id}", "/after"]);
}

const FIGURES: &str = "    stats:
      every: 100ms
      settle: 200ms
      gauges: {memory: {get: /queue/memory, json: $.used_gb, unit: GB}, none: {get: /queue/memory, json: $.nothing}}
      counters:
        answered: {prometheus: /metrics, series: 'practice_answers_total{status=\"200\"}'}
        turned_away: {get: /queue/stats, json: '$.models[*].total_rejected'}";

fn figures(url: &str) -> Settings {
    let load = "    intent: overload
    load: {executor: per-vu-iterations, vus: 4, iterations: 10}
    steps: [{post: /api/generate, json: {model: m}}]
    thresholds:
      - count(ok) > 0
      - last(memory) >= 1GB
      - increase(turned_away since last_run) <= 20";
    let classify = "    classify: [{outcome: rejected, status: 503}]\n";
    settings(url, &format!("{classify}{FIGURES}"), load)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_figures_are_read_before_during_and_after() {
    let target = practice(json!({"leak_per_request": "25MB", "memory": "0B"})).await;
    let load = "    load: {executor: probe, attempts: 2}\n    steps: [{get: /a}]\n    thresholds: [last(memory) > 0MB]";
    let done = run(&settings(&target.url(), FIGURES, load)).await;
    let memory = &done.run.stats["memory"];
    assert_eq!((memory.first, memory.last, memory.unit.as_str()), (Some(0.0), Some(25e6), "B"));
    assert!(memory.samples >= 2 && done.run.stats["none"].failed >= 2 && done.run.stats["none"].samples == 0);
    assert_eq!(done.ledger(), "ok=1", "readings are no load");
    assert_eq!(done.run.verdict.as_str(), "pass", "{:?}", done.run.reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_compared_with_the_run_before() {
    let target = practice(json!({"leak_per_request": "1GB", "parallel_limit": 4, "queue_limit": 0})).await;
    let first = run(&figures(&target.url())).await;
    assert_eq!(first.run.outcomes.ok + first.run.outcomes.rejected, 40, "{}", first.ledger());
    // Between the runs the target turns more away than a run may: the next run is judged by it.
    target.patch(&json!({"latency": "300ms", "parallel_limit": 1})).expect("known knobs");
    let flood = "    intent: overload
    load: {executor: per-vu-iterations, vus: 31, iterations: 1, start: together}
    steps: [{post: /api/generate, json: {model: m}}]";
    let classify = "    classify: [{outcome: rejected, status: 503}]";
    assert_eq!(run(&settings(&target.url(), classify, flood)).await.run.outcomes.rejected, 30);
    target.patch(&json!({"latency": null, "parallel_limit": null})).expect("known knobs");
    let second = figures(&target.url());
    let verdict = |run: &RunSummary| {
        let report = run.thresholds.iter().find(|report| report.expr.contains("since last_run")).expect("it is judged");
        (report.value, run.verdict.as_str().to_owned())
    };
    let after = start(&second, history_of(&second, first.run.clone())).done().await;
    assert_eq!(verdict(&after.run), (Some(30.0), "fail".to_owned()), "{:?}", after.run.reasons);
    let calm = start(&second, history_of(&second, after.run)).done().await;
    assert_eq!(verdict(&calm.run), (Some(0.0), "pass".to_owned()), "{:?}", calm.run.reasons);
}

/// The history that a scenario's next run is judged with.
fn history_of(settings: &Settings, previous: RunSummary) -> History {
    let units = plimsoll::load::report::stat_units(&settings.scenarios[0]);
    let units = units.into_iter().map(|(name, (unit, _))| (name, unit)).collect();
    History { units, previous: Some(previous), ..History::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_are_requests_and_not_users_who_think() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 5, iterations: 1}
    steps: [{get: /, think: 2500ms}, {get: /}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert!(done.active.len() >= 2 && done.active[1..].iter().all(|active| *active == 0), "{:?}", done.active);
    target.patch(&json!({"latency": "1500ms"})).expect("known knobs");
    let load = "    load: {executor: per-vu-iterations, vus: 5, iterations: 1}
    steps: [{get: /}]";
    let done = run(&settings(&target.url(), "    http: {connections: 2}", load)).await;
    assert!(done.active.contains(&5), "with those who wait for a connection: {:?}", done.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_waits_at_a_full_gate_no_longer_than_for_an_answer() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: probe}\n    steps: [{get: /, timeout: 300ms}]";
    let mut settings = settings(&target.url(), "", load);
    settings.policy.max_concurrency = 0;
    let done = start(&settings, History::default()).done();
    let done = tokio::time::timeout(PATIENCE, done).await.expect("it ends");
    assert_eq!((done.ledger().as_str(), target.log().received), ("dropped.policy=1", 0));
    assert!(done.took >= std::time::Duration::from_millis(300), "{:?}", done.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_load_is_held_back_by_the_caps_and_says_so() {
    let target = practice(json!({"latency": "20ms"})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 8, iterations: 5}\n    steps: [{get: /}]";
    let mut settings = settings(&target.url(), "", load);
    settings.policy.max_concurrency = 2;
    let done = run(&settings).await;
    assert_eq!((done.ledger().as_str(), target.log().max_concurrent), ("ok=40", 2));
    // Requests, not looks at the gate, and only the cap that did it.
    let said =
        done.run.hints.iter().find_map(|hint| hint.strip_suffix(" requests were held back by policy.max_concurrency"));
    let held: u64 = said.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{:?}", done.run.hints));
    assert!((6..=40).contains(&held), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_loops_polls_and_tags() {
    let target = practice(json!({"session_time": "300ms"})).await;
    let load = r#"    load: {executor: per-vu-iterations, vus: 3, iterations: 2}
    steps:
      - {name: process, post: /process, multipart: {text: "${words(5)}", upload: {text: RIFF, filename: fir.wav}}, capture: {sid: {json: $.session_id}}}
      - {name: poll, get: "/session/${sid}/status", until: "$.status == 'done'", every: 50ms, timeout: 20s}
      - name: validate
        loop: {over: [transcript, summary], as: stage}
        post: /validate
        json: {session_id: "${sid}", stage: "${stage}"}
        tags: {stage: "${stage}"}
      - {name: final, get: "/fir/${sid}", when: "iteration == 2"}
    thresholds: [rate(ok) == 100%, "count(ok{step=validate,stage=summary}) == 6", "p95(latency{step=poll}) > 250ms"]"#;
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.ledger(), "ok=27", "{:?}", done.run.first_failure);
    assert_eq!(done.run.verdict.as_str(), "pass", "{:?} {:?}", done.run.reasons, done.run.thresholds);
    let log = target.log();
    assert!(done.run.polls >= 6, "{}", done.run.polls);
    assert_eq!(log.received, done.run.sent + done.run.polls, "polls are sent, and counted beside");
    assert_eq!(log.by_path["/validate"].by_status[&200], 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_may_wait_until_the_target_is_ready() {
    let turn = std::sync::Arc::new(AtomicU64::new(0));
    let counted = turn.clone();
    let server = Server::start(move |mut stream| {
        let turn = counted.clone();
        async move {
            while request(&mut stream).await.is_some() {
                let early = turn.fetch_add(1, Ordering::SeqCst) < 3;
                let answer = if early { b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n" } else { OK };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let load = |timeout: &str| {
        format!(
            "    before: [{{get: /health, until: status == 200, every: 20ms, timeout: {timeout}}}]
    load: {{executor: probe}}
    steps: [{{get: /}}]"
        )
    };
    let done = run(&settings(&server.url(), "", &load("30s"))).await;
    assert_eq!((done.ledger().as_str(), done.run.hooks.ok, done.run.polls), ("ok=1", 1, 3));
    turn.store(0, Ordering::SeqCst);
    let done = run(&settings(&server.url(), "", &load("10ms"))).await;
    assert_eq!((done.run.sent, done.run.verdict.as_str(), done.run.hooks.failed), (0, "fail", 1));
    assert!(done.run.reasons[0].contains("does not hold after 10ms of polling"), "{:?}", done.run.reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_past_a_login_that_is_broken() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 4, iterations: 5}
    on_start: [{get: /fir/0}]
    steps: [{get: /load}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("dropped.deadline=20", "fail"));
    assert!(done.run.reasons[0].contains("no user came past `on_start`"), "{:?}", done.run.reasons);
    assert!(done.run.hints.iter().any(|hint| hint.starts_with("4 users ended before")), "{:?}", done.run.hints);
}
