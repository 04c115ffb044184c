//! Compressed answers: only where they are asked for, and never more of them than is allowed; and the first byte of an
//! answer, which may have a deadline of its own.

use std::{io::Write as _, time::Duration};

use tokio::io::AsyncWriteExt as _;

use super::{
    run,
    server::{Server, request},
    settings,
};

/// Answers in gzip whoever accepts it: `size` times the letter x.
async fn server(size: usize) -> Server {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b'x'; size]).expect("it is memory");
    let packed = encoder.finish().expect("it is memory");
    Server::start(move |mut stream| {
        let packed = packed.clone();
        async move {
            while let Some(head) = request(&mut stream).await {
                let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain".to_vec();
                if head.to_ascii_lowercase().contains("accept-encoding: gzip") {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                        packed.len()
                    );
                    answer = [head.as_bytes(), &packed].concat();
                }
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_decoded_only_if_asked_for() {
    let (small, bomb) = (server(2000).await, server(50_000_000).await);
    let check = async |server: &Server, http: &str, step: &str, expected: &str| {
        let load = format!("    load: {{executor: probe}}\n    steps: [{{{step}}}]");
        let done = run(&settings(&server.url(), &format!("    http: {http}"), &load)).await;
        assert_eq!(done.ledger(), expected, "{http} {step}: {:?}", done.run.first_failure);
    };
    check(&small, "{}", "get: /, expect: 'body == \"plain\"'", "ok=1").await;
    check(&small, "{compression: gzip}", "get: /, expect: 'body =~ /^x{2000}$/'", "ok=1").await;
    check(
        &small,
        "{compression: none}",
        "get: /, headers: {accept-encoding: gzip}, expect: 'not body =~ /^x/'",
        "ok=1",
    )
    .await;
    check(&bomb, "{compression: gzip}", "get: /", "failed.body_limit=1").await;
    check(&bomb, "{compression: gzip, max_body: 60MB}", "get: /", "ok=1").await;
    check(&bomb, "{}", "get: /", "ok=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_has_a_deadline_of_its_own() {
    let silent = Server::answering(b"").await;
    let slow = Server::start(|mut stream| async move {
        if request(&mut stream).await.is_some() {
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
            tokio::time::sleep(Duration::from_millis(600)).await;
            let _gone = stream.write_all(b"k").await;
        }
    })
    .await;
    let check = async |server: &Server, expected: &str, why: &str| {
        let load = "    load: {executor: probe}\n    steps: [{get: /}]";
        let done = run(&settings(&server.url(), "    http: {timeout: 20s, first_byte_timeout: 300ms}", load)).await;
        let detail = done.run.first_failure.as_ref().map(|failure| failure.detail.clone()).unwrap_or_default();
        assert_eq!((done.ledger().as_str(), detail.as_str()), (expected, why));
    };
    check(&silent, "failed.timeout=1", "no first byte of the answer within 300ms").await;
    check(&slow, "ok=1", "").await;
}
