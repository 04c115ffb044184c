//! Every way in which the practice target can go wrong, over both protocols, ends as `docs/outcomes.md` says, and in time.
//! The table there is written by this test: `UPDATE=1 cargo test --test it -- engine::faults` writes it anew.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use clap::ValueEnum as _;
use futures_util::future::join_all;
use plimsoll::practice::fault::Fault;
use serde_json::{Value, json};

use super::{Done, practice, run, settings};

const PAGE: &str = "docs/outcomes.md";
const TITLE: &str = "## Faults of the practice target\n";

/// Above the table.
const INTRO: &str = "
<!-- Written by `UPDATE=1 cargo test --test it -- engine::faults`, which holds the engine to it. -->

What comes of each thing that can go wrong with `plimsoll target`, where a request has `timeout: 1s`, `max_body: 1MB`,
`compression: gzip` and `expect: $.ok == true`, and a stream asks for 100 tokens. Names are those of `--fault`, of
`?fault=` and of the header `x-fault`; what begins with dashes are flags. No request takes longer than its `timeout`. What a
stream cannot show leaves it as it is; so does what only a stream can show with the others.

| What goes wrong | HTTP/1.1 | HTTP/2 | streamed, HTTP/1.1 | streamed, HTTP/2 |
|---|---|---|---|---|
";

/// The deadline of a request.
const DEADLINE: Duration = Duration::from_secs(1);
/// What the best of a row's requests may be late by.
const LATE: Duration = Duration::from_millis(100);
/// What the worst may be late by, on a machine that builds at the same time.
const VERY_LATE: Duration = Duration::from_secs(5);
/// The knob whose effect is two by chance.
const RESETS: &str = "--accept-resets 1000";
/// Rows asked at a time.
const BESIDE: usize = 4;

/// Knobs that are no `fault`, as flags and as a patch.
fn knobs() -> Vec<(&'static str, Value)> {
    vec![
        ("--hang", json!({"hang": true})),
        ("--reset", json!({"reset": true})),
        (RESETS, json!({"accept_resets": 1000})),
        ("--latency 30s", json!({"latency": "30s"})),
        ("--stall-for 30s", json!({"stall_for": "30s"})),
        ("--drip 1s", json!({"drip": "1s"})),
        ("--first-token 30s", json!({"first_token": "30s"})),
        ("--token-gap 500ms", json!({"token_gap": "500ms"})),
        ("--token-stall 30s", json!({"token_stall": "30s"})),
        ("--status 404", json!({"status": 404})),
        ("--status 429", json!({"status": 429})),
        ("--status 500", json!({"status": 500})),
        ("--status 503", json!({"status": 503})),
        ("--status 503 --retry-after 1s", json!({"status": 503, "retry_after": "1s"})),
        ("--errors 502=100%", json!({"errors": "502=100%"})),
        ("--fail-share 100%", json!({"fail_share": "100%"})),
    ]
}

/// The version in a column, and whether the answer is a stream.
const COLUMNS: [(&str, bool); 4] = [("'1.1'", false), ("h2c", false), ("'1.1'", true), ("h2c", true)];
/// It is the same whether each user has a connection or all of them share one.
const CONNECTIONS: [&str; 2] = ["per_vu", "1"];

/// Two users with two requests each meet it.
async fn meet(http: &str, streamed: bool, change: Value, fault: Option<Fault>) -> Done {
    let target = practice(json!({"tokens": 100})).await;
    target.patch(&change).expect("known knobs");
    let header = fault.map(|fault| format!("headers: {{x-fault: {}}}, ", fault.name())).unwrap_or_default();
    let gzip = if streamed { "" } else { ", compression: gzip" };
    let step = if streamed {
        format!("{{post: /v1/chat/completions, {header}json: {{stream: true}}, stream: sse}}")
    } else {
        format!("{{get: /a, {header}expect: $.ok == true}}")
    };
    let target_map = format!("    http: {{{http}{gzip}, timeout: {DEADLINE:?}, max_body: 1MB}}");
    let scenario = format!(
        "    load: {{executor: per-vu-iterations, vus: 2, iterations: 2, max_duration: 1m}}\n    steps: [{step}]"
    );
    let done = run(&settings(&target.url(), &target_map, &scenario)).await;
    let (log, sent) = (target.log(), done.run.sent);
    let case = || format!("{http} streamed: {streamed} {change} {fault:?}: {:?}", done.run.first_failure);
    assert_eq!((done.run.planned, sent), (4, 4), "{}", case());
    assert!(log.answered <= log.received && log.received <= sent + done.data.total().reconnects, "{}", case());
    let met = log.by_fault.values().sum::<u64>();
    assert_eq!(met, if fault.is_some() { log.received } else { met }, "{}", case());
    done
}

/// `failed{timeout}`, if all four requests ended so.
fn class(done: &Done) -> String {
    let word = |one: &str| match one.split_once('.') {
        Some((outcome, reason)) => format!("`{outcome}{{{reason}}}`"),
        None => format!("`{one}`"),
    };
    match done.ledger().split_once('=') {
        Some((outcome, "4")) => word(outcome),
        _ => format!("{} ({:?})", done.ledger(), done.run.first_failure),
    }
}

/// The shortest and the longest time of a run's requests.
fn extremes(done: &Done) -> (f64, f64) {
    let times = done.run.latency_s.values();
    times.fold((f64::MAX, 0.0), |(least, most), time| (least.min(time.min), most.max(time.max)))
}

/// What comes of it in one column. Asks again what a busy moment of the machine may have made late.
async fn cell(case: &Case, version: &str, connections: &str, streamed: bool) -> String {
    let http = format!("version: {version}, connections: {connections}");
    let mut least = f64::MAX;
    for _ in 0..3 {
        let done = meet(&http, streamed, case.change.clone(), case.fault).await;
        let (first, slowest) = extremes(&done);
        assert!(slowest < (DEADLINE + VERY_LATE).as_secs_f64(), "{} {http}: {slowest} s", case.name);
        if first > DEADLINE.as_secs_f64() {
            println!("{} {http}: {:.1} to {:.1} ms late", case.name, late_ms(first), late_ms(slowest));
        }
        least = least.min(first);
        if least <= (DEADLINE + LATE).as_secs_f64() {
            return if case.name == RESETS { as_it_falls(&done) } else { class(&done) };
        }
    }
    panic!("{} {http} streamed: {streamed}: never ended before {least} s", case.name);
}

fn late_ms(took: f64) -> f64 {
    (took - DEADLINE.as_secs_f64()) * 1000.0
}

/// Whether a connection that is reset at once was open by then is chance.
fn as_it_falls(done: &Done) -> String {
    let reasons: u64 = ["connect", "reset"].iter().filter_map(|reason| done.run.failed.get(*reason)).sum();
    if reasons == 4 { "`failed{connect}` or `failed{reset}`".to_owned() } else { class(done) }
}

/// A row of the table.
async fn row(case: &Case) -> String {
    let mut line = format!("| `{}`{} |", case.name, case.what);
    for (version, streamed) in COLUMNS {
        let both = join_all(CONNECTIONS.map(|connections| cell(case, version, connections, streamed))).await;
        if case.fault == Some(Fault::Goaway) {
            // Whose stream the end leaves undone is sent again once, and may meet the next end.
            assert!(both[1].starts_with("`ok`") || both[1].contains("failed.reset"), "{}", both[1]);
        } else {
            assert_eq!(both[0], both[1], "{} {version} streamed: {streamed}, one connection for all", case.name);
        }
        let _ = write!(line, " {} |", both[0]);
    }
    line + "\n"
}

/// A row to be.
struct Case {
    name: String,
    what: String,
    change: Value,
    fault: Option<Fault>,
}

fn cases() -> Vec<Case> {
    let faults = Fault::ALL.iter().map(|fault| {
        let value = fault.to_possible_value().expect("a flag's value");
        let what = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        // Eleven bytes, which without it would take as long as the deadline is.
        let change = if *fault == Fault::SlowDrip { json!({"drip": "500ms"}) } else { json!({}) };
        Case { name: fault.name().to_owned(), what, change, fault: Some(*fault) }
    });
    let case = |(flags, change): (&str, Value)| Case { name: flags.into(), what: String::new(), change, fault: None };
    faults.chain(knobs().into_iter().map(case)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_as_the_page_says_and_in_time() {
    let mut table = INTRO.to_owned();
    for some in cases().chunks(BESIDE) {
        table.extend(join_all(some.iter().map(row)).await);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(TITLE).unwrap_or_else(|| panic!("{PAGE} has a part{TITLE}"));
    let after = rest.find("\n## ").map_or("", |at| &rest[at..]);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{TITLE}{table}{after}")).expect("it is writable");
        return;
    }
    let written = &rest[..rest.len() - after.len()];
    for (is, says) in table.lines().zip(written.lines()) {
        assert_eq!(is, says, "{PAGE} says something else; UPDATE=1 writes it anew");
    }
    assert_eq!(table, written, "{PAGE}");
}
