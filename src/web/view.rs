//! What the page and the API show, as plain values: the daemon's owner task fills them, once a second.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    model::{
        Name,
        run::{OutcomeCounts, RunSummary, Severity, Trigger, Verdict},
    },
    store::rows::{MailState, OutboxMail},
};

/// The state of the daemon at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct StatusView {
    /// Version of Plimsoll.
    pub version: Name,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// When this was written.
    pub at: Timestamp,
    /// The same on the monotonic clock: its age says whether the control loop is alive.
    #[serde(skip)]
    pub beat: Instant,
    /// The store is open, the configuration in force, and the daemon is not stopping.
    pub ready: bool,
    /// IANA zone of the times shown to people.
    pub timezone: Name,
    /// Why all load is stopped; `None` = it is not.
    pub paused: Option<String>,
    /// What the daemon itself suffers from (disk full, configuration refused), in sentences.
    pub troubles: Vec<String>,
    /// In the order of the configuration.
    pub scenarios: Vec<ScenarioView>,
    /// Loudest first, then oldest.
    pub firing: Vec<AlertView>,
    /// Mails by where they are on their way.
    pub outbox: OutboxView,
    /// The last mails, newest first; ten are enough.
    pub mails: Vec<MailView>,
    /// The last runs of all scenarios, newest first; ten are enough.
    pub runs: Vec<RunView>,
}

/// A scenario and how it fares.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioView {
    /// Its name.
    pub name: Name,
    /// In words.
    pub description: Option<String>,
    /// Name of its target.
    pub target: Name,
    /// Base URL of its target.
    pub url: String,
    /// The load model.
    pub executor: Name,
    /// In words: `*/5 * * * * UTC`, `every 30s`, `manual`.
    pub schedule: String,
    /// The last run.
    pub last: Option<RunView>,
    /// `None` = when a person says so.
    pub next_run: Option<Timestamp>,
    /// Runs going on now.
    pub running: u32,
    /// Unanswered requests now.
    pub in_flight: u64,
}

/// A finished run in one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunView {
    /// Its id.
    pub run_id: String,
    /// Name of its scenario.
    pub scenario: String,
    /// What started it.
    pub trigger: Trigger,
    /// What it came to.
    pub verdict: Verdict,
    /// Why, in words; empty for a pass.
    pub reasons: Vec<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Seconds.
    pub duration_s: f64,
    /// Requests planned: sent + dropped.
    pub planned: u64,
    /// Requests planned but not sent.
    pub dropped: u64,
    /// Sent requests by outcome.
    pub outcomes: OutcomeCounts,
    /// 95th percentile of the latency of ok requests, seconds; `None` without one.
    pub p95_s: Option<f64>,
    /// Rejected of all answered requests, 0 to 1; `None` without an answer.
    pub rejected_share: Option<f64>,
}

impl From<&RunSummary> for RunView {
    fn from(run: &RunSummary) -> Self {
        let answered = run.outcomes.answered();
        Self {
            run_id: run.run_id.clone(),
            scenario: run.scenario.clone(),
            trigger: run.trigger,
            verdict: run.verdict,
            reasons: run.reasons.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            duration_s: run.duration_s,
            planned: run.planned,
            dropped: run.dropped.values().sum(),
            outcomes: run.outcomes,
            p95_s: run.latency_s.get("ok").filter(|stats| stats.count > 0).map(|stats| stats.p95),
            rejected_share: (answered > 0).then(|| run.outcomes.rejected as f64 / answered as f64),
        }
    }
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    /// Name of its scenario.
    pub scenario: String,
    /// Name of the scenario's target.
    pub target: String,
    /// Name of the threshold, or `verdict`.
    pub alert: String,
    /// How loud it is.
    pub severity: Severity,
    /// What is wrong: the threshold as written, or a sentence.
    pub what: String,
    /// Since when it fires.
    pub since: Timestamp,
    /// Last value, in `unit`.
    pub value: Option<f64>,
    /// The limit, in `unit`.
    pub limit: Option<f64>,
    /// As in a run's thresholds: `s`, `ratio`, `B`, `1/s`, `B/s` or empty.
    pub unit: String,
    /// A page to open.
    pub runbook: Option<String>,
}

/// Mails by where they are on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OutboxView {
    /// To be sent.
    pub queued: u64,
    /// Accepted by the relay.
    pub sent: u64,
    /// Given up.
    pub dead: u64,
}

/// A mail in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailView {
    /// Its row in the outbox, and its address: `/mail/{id}`.
    pub id: i64,
    /// `firing`, `resolved`, `repeat`, …
    pub kind: String,
    /// Its subject.
    pub subject: String,
    /// One address.
    pub recipient: String,
    /// When it was decided.
    pub created: Timestamp,
    /// `queued`, `sent` or `dead`.
    pub state: &'static str,
    /// Attempts made.
    pub attempts: u32,
    /// When the relay accepted it.
    pub sent_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl From<&OutboxMail> for MailView {
    fn from(row: &OutboxMail) -> Self {
        Self {
            id: row.id,
            kind: row.mail.kind.clone(),
            subject: row.mail.subject.clone(),
            recipient: row.mail.recipient.clone(),
            created: row.mail.created,
            state: match row.state {
                MailState::Queued => "queued",
                MailState::Sent => "sent",
                MailState::Dead => "dead",
            },
            attempts: row.attempts,
            sent_at: row.sent_at,
            last_error: row.last_error.clone(),
        }
    }
}
