//! How many connections there are, and that what is counted as opened or reused is what the server accepted.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    Done, practice, run,
    server::{OK, Server, request},
    settings,
};

/// Runs `users` × `iterations` with these `http:` settings; what the server accepted, and what we say we opened and
/// reused.
async fn check(
    server: &Server,
    users: u64,
    iterations: u64,
    http: &str,
    opened: std::ops::RangeInclusive<u64>,
) -> Done {
    let load = format!(
        "    load: {{executor: per-vu-iterations, vus: {users}, iterations: {iterations}}}\n    steps: [{{get: /}}]"
    );
    let before = server.accepted();
    let done = run(&settings(&server.url(), &format!("    http: {http}"), &load)).await;
    let accepted = server.accepted() - before;
    assert_eq!(done.ledger(), format!("ok={}", users * iterations), "{http}: {:?}", done.run.first_failure);
    assert_eq!(done.connections(), (accepted, users * iterations - accepted), "{http}");
    assert!(opened.contains(&accepted), "{http}: {accepted} accepted");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_keeps_its_connections() {
    let server = Server::answering(OK).await;
    check(&server, 5, 10, "{connections: per_vu}", 5..=5).await;
    check(&server, 5, 10, "{connections: 3}", 1..=3).await;
    check(&server, 5, 10, "{reuse: false}", 50..=50).await;
    check(&server, 5, 10, "{connections: 3, reuse: false}", 50..=50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_costs_connections_and_no_failures() {
    let polite = Server::answering_once(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    check(&polite, 3, 5, "{}", 15..=15).await;
    check(&polite, 3, 5, "{connections: 2}", 15..=15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_was_closed_is_noticed_before_anything_is_sent() {
    // It closes without a word after each answer; the users come back half a second later.
    let server = Server::start(|mut stream| async move {
        if request(&mut stream).await.is_some() {
            let _gone = stream.write_all(OK).await;
        }
    })
    .await;
    let load = "    load: {executor: per-vu-iterations, vus: 3, iterations: 3}
    steps: [{get: /, think: 500ms}]";
    let done = run(&settings(&server.url(), "", load)).await;
    assert_eq!(done.ledger(), "ok=9", "{:?}", done.run.first_failure);
    assert_eq!((done.connections(), server.accepted()), ((9, 0), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_crosses_a_request_costs_a_connection_and_is_counted() {
    // It answers one request of each connection; with the next one in hand it closes, or resets.
    let server = async |resets: bool| {
        Server::start(move |mut stream| async move {
            if request(&mut stream).await.is_none() || stream.write_all(OK).await.is_err() {
                return;
            }
            let _next = request(&mut stream).await;
            if resets {
                let _gone = stream.set_zero_linger();
            }
        })
        .await
    };
    let (closes, resets) = (server(false).await, server(true).await);
    let check = async |server: &Server, step: &str, expected: &str, reconnects: u64| {
        let load = format!("    load: {{executor: per-vu-iterations, vus: 2, iterations: 4}}\n    steps: [{step}]");
        let before = server.accepted();
        let done = run(&settings(&server.url(), "", &load)).await;
        assert_eq!(done.ledger(), expected, "{step}: {:?}", done.run.first_failure);
        assert_eq!((done.data.total().reconnects, done.run.reconnects), (reconnects, reconnects), "{step}");
        assert_eq!(done.connections().0, server.accepted() - before, "{step}");
    };
    // The target has seen each of these twice: answered <= seen <= sent + reconnects.
    check(&closes, "{get: /}", "ok=8", 6).await;
    check(&closes, "{put: /}", "ok=8", 6).await;
    // It may have been read, and twice is not once.
    check(&closes, "{post: /}", "ok=4 failed.reset=4", 0).await;
    // Nobody resets an idle connection.
    check(&resets, "{get: /}", "ok=4 failed.reset=4", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_request_is_an_answer() {
    // A megabyte is on its way when the answer comes; the rest is never read.
    let server = Server::start(|mut stream| async move {
        if request(&mut stream).await.is_some() {
            let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
            let _gone = stream.write_all(refusal).await;
            std::future::pending::<()>().await;
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("body");
    std::fs::write(&body, vec![b'x'; 8 << 20]).expect("it is writable");
    let load = format!(
        "    load: {{executor: per-vu-iterations, vus: 2, iterations: 2}}
    steps: [{{post: /, body_file: {}, timeout: 3s, ok: 413}}]",
        body.display()
    );
    let done = run(&settings(&server.url(), "", &load)).await;
    assert_eq!(done.ledger(), "ok=4", "{:?}", done.run.first_failure);
    assert!(done.run.latency_s["ok"].max < 2.0, "{:?}", done.run.latency_s);
    assert_eq!(done.connections(), (4, 0), "a connection with half a request on it is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_spent_waiting_in_vain_for_a_connection_is_blocked_too() {
    let target = practice(json!({"hang": true})).await;
    let load = "    load: {executor: per-vu-iterations, vus: 4, iterations: 1, connections: 1}
    steps: [{get: /, timeout: 400ms}]";
    let done = run(&settings(&target.url(), "", load)).await;
    assert_eq!(done.ledger(), "failed.timeout=4");
    // The one that is freed when the first gives up may reach a second whose time is up in the same millisecond.
    assert!((1..=2).contains(&target.log().received), "the others never got a connection");
    let blocked = done.run.timing_s["blocked"];
    assert_eq!(blocked.count, 4);
    assert!(blocked.max >= 0.39, "{blocked:?}");
}
