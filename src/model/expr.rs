//! The trees of the one expression grammar: what `expect`, thresholds and rules are once parsed. The parser and the
//! evaluation are in `judge/`.

use std::time::Duration;

use super::{Name, run::Severity};

/// A condition on one response; true = good.
#[derive(Debug, Clone)]
pub struct Expect {
    /// As written.
    pub source: Name,
}

/// A condition on a whole run; true = good.
#[derive(Debug, Clone)]
pub struct Threshold {
    /// As written; metrics, mails and reports quote it.
    pub source: Name,
    /// The user's name, or the slug of aggregation, metric and selectors (`p95_latency_level_last`).
    pub name: Name,
    /// How loud a breach is.
    pub severity: Severity,
    /// A breach during the run ends it.
    pub abort_on_fail: bool,
    /// Not judged during the run before this much of it has passed.
    pub delay_abort_eval: Duration,
    /// Runs in a row that must breach before the alert fires; gates the alert, never the verdict.
    pub for_runs: u32,
    /// Fewer samples than this are no data.
    pub min_samples: u64,
    /// Added by default rather than written by the user.
    pub implicit: bool,
    /// A page to open when it is breached.
    pub runbook: Option<Name>,
}
