//! A finished run as one document: what `--json` writes, the store keeps, the judge reads back and a mail quotes.
//!
//! The field names are those of the published form `plimsoll/run/1`. Times are seconds, sizes bytes, shares 0 to 1.

mod event;

mod generator;

use std::collections::BTreeMap;

pub use event::{EventReport, EventResult, HookCounts, UndoReport};
pub use generator::{Environment, GeneratorReport};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The `schema` field of every document written.
pub const SCHEMA: &str = "plimsoll/run/1";

/// The reason of a run that was ended early by somebody.
pub const STOPPED: &str = "stopped by a person or a signal before its planned end";

/// What a run came to. The order is that of precedence when several apply to parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every threshold held.
    Pass,
    /// A threshold was breached.
    Fail,
    /// The generator was late or lost samples: what it measured cannot be trusted.
    Invalid,
    /// Nothing was measured.
    NoData,
    /// Stopped by a person or a signal.
    Interrupted,
}

impl Verdict {
    /// All verdicts, in the order in which tables show them.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Fail, Self::Invalid, Self::NoData, Self::Interrupted];

    /// The word used in JSON, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Invalid => "invalid",
            Self::NoData => "no_data",
            Self::Interrupted => "interrupted",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A cron expression came due.
    Cron,
    /// An `every` period came due.
    Every,
    /// A person: `run`, `trigger` or the API.
    Manual,
    /// Another scenario ended.
    After,
    /// Always running.
    Continuous,
}

/// What a threshold came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdResult {
    /// It held.
    Pass,
    /// Between the warning and the failing limit.
    Warn,
    /// It was breached.
    Fail,
    /// There was nothing to judge.
    NoData,
    /// Not judged, and decides nothing (a baseline without history).
    Skipped,
}

/// How loud a breach is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look today.
    Warning,
    /// Get up.
    #[default]
    Critical,
}

impl Severity {
    /// The word used in configuration, mails and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Counts by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Answered as wanted.
    pub ok: u64,
    /// Refused by the target.
    pub rejected: u64,
    /// Ended in any other way.
    pub failed: u64,
    /// Cut by a person, a signal or an abort.
    pub interrupted: u64,
}

impl OutcomeCounts {
    /// `ok + rejected + failed`: what rates are shares of.
    pub fn answered(&self) -> u64 {
        self.ok + self.rejected + self.failed
    }
}

/// A distribution of times, in seconds; quantiles are upper bounds of a two-digit histogram, min/max/mean exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeStats {
    /// Number of values.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// Iterations by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IterationCounts {
    /// Every step was reached and none ended the iteration.
    pub completed: u64,
    /// A failed or rejected step ended it.
    pub failed: u64,
    /// Cut by a person, a signal or an abort.
    pub interrupted: u64,
}

/// Figures of one step, or of one group (`level=last`, `part=over`, …).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStats {
    /// Requests sent.
    pub sent: u64,
    /// By outcome.
    pub outcomes: OutcomeCounts,
    /// Latency by outcome, from the intended instant.
    pub latency_s: BTreeMap<String, TimeStats>,
    /// Iterations; of a step there are none.
    #[serde(default)]
    pub iterations: IterationCounts,
    /// Length of completed iterations.
    #[serde(default)]
    pub iteration_s: TimeStats,
    /// From the first intended instant to the last end; absent where no iteration was of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_s: Option<f64>,
    /// Requests that ended ok, per second of `elapsed_s`; of a phase of arrivals, of its planned length at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_per_s: Option<f64>,
    /// Its streamed answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamSummary>,
}

/// Streamed answers that ended ok.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Intended instant to first token.
    pub ttft_s: TimeStats,
    /// Between tokens.
    pub itl_s: TimeStats,
    /// Per token after the first one, answer by answer.
    pub tpot_s: TimeStats,
    /// Tokens of an answer.
    pub tokens: TimeStats,
    /// Tokens per second of service time, answer by answer.
    pub tokens_per_s: TimeStats,
    /// Tokens of all answers.
    pub tokens_total: u64,
    /// Waits for a token that were too long, those of answers that did not end ok included.
    pub stalls: u64,
}

/// A custom metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricSummary {
    /// A share.
    Rate {
        /// How often it was true.
        count: u64,
        /// How often it was asked.
        of: u64,
        /// `count / of`; absent where it was never asked.
        ratio: Option<f64>,
    },
    /// Numbers.
    Trend {
        /// As [`Unit`](super::units::Unit) writes it.
        unit: String,
        /// How they are distributed.
        values: TimeStats,
    },
}

/// What was measured within the measured window, where that is not all of it: warm-up and ramps are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredSummary {
    /// Length of the window.
    pub window_s: f64,
    /// Requests sent in it.
    pub sent: u64,
    /// By outcome.
    pub outcomes: OutcomeCounts,
    /// Requests that ended ok, per second of the window.
    pub throughput_per_s: f64,
    /// Latency by outcome.
    pub latency_s: BTreeMap<String, TimeStats>,
}

/// A figure of the target, read while the run went on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatSummary {
    /// Unit of the values: as [`Unit`](super::units::Unit) writes it: `B`, `s`, `ratio`, …, empty for a count.
    pub unit: String,
    /// Successful readings.
    pub samples: u64,
    /// Failed readings.
    #[serde(default)]
    pub failed: u64,
    /// First value.
    pub first: Option<f64>,
    /// Last value.
    pub last: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Median of the last tenth against the first tenth, minus one.
    pub growth_ratio: Option<f64>,
    /// Theil–Sen slope, per second.
    pub slope_per_s: Option<f64>,
    /// `leak`, `none` or `not_enough_data`.
    pub trend: String,
}

/// One judged threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdReport {
    /// As written.
    pub expr: String,
    /// Its name, or the slug of what it measures.
    pub name: String,
    /// Measured value, in `unit`; absent without data.
    pub value: Option<f64>,
    /// The limit, in `unit`.
    pub limit: Option<f64>,
    /// `s`, `ratio`, `B`, `1/s`, `B/s` or empty (a count).
    pub unit: String,
    /// Distance to the limit: 1 − value/limit for a ceiling, value/limit − 1 for a floor; below 0 is a breach.
    pub margin_ratio: Option<f64>,
    /// What it came to.
    pub result: ThresholdResult,
    /// How loud a breach is.
    pub severity: Severity,
    /// Added by default rather than written by the user.
    #[serde(default)]
    pub implicit: bool,
    /// Runs in a row that must breach before the alert fires; gates the alert, never the verdict.
    #[serde(default = "one")]
    pub for_runs: u32,
    /// A page to open when it is breached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// What a breach means, or what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A threshold with `abort_on_fail` ended the run before its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aborted {
    /// Its name.
    pub threshold: String,
    /// Its expression, as written.
    pub expr: String,
    /// Seconds after the start of the load.
    pub at_s: f64,
}

/// The first request that did not go well, for the mail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FailureSample {
    /// Name of the step.
    pub step: String,
    /// `rejected` or `failed`.
    pub outcome: String,
    /// The reason's name.
    pub reason: String,
    /// Request line, secrets redacted.
    pub request: String,
    /// Status, if there was an answer.
    pub status: Option<u16>,
    /// What happened, in words (at most 300 characters).
    pub detail: String,
    /// The start of the answer's body, at most 1 KiB, control characters replaced.
    pub body: String,
    /// Seconds after the start of the run.
    pub at_s: f64,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// [`SCHEMA`].
    pub schema: String,
    /// UUIDv7: unique, and sorts by time.
    pub run_id: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the target.
    pub target: String,
    /// What started it.
    pub trigger: Trigger,
    /// The instant it was planned for.
    pub due_at: Timestamp,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended, hooks included.
    pub ended_at: Timestamp,
    /// `ended_at − started_at`.
    pub duration_s: f64,
    /// What it came to.
    pub verdict: Verdict,
    /// Why, in words; empty for a pass.
    pub reasons: Vec<String>,
    /// What ended it early, if a threshold did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Aborted>,
    /// Requests planned: sent + dropped.
    pub planned: u64,
    /// Requests sent: ok + rejected + failed + interrupted.
    pub sent: u64,
    /// Requests planned but not sent, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Sent requests by outcome.
    pub outcomes: OutcomeCounts,
    /// Rejected requests by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Failed requests by reason.
    pub failed: BTreeMap<String, u64>,
    /// Answers by HTTP status.
    pub status: BTreeMap<String, u64>,
    /// Iterations by how they ended.
    pub iterations: IterationCounts,
    /// Length of completed iterations, pauses between steps included.
    pub iteration_s: TimeStats,
    /// Requests that ended ok, per second of the measured window.
    pub throughput_per_s: f64,
    /// Intended instant to last byte, by outcome.
    pub latency_s: BTreeMap<String, TimeStats>,
    /// First byte written to last byte read, by outcome.
    pub service_time_s: BTreeMap<String, TimeStats>,
    /// Intended instant to the hand-over to the connection queue: our own lateness.
    pub send_lag_s: TimeStats,
    /// blocked, dns, connect, tls, ttfb, transfer.
    pub timing_s: BTreeMap<String, TimeStats>,
    /// By step.
    pub steps: BTreeMap<String, GroupStats>,
    /// By group (`level=last`, `part=over`, …).
    pub groups: BTreeMap<String, GroupStats>,
    /// The target's own figures.
    pub stats: BTreeMap<String, StatSummary>,
    /// Every threshold, judged.
    pub thresholds: Vec<ThresholdReport>,
    /// How the generator itself fared.
    pub generator: GeneratorReport,
    /// Hook requests (`before:`, `after:`) that went well and that did not.
    #[serde(default)]
    pub hooks: HookCounts,
    /// Requests of steps with `until` before their final answer: sent, but in no count and no rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub polls: u64,
    /// Requests that were sent once more, because the target had closed the kept connection they went over: it may have
    /// seen them twice, and they count once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reconnects: u64,
    /// The first request that did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<FailureSample>,
    /// Lines worth reading, such as a `classify` rule to paste.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Findings of a `limit` executor.
    pub limit: Option<serde_json::Value>,
    /// From the first intended instant to the end of the last iteration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_s: Option<f64>,
    /// Streamed answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamSummary>,
    /// Custom metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricSummary>,
    /// The measured window, where it is not the whole run: thresholds are held against this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredSummary>,
    /// The machine that the load came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Interrupted requests by reason, where they have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interrupted: BTreeMap<String, u64>,
    /// What was done beside the load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventReport>,
    /// Seconds until a `recovery` was reached.
    pub recovery_s: Option<f64>,
    /// Findings of a `search` executor.
    pub search: Option<serde_json::Value>,
    /// The load as planned.
    pub plan: serde_json::Value,
    /// Hash of the scenario's configuration.
    pub config_hash: String,
    /// Version of Plimsoll.
    pub version: String,
    /// Seed of everything random in the run.
    pub seed: u64,
}

impl RunSummary {
    /// Whether a person or a signal ended it, whatever its verdict is.
    pub fn was_stopped(&self) -> bool {
        self.verdict == Verdict::Interrupted || self.reasons.iter().any(|reason| reason == STOPPED)
    }
}
