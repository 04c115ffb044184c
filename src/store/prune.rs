//! Keeping the database small without forgetting what is still needed.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Result, queries::number};

/// Rows per table and step: a few milliseconds, so that nobody waits long behind a prune.
const STEP: u32 = 500;

/// How many rows were deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Finished runs.
    pub runs: u64,
    /// Ledger rows.
    pub ledger: u64,
    /// Mails that were sent or given up.
    pub mails: u64,
}

impl Pruned {
    pub(super) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.ledger += other.ledger;
        self.mails += other.mails;
    }
}

/// All but the latest run of each scenario, oldest first.
const RUNS: &str = "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM runs AS old WHERE ended_ms < ?1 AND EXISTS \
    (SELECT 1 FROM runs WHERE scenario = old.scenario AND (ended_ms, run_id) > (old.ended_ms, old.run_id)) \
    ORDER BY ended_ms, run_id LIMIT ?2)";

/// All but the latest row of each scenario, oldest first: a restart counts from there.
const LEDGER: &str = "DELETE FROM ledger WHERE (scenario, due_ms) IN (SELECT scenario, due_ms FROM ledger AS old \
    WHERE due_ms < ?1 AND EXISTS (SELECT 1 FROM ledger WHERE scenario = old.scenario AND due_ms > old.due_ms) \
    ORDER BY due_ms LIMIT ?2)";

/// What is on its way stays.
const MAILS: &str = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 'queued' AND changed_ms < ?1 \
    ORDER BY changed_ms LIMIT ?2)";

/// Deletes some of what is older than `before`, or, if nothing is, some of the oldest while more than `max_bytes` are in
/// use. Nothing deleted means that it is done.
pub(super) fn step(connection: &mut Connection, before: Timestamp, max_bytes: u64) -> Result<Pruned> {
    let mut pruned = delete(connection, before.as_millisecond(), &[RUNS, LEDGER, MAILS])?;
    // Runs take the room; the rest goes only when no run is left to delete.
    for sql in [RUNS, MAILS, LEDGER] {
        if pruned == Pruned::default() && used_bytes(connection)? > max_bytes {
            pruned = delete(connection, i64::MAX, &[sql])?;
        }
    }
    if pruned != Pruned::default() {
        // Gives free pages back to the file system; steps through a result row per page.
        let mut vacuum = connection.prepare("PRAGMA incremental_vacuum(2000)")?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(pruned)
}

fn delete(connection: &mut Connection, before_ms: i64, from: &[&str]) -> Result<Pruned> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = |sql: &str| -> rusqlite::Result<u64> {
        Ok(if from.contains(&sql) { transaction.execute(sql, params![before_ms, STEP])? as u64 } else { 0 })
    };
    let pruned = Pruned { runs: rows(RUNS)?, ledger: rows(LEDGER)?, mails: rows(MAILS)? };
    transaction.commit()?;
    Ok(pruned)
}

/// Bytes in pages that hold something.
fn used_bytes(connection: &Connection) -> Result<u64> {
    let pages = number(connection, "page_count")? - number(connection, "freelist_count")?;
    Ok(pages.unsigned_abs() * number(connection, "page_size")?.unsigned_abs())
}
