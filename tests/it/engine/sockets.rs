//! The laws of the ledger on sockets: every fault of the practice target, both protocols, aborts at any moment. As many
//! requests as `PLIMSOLL_LEDGER` says, where it is set.

use std::time::Duration;

use plimsoll::{judge::History, practice::fault::Fault};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::{practice, settings, start};

/// Requests of all runs where nothing else is said.
const REQUESTS: u64 = 12_000;
const VERSIONS: [&str; 2] = ["'1.1'", "h2c"];

/// How one run is ended before its time: drained after the first, cut after the second.
type Abort = Option<(Duration, Duration)>;

/// One run of `requests` by 40 users; every fifth one meets the trouble, some others are refused. Gives what was sent.
async fn hold(version: &str, connections: &str, trouble: &Value, requests: u64, abort: Abort) -> u64 {
    let case = format!("{version} {connections} {trouble} {abort:?}");
    let target = practice(trouble.clone()).await;
    let http = format!("    http: {{version: {version}, connections: {connections}, timeout: 100ms, max_body: 50kB}}");
    let scenario = format!(
        "    load: {{executor: shared-iterations, vus: 40, iterations: {requests}, max_duration: 5m, graceful_stop: 1s}}
    steps: [{{get: /a}}]"
    );
    // Each run is held to planned = sent + dropped, and to the sum of its outcomes, when it is done.
    let going = start(&settings(&target.url(), &http, &scenario), History::default());
    if let Some((drained, cut)) = abort {
        tokio::time::sleep(drained).await;
        going.handle.drain();
        tokio::time::sleep(cut).await;
        going.handle.cut();
    }
    let done = going.done().await;
    let (run, log, total) = (&done.run, target.log(), done.data.total());
    // Whatever has a status, whether its body was whole or not.
    let answered: u64 = total.status.values().sum();
    assert!(answered <= log.received, "{case}: {answered} {}", log.received);
    assert!(log.received <= run.sent + total.reconnects, "{case}: {} {} {}", log.received, run.sent, total.reconnects);
    if abort.is_none() {
        assert_eq!((run.planned, run.outcomes.interrupted), (requests, 0), "{case}: {}", done.ledger());
    }
    if abort.is_none() && trouble.as_object().is_some_and(serde_json::Map::is_empty) {
        assert_eq!((run.outcomes.ok, log.received, log.answered), (run.sent, run.sent, run.sent), "{case}");
    }
    run.sent
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_exact_under_every_fault() {
    let wanted = std::env::var("PLIMSOLL_LEDGER").map_or(REQUESTS, |text| text.parse().expect("a number"));
    let mut random = SmallRng::seed_from_u64(wanted);
    let fault = |fault: &Fault| json!({"fault": fault.name(), "fault_share": "20%", "errors": "500=3%,429=3%"});
    let others = [json!({}), json!({"accept_resets": 100}), json!({"latency": "exp 20ms"}), json!({"drip": "9ms"})];
    let troubles: Vec<Value> = Fault::ALL.iter().map(fault).chain(others).collect();
    let runs = troubles.len() * VERSIONS.len() * 2;
    let (requests, mut sent) = ((wanted / runs as u64).max(1), 0);
    for trouble in &troubles {
        for version in VERSIONS {
            let connections = ["per_vu", "8"][random.random_range(0..2)];
            sent += hold(version, connections, trouble, requests, None).await;
            let mut some = || Duration::from_millis(random.random_range(0..300));
            let abort = Some((some(), some()));
            sent += hold(version, connections, trouble, requests, abort).await;
        }
    }
    println!("{sent} requests in {runs} runs");
}
