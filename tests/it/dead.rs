//! A dead target is loud, in each of the ways in which a target can be dead: the run fails, one mail says so, and one
//! more in the same thread says when it is over.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use plimsoll::practice::{
    knobs::Knobs,
    smtp_sink::{self, Mail, Sink},
    target::{self, Target},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{PATIENCE, daemon::Plimsoll, http, refusing_port, wait_until};

/// Everything that takes several runs, group waits and mails; a busy machine has time to spare.
const LONG: Duration = Duration::from_mins(2);

async fn sink() -> Sink {
    smtp_sink::start("127.0.0.1:0".parse().expect("an address"), None).await.expect("a free port")
}

/// A practice target at `addr`, which may have been someone else's a moment ago.
async fn target_at(addr: SocketAddr) -> Target {
    wait_until("the port is free again", PATIENCE, async || {
        target::start(Knobs { listen: addr, ..Knobs::default() }).await.ok()
    })
    .await
}

async fn practice(change: Value) -> Target {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    target.patch(&change).expect("known knobs");
    target
}

/// A listener that takes no more connections: the kernel drops every further SYN, as a firewall would.
struct BlackHole {
    addr: SocketAddr,
    listener: TcpListener,
    fill: Vec<TcpStream>,
}

impl BlackHole {
    async fn dig() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let addr = listener.local_addr().expect("an address");
        let mut fill = Vec::new();
        // It is full once the kernel lets a connection wait.
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
            fill.push(connected.expect("a connection"));
            assert!(fill.len() < 100, "the queue is never full");
        }
        Self { addr, listener, fill }
    }

    fn close(self) -> SocketAddr {
        drop((self.listener, self.fill));
        self.addr
    }
}

/// The head of a mail, field by field, folded lines joined.
fn head(mail: &Mail) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&mail.raw).replace("\r\n ", " ").replace("\r\n\t", " ");
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    head.lines().filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect()
}

/// A mail with the soft line ends of its encoding taken out.
fn text(mail: &Mail) -> String {
    String::from_utf8_lossy(&mail.raw).replace("=\r\n", "")
}

/// The mails of one kind, by the scenarios they name.
fn of_kind(mails: &[Arc<Mail>], kind: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let heads = mails.iter().map(|mail| head(mail)).filter(|head| head["x-plimsoll-kind"] == kind);
    heads.map(|head| (head["x-plimsoll-scenario"].clone(), head)).collect()
}

async fn runs(daemon: &Plimsoll, scenario: &str) -> Vec<Value> {
    let url = daemon.url(&format!("/api/v1/runs?limit=200&scenario={scenario}"));
    let answer = http().get(url).send().await.expect("it answers").json::<Value>().await.expect("JSON");
    answer["runs"].as_array().expect("a list").clone()
}

async fn verdicts(daemon: &Plimsoll, scenario: &str) -> Vec<String> {
    runs(daemon, scenario).await.iter().map(|run| run["verdict"].as_str().expect("a word").to_owned()).collect()
}

/// Waits until each scenario's latest `n` runs passed.
async fn passes(daemon: &Plimsoll, scenarios: &[&str], n: usize) {
    for scenario in scenarios {
        wait_until(&format!("{scenario} passes {n} times"), LONG, async || {
            let verdicts = verdicts(daemon, scenario).await;
            (verdicts.len() >= n && verdicts[..n].iter().all(|verdict| verdict == "pass")).then_some(())
        })
        .await;
    }
}

fn alerts(sink: &Sink, group_wait: &str) -> String {
    format!(
        r#"
version: 1
daemon: {{listen: "@LISTEN@", data_dir: "@DATA@"}}
alerts:
  receivers:
    on_call: {{email: {{to: [oncall@example.com], from: plimsoll@example.com, smtp: "smtp://{}"}}}}
  group_by: [target]
  group_wait: {group_wait}
"#,
        sink.addr
    )
}

const WAYS: [&str; 6] = ["refused", "black_holed", "hanging", "hanging_midway", "all_503", "all_500"];

/// One target and one scenario for each way of being dead, each named after it.
fn six_ways(sink: &Sink, addresses: [SocketAddr; 6]) -> String {
    let targets = WAYS.iter().zip(addresses).map(|(way, addr)| {
        format!("  {way}: {{base_url: \"http://{addr}\", http: {{timeout: 1s, connect_timeout: 1s}}}}\n")
    });
    let scenarios = WAYS.iter().map(|way| {
        let (every, load) = match *way {
            "hanging_midway" => ("8s", "constant-arrival-rate, rate: 20/s, duration: 3s, graceful_stop: 1s"),
            _ => ("3s", "probe"),
        };
        let (schedule, load) = (format!("{{every: {every}}}"), format!("{{executor: {load}}}"));
        format!("  {way}: {{target: {way}, schedule: {schedule}, load: {load}, steps: [{{get: /work}}]}}\n")
    });
    let (targets, scenarios): (String, String) = (targets.collect(), scenarios.collect());
    format!("{}targets:\n{targets}scenarios:\n{scenarios}", alerts(sink, "2s"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_target_fails_mails_once_and_resolves_once() {
    let sink = sink().await;
    let (held, refused) = refusing_port();
    let hole = BlackHole::dig().await;
    let hanging = practice(json!({"hang": true})).await;
    let midway = practice(json!({})).await;
    let unavailable = practice(json!({"status": 503})).await;
    let broken = practice(json!({"status": 500})).await;
    let addresses = [refused, hole.addr, hanging.addr, midway.addr, unavailable.addr, broken.addr];
    let daemon = Plimsoll::daemon(&six_ways(&sink, addresses)).await;

    wait_until("a run is half over", PATIENCE, async || (midway.log().received >= 20).then_some(())).await;
    midway.patch(&json!({"hang": true})).expect("known knobs");
    sink.wait_for(6, LONG).await.expect("each mails");
    // Nothing more is said while they stay dead.
    for way in WAYS {
        wait_until("two runs", LONG, async || (runs(&daemon, way).await.len() >= 2).then_some(())).await;
        for run in runs(&daemon, way).await {
            assert_eq!(run["verdict"], "fail", "{way}: {run}");
        }
    }
    let firing = of_kind(&sink.messages(), "firing");
    assert_eq!((sink.received(), firing.len()), (6, 6), "{:?}", firing.keys());
    for way in WAYS {
        assert!(firing[way]["subject"].starts_with("[FIRING critical] "), "{:?}", firing[way]);
        assert!(!firing[way].contains_key("in-reply-to"));
    }
    let first = runs(&daemon, "hanging_midway").await.pop().expect("a run");
    assert!(first["outcomes"]["ok"].as_u64() >= Some(15) && first["failed"]["timeout"].as_u64() >= Some(1), "{first}");
    assert_reasons(&daemon).await;

    drop(held);
    let _refused = target_at(refused).await;
    let _hole = target_at(hole.close()).await;
    let back = json!({"hang": false, "status": null});
    for target in [&hanging, &midway, &unavailable, &broken] {
        target.patch(&back).expect("known knobs");
    }
    sink.wait_for(12, LONG).await.expect("each is resolved");
    passes(&daemon, &WAYS, 2).await;
    let resolved = of_kind(&sink.messages(), "resolved");
    assert_eq!((sink.received(), resolved.len()), (12, 6), "{:?}", resolved.keys());
    for way in WAYS {
        assert_eq!(resolved[way]["in-reply-to"], firing[way]["message-id"], "{way}");
        assert_eq!(resolved[way]["subject"], firing[way]["subject"].replace("[FIRING", "Re: [RESOLVED"), "{way}");
    }
}

/// Each way of being dead is told by its own name.
async fn assert_reasons(daemon: &Plimsoll) {
    let reasons = [
        ("refused", "connect"),
        ("black_holed", "connect"),
        ("hanging", "timeout"),
        ("all_503", "status"),
        ("all_500", "status"),
    ];
    for (way, reason) in reasons {
        for run in runs(daemon, way).await {
            // A connection that hangs is cut by whichever limit comes first; both are 1 s here.
            let other = way == "black_holed" && run["failed"]["timeout"] == 1;
            assert!(run["failed"][reason] == 1 || other, "{way}: {}", run["failed"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_scenarios_of_one_dead_target_are_one_mail() {
    let sink = sink().await;
    let (held, addr) = refusing_port();
    let names: Vec<String> = (0..10).map(|number| format!("watch_{number}")).collect();
    let scenarios = names.iter().map(|name| {
        format!("  {name}: {{schedule: {{every: 3s}}, load: {{executor: probe}}, steps: [{{get: /{name}}}]}}\n")
    });
    let (scenarios, alerts) = (scenarios.collect::<String>(), alerts(&sink, "6s"));
    let config = format!("{alerts}targets: {{api: {{base_url: \"http://{addr}\"}}}}\nscenarios:\n{scenarios}");
    let daemon = Plimsoll::daemon(&config).await;
    let mails = sink.wait_for(1, LONG).await.expect("a mail");
    let firing = head(&mails[0]);
    let text = text(&mails[0]);
    for name in &names {
        assert!(text.contains(name) && firing["x-plimsoll-scenario"].contains(name), "{name}: {text}");
    }
    assert_eq!(firing["x-plimsoll-kind"], "firing");

    drop(held);
    let _back = target_at(addr).await;
    let mails = sink.wait_for(2, LONG).await.expect("the resolved mail");
    let resolved = head(&mails[1]);
    assert_eq!((resolved["x-plimsoll-kind"].as_str(), &resolved["in-reply-to"]), ("resolved", &firing["message-id"]));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    passes(&daemon, &names, 3).await;
    assert_eq!(sink.received(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_measured_nothing_mails() {
    let sink = sink().await;
    let target = practice(json!({"latency": "2s"})).await;
    let config = alerts(&sink, "1s")
        + &format!(
            r#"
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  silent:
    schedule: {{every: 5s, timeout: 1s}}
    load: {{executor: probe}}
    before: [{{post: /slow}}]
    steps: [{{get: /work}}]
"#,
            target.url()
        );
    let daemon = Plimsoll::daemon(&config).await;
    let firing = head(&sink.wait_for(1, LONG).await.expect("a mail")[0]);
    assert_eq!((firing["x-plimsoll-kind"].as_str(), firing["x-plimsoll-scenario"].as_str()), ("firing", "silent"));
    assert!(verdicts(&daemon, "silent").await.iter().all(|verdict| verdict == "no_data"));
    assert!(!target.log().by_path.contains_key("/work"));
    target.patch(&json!({"latency": "0ms"})).expect("known knobs");
    let resolved = head(&sink.wait_for(2, LONG).await.expect("the resolved mail")[1]);
    assert_eq!(resolved["in-reply-to"], firing["message-id"]);
    passes(&daemon, &["silent"], 2).await;
    assert_eq!(sink.received(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_run_mails() {
    let sink = sink().await;
    let target = practice(json!({"latency": "7s"})).await;
    let config = alerts(&sink, "1s")
        + &format!(
            r#"
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  slow:
    schedule: {{every: 3s, overlap: skip}}
    load: {{executor: probe}}
    steps: [{{get: /work}}]
"#,
            target.url()
        );
    let daemon = Plimsoll::daemon(&config).await;
    let mails = sink.wait_for(1, LONG).await.expect("a mail");
    let firing = head(&mails[0]);
    assert_eq!(firing["subject"], "[FIRING warning] api: slow missed");
    assert!(text(&mails[0]).contains("a run was due and did not happen: the run before it was still going"));
    target.patch(&json!({"latency": "0ms"})).expect("known knobs");
    let resolved = head(&sink.wait_for(2, LONG).await.expect("the resolved mail")[1]);
    assert_eq!(resolved["in-reply-to"], firing["message-id"]);
    passes(&daemon, &["slow"], 3).await;
    assert_eq!(sink.received(), 2);
}
