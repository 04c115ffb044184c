//! The tables, and the way from each version to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::{Result, StoreError};

/// The step at index n leads from version n to n + 1. A step that was released is never changed.
const STEPS: &[&str] = &[r"
    CREATE TABLE runs (
        run_id   TEXT PRIMARY KEY,
        scenario TEXT NOT NULL CHECK (scenario <> ''),
        ended_ms INTEGER NOT NULL,
        verdict  TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_scenario ON runs (scenario, ended_ms, run_id);
    CREATE INDEX runs_by_end ON runs (ended_ms, run_id);

    CREATE TABLE ledger (
        scenario TEXT NOT NULL CHECK (scenario <> ''),
        due_ms   INTEGER NOT NULL,
        fate     TEXT NOT NULL CHECK (fate IN ('ran', 'skipped')),
        detail   TEXT NOT NULL,
        PRIMARY KEY (scenario, due_ms)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ledger_by_due ON ledger (due_ms);

    CREATE TABLE alerts (key TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE outbox (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        incident      TEXT NOT NULL,
        receiver      TEXT NOT NULL,
        recipient     TEXT NOT NULL CHECK (recipient <> ''),
        kind          TEXT NOT NULL,
        subject       TEXT NOT NULL,
        message_id    TEXT NOT NULL CHECK (message_id <> ''),
        bytes         BLOB NOT NULL,
        created_ms    INTEGER NOT NULL,
        state         TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'dead')),
        attempts      INTEGER NOT NULL,
        not_before_ms INTEGER NOT NULL,
        last_error    TEXT,
        sent_ms       INTEGER,
        changed_ms    INTEGER NOT NULL,
        UNIQUE (recipient, message_id)
    ) STRICT;
    CREATE INDEX outbox_queue ON outbox (incident, recipient, id) WHERE state = 'queued';
    CREATE INDEX outbox_by_change ON outbox (changed_ms) WHERE state <> 'queued';
"];

/// Sets the connection up and brings the database to this version.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    // Before the first table; lets `prune` give space back in small steps.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let found = version(connection)?;
    let known = (1_i64..).zip(STEPS).map(|(number, _)| number).last().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (number, step) in (1_i64..).zip(STEPS).skip(found as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Fails with [`StoreError::Corrupt`] if the pages do not hang together.
pub(super) fn check(connection: &Connection) -> Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt(verdict)) }
}

fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
