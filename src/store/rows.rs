//! What is stored, as plain values: the pure rooms make them, the store writes them in one commit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Name, run::RunSummary};

/// Written in one transaction: all of it is durable, or none.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Finished runs.
    pub runs: Vec<RunSummary>,
    /// What became of due instants.
    pub ledger: Vec<LedgerRow>,
    /// Alert state by key; `None` deletes.
    pub alerts: Vec<(String, Option<String>)>,
    /// Mails to be sent.
    pub mails: Vec<NewMail>,
    /// Small facts that outlive a restart (`paused`), by key; `None` deletes.
    pub facts: Vec<(String, Option<String>)>,
}

impl Batch {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.ledger.is_empty()
            && self.alerts.is_empty()
            && self.mails.is_empty()
            && self.facts.is_empty()
    }

    /// Adds everything that `other` holds.
    pub fn append(&mut self, mut other: Self) {
        self.runs.append(&mut other.runs);
        self.ledger.append(&mut other.ledger);
        self.alerts.append(&mut other.alerts);
        self.mails.append(&mut other.mails);
        self.facts.append(&mut other.facts);
    }
}

/// What became of one due instant: every one ends as exactly one of ran or skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The scenario.
    pub scenario: Name,
    /// The instant it was due.
    pub due: Timestamp,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a due instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A run started, with this id.
    Ran(String),
    /// `overlap`, `downtime`, `paused`, `capacity` or `shutdown`.
    Skipped(String),
}

/// A mail with its bytes frozen, to be sent to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMail {
    /// Mails of one incident to one recipient are sent in order.
    pub incident: String,
    /// Name of the receiver.
    pub receiver: Name,
    /// One address.
    pub recipient: String,
    /// `firing`, `resolved`, `repeat`, …
    pub kind: String,
    /// For lists and pages.
    pub subject: String,
    /// With angle brackets; the same at every attempt.
    pub message_id: String,
    /// The whole message as it goes over the wire (CRLF, not yet dot-stuffed).
    pub bytes: Vec<u8>,
    /// When it was decided.
    pub created: Timestamp,
}

/// A mail in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMail {
    /// Row id; grows.
    pub id: i64,
    /// What is sent.
    pub mail: NewMail,
    /// `queued`, `sent` or `dead`.
    pub state: MailState,
    /// Attempts made.
    pub attempts: u32,
    /// Not tried again before.
    pub not_before: Timestamp,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the relay accepted it.
    pub sent_at: Option<Timestamp>,
}

/// Where a mail is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// To be sent.
    Queued,
    /// Accepted by the relay.
    Sent,
    /// Given up.
    Dead,
}

/// What came of an attempt to send a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailResult {
    /// The relay accepted it.
    Sent {
        /// When.
        at: Timestamp,
    },
    /// To be tried again.
    Retry {
        /// Not before.
        not_before: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// Given up.
    Dead {
        /// Why.
        error: String,
    },
}
