//! Servers that nobody here wrote turn requests away, each in its own way. What Plimsoll counts as rejected must be what
//! they count, to the unit.

use std::{net::SocketAddr, time::Duration};

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use serde_json::Value;

use crate::support::{PATIENCE, daemon::Plimsoll, haproxy::HaProxy, nginx::Nginx, varnish::Varnish, wait_until};

/// A back end that takes 300 ms for each answer.
async fn slow() -> (Target, SocketAddr) {
    let knobs = Knobs { latency: Duration::from_millis(300).into(), ..Knobs::ephemeral() };
    let target = target::start(knobs).await.expect("a free port");
    let addr = target.addr;
    (target, addr)
}

/// What a run counted.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    ok: u64,
    rejected: u64,
    failed: u64,
}

/// `plimsoll hit URL …`; its counts, and the whole document.
async fn hit(url: &str, arguments: &[&str]) -> (Counts, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Plimsoll::run(folder.path(), &[&["hit", url], arguments, &["--quiet", "--json", "-"]].concat()).await;
    let run: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let count = |outcome: &str| run["outcomes"][outcome].as_u64().expect("a count");
    let counts = Counts { ok: count("ok"), rejected: count("rejected"), failed: count("failed") };
    assert_eq!(run["sent"].as_u64(), Some(counts.ok + counts.rejected + counts.failed), "{run}");
    (counts, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_limits_rate_and_connections() {
    let Some(nginx) = Nginx::start().await else { return };
    let theirs = async |path: &str, sent: u64| {
        let counts = wait_until("the log has them", PATIENCE, async || {
            let counts = nginx.counts_of(path);
            (counts.values().sum::<u64>() == sent).then_some(counts)
        })
        .await;
        move |status: u16| counts.get(&status).copied().unwrap_or_default()
    };
    let (ours, run) = hit(&nginx.url("/rate"), &["-n", "40", "-c", "10"]).await;
    let nginx_says = theirs("/rate", 40).await;
    assert_eq!(ours, Counts { ok: nginx_says(200), rejected: nginx_says(429), failed: 0 }, "{run}");
    assert!(ours.ok >= 6 && ours.rejected >= 10, "{ours:?}");

    // A bare 503 is an outage until it is said that it is none.
    let (ours, run) = hit(&nginx.url("/rate503"), &["-n", "20", "-c", "10"]).await;
    let nginx_says = theirs("/rate503", 20).await;
    assert_eq!(ours, Counts { ok: nginx_says(200), rejected: 0, failed: nginx_says(503) }, "{run}");
    let (again, run) = hit(&nginx.url("/rate503"), &["-n", "20", "-c", "10", "--reject", "503"]).await;
    let nginx_says = theirs("/rate503", 40).await;
    assert_eq!(ours.failed + again.rejected, nginx_says(503), "{run}");
    assert_eq!((again.failed, ours.ok + again.ok), (0, nginx_says(200)), "{run}");

    // Four at once, each for about a second; one by one there is room for all.
    let (ours, run) = hit(&nginx.url("/conn"), &["-n", "10", "-c", "10"]).await;
    let nginx_says = theirs("/conn", 10).await;
    assert_eq!(ours, Counts { ok: nginx_says(200), rejected: nginx_says(429), failed: 0 }, "{run}");
    assert_eq!((ours.ok, ours.rejected), (4, 6), "{run}");
    let (ours, _) = hit(&nginx.url("/conn"), &["-n", "2", "-c", "1"]).await;
    assert_eq!(ours, Counts { ok: 2, rejected: 0, failed: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_queues_limits_tarpits_and_drops() {
    let (target, back) = slow().await;
    let Some(haproxy) = HaProxy::start(back).await else { return };
    let (ours, run) = hit(&haproxy.url("/queue"), &["-n", "12", "-c", "12", "--reject", "503"]).await;
    let theirs = haproxy.counts_of("queue").await;
    assert_eq!(ours, Counts { ok: theirs["hrsp_2xx"], rejected: theirs["hrsp_5xx"], failed: 0 }, "{run} {theirs:?}");
    assert!(ours.ok >= 2 && ours.rejected >= 5, "two at once and five waiting: {ours:?}");
    assert_eq!(target.log().by_path["/queue"].answered, ours.ok);

    let (ours, run) = hit(&haproxy.url("/rate"), &["-n", "20", "-c", "5"]).await;
    let theirs = haproxy.counts_of("rate").await;
    assert_eq!(ours, Counts { ok: theirs["hrsp_2xx"], rejected: theirs["hrsp_4xx"], failed: 0 }, "{run} {theirs:?}");
    assert_eq!((ours.ok, ours.rejected), (10, 10), "{run}");

    // What the tarpit makes wait is rejected all the same, and its time is in the latency of rejections alone.
    let (ours, run) = hit(&haproxy.url("/tarpit"), &["-n", "5", "-c", "5"]).await;
    let theirs = haproxy.counts_of("tarpit").await;
    assert_eq!((theirs["dreq"], theirs["hrsp_4xx"]), (5, 5), "{theirs:?}");
    assert_eq!(ours, Counts { ok: 0, rejected: 5, failed: 0 }, "{run}");
    assert!(run["latency_s"]["rejected"]["min"].as_f64().is_some_and(|least| least >= 0.5), "{run}");
    assert!(run["latency_s"].get("ok").is_none(), "{run}");

    // Who never answers has not rejected: that is a timeout.
    let (ours, run) = hit(&haproxy.url("/drop"), &["-n", "5", "-c", "5", "--timeout", "1s"]).await;
    assert_eq!(ours, Counts { ok: 0, rejected: 0, failed: haproxy.counts_of("drop").await["dreq"] }, "{run}");
    assert_eq!((ours.failed, run["failed"]["timeout"].as_u64()), (5, Some(5)), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn varnish_is_busy_and_hits() {
    let (target, back) = slow().await;
    let Some(varnish) = Varnish::start(back).await else { return };
    // Whoever waits for it to come up connects, and asks nothing.
    assert_eq!(varnish.count("MAIN.client_req"), 0);
    let (ours, run) = hit(&varnish.url("/different/${n}"), &["-n", "8", "-c", "8", "--reject", "503"]).await;
    let (asked, busy) = (varnish.count("MAIN.client_req"), varnish.count("MAIN.backend_busy"));
    assert_eq!(ours, Counts { ok: asked - busy, rejected: busy, failed: 0 }, "{run}");
    assert!(ours.ok >= 3 && ours.rejected >= 1, "{ours:?}");
    assert_eq!(target.log().answered, ours.ok);

    let hits = varnish.count("MAIN.cache_hit");
    let expect = ["--expect", "header(\"x-cache\") == \"HIT\""];
    let (ours, run) = hit(&varnish.url("/same"), &[&["-n", "8", "-c", "8"], &expect[..]].concat()).await;
    assert_eq!(ours.ok, varnish.count("MAIN.cache_hit") - hits, "{run}");
    assert_eq!((ours.ok, ours.failed), (7, 1), "the first one fills the cache: {run}");
}
