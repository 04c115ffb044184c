//! The practice target and the SMTP sink over real sockets.

use std::time::Duration;

use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use plimsoll::practice::{
    knobs::Knobs,
    smtp_sink,
    target::{self, Target},
};
use serde_json::{Value, json};

use crate::support::{PATIENCE, http, wait_until};

mod backends;
mod faults;

async fn start(change: Value) -> Target {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    target.patch(&change).expect("known knobs");
    target
}

/// Sends `n` requests at once and returns their statuses, sorted; 0 where there was no answer.
async fn at_once(target: &Target, path: &str, n: usize) -> Vec<u16> {
    let client = http();
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..n {
        let request = client.get(format!("{}{path}", target.url()));
        sent.spawn(async move { request.send().await.map_or(0, |response| response.status().as_u16()) });
    }
    let mut statuses = sent.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_on_four_and_two() {
    let target = start(json!({"latency": "1s", "parallel_limit": 4, "queue_limit": 2})).await;
    let statuses = at_once(&target, "/", 10).await;
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 503, 503, 503, 503]);
    let log = target.log();
    assert_eq!((log.received, log.answered, log.by_status[&503]), (10, 10, 4));
    let stats: Value = http()
        .get(format!("{}/queue/stats", target.url()))
        .send()
        .await
        .expect("it answers")
        .json()
        .await
        .expect("JSON");
    assert_eq!(stats["models"]["default"]["total_rejected"], 4);
    assert_eq!(stats["models"]["default"]["total_processed"], 6);
    target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_shows_all_ten_received_before_the_first_answer() {
    let target = start(json!({"stall_for": "2s", "parallel_limit": 4, "queue_limit": 2, "latency": "1ms"})).await;
    at_once(&target, "/", 10).await;
    let log = target.log();
    let last_received = log.requests.iter().map(|entry| entry.received_ms).fold(0.0, f64::max);
    let first_answer = log.requests.iter().filter_map(|entry| entry.answered_ms).fold(f64::MAX, f64::min);
    assert_eq!(log.max_concurrent, 10);
    assert!(last_received < first_answer && first_answer >= 2000.0, "{last_received} {first_answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_dead_in_each_way_and_come_back() {
    let target = start(json!({"status": 503, "retry_after": "1500ms"})).await;
    let client = http();
    let response = client.get(target.url()).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"].as_bytes()), (503, &&b"2"[..]));

    target.patch(&json!({"status": null, "reset": true})).expect("known knobs");
    let error = client.get(target.url()).send().await.expect_err("a reset");
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");

    target.patch(&json!({"reset": false, "hang": true})).expect("known knobs");
    let hung = client.get(target.url()).timeout(Duration::from_millis(300)).send().await;
    assert!(hung.expect_err("no answer").is_timeout());
    // The client left: the target notices, and counts no answer.
    wait_until("both are counted as unanswered", PATIENCE, async || (target.log().unanswered == 2).then_some(())).await;

    target.patch(&json!({"hang": false, "drip": "20ms"})).expect("known knobs");
    let body = client.get(target.url()).send().await.expect("an answer").text().await.expect("a whole body");
    assert_eq!(body, r#"{"ok":true}"#);
    assert_eq!((target.log().received, target.log().answered), (4, 2));

    let url = target.url();
    target.stop().await;
    assert!(client.get(url).send().await.expect_err("nobody listens").is_connect());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_driven_over_http_as_well() {
    let target = start(json!({})).await;
    let client = http();
    let at = |path: &str| format!("{}{path}", target.url());
    let shown: Value = client.get(at("/practice")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(serde_json::from_value::<Knobs>(shown).expect("knobs"), target.knobs());

    let wrong = client.post(at("/practice")).json(&json!({"latancy": "1s"})).send().await.expect("an answer");
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.expect("text").contains("expected one of `listen`, `latency`"));

    let right = client.post(at("/practice")).json(&json!({"fail_share": "50%"})).send().await.expect("an answer");
    assert_eq!(right.status(), 200);
    assert_eq!(at_once(&target, "/health", 4).await, [200, 200, 500, 500]);
    let log: Value =
        client.get(at("/practice/log?last=1")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&log["received"], &log["by_path"]["/health"]["by_status"]["500"]), (&json!(4), &json!(2)));
    assert_eq!(log["requests"].as_array().map(Vec::len), Some(1));

    client.post(at("/practice/reset")).send().await.expect("an answer");
    assert_eq!(target.log().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_have_limits_of_their_own() {
    let target = start(json!({"latency": "1s"})).await;
    let client = http();
    let update = json!({"model": "test", "parallel_limit": 1, "queue_limit": 2});
    let updated =
        client.post(format!("{}/admin/queue/update", target.url())).json(&update).send().await.expect("an answer");
    assert_eq!(updated.status(), 200);
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..10 {
        let body = json!({"model": "test", "prompt": format!("Test {n}"), "stream": false});
        let request = client.post(format!("{}/api/generate", target.url())).json(&body);
        sent.spawn(async move {
            let response = request.send().await.expect("an answer");
            (
                response.status().as_u16(),
                response.headers().get("x-reject-reason").is_some_and(|reason| reason == "queue_full"),
            )
        });
    }
    let mut answers = sent.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers[..3], [(200, false); 3]);
    assert_eq!(answers[3..], [(503, true); 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_keeps_mail_and_its_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let free = "127.0.0.1:0".parse().expect("an address");
    let sink = smtp_sink::start(free, Some(folder.path().to_owned())).await.expect("a sink");
    let mailer = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(sink.addr.port()).build();
    let mail = |to: &str| {
        let builder =
            Message::builder().from("a@example.com".parse().expect("an address")).to(to.parse().expect("an address"));
        builder.subject("Hello").body(".a dot".to_owned()).expect("a mail")
    };
    let mut sent = tokio::task::JoinSet::new();
    for n in 1..=100 {
        let (mailer, mail) = (mailer.clone(), mail(&format!("{n}@example.com")));
        sent.spawn(async move { mailer.send(mail).await.expect("it is taken") });
    }
    sent.join_all().await;
    mailer.send(mail("101@example.com")).await.expect("it is taken");
    let mails = sink.wait_for(101, PATIENCE).await.expect("all came");
    assert_eq!((sink.received(), mails.len(), mails[0].seq), (101, smtp_sink::MAX_KEPT, 2));
    assert_eq!(
        (mails[99].from.as_str(), mails[99].to.as_slice()),
        ("a@example.com", &["101@example.com".to_owned()][..])
    );
    assert!(mails[99].raw.ends_with(b"\r\n\r\n.a dot\r\n"), "{:?}", mails[99].raw);
    assert_eq!(std::fs::read(folder.path().join("00101.eml")).expect("its file"), mails[99].raw);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), smtp_sink::MAX_KEPT);
    assert!(
        sink.wait_for(102, Duration::from_millis(1)).await.expect_err("no more").to_string().contains("101 of 102")
    );
    let addr = sink.addr;
    sink.stop().await;
    assert!(std::net::TcpStream::connect(addr).is_err());
    let everywhere = "0.0.0.0:0".parse().expect("an address");
    assert!(smtp_sink::start(everywhere, None).await.expect_err("loopback only").to_string().contains("127.0.0.1"));
}
