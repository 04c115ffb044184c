//! `kill -9` at the worst moments: no mail is lost, none is sent as another one, no due instant is forgotten or run
//! twice.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use plimsoll::{
    model::clock::{Clock as _, SystemClock},
    practice::{
        knobs::Knobs,
        target::{self, Target},
    },
};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    daemon::Plimsoll,
    free_port,
    smtp::{Mode, PASSWORD, Received, SmtpServer, USER},
    wait_until,
};

const MAIL: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
secrets:
  smtp: {from_env: SMTP_PASSWORD}
targets:
  api: {base_url: "@TARGET@"}
scenarios:
  check:
    load: {executor: probe}
    steps:
      - get: /
    valid_if: [p99(send_lag) < 30s]
alerts:
  receivers:
    on_call:
      email:
        to: [oncall@example.com]
        from: plimsoll@example.com
        smtp: "smtp://127.0.0.1:@PORT@"
        tls: required
        tls_ca: "@CA@"
        username: @USER@
        password: "${secret.smtp}"
  group_wait: @WAIT@
  group_interval: 1s
"#;

/// A target that is out of order, a mail server, and a daemon that has found the first and is about to tell the second.
struct Scene {
    target: Target,
    smtp: SmtpServer,
    daemon: Plimsoll,
}

impl Scene {
    /// `None` where there is no mail server to be had.
    async fn start(mode: Mode, group_wait: &str) -> Option<Self> {
        let smtp = SmtpServer::start().await?;
        smtp.set(mode, 0).await;
        let target = target::start(Knobs::ephemeral()).await.expect("a free port");
        target.patch(&json!({"status": 500})).expect("known knobs");
        let daemon = fire(&target, &smtp.ca.display().to_string(), smtp.addr.port(), group_wait).await;
        Some(Self { target, smtp, daemon })
    }

    /// Repairs the target, so that a resolved mail follows whatever is still to be sent, and returns all mails.
    ///
    /// It is the barrier: mails of one incident go in order, so a firing mail that was to be sent twice is there before.
    async fn resolved(&self) -> Vec<Received> {
        resolved(&self.target, &self.smtp, &self.daemon).await
    }
}

async fn resolved(target: &Target, smtp: &SmtpServer, daemon: &Plimsoll) -> Vec<Received> {
    wait_until("the outbox is empty", PATIENCE, async || (queued(daemon).await == 0).then_some(())).await;
    target.patch(&json!({"status": null})).expect("known knobs");
    daemon.command(&["trigger", "check"]).await;
    wait_until("the resolved mail", PATIENCE, async || {
        let mails = smtp.messages().await;
        mails.last().is_some_and(|mail| mail.header("X-Plimsoll-Kind") == "resolved").then_some(mails)
    })
    .await
}

/// Starts a daemon and lets it find `target` out of order.
async fn fire(target: &Target, ca: &str, port: u16, group_wait: &str) -> Plimsoll {
    let config = MAIL
        .replace("@TARGET@", &target.url())
        .replace("@PORT@", &port.to_string())
        .replace("@CA@", ca)
        .replace("@USER@", USER)
        .replace("@WAIT@", group_wait);
    let daemon = Plimsoll::start(&config, &[("SMTP_PASSWORD", PASSWORD)]).ready().await;
    daemon.command(&["trigger", "check"]).await;
    wait_until("it fires", PATIENCE, async || {
        let status = daemon.json("/api/v1/status").await;
        status["firing"].as_array().is_some_and(|firing| !firing.is_empty()).then_some(())
    })
    .await;
    daemon
}

async fn queued(daemon: &Plimsoll) -> u64 {
    daemon.json("/api/v1/status").await["outbox"]["queued"].as_u64().expect("a count")
}

fn kinds(mails: &[Received]) -> Vec<String> {
    mails.iter().map(|mail| mail.header("X-Plimsoll-Kind")).collect()
}

/// The second of two mails answers the first.
fn answers(firing: &Received, resolved: &Received) {
    assert_eq!(resolved.header("In-Reply-To"), firing.header("Message-ID"));
    assert_ne!(resolved.header("Message-ID"), firing.header("Message-ID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_mail_is_decided() {
    let Some(mut scene) = Scene::start(Mode::Ok, "4s").await else { return };
    scene.daemon.kill().await;
    assert_eq!(scene.smtp.messages().await, [], "it was killed within the group's wait");
    scene.daemon = scene.daemon.started_again().await;
    assert_eq!(kinds(&scene.smtp.wait_for(1, PATIENCE).await), ["firing"]);
    let mails = scene.resolved().await;
    assert_eq!(kinds(&mails), ["firing", "resolved"]);
    answers(&mails[0], &mails[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_firing_and_data_while_the_relay_is_silent() {
    let Some(mut scene) = Scene::start(Mode::Mute, "100ms").await else { return };
    let (smtp, daemon) = (&scene.smtp, &scene.daemon);
    wait_until("the mailer waits for the greeting", PATIENCE, async || {
        (queued(daemon).await == 1 && smtp.connections().await == 1).then_some(())
    })
    .await;
    scene.daemon.kill().await;
    scene.smtp.set(Mode::Ok, 0).await;
    scene.daemon = scene.daemon.started_again().await;
    assert_eq!(kinds(&scene.smtp.wait_for(1, PATIENCE).await), ["firing"]);
    let mails = scene.resolved().await;
    assert_eq!(kinds(&mails), ["firing", "resolved"]);
    answers(&mails[0], &mails[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_firing_and_data_while_nobody_listens() {
    // Its certificates are made when it starts, and the configuration names them: so it is started twice.
    let Some(first) = SmtpServer::start().await else { return };
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    target.patch(&json!({"status": 500})).expect("known knobs");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("ca.pem");
    std::fs::copy(&first.ca, &ca).expect("it is ours");
    drop(first);
    let port = free_port();
    let mut daemon = fire(&target, &ca.display().to_string(), port, "100ms").await;
    wait_until("the mail was tried in vain", PATIENCE, async || {
        daemon.text("/metrics").await.lines().find_map(|line| {
            let failed = line.starts_with("plimsoll_notifications_failed_total{") && line.contains("\"connect\"");
            (failed && !line.ends_with(" 0")).then_some(())
        })
    })
    .await;
    assert_eq!(queued(&daemon).await, 1);
    daemon.kill().await;
    let smtp = SmtpServer::start_on(port).await.expect("it started before");
    std::fs::copy(&smtp.ca, &ca).expect("it is ours");
    let daemon = daemon.started_again().await;
    assert_eq!(kinds(&smtp.wait_for(1, PATIENCE).await), ["firing"]);
    let mails = resolved(&target, &smtp, &daemon).await;
    assert_eq!(kinds(&mails), ["firing", "resolved"]);
    answers(&mails[0], &mails[1]);
}

/// The same mail again, byte for byte, and then nothing but its answer.
fn twice_the_same(mails: &[Received]) {
    assert_eq!(kinds(mails), ["firing", "firing", "resolved"]);
    assert_eq!(mails[0].raw, mails[1].raw, "the same bytes");
    assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    answers(&mails[0], &mails[2]);
    assert!(mails.iter().all(|mail| mail.tls && mail.authenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_relay_has_it_and_before_it_says_so() {
    let Some(mut scene) = Scene::start(Mode::Hang, "100ms").await else { return };
    assert!(!scene.smtp.wait_for(1, PATIENCE).await[0].acknowledged);
    scene.daemon.kill().await;
    scene.smtp.set(Mode::Ok, 0).await;
    scene.daemon = scene.daemon.started_again().await;
    scene.smtp.wait_for(2, PATIENCE).await;
    twice_the_same(&scene.resolved().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_250_and_our_commit() {
    let Some(mut scene) = Scene::start(Mode::Late, "100ms").await else { return };
    scene.smtp.wait_for(1, PATIENCE).await;
    // It stands still while the 250 is on its way, so that it cannot write it down.
    scene.daemon.process.signal(rustix::process::Signal::STOP);
    scene.smtp.set(Mode::Ok, 0).await;
    let smtp = &scene.smtp;
    wait_until("the relay says 250", PATIENCE, async || smtp.messages().await[0].acknowledged.then_some(())).await;
    scene.daemon.kill().await;
    scene.daemon = scene.daemon.started_again().await;
    scene.smtp.wait_for(2, PATIENCE).await;
    twice_the_same(&scene.resolved().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_before_the_250_is_the_same_mail_again() {
    let Some(scene) = Scene::start(Mode::Drop, "100ms").await else { return };
    assert!(!scene.smtp.wait_for(1, PATIENCE).await[0].acknowledged);
    scene.smtp.set(Mode::Ok, 0).await;
    scene.smtp.wait_for(2, PATIENCE).await;
    twice_the_same(&scene.resolved().await);
}

const LEDGER: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
targets:
  api: {base_url: "@TARGET@"}
scenarios:
  tick:
    schedule: {cron: "*/2 * * * * *"}
    load: {executor: probe}
    steps:
      - get: /tick
    valid_if: [p99(send_lag) < 30s]
"#;

/// Milliseconds between due instants of `tick`.
const PERIOD: i64 = 2000;

/// Due instant to what became of it.
fn ledger(daemon: &Plimsoll) -> Vec<(i64, String)> {
    let file = daemon.data().join("plimsoll.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    database.busy_timeout(Duration::from_secs(5)).expect("it is open");
    let sql = "SELECT due_ms, fate || ' ' || detail FROM ledger WHERE scenario = 'tick' ORDER BY due_ms";
    let mut statement = database.prepare(sql).expect("good SQL");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn due(run: &Value) -> i64 {
    run["due_at"].as_str().expect("a time").parse::<Timestamp>().expect("a time").as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_run() {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    let daemon = Plimsoll::daemon(&LEDGER.replace("@TARGET@", &target.url())).await;
    wait_until("two runs", PATIENCE, async || (daemon.runs("tick").await.len() >= 2).then_some(())).await;
    target.patch(&json!({"hang": true})).expect("known knobs");
    let hung = async || {
        let log = target.log();
        (log.received > log.answered + log.unanswered).then_some(())
    };
    wait_until("a run waits for its answer", PATIENCE, hung).await;
    let killed_at = SystemClock.now().wall;
    let mut daemon = daemon;
    daemon.kill().await;
    let before = ledger(&daemon);
    let (killed, fate) = before.last().expect("it ran").clone();
    assert!(killed <= killed_at.as_millisecond() && fate.starts_with("ran "), "{before:?}");
    target.patch(&json!({"hang": false})).expect("known knobs");

    let mut daemon = daemon.started_again().await;
    let after = async || {
        let runs = daemon.runs("tick").await;
        (runs.iter().filter(|run| due(run) > killed).count() >= 3).then_some(())
    };
    wait_until("three runs after the kill", PATIENCE, after).await;
    let runs = daemon.runs("tick").await;
    daemon.process.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait_end(PATIENCE).await.success());

    let ledger = ledger(&daemon);
    assert!(ledger.starts_with(&before), "what was written stays: {before:?} {ledger:?}");
    let steps: BTreeSet<i64> = ledger.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(steps, BTreeSet::from([PERIOD]), "each due instant, once: {ledger:?}");
    for (_, fate) in &ledger {
        assert!(fate.starts_with("ran ") || fate == "skipped downtime", "{ledger:?}");
    }
    for run in &runs {
        let row = (due(run), format!("ran {}", run["run_id"].as_str().expect("an id")));
        assert!(ledger.contains(&row), "{row:?} {ledger:?}");
    }
    let instants: BTreeSet<i64> = runs.iter().map(due).collect();
    assert_eq!(instants.len(), runs.len(), "no instant has two runs");
    let verdict = runs.iter().find(|run| due(run) == killed).map(|run| run["verdict"].clone());
    assert_eq!(verdict, Some(json!("interrupted")), "the killed run is seen, and is nobody's fault");
    let ran = ledger.iter().filter(|(_, fate)| fate.starts_with("ran ")).count() as u64;
    assert_eq!(target.log().received, ran, "each instant that ran sent one request, the killed one too");
}
