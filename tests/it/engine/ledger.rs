//! Every kind of trouble lands under its own name, within its deadline, and nothing is lost or counted twice.

use std::time::Duration;

use plimsoll::model::settings::OriginPattern;
use serde_json::{Value, json};

use super::{Done, practice, run, server::Server, settings};
use crate::support::refusing_port;

/// Above the deadline that a fault is noticed at: for a machine that builds at the same time.
const MARGIN: Duration = Duration::from_secs(3);

/// Four users with five iterations each.
const LOAD: &str = "    load: {executor: per-vu-iterations, vus: 4, iterations: 5, max_duration: 1m}\n";

async fn users(url: &str, http: &str, step: &str) -> Done {
    run(&settings(url, &format!("    http: {http}"), &format!("{LOAD}    steps: [{step}]"))).await
}

/// What the practice target with these knobs makes of 20 requests; `each` bounds one request.
async fn check(knobs: Value, http: &str, step: &str, each: Duration, expected: &str) {
    let case = format!("{knobs} {http} {step}");
    let target = practice(knobs).await;
    let done = users(&target.url(), http, step).await;
    assert_eq!(done.ledger(), expected, "{case}: {:?}", done.run.first_failure);
    let log = target.log();
    assert!(
        log.answered <= log.received && log.received <= done.run.sent,
        "{case}: {} {}",
        log.received,
        done.run.sent
    );
    assert_eq!(log.received, done.run.sent, "{case}: no fault keeps a request from reaching the target");
    assert!(done.took < each * 5 + MARGIN, "{case}: took {:?}", done.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_lands_by_what_it_says() {
    let get = "{get: /health}";
    let soon = Duration::from_millis(100);
    check(json!({}), "{}", get, soon, "ok=20").await;
    check(json!({"status": 500}), "{}", get, soon, "failed.status=20").await;
    check(json!({"status": 503}), "{}", get, soon, "failed.status=20").await;
    check(json!({"status": 503, "retry_after": "1s"}), "{}", get, soon, "rejected.status_503=20").await;
    check(json!({"status": 429}), "{}", get, soon, "rejected.status_429=20").await;
    check(json!({"status": 302}), "{}", get, soon, "failed.status=20").await;
    check(json!({"fail_share": "25%"}), "{}", get, soon, "ok=15 failed.status=5").await;
    check(json!({}), "{}", "{get: /health, expect: $.nothing == 1}", soon, "failed.expect=20").await;
    check(json!({}), "{}", "{get: /health, capture: {id: {json: $.nothing}}}", soon, "failed.capture=20").await;
    check(json!({}), "{max_body: 10B}", get, soon, "failed.body_limit=20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_ends_in_time() {
    let (get, limit) = ("{get: /health}", Duration::from_millis(300));
    check(json!({"reset": true}), "{}", get, limit, "failed.reset=20").await;
    check(json!({"hang": true}), "{timeout: 300ms}", get, limit, "failed.timeout=20").await;
    check(json!({"hang": true}), "{}", "{get: /health, timeout: 300ms}", limit, "failed.timeout=20").await;
    check(json!({"drip": "100ms"}), "{timeout: 300ms}", get, limit, "failed.timeout=20").await;
    check(json!({"drip": "5ms"}), "{timeout: 2s}", get, limit, "ok=20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_told_apart_from_a_close() {
    let check = async |answer: &'static [u8], expected: &str| {
        let server = Server::answering_once(answer).await;
        let done = users(&server.url(), "{timeout: 5s}", "{get: /}").await;
        assert_eq!(done.ledger(), expected, "{}: {:?}", answer.escape_ascii(), done.run.first_failure);
        assert_eq!(server.accepted(), 20);
    };
    check(b"", "failed.reset=20").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-le", "failed.reset=20").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", "failed.reset=20").await;
    check(b"220 mail.example.com ESMTP\r\n", "failed.protocol=20").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "failed.protocol=20").await;
    check(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "failed.protocol=20").await;
    check(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", "failed.reset=20").await;
    // Without a length the close is the end of the body.
    check(b"HTTP/1.0 200 OK\r\n\r\nto the end", "ok=20").await;
    check(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", "ok=20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_says_where_it_points_and_is_not_followed() {
    let found = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/login\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(found).await;
    let done = users(&server.url(), "{}", "{get: /}").await;
    assert_eq!(done.ledger(), "failed.status=20");
    let detail = done.run.first_failure.expect("the first").detail;
    assert_eq!(detail, "status 302 Found to http://127.0.0.1/login; redirects are not followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_shape_are_read_to_their_end() {
    // What the server sends to each request on a kept connection; the connections opened by four users.
    let check = async |answer: &'static [u8], step: &str, expected: &str, opened: u64| {
        let server = Server::answering(answer).await;
        let done = users(&server.url(), "{connections: per_vu, timeout: 5s}", step).await;
        let case = answer.escape_ascii();
        assert_eq!(done.ledger(), expected, "{case}: {:?}", done.run.first_failure);
        assert_eq!(done.connections(), (opened, 20 - opened), "{case}");
    };
    let (get, head) = ("{get: /}", "{head: /}");
    // Informational answers come before the answer.
    let early: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    check(early, get, "ok=20", 4).await;
    check(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n",
        get,
        "rejected.status_429=20",
        4,
    )
    .await;
    // Neither of these has a body, whatever its headers say.
    check(b"HTTP/1.1 204 No Content\r\n\r\n", get, "ok=20", 4).await;
    check(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", get, "failed.status=20", 4).await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", head, "ok=20", 4).await;
    // HTTP/1.0 keeps a connection only if it says so.
    check(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", get, "ok=20", 4).await;
    check(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", get, "ok=20", 20).await;
    check(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", get, "ok=20", 20).await;
    // A body that must not be there is not taken for the next answer.
    let server = Server::answering(b"HTTP/1.1 204 No Content\r\n\r\nbody").await;
    let done = users(&server.url(), "{connections: per_vu, timeout: 5s}", get).await;
    assert_eq!(done.run.outcomes.ok + done.run.outcomes.failed, 20);
    assert_eq!(done.run.status.keys().collect::<Vec<_>>(), ["204"], "{:?}", done.run.failed);
    eprintln!("204 with a body: {}", done.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_json_fails_what_looks_into_it() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"id\": 1,").await;
    let check = async |step: &str, expected: &str| {
        assert_eq!(users(&server.url(), "{}", step).await.ledger(), expected, "{step}");
    };
    check("{get: /, expect: $.id == 1}", "failed.expect=20").await;
    check("{get: /, capture: {id: {json: $.id}}}", "failed.capture=20").await;
    check("{get: /, capture: {id: {json: $.id, required: false}}}", "ok=20").await;
    check("{get: /, expect: body contains \"id\"}", "ok=20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_failed_connect_and_no_name_failed_dns() {
    let (_held, refusing) = refusing_port();
    let done = users(&format!("http://{refusing}"), "{}", "{get: /}").await;
    assert_eq!(done.ledger(), "failed.connect=20");
    assert_eq!(done.run.verdict.as_str(), "fail");
    let config = "version: 1
policy: {allow: ['http://*.invalid:*']}
targets: {t: {base_url: 'http://nobody.invalid', http: {connect_timeout: 1s}}}
scenarios: {s: {load: {executor: probe}, steps: [{get: /}]}}";
    let done = run(&super::parse(config)).await;
    assert_eq!(done.ledger(), "failed.dns=1", "{:?}", done.run.first_failure);
    assert!(done.took < Duration::from_secs(1) + MARGIN, "{:?}", done.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_accept_queue_is_failed_connect_within_its_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let addr = listener.local_addr().expect("an address");
    // Nobody accepts: the queue takes two, and what knocks after them is not answered.
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(addr)).await
    {
        held.push(stream);
        assert!(held.len() < 100, "the queue never fills");
    }
    let done = users(&format!("http://{addr}"), "{connect_timeout: 300ms}", "{get: /}").await;
    assert_eq!(done.ledger(), "failed.connect=20");
    assert!(done.took >= Duration::from_millis(1500) && done.took < Duration::from_millis(1500) + MARGIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plan_has_no_time_for_is_dropped() {
    let target = practice(json!({"latency": "300ms"})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 3, iterations: 100, max_duration: 700ms}
    steps: [{get: /}]";
    let done = run(&settings(&target.url(), "", load)).await;
    // Each user begins at 0, 300 and 600 ms.
    assert_eq!(done.ledger(), "ok=9 dropped.deadline=291");
    assert_eq!((done.run.planned, target.log().received), (300, 9));
    assert_eq!(done.run.iterations.completed, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unanswered_at_the_cut_is_unfinished() {
    let target = practice(json!({"hang": true})).await;
    let load = "    load: {executor: constant-arrival-rate, rate: 10/s, duration: 500ms, graceful_stop: 0s}
    steps: [{get: /a, timeout: 600ms, on_fail: continue}, {get: /b, timeout: 600ms}]";
    let done = run(&settings(&target.url(), "    http: {timeout: 600ms}", load)).await;
    // Five iterations begin at 0 to 400 ms; all reach their second step before the cut at 1.1 s, and only those whose
    // second step ends before it are timed out.
    let run = &done.run;
    assert_eq!((run.sent, run.steps["GET /a"].sent, run.steps["GET /b"].sent), (10, 5, 5));
    assert_eq!(run.failed["timeout"] + run.failed["unfinished"], 10, "{:?}", run.failed);
    assert!(run.failed["unfinished"] >= 4, "{:?}", run.failed);
    assert_eq!(run.iterations.interrupted, 0, "only a person or an abort interrupts");
    assert_eq!(run.iterations.failed, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_refuses_is_dropped_below_the_executors() {
    let target = practice(json!({"hang": true})).await;
    let load = format!("{LOAD}    steps: [{{get: /, timeout: 300ms}}]");
    // The configuration refuses it already: here the engine is on its own.
    let mut settings = settings(&target.url(), "", &load);
    settings.policy.allow = vec![OriginPattern { https: None, host: "elsewhere.example".to_owned(), port: None }];
    let done = run(&settings).await;
    assert_eq!(done.ledger(), "dropped.policy=20");
    assert_eq!((target.log().received, done.run.verdict.as_str()), (0, "fail"));

    let arrivals = "    load: {executor: constant-arrival-rate, rate: 100/s, duration: 200ms}
    steps: [{get: /, timeout: 500ms}]";
    let mut settings = super::settings(&target.url(), "", arrivals);
    settings.policy.max_concurrency = 3;
    assert_eq!(run(&settings).await.ledger(), "failed.timeout=3 dropped.policy=17");
    assert_eq!(target.log().max_concurrent, 3);
}
