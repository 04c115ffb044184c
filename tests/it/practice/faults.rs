//! Each fault once over HTTP/1.1 and over HTTP/2, on bare connections, as a client sees it.

use std::{fmt::Write as _, io::ErrorKind, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Response,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll::practice::fault::Fault;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{Target, start};
use crate::support::{PATIENCE, http, wait_until};

/// As much of a body as is read.
const ENOUGH: usize = 2 << 20;
/// What never comes is waited for so long.
const SHORT: Duration = Duration::from_millis(300);

/// A connection of either protocol.
enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn send(&mut self, path: &str, fault: &str) -> Result<Response<Incoming>, hyper::Error> {
        let request =
            Request::get(format!("http://practice{path}")).header("host", "practice").header("x-fault", fault);
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// What a client saw, in words.
async fn seen(target: &Target, http2: bool, fault: Fault) -> String {
    let ended = timeout(PATIENCE, exchange(target, http2, fault)).await.expect("it ends");
    let text = ended.unwrap_or_else(|error| broken("no answer,", &error));
    if http2 {
        // Whether a client that sends frames of its own reads the end or writes into it is chance.
        return text
            .replace(", reset", ", cut")
            .replace(", closed", ", cut")
            .replace("then reset", "then cut")
            .replace("then closed", "then cut");
    }
    text
}

async fn exchange(target: &Target, http2: bool, fault: Fault) -> Result<String, hyper::Error> {
    let io = TokioIo::new(TcpStream::connect(target.addr).await.expect("it listens"));
    let (mut sender, connection) = if http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(io).await?;
        (Sender::Two(sender), tokio::spawn(connection))
    } else {
        let (sender, connection) = http1::handshake(io).await?;
        (Sender::One(sender), tokio::spawn(connection))
    };
    let answer = sender.send("/a", fault.name());
    if fault == Fault::Hang {
        // There is no end to wait for.
        return Ok(timeout(SHORT, answer).await.map_or("silence", |_| "an answer").to_owned());
    }
    let text = describe(answer.await?).await;
    let open = if fault == Fault::Goaway {
        // It may still take requests; it ends when none is under way.
        connection.await.is_err()
    } else {
        sender.send("/after", "bad_json").await.is_ok()
    };
    Ok(format!("{text}; the connection is {}", if open { "open" } else { "closed" }))
}

async fn describe(response: Response<Incoming>) -> String {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let end = loop {
        match body.frame().await {
            None => break "whole".to_owned(),
            Some(Err(error)) => break broken("then", &error),
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
        }
        if bytes.len() >= ENOUGH {
            break "and on".to_owned();
        }
    };
    let size = match bytes.len() {
        n if n >= ENOUGH => "2 MiB".to_owned(),
        n if n > 100 => "long".to_owned(),
        _ => format!("{:?}", String::from_utf8_lossy(&bytes)),
    };
    format!("{}{} {size} {end}", head.status.as_u16(), notable(&head.headers))
}

fn notable(headers: &HeaderMap) -> String {
    let coding = headers.get("content-encoding").map(|coding| coding.to_str().expect("text"));
    coding.map(|coding| format!(" {coding}")).unwrap_or_default()
}

/// An error in the words that matter: which end, and whose.
fn broken(what: &str, error: &hyper::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    let mut io = None;
    loop {
        io = io.or(last.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
        match last.source() {
            Some(source) => last = source,
            None => break,
        }
    }
    let text = last.to_string();
    let end = match io {
        Some(ErrorKind::ConnectionReset) => "reset",
        _ if text.contains("connection reset") => "reset",
        _ if text.contains("closed before message") || text.contains("broken pipe") => "closed",
        _ => &text,
    };
    format!("{what} {end}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_over_both_protocols() {
    let target = start(json!({})).await;
    let mut table = String::new();
    for fault in Fault::ALL {
        let (one, two) = tokio::join!(seen(&target, false, *fault), seen(&target, true, *fault));
        let _ = write!(table, "{}\n  1.1: {one}\n  2:   {two}\n", fault.name());
    }
    insta::assert_snapshot!(table, @r#"
    hang
      1.1: silence
      2:   silence
    reset_request_head
      1.1: no answer, reset
      2:   no answer, cut
    close_unanswered
      1.1: no answer, closed
      2:   no answer, cut
    reset_response_head
      1.1: 200 "" then reset; the connection is closed
      2:   200 "" then cut; the connection is closed
    reset_mid_body
      1.1: 200 "{\"ok\":" then reset; the connection is closed
      2:   200 "{\"ok\":" then cut; the connection is closed
    close_mid_body
      1.1: 200 "{\"ok\":" then end of file before message length reached; the connection is closed
      2:   200 "{\"ok\":" then cut; the connection is closed
    slow_drip
      1.1: 200 "{\"ok\":true}" whole; the connection is open
      2:   200 "{\"ok\":true}" whole; the connection is open
    endless_body
      1.1: 200 2 MiB and on; the connection is closed
      2:   200 2 MiB and on; the connection is open
    bad_json
      1.1: 200 "{\"ok\":tru" whole; the connection is open
      2:   200 "{\"ok\":tru" whole; the connection is open
    length_too_long
      1.1: 200 "{\"ok\":true}" then end of file before message length reached; the connection is closed
      2:   200 "{\"ok\":true}" then stream error detected: unspecific protocol error detected; the connection is open
    length_too_short
      1.1: 200 "{\"ok\"" whole; the connection is closed
      2:   200 "" then stream error detected: unspecific protocol error detected; the connection is open
    truncated_chunk
      1.1: 200 "{\"ok\":" then end of file before message length reached; the connection is closed
      2:   200 "{\"ok\":" then stream error received: unexpected internal error encountered; the connection is open
    gzip_bomb
      1.1: 200 gzip long whole; the connection is open
      2:   200 gzip long whole; the connection is open
    header_flood
      1.1: no answer, message head is too large
      2:   no answer, connection error detected: unable to maintain the header compression context
    not_http
      1.1: no answer, invalid HTTP version parsed
      2:   no answer, connection error detected: frame with invalid size
    goaway
      1.1: 200 "{\"ok\":true}" whole; the connection is closed
      2:   200 "{\"ok\":true}" whole; the connection is closed
    goaway_error
      1.1: no answer, closed
      2:   no answer, connection error received: detected excessive load generating behavior
    rst_stream
      1.1: no answer, closed
      2:   no answer, stream error received: unexpected internal error encountered
    "#);
    let log = wait_until("what was left is counted", PATIENCE, async || {
        let log = target.log();
        (log.received == log.answered + log.unanswered).then_some(log)
    })
    .await;
    let of_path = &log.by_path["/a"];
    assert_eq!(of_path.received, 2 * Fault::ALL.len() as u64);
    assert!(Fault::ALL.iter().all(|fault| of_path.by_fault[fault] == 2), "{:?}", of_path.by_fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_asked_for_in_the_address_too_and_unknown_ones_refused() {
    let target = start(json!({})).await;
    let get = async |query: &str| {
        let response = http().get(format!("{}/a?{query}", target.url())).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    };
    assert_eq!(get("a=1&fault=bad_json").await, (200, r#"{"ok":tru"#.to_owned()));
    let (status, text) = get("fault=worse_json").await;
    assert!(
        status == 400 && text.contains("there is no fault `worse_json`; write one of hang, reset_request_head"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_and_errors_fall_to_exact_shares_and_spare_the_statistics() {
    let target = start(json!({"fault": "bad_json", "fault_share": "25%", "errors": "500=10%,503=20%"})).await;
    let client = http();
    let mut bad = 0;
    for _ in 0..21 {
        let response = client.get(format!("{}/a", target.url())).send().await.expect("an answer");
        bad += u32::from(serde_json::from_str::<Value>(&response.text().await.expect("a body")).is_err());
        let stats = client.get(format!("{}/queue/stats", target.url())).send().await.expect("an answer");
        assert!(stats.json::<Value>().await.expect("JSON")["models"].is_object());
    }
    let of_path = &target.log().by_path["/a"];
    assert_eq!((bad, of_path.by_fault[&Fault::BadJson]), (5, 5));
    assert_eq!((of_path.by_status[&500], of_path.by_status[&503], of_path.by_status[&200]), (2, 4, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_are_reset_on_accept() {
    let target = start(json!({"accept_resets": 2})).await;
    let client = http();
    let mut resets = 0;
    // What is not reset on accept is answered; a client that retries by itself would hide that.
    while client.get(target.url()).send().await.is_err() {
        resets += 1;
        assert!(resets < 10, "it does not end");
    }
    let log = target.log();
    assert_eq!((log.connections_reset, log.received), (2, 1));
    assert!((1..=2).contains(&resets), "{resets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_follows_its_distribution() {
    let target = start(json!({"latency": "20ms..60ms"})).await;
    super::at_once(&target, "/a", 40).await;
    let log = target.log();
    let took: Vec<f64> = log.requests.iter().filter_map(|one| Some(one.answered_ms? - one.received_ms)).collect();
    assert_eq!(took.len(), 40);
    assert!(took.iter().all(|ms| *ms >= 20.0), "{took:?}");
    let (least, most) = (took.iter().copied().fold(f64::MAX, f64::min), took.iter().copied().fold(0.0, f64::max));
    assert!(most - least > 5.0, "they differ: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_share_a_connection() {
    let target = start(json!({"latency": "100ms"})).await;
    let io = TokioIo::new(TcpStream::connect(target.addr).await.expect("it listens"));
    let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(io).await.expect("a handshake");
    tokio::spawn(connection);
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..10 {
        let mut sender = sender.clone();
        let request =
            Request::get(format!("http://{}/{n}", target.addr)).body(Empty::<Bytes>::new()).expect("a request");
        sent.spawn(async move {
            let response = sender.send_request(request).await.expect("an answer");
            (response.status().as_u16(), response.collect().await.expect("a body").to_bytes())
        });
    }
    assert!(sent.join_all().await.iter().all(|one| *one == (200, Bytes::from_static(br#"{"ok":true}"#))));
    let log = target.log();
    assert_eq!((log.connections, log.answered, log.max_concurrent), (1, 10, 10));
}
