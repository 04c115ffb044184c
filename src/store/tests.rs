//! The store as its callers see it, on real files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use jiff::Timestamp;

use super::{
    Store, StoreError,
    rows::{Batch, Fate, LedgerRow, MailResult, MailState, NewMail, OutboxMail},
};
use crate::model::run::{RunSummary, Verdict};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).expect("in range")
}

fn summary(id: &str, scenario: &str, ended: i64, verdict: Verdict) -> RunSummary {
    let times = serde_json::json!({
        "count": 0, "min": 0.0, "mean": 0.0, "p50": 0.0, "p90": 0.0, "p95": 0.0, "p99": 0.0, "p999": 0.0, "max": 0.0
    });
    let document = serde_json::json!({
        "schema": "plimsoll/run/1", "run_id": id, "scenario": scenario, "target": "shop", "trigger": "every",
        "due_at": at(ended), "started_at": at(ended), "ended_at": at(ended), "duration_s": 0.0, "verdict": verdict,
        "reasons": [], "planned": 0, "sent": 0, "dropped": {},
        "outcomes": {"ok": 0, "rejected": 0, "failed": 0, "interrupted": 0},
        "rejected": {}, "failed": {}, "status": {}, "iterations": {"completed": 0, "failed": 0, "interrupted": 0},
        "iteration_s": times, "throughput_per_s": 0.0, "latency_s": {}, "service_time_s": {}, "send_lag_s": times,
        "timing_s": {}, "steps": {}, "groups": {}, "stats": {}, "thresholds": [],
        "generator": {
            "valid": true, "cpu_ratio": 0.0, "rss_bytes": 0, "open_fds": 0, "samples_lost": 0, "clock_steps": 0,
            "reasons": []
        },
        "limit": null, "recovery_s": null, "search": null, "plan": {}, "config_hash": "", "version": "", "seed": 7
    });
    serde_json::from_value(document).expect("a run")
}

fn run(id: &str, scenario: &str, ended: i64, verdict: Verdict) -> Batch {
    Batch { runs: vec![summary(id, scenario, ended, verdict)], ..Batch::default() }
}

fn ledger(scenario: &str, due: i64, fate: Fate) -> Batch {
    Batch { ledger: vec![LedgerRow { scenario: scenario.into(), due: at(due), fate }], ..Batch::default() }
}

fn fact(key: &str, value: Option<&str>) -> Batch {
    Batch { facts: vec![(key.to_owned(), value.map(str::to_owned))], ..Batch::default() }
}

fn mail(incident: &str, recipient: &str, id: &str) -> Batch {
    let mail = NewMail {
        incident: incident.to_owned(),
        receiver: "team".into(),
        recipient: recipient.to_owned(),
        kind: "firing".to_owned(),
        subject: format!("about {incident}"),
        message_id: format!("<{id}@plimsoll>"),
        bytes: id.as_bytes().to_vec(),
        created: at(100),
    };
    Batch { mails: vec![mail], ..Batch::default() }
}

fn open(dir: &Path) -> Store {
    let opened = Store::open(dir, at(0)).expect("a store");
    assert_eq!(opened.notes, Vec::<String>::new());
    opened.store
}

fn ids(runs: &[RunSummary]) -> Vec<&str> {
    runs.iter().map(|run| run.run_id.as_str()).collect()
}

fn texts(mails: &[OutboxMail]) -> Vec<String> {
    mails.iter().map(|mail| String::from_utf8_lossy(&mail.mail.bytes).into_owned()).collect()
}

async fn commit(store: &Store, batches: impl IntoIterator<Item = Batch>) {
    for batch in batches {
        store.commit(batch).await.expect("a commit");
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let store = open(&data);
    let mut batch = run("r1", "health", 10, Verdict::Pass);
    batch.append(ledger("health", 10, Fate::Ran("r1".to_owned())));
    batch.append(ledger("health", 20, Fate::Skipped("overlap".to_owned())));
    batch.append(mail("i1", "a@example.org", "m1"));
    batch.append(fact("paused", Some("yes")));
    batch.alerts.push(("health/verdict".to_owned(), Some("{}".to_owned())));
    commit(&store, [batch]).await;
    // What a kill would leave behind: the files as they are now.
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).expect("a directory");
    for file in fs::read_dir(&data).expect("files") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.join(file.file_name())).expect("a copy");
    }
    drop(store);
    for dir in [copy, data] {
        let store = open(&dir);
        let found = store.run("r1").await.expect("a query").expect("the run");
        assert_eq!(found, summary("r1", "health", 10, Verdict::Pass));
        assert_eq!(
            store.last_due().await.expect("a query").into_iter().collect::<Vec<_>>(),
            [("health".into(), at(20))]
        );
        let rows = store.ledger("health".into(), 10).await.expect("a query");
        assert_eq!(rows[0].fate, Fate::Skipped("overlap".to_owned()));
        assert_eq!(rows[1].fate, Fate::Ran("r1".to_owned()));
        assert_eq!(texts(&store.due_mails(at(100), 9).await.expect("a query")), ["m1"]);
        assert_eq!(store.facts().await.expect("a query")["paused"], "yes");
        assert_eq!(store.alert_states().await.expect("a query"), [("health/verdict".to_owned(), "{}".to_owned())]);
    }
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let store = Store::in_memory().expect("a store");
    let mut batch = fact("paused", Some("yes"));
    batch.append(ledger("", 1, Fate::Ran("r".to_owned())));
    let error = store.commit(batch).await.expect_err("a scenario has a name");
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(store.facts().await.expect("a query").is_empty());
    commit(&store, [fact("paused", Some("yes")), fact("paused", Some("no")), fact("other", None)]).await;
    assert_eq!(
        store.facts().await.expect("a query").into_iter().collect::<Vec<_>>(),
        [("paused".to_owned(), "no".to_owned())]
    );
    commit(&store, [fact("paused", None)]).await;
    assert!(store.facts().await.expect("a query").is_empty());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let error = Store::open(dir.path(), at(0)).expect_err("held");
    assert_eq!(error, StoreError::Held { dir: dir.path().to_owned(), pid: std::process::id().to_string() });
    let clone = store.clone();
    drop(store);
    assert!(matches!(Store::open(dir.path(), at(0)), Err(StoreError::Held { .. })), "one handle is left");
    clone.close_blocking().expect("closed");
    assert_eq!(clone.facts_blocking(), Err(StoreError::Closed));
    assert_eq!(clone.close_blocking(), Err(StoreError::Closed));
    drop(open(dir.path()));
}

#[test]
fn nobody_else_may_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("deep/data");
    let store = open(&data);
    store.commit_blocking(fact("a", Some("b"))).expect("a commit");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in ["plimsoll.db", "plimsoll.db-wal", "plimsoll.db-shm", "lock"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    drop(store);
    // Ours, and made readable by someone: tightened. Not ours: only said.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("chmod");
    drop(open(&data));
    assert_eq!(mode(&data), 0o700);
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("else"), "").expect("a file");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).expect("chmod");
    let opened = Store::open(&shared, at(0)).expect("a store");
    assert!(opened.notes[0].contains("can be read by others"), "{:?}", opened.notes);
    assert_eq!(mode(&shared), 0o755);
    // A link would have us write where someone else wants.
    let trap = dir.path().join("trap");
    fs::create_dir(&trap).expect("a directory");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), trap.join("lock")).expect("a link");
    assert!(matches!(Store::open(&trap, at(0)), Err(StoreError::Io(_))));
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn a_damaged_database_is_moved_aside() {
    let check = |damage: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("plimsoll.db");
        let store = open(dir.path());
        for number in 0..200 {
            store.commit_blocking(run(&format!("r{number}"), "s", number, Verdict::Pass)).expect("a commit");
        }
        store.close_blocking().expect("closed");
        damage(&file);
        let opened = Store::open(dir.path(), at(86_400)).expect("a fresh one");
        assert_eq!(opened.notes.len(), 1);
        let aside = dir.path().join("plimsoll.db.corrupt-19700102T000000Z");
        assert!(opened.notes[0].contains(aside.to_str().expect("text")), "{}", opened.notes[0]);
        assert!(aside.exists());
        assert_eq!(opened.store.recent_runs_blocking(None, 9), Ok(Vec::new()));
        drop(opened);
        drop(open(dir.path()));
    };
    check(&|file| fs::write(file, "this is not a database, but it is long enough to be looked at").expect("written"));
    check(&|file| {
        let mut bytes = fs::read(file).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 40_000].fill(0xa5);
        fs::write(file, bytes).expect("written");
    });
    check(&|file| {
        let bytes = fs::read(file).expect("read");
        fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
    });
}

#[test]
fn a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let file = dir.path().join("plimsoll.db");
    let connection = rusqlite::Connection::open(&file).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("set");
    drop(connection);
    let error = Store::open(dir.path(), at(0)).expect_err("too new");
    insta::assert_snapshot!(error, @"the database is of version 99, and this program knows versions up to 1: use the newer program");
    assert!(file.exists());
}

#[tokio::test]
async fn runs_by_scenario_and_verdict() {
    let store = Store::in_memory().expect("a store");
    commit(
        &store,
        [
            run("r1", "a", 10, Verdict::Pass),
            run("r2", "a", 20, Verdict::Fail),
            run("r3", "b", 15, Verdict::Pass),
            run("r4", "a", 20, Verdict::Pass),
            // Written again, as after a commit whose answer was lost.
            run("r4", "a", 20, Verdict::Pass),
        ],
    )
    .await;
    assert_eq!(ids(&store.recent_runs(None, 3).await.expect("a query")), ["r4", "r2", "r3"]);
    assert_eq!(ids(&store.recent_runs(Some("a".into()), 9).await.expect("a query")), ["r4", "r2", "r1"]);
    assert_eq!(ids(&store.last_good("a".into(), 9).await.expect("a query")), ["r4", "r1"]);
    assert_eq!(ids(&store.last_runs_by_scenario().await.expect("a query")), ["r4", "r3"]);
    assert_eq!(store.run("r9").await, Ok(None));
}

#[tokio::test]
async fn mails_of_an_incident_go_in_order() {
    let store = Store::in_memory().expect("a store");
    commit(
        &store,
        [
            mail("i1", "a@x", "fire"),
            mail("i1", "a@x", "resolve"),
            mail("i1", "b@x", "fire"),
            mail("i2", "a@x", "other"),
            // Decided again after a crash: the same mail to the same recipient.
            mail("i1", "a@x", "fire"),
        ],
    )
    .await;
    let due = |now| {
        let store = store.clone();
        async move { store.due_mails(at(now), 10).await.expect("a query") }
    };
    assert_eq!(store.next_mail_at().await, Ok(Some(at(100))));
    assert!(due(99).await.is_empty());
    let first = due(100).await;
    assert_eq!(first.iter().map(|mail| mail.mail.recipient.as_str()).collect::<Vec<_>>(), ["a@x", "b@x", "a@x"]);
    assert_eq!(texts(&first), ["fire", "fire", "other"]);
    let result = |id, result| {
        let store = store.clone();
        async move { store.mail_result(id, result, at(110)).await.expect("noted") }
    };
    // A mail that is to be tried again holds back the one after it.
    result(first[0].id, MailResult::Retry { not_before: at(200), error: "451 later".to_owned() }).await;
    result(first[1].id, MailResult::Sent { at: at(110) }).await;
    result(first[2].id, MailResult::Sent { at: at(110) }).await;
    assert!(due(199).await.is_empty());
    assert_eq!(store.next_mail_at().await, Ok(Some(at(200))));
    let again = due(200).await;
    assert_eq!((again[0].id, again[0].attempts, again[0].last_error.as_deref()), (first[0].id, 1, Some("451 later")));
    assert_eq!(again[0].mail, first[0].mail);
    // One that is given up does not.
    result(first[0].id, MailResult::Dead { error: "550 no".to_owned() }).await;
    assert_eq!(texts(&due(200).await), ["resolve"]);
    let counts = store.outbox_counts().await.expect("a query");
    assert_eq!((counts.queued, counts.sent, counts.dead), (1, 2, 1));
    // A late answer changes nothing.
    result(first[0].id, MailResult::Sent { at: at(300) }).await;
    let dead = store.mail(first[0].id).await.expect("a query").expect("the mail");
    assert_eq!((dead.state, dead.sent_at, dead.attempts), (MailState::Dead, None, 2));
    assert_eq!(texts(&store.recent_mails(2).await.expect("a query")), ["other", "fire"]);
}

#[tokio::test]
async fn pruned_by_age() {
    let store = Store::in_memory().expect("a store");
    for number in 0..1200 {
        let mut batch = run(&format!("r{number:04}"), "busy", number, Verdict::Pass);
        batch.append(ledger("busy", number, Fate::Ran(String::new())));
        batch.append(mail("i", "a@x", &number.to_string()));
        commit(&store, [batch]).await;
    }
    commit(&store, [run("rare", "rare", 0, Verdict::Pass), ledger("rare", 0, Fate::Ran(String::new()))]).await;
    commit(&store, [Batch { alerts: vec![("k".to_owned(), Some("s".to_owned()))], ..Batch::default() }]).await;
    for id in 1..=600 {
        store.mail_result(id, MailResult::Sent { at: at(500) }, at(500)).await.expect("noted");
    }
    let pruned = store.prune(at(2000), Duration::from_secs(1000), u64::MAX).await.expect("pruned");
    // The latest of each scenario stay, and so do queued mails.
    assert_eq!((pruned.runs, pruned.ledger, pruned.mails), (1000, 1000, 600));
    assert_eq!(store.last_due().await.expect("a query").len(), 2);
    assert_eq!(store.recent_runs(Some("rare".into()), 9).await.expect("a query").len(), 1);
    assert_eq!(store.outbox_counts().await.expect("a query").queued, 600);
    let again = store.prune(at(1_000_000), Duration::from_secs(1), u64::MAX).await.expect("pruned");
    assert_eq!((again.runs, again.ledger, again.mails), (199, 199, 0));
    assert_eq!(store.alert_states().await.expect("a query").len(), 1);
}

#[tokio::test]
async fn pruned_by_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let runs = |from: i64| {
        let runs = (from..from + 1000).map(|number| summary(&format!("r{number:05}"), "s", number, Verdict::Pass));
        Batch { runs: runs.collect(), ..Batch::default() }
    };
    commit(&store, [runs(0), runs(1000), runs(2000), ledger("s", 1, Fate::Ran(String::new()))]).await;
    let limit = 2_000_000;
    let pruned = store.prune(at(3000), Duration::from_secs(1_000_000), limit).await.expect("pruned");
    assert!((500..3000).contains(&pruned.runs), "{pruned:?}");
    assert_eq!((pruned.ledger, pruned.mails), (0, 0));
    assert_eq!(ids(&store.recent_runs(None, 1).await.expect("a query")), ["r02999"]);
    store.close().await.expect("closed");
    let size = fs::metadata(dir.path().join("plimsoll.db")).expect("there").len();
    assert!(size <= limit, "the file has shrunk as well: {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move { store.commit(ledger("s", number, Fate::Ran(number.to_string()))).await });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.expect("no panic"), Ok(()));
    }
    drop(store);
    let rows = open(dir.path()).ledger("s".into(), 2000).await.expect("a query");
    assert_eq!(rows.len(), 1000);
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("data"));
    let other = dir.path().join("other");
    fs::create_dir(&other).expect("a directory");
    for value in ["first", "second"] {
        commit(&store, [fact("a", Some(value))]).await;
        store.backup(other.join("plimsoll.db")).await.expect("a backup");
    }
    assert_eq!(fs::read_dir(&other).expect("files").count(), 1, "nothing is left lying about");
    assert_eq!(open(&other).facts().await.expect("a query")["a"], "second");
    assert!(matches!(store.backup(dir.path().join("no/such")).await, Err(StoreError::Io(_))));
    let memory = Store::in_memory().expect("a store");
    commit(&memory, [fact("a", Some("memory"))]).await;
    memory.backup(dir.path().join("memory.db")).await.expect("a backup");
}

#[tokio::test]
async fn a_relay_that_takes_mails_again_is_given_those_that_wait() {
    let store = Store::in_memory().expect("a store");
    commit(&store, [mail("i1", "a@x", "old"), mail("i2", "b@x", "new")]).await;
    let first = store.due_mails(at(100), 10).await.expect("a query");
    let retry = MailResult::Retry { not_before: at(1000), error: "535 wrong password".to_owned() };
    store.mail_result(first[0].id, retry.clone(), at(110)).await.expect("noted");
    // Too soon after its own last try: a mail that only its recipient defers is not tried at every other's success.
    store.mail_result(first[1].id, MailResult::Sent { at: at(120) }, at(120)).await.expect("noted");
    assert_eq!(store.next_mail_at().await, Ok(Some(at(1000))));
    commit(&store, [mail("i3", "b@x", "newer")]).await;
    let newer = store.due_mails(at(200), 10).await.expect("a query");
    assert_eq!(texts(&newer), ["newer"]);
    store.mail_result(newer[0].id, MailResult::Sent { at: at(200) }, at(200)).await.expect("noted");
    assert_eq!(texts(&store.due_mails(at(200), 10).await.expect("a query")), ["old"]);
    // A start makes everything due.
    store.mail_result(first[0].id, retry, at(210)).await.expect("noted");
    assert!(store.due_mails(at(211), 10).await.expect("a query").is_empty());
    store.hurry(at(211)).await.expect("written");
    assert_eq!(texts(&store.due_mails(at(211), 10).await.expect("a query")), ["old"]);
}
