//! Clients that are far, slow or soon gone, and what is done beside the load.

use std::time::Duration;

use plimsoll::{judge::History, model::run::EventResult};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    practice, run,
    server::{Server, request},
    settings, start,
};
use crate::support::{PATIENCE, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_far_away_is_late_and_that_is_the_networks_doing() {
    let target = practice(json!({})).await;
    let load = "    network: {delay: 120ms, jitter: 20ms}
    before: [{get: /before}]
    load: {executor: per-vu-iterations, vus: 4, iterations: 3}
    steps: [{get: /a}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.ledger(), "ok=12", "{:?}", done.run.reasons);
    let (latency, service) = (done.run.latency_s["ok"], done.run.service_time_s["ok"]);
    assert!(latency.min >= 0.1, "the delay is in it: {latency:?}");
    assert!(service.min < 0.1, "and not in the service time: {service:?}");
    assert!(done.run.timing_s["ttfb"].min < 0.1);
    assert!(done.run.send_lag_s.p50 < 0.1, "it is not our own lateness");
    assert_eq!(done.run.plan["network"]["delay_s"], 0.12);
    let hint = done.run.hints.iter().find(|hint| hint.starts_with("the network was made worse"));
    insta::assert_snapshot!(hint.expect("it is said"), @"the network was made worse, and latencies hold it: each request leaves 120 ms ± 20 ms later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_takes_its_time_both_ways() {
    const BODY: usize = 40_000;
    let server = Server::start(|mut stream| async move {
        while request(&mut stream).await.is_some() {
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + BODY, b'x');
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let load = "    network: {down: 400kbit/s}
    load: {executor: per-vu-iterations, vus: 2, iterations: 2}
    steps: [{get: /}]";
    let done = run(&settings(&server.url(), "", load)).await;
    assert_eq!(done.ledger(), "ok=4", "{:?}", done.run.first_failure);
    // 40 kB at 50 kB/s, on each of the two connections.
    assert!(done.run.timing_s["transfer"].min > 0.7, "{:?}", done.run.timing_s["transfer"]);
    assert!(done.took > Duration::from_millis(1400), "{:?}", done.took);
    let target = practice(json!({})).await;
    let body = "y".repeat(20_000);
    let load = format!(
        "    network: {{up: 20kB/s}}
    load: {{executor: per-vu-iterations, vus: 1, iterations: 1}}
    steps: [{{post: /a, body: \"{body}\"}}]"
    );
    let done = run(&settings(&target.url(), "", &load)).await;
    assert_eq!(done.ledger(), "ok=1", "{:?}", done.run.first_failure);
    assert!(done.run.service_time_s["ok"].min > 0.9, "{:?}", done.run.service_time_s);
    let fast = run(&settings(&target.url(), "", &load.replace("20kB/s", "20MB/s"))).await;
    assert!(fast.run.service_time_s["ok"].min < 0.9, "{:?}", fast.run.service_time_s);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_gone_are_in_no_rate_and_the_target_sees_them_go() {
    let check = async |http: &str, connections: u64| {
        let target = practice(json!({"latency": "400ms"})).await;
        let load = "    network: {abort: {share: 25%, after: 100ms}}
    load: {executor: per-vu-iterations, vus: 10, iterations: 4}
    steps: [{get: /a}, {get: /b}]";
        let done =
            run(&settings(&target.url(), &format!("    http: {{version: {http}, connections: {connections}}}"), load))
                .await;
        let run = &done.run;
        assert_eq!(run.verdict.as_str(), "pass", "{http}: {:?}", run.reasons);
        let gone = run.outcomes.interrupted;
        assert!(
            (run.sent / 4..=run.sent / 4 + 1).contains(&gone),
            "{http}: one of each four, exactly: {:?}",
            run.outcomes
        );
        assert_eq!(run.interrupted["client_abort"], run.outcomes.interrupted, "{http}");
        assert_eq!(
            run.iterations.interrupted, run.outcomes.interrupted,
            "{http}: the rest of an iteration is left out"
        );
        assert_eq!(run.iterations.completed + run.iterations.interrupted, 40, "{http}: its user goes on");
        assert!(run.latency_s.get("failed").is_none_or(|failed| failed.count == 0));
        let opened = done.connections().0;
        assert!(http == "1.1" || opened == 1, "who leaves resets a stream, and not its connection: {opened}");
        let seen = || async { (target.log().received == run.sent).then_some(()) };
        wait_until("it saw all", PATIENCE, async || seen().await).await;
        let gone = async || (target.log().unanswered == run.outcomes.interrupted).then_some(());
        wait_until("it saw them go", PATIENCE, gone).await;
    };
    check("1.1", 10).await;
    check("h2c", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_happen_in_time_and_are_undone_at_the_end() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: constant-arrival-rate, rate: 20/s, duration: 2s}
    events:
      - {at: 1s, do: {post: /heal}}
      - {at: 300ms, do: {post: /conversations, capture: {id: {json: $.id}}}, undo: {delete: '/conversations/${id}'}}
      - {at: 500ms, do: {post: /break}, undo: {post: /mend}}
    steps: [{get: /a}]
    after: [{get: /after}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("ok=40", "pass"), "{:?}", done.run.reasons);
    assert_eq!((done.run.hooks.ok, done.run.hooks.failed), (6, 0));
    let log = target.log();
    let hooks: Vec<&str> = log.requests.iter().map(|entry| &*entry.path).filter(|path| *path != "/a").collect();
    let expected = ["/conversations", "/break", "/heal", "/mend", "/conversations/{id}", "/after"];
    assert_eq!(hooks, expected, "in order of time, and undone the last first, before the hooks");
    assert_eq!(log.by_path["/conversations/{id}"].by_status[&200], 1, "what it kept is known to its undoing");
    let events = &done.run.events;
    assert!(events.iter().all(|event| event.result == EventResult::Ok), "{events:?}");
    for event in events {
        let begun = event.begun_s.expect("it began");
        assert!(begun >= event.at_s && begun < event.at_s + 1.0, "{event:?}");
    }
    let undone: Vec<_> = events.iter().filter_map(|event| event.undo.as_ref()).map(|undo| undo.result).collect();
    assert_eq!(undone, [EventResult::Ok, EventResult::Ok]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_undone_after_an_abort_and_their_failures_are_said() {
    let target = practice(json!({})).await;
    let load = "    load: {executor: constant-arrival-rate, rate: 20/s, duration: 1m}
    events:
      - {at: 200ms, do: {get: /fir/0}, undo: {get: /fir/1}}
      - {at: 50s, do: {post: /late}, undo: {post: /never}}
    steps: [{get: /a}]";
    let settings = settings(&target.url(), "", load);
    let going = start(&settings, History::default());
    let there = || target.log().by_path.get("/fir/{id}").map_or(0, |path| path.answered);
    wait_until("the event happened", PATIENCE, async || (there() == 1).then_some(())).await;
    going.handle.drain();
    let done = going.done().await;
    assert_eq!(done.run.verdict.as_str(), "fail", "what was done is not undone");
    assert_eq!((there(), done.run.hooks.failed), (2, 2), "undone all the same");
    assert_eq!(target.log().by_path.get("/never").map(|path| path.received), None, "nothing to undo");
    insta::assert_snapshot!(
        done.run.reasons[0],
        @"the undoing of the event at 200 ms: `GET /fir/1` did not end ok (status): status 404 Not Found"
    );
    let results: Vec<_> = done.run.events.iter().map(|event| event.result).collect();
    assert_eq!(results, [EventResult::Failed, EventResult::NotReached]);
    // By itself it is a failure: the run was not the one that was asked for.
    let load = "    load: {executor: constant-arrival-rate, rate: 20/s, duration: 1s}
    events: [{at: 200ms, do: {get: /fir/0}}]
    steps: [{get: /a}]";
    let done = run(&super::settings(&target.url(), "", load)).await;
    assert_eq!((done.ledger().as_str(), done.run.verdict.as_str()), ("ok=20", "fail"));
    // The last instant of a load is part of it: what has begun is done to its end.
    target.patch(&json!({"latency": "500ms"})).expect("a knob");
    let load = "    load: {executor: constant-vus, vus: 1, duration: 600ms, graceful_stop: 0s}
    events: [{at: 590ms, do: {get: /last}, undo: {get: /undone}}]
    steps: [{get: /a}]";
    let done = run(&super::settings(&target.url(), "", load)).await;
    assert_eq!(done.run.events[0].result, EventResult::Ok, "{:?}", done.run.events);
    assert_eq!(target.log().by_path["/undone"].answered, 1);
}
