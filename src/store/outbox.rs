//! Mails on their way: in order within an incident, each once per recipient and Message-ID.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    Result,
    queries::instant,
    rows::{MailResult, MailState, NewMail, OutboxMail},
};

/// How full the outbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// To be sent.
    pub queued: u64,
    /// Accepted by the relay, of those that are still kept.
    pub sent: u64,
    /// Given up.
    pub dead: u64,
}

const COLUMNS: &str = "id, incident, receiver, recipient, kind, subject, message_id, bytes, created_ms, state, \
                       attempts, not_before_ms, last_error, sent_ms";

/// Of each incident and recipient the oldest mail that is queued.
const HEADS: &str = "SELECT min(id) FROM outbox WHERE state = 'queued' GROUP BY incident, recipient";

pub(super) fn queue(connection: &Connection, mail: &NewMail) -> Result<()> {
    let sql = "INSERT INTO outbox (incident, receiver, recipient, kind, subject, message_id, bytes, created_ms, state, \
               attempts, not_before_ms, changed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', 0, ?8, ?8) \
               ON CONFLICT (recipient, message_id) DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        mail.incident,
        &*mail.receiver,
        mail.recipient,
        mail.kind,
        mail.subject,
        mail.message_id,
        mail.bytes,
        mail.created.as_millisecond()
    ])?;
    Ok(())
}

pub(super) fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<OutboxMail>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox WHERE id IN ({HEADS}) AND not_before_ms <= ?1 ORDER BY not_before_ms, id LIMIT ?2"
    );
    mails(connection, &sql, params![now.as_millisecond(), limit])
}

pub(super) fn next_at(connection: &mut Connection) -> Result<Option<Timestamp>> {
    let sql = format!("SELECT min(not_before_ms) FROM outbox WHERE id IN ({HEADS})");
    let next: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(next.map(instant))
}

pub(super) fn note_result(connection: &Connection, id: i64, result: &MailResult, now: Timestamp) -> Result<()> {
    let now = now.as_millisecond();
    match result {
        MailResult::Sent { at } => connection.execute(
            "UPDATE outbox SET state = 'sent', attempts = attempts + 1, sent_ms = ?2, last_error = NULL, \
             changed_ms = ?3 WHERE id = ?1 AND state = 'queued'",
            params![id, at.as_millisecond(), now],
        ),
        MailResult::Retry { not_before, error } => connection.execute(
            "UPDATE outbox SET attempts = attempts + 1, not_before_ms = ?2, last_error = ?3, changed_ms = ?4 \
             WHERE id = ?1 AND state = 'queued'",
            params![id, not_before.as_millisecond(), error, now],
        ),
        MailResult::Dead { error } => connection.execute(
            "UPDATE outbox SET state = 'dead', attempts = attempts + 1, last_error = ?2, changed_ms = ?3 \
             WHERE id = ?1 AND state = 'queued'",
            params![id, error, now],
        ),
    }?;
    if let MailResult::Sent { .. } = result {
        // The relay takes mails: what was tried over a minute ago and waits for another try need wait no longer.
        connection.execute(
            "UPDATE outbox SET not_before_ms = ?2 WHERE state = 'queued' AND not_before_ms > ?2 \
             AND changed_ms <= ?2 - 60000 AND receiver = (SELECT receiver FROM outbox WHERE id = ?1)",
            params![id, now],
        )?;
    }
    Ok(())
}

/// Makes every queued mail due: what kept it back may be over, since somebody has started us anew.
pub(super) fn hurry(connection: &Connection, now: Timestamp) -> Result<()> {
    let sql = "UPDATE outbox SET not_before_ms = ?1 WHERE state = 'queued' AND not_before_ms > ?1";
    connection.execute(sql, params![now.as_millisecond()])?;
    Ok(())
}

pub(super) fn counts(connection: &mut Connection) -> Result<OutboxCounts> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'sent'), \
               count(*) FILTER (WHERE state = 'dead') FROM outbox";
    let [queued, sent, dead] =
        connection.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?].map(i64::unsigned_abs)))?;
    Ok(OutboxCounts { queued, sent, dead })
}

pub(super) fn recent(connection: &Connection, limit: u32) -> Result<Vec<OutboxMail>> {
    mails(connection, &format!("SELECT {COLUMNS} FROM outbox ORDER BY id DESC LIMIT ?1"), [limit])
}

pub(super) fn one(connection: &Connection, id: i64) -> Result<Option<OutboxMail>> {
    Ok(mails(connection, &format!("SELECT {COLUMNS} FROM outbox WHERE id = ?1"), [id])?.pop())
}

fn mails(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<OutboxMail>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, mail)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn mail(row: &Row<'_>) -> rusqlite::Result<OutboxMail> {
    let state: String = row.get(9)?;
    let sent: Option<i64> = row.get(13)?;
    Ok(OutboxMail {
        id: row.get(0)?,
        mail: NewMail {
            incident: row.get(1)?,
            receiver: row.get::<_, String>(2)?.into(),
            recipient: row.get(3)?,
            kind: row.get(4)?,
            subject: row.get(5)?,
            message_id: row.get(6)?,
            bytes: row.get(7)?,
            created: instant(row.get(8)?),
        },
        state: match state.as_str() {
            "queued" => MailState::Queued,
            "sent" => MailState::Sent,
            _ => MailState::Dead,
        },
        attempts: row.get(10)?,
        not_before: instant(row.get(11)?),
        last_error: row.get(12)?,
        sent_at: sent.map(instant),
    })
}
