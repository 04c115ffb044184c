//! Runs, ledger, alert state and facts: rows to values and back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Result, StoreError, outbox,
    rows::{Batch, Fate, LedgerRow},
};
use crate::model::{Name, run::RunSummary};

/// Writes a batch; the caller holds the transaction.
pub(super) fn write(connection: &Connection, batch: &Batch) -> Result<()> {
    for run in &batch.runs {
        let document = serde_json::to_string(run).map_err(|error| StoreError::Refused(error.to_string()))?;
        let sql = "INSERT INTO runs (run_id, scenario, ended_ms, verdict, document) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (run_id) DO UPDATE SET scenario = excluded.scenario, ended_ms = excluded.ended_ms, \
                   verdict = excluded.verdict, document = excluded.document";
        let ended = run.ended_at.as_millisecond();
        connection.prepare_cached(sql)?.execute(params![
            run.run_id,
            run.scenario,
            ended,
            run.verdict.as_str(),
            document
        ])?;
    }
    for row in &batch.ledger {
        let (fate, detail) = match &row.fate {
            Fate::Ran(run) => ("ran", run),
            Fate::Skipped(reason) => ("skipped", reason),
        };
        // A clock that was far ahead and was set back makes instants come again: the later word counts.
        let sql = "INSERT INTO ledger (scenario, due_ms, fate, detail) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (scenario, due_ms) DO UPDATE SET fate = excluded.fate, detail = excluded.detail";
        connection.prepare_cached(sql)?.execute(params![&*row.scenario, row.due.as_millisecond(), fate, detail])?;
    }
    for (key, state) in &batch.alerts {
        let put = "INSERT INTO alerts VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET state = excluded.state";
        set(connection, put, "DELETE FROM alerts WHERE key = ?1", key, state.as_deref())?;
    }
    for (key, value) in &batch.facts {
        let put = "INSERT INTO facts VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        set(connection, put, "DELETE FROM facts WHERE key = ?1", key, value.as_deref())?;
    }
    batch.mails.iter().try_for_each(|mail| outbox::queue(connection, mail))
}

fn set(connection: &Connection, put: &str, delete: &str, key: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(value) => connection.prepare_cached(put)?.execute([key, value])?,
        None => connection.prepare_cached(delete)?.execute([key])?,
    };
    Ok(())
}

/// Stored milliseconds as an instant; what is out of range was not written by us and becomes the epoch.
pub(super) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// Documents to runs. One that a different version wrote in a form not understood here is left out, and said so.
fn runs(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<RunSummary>> {
    let mut statement = connection.prepare_cached(sql)?;
    let documents = statement.query_map(parameters, |row| row.get::<_, String>(0))?;
    let mut runs = Vec::new();
    for document in documents {
        match serde_json::from_str(&document?) {
            Ok(run) => runs.push(run),
            Err(error) => tracing::warn!(%error, "a stored run is not understood and is left out"),
        }
    }
    Ok(runs)
}

pub(super) fn recent_runs(connection: &Connection, scenario: Option<&str>, limit: u32) -> Result<Vec<RunSummary>> {
    match scenario {
        None => runs(connection, "SELECT document FROM runs ORDER BY ended_ms DESC, run_id DESC LIMIT ?1", [limit]),
        Some(scenario) => {
            let sql = "SELECT document FROM runs WHERE scenario = ?1 ORDER BY ended_ms DESC, run_id DESC LIMIT ?2";
            runs(connection, sql, params![scenario, limit])
        }
    }
}

pub(super) fn last_good(connection: &Connection, scenario: &str, limit: u32) -> Result<Vec<RunSummary>> {
    let sql = "SELECT document FROM runs WHERE scenario = ?1 AND verdict = 'pass' \
               ORDER BY ended_ms DESC, run_id DESC LIMIT ?2";
    runs(connection, sql, params![scenario, limit])
}

pub(super) fn run(connection: &Connection, id: &str) -> Result<Option<RunSummary>> {
    Ok(runs(connection, "SELECT document FROM runs WHERE run_id = ?1", [id])?.pop())
}

pub(super) fn last_runs_by_scenario(connection: &mut Connection) -> Result<Vec<RunSummary>> {
    let sql = "SELECT (SELECT document FROM runs WHERE scenario = each.scenario \
               ORDER BY ended_ms DESC, run_id DESC LIMIT 1) \
               FROM (SELECT DISTINCT scenario FROM runs) AS each ORDER BY each.scenario";
    runs(connection, sql, [])
}

pub(super) fn last_due(connection: &mut Connection) -> Result<BTreeMap<Name, Timestamp>> {
    let mut statement = connection.prepare("SELECT scenario, max(due_ms) FROM ledger GROUP BY scenario")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?.into(), instant(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn ledger(connection: &Connection, scenario: &str, limit: u32) -> Result<Vec<LedgerRow>> {
    let sql = "SELECT scenario, due_ms, fate, detail FROM ledger WHERE scenario = ?1 ORDER BY due_ms DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![scenario, limit], ledger_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn ledger_row(row: &Row<'_>) -> rusqlite::Result<LedgerRow> {
    let (fate, detail): (String, String) = (row.get(2)?, row.get(3)?);
    let fate = if fate == "ran" { Fate::Ran(detail) } else { Fate::Skipped(detail) };
    Ok(LedgerRow { scenario: row.get::<_, String>(0)?.into(), due: instant(row.get(1)?), fate })
}

pub(super) fn alert_states(connection: &mut Connection) -> Result<Vec<(String, String)>> {
    let mut statement = connection.prepare("SELECT key, state FROM alerts ORDER BY key")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn facts(connection: &mut Connection) -> Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare("SELECT key, value FROM facts")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A number of pages, or the like.
pub(super) fn number(connection: &Connection, pragma: &str) -> Result<i64> {
    let found = connection.pragma_query_value(None, pragma, |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}
