//! The life of one alert: inactive, pending, firing, resolved or closed.
//!
//! An alert is named by its scenario and the name of a threshold (or [`VERDICT`], or [`MISSED`]), never by limits or
//! texts: whoever edits a limit keeps the alert. What an invalid or interrupted run saw says nothing about the target,
//! so neither moves an alert; only several invalid runs in a row do, as "our measurement is broken".

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Name,
    run::{FailureSample, RunSummary, Severity, ThresholdReport, ThresholdResult, Verdict},
    settings::AlertOn,
};

/// Alert of a run that failed by no threshold, measured nothing, or could not be trusted several times in a row.
pub const VERDICT: &str = "verdict";
/// Alert of a due instant at which no run happened.
pub const MISSED: &str = "missed";

/// The threshold that every scenario has unless it counts ok requests itself.
const NOTHING_OK: &str = "count(ok) > 0";

/// What an alert is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The scenario.
    pub scenario: Name,
    /// Name of the threshold, [`VERDICT`] or [`MISSED`].
    pub alert: Name,
}

/// Why it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A threshold was breached.
    Threshold,
    /// The run failed, and no threshold says why.
    Fail,
    /// The run measured nothing.
    NoData,
    /// Several runs in a row could not be trusted.
    Invalid,
    /// A run did not happen when it was due.
    Missed,
}

impl Cause {
    /// The word used in subjects and pages for alerts that are no threshold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Fail => "fail",
            Self::NoData => "no_data",
            Self::Invalid => "invalid",
            Self::Missed => "missed",
        }
    }
}

/// Where an alert is in its life; an inactive one is not kept at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Breached, but not in enough runs in a row.
    Pending,
    /// Breached.
    Firing,
    /// Over; kept until everyone who was told that it fires is told so.
    Resolved,
    /// Scenario or threshold left the configuration while it fired; kept like a resolved one.
    Closed,
}

impl AlertState {
    /// The word used in metrics, mails and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
}

/// One alert, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is known by.
    #[serde(flatten)]
    pub key: AlertKey,
    /// Name of the target; mails are grouped by it.
    pub target: Name,
    /// The scenario has `intent: overload`; routes may ask for it.
    pub overload: bool,
    /// Where it is in its life.
    pub state: AlertState,
    /// The first failing request of this breach where it is about outcomes, else the start of its first run (or the
    /// first due instant).
    pub since: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Runs (or due instants) in a row that breached.
    pub runs: u32,
    /// The latest breach.
    pub breach: Breach,
    /// The measured value furthest beyond the limit since it fired.
    pub worst: Option<f64>,
    /// Its margin.
    pub worst_margin: Option<f64>,
    /// Someone was told that it fires.
    pub told: bool,
}

/// How it is breached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Why.
    pub cause: Cause,
    /// How loud.
    pub severity: Severity,
    /// The threshold as written, or a sentence.
    pub what: String,
    /// Measured value, in `unit`.
    pub value: Option<f64>,
    /// The limit, in `unit`.
    pub limit: Option<f64>,
    /// Unit of value and limit, as in [`ThresholdReport::unit`].
    pub unit: String,
    /// Distance to the limit, below 0.
    pub margin: Option<f64>,
    /// Runs in a row that must breach before it fires.
    pub for_runs: u32,
    /// A page to open.
    pub runbook: Option<String>,
    /// When the breach began.
    pub at: Timestamp,
}

/// What a run says about one alert.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// It is breached.
    Breach(Box<Breach>),
    /// It holds.
    Holds,
}

/// What a run says about its scenario's alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// By alert name; others are left alone.
    pub signals: Vec<(Name, Signal)>,
    /// Every other alert of the scenario is over too.
    pub all_clear: bool,
}

/// What `run` says; `invalid_runs` is the number of invalid runs in a row, this one included.
pub fn findings(run: &RunSummary, on: &AlertOn, invalid_runs: u32) -> Findings {
    let mut found = Findings { signals: vec![(MISSED.into(), Signal::Holds)], all_clear: run.verdict == Verdict::Pass };
    let verdict = |cause, severity, what: String| {
        let breach = Breach {
            cause,
            severity,
            what,
            value: None,
            limit: None,
            unit: String::new(),
            margin: None,
            for_runs: 1,
            runbook: None,
            at: run.started_at,
        };
        (VERDICT.into(), Signal::Breach(Box::new(breach)))
    };
    let why = |otherwise: &str| run.reasons.first().cloned().unwrap_or_else(|| otherwise.to_owned());
    match run.verdict {
        // What it measured says nothing about the target, but the target is left changed.
        Verdict::Fail if run.was_stopped() => {
            if on.fail {
                found.signals.push(verdict(Cause::Fail, Severity::Critical, why("the run failed")));
            }
        }
        Verdict::Pass | Verdict::Fail => {
            found.signals.extend(run.thresholds.iter().filter_map(|threshold| judged(threshold, run, on)));
            let named = run.thresholds.iter().any(|threshold| threshold.result == ThresholdResult::Fail);
            if run.verdict == Verdict::Fail && !named && on.fail {
                let what = why("the run failed");
                found.signals.push(verdict(Cause::Fail, Severity::Critical, what));
            } else {
                found.signals.push((VERDICT.into(), Signal::Holds));
            }
        }
        Verdict::NoData if on.no_data => {
            found.signals.push(verdict(Cause::NoData, Severity::Critical, why("the run measured nothing")));
        }
        Verdict::Invalid if on.invalid.is_some_and(|runs| invalid_runs >= runs.max(1)) => {
            let what = format!("{invalid_runs} runs in a row could not be trusted: {}", why("the generator was late"));
            found.signals.push(verdict(Cause::Invalid, Severity::Warning, what));
        }
        Verdict::NoData | Verdict::Invalid | Verdict::Interrupted => {}
    }
    found
}

fn judged(threshold: &ThresholdReport, run: &RunSummary, on: &AlertOn) -> Option<(Name, Signal)> {
    let signal = match threshold.result {
        ThresholdResult::Fail if implied(threshold, run) => return None,
        ThresholdResult::Fail if on.fail => Signal::Breach(Box::new(Breach {
            cause: Cause::Threshold,
            severity: threshold.severity,
            what: threshold.expr.clone(),
            value: threshold.value,
            limit: threshold.limit,
            unit: threshold.unit.clone(),
            margin: threshold.margin_ratio,
            for_runs: threshold.for_runs.max(1),
            runbook: threshold.runbook.clone(),
            at: began(threshold, run),
        })),
        ThresholdResult::Pass | ThresholdResult::Warn => Signal::Holds,
        ThresholdResult::Fail | ThresholdResult::NoData | ThresholdResult::Skipped => return None,
    };
    Some((threshold.name.as_str().into(), signal))
}

/// When what the threshold is about began: at the first failing request if that is of the kind it counts.
fn began(threshold: &ThresholdReport, run: &RunSummary) -> Timestamp {
    let about = |sample: &&FailureSample| {
        outcomes(&threshold.expr).any(|word| match word {
            "ok" => matches!(&*sample.outcome, "rejected" | "failed"),
            word => word == sample.outcome,
        })
    };
    run.first_failure.as_ref().filter(about).map_or(run.started_at, |sample| instant(run.started_at, sample.at_s))
}

/// `seconds` after the start of a run.
pub fn instant(started_at: Timestamp, seconds: f64) -> Timestamp {
    let after = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    started_at.checked_add(after).unwrap_or(started_at)
}

/// That nothing was ok, by default, says nothing new next to another breach about outcomes that is told as loudly and
/// as soon: one thing is wrong, so it is one alert.
fn implied(threshold: &ThresholdReport, run: &RunSummary) -> bool {
    let says_so = |other: &ThresholdReport| {
        other.name != threshold.name
            && other.result == ThresholdResult::Fail
            && other.severity >= threshold.severity
            && other.for_runs <= threshold.for_runs.max(1)
            && outcomes(&other.expr).next().is_some()
    };
    threshold.implicit && threshold.expr == NOTHING_OK && run.thresholds.iter().any(says_so)
}

/// Which of ok, rejected and failed requests the expression is about.
fn outcomes(expr: &str) -> impl Iterator<Item = &str> {
    expr.split('(')
        .skip(1)
        .filter_map(|inner| inner.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .filter(|word| matches!(*word, "ok" | "rejected" | "failed"))
}

/// A due instant at which nothing ran, as a breach of [`MISSED`]; `None` for reasons that are someone's wish
/// (`paused`, `shutdown`).
pub fn missed(due: Timestamp, reason: &str) -> Option<Breach> {
    let why = match reason {
        "overlap" => "the run before it was still going",
        "downtime" => "Plimsoll was not running",
        "capacity" => "Plimsoll was at its limit of concurrent load",
        _ => return None,
    };
    Some(Breach {
        cause: Cause::Missed,
        severity: Severity::Warning,
        what: format!("a run was due and did not happen: {why}"),
        value: None,
        limit: None,
        unit: String::new(),
        margin: None,
        for_runs: 1,
        runbook: None,
        at: due,
    })
}

/// The alert after a breach, and whether it began to fire just now.
pub fn breached(
    current: Option<Alert>,
    key: &AlertKey,
    target: &Name,
    overload: bool,
    breach: Breach,
    now: Timestamp,
) -> (Alert, bool) {
    let mut alert = match current {
        Some(alert) if matches!(alert.state, AlertState::Pending | AlertState::Firing) => alert,
        // One that is over but not yet told so begins anew; whoever was told hears of it as one story.
        other => Alert {
            key: key.clone(),
            target: target.clone(),
            overload,
            state: AlertState::Pending,
            since: breach.at,
            fired_at: None,
            ended_at: other.as_ref().and_then(|alert| alert.ended_at),
            runs: 0,
            breach: breach.clone(),
            worst: None,
            worst_margin: None,
            told: other.is_some_and(|alert| alert.told),
        },
    };
    alert.target = target.clone();
    alert.overload = overload;
    alert.runs = alert.runs.saturating_add(1);
    let worse = match (breach.margin, alert.worst_margin) {
        (Some(new), Some(old)) => new < old,
        _ => alert.worst.is_none(),
    };
    if worse {
        alert.worst = breach.value;
        alert.worst_margin = breach.margin;
    }
    let fires = alert.state == AlertState::Pending && alert.runs >= breach.for_runs;
    alert.breach = breach;
    if fires {
        alert.state = AlertState::Firing;
        alert.fired_at = Some(now);
        alert.ended_at = None;
    }
    (alert, fires)
}

/// The alert after it held: over if it fired, gone if nobody could know of it.
pub fn held(mut alert: Alert, at: Timestamp) -> Option<Alert> {
    match alert.state {
        AlertState::Firing => {
            alert.state = AlertState::Resolved;
            alert.ended_at = Some(at.max(alert.since));
            Some(alert)
        }
        AlertState::Pending if alert.told => {
            alert.state = AlertState::Resolved;
            alert.ended_at = Some(alert.ended_at.unwrap_or(at));
            Some(alert)
        }
        AlertState::Pending => None,
        AlertState::Resolved | AlertState::Closed => Some(alert),
    }
}

/// The alert after its scenario or threshold left the configuration.
pub fn closed(mut alert: Alert, now: Timestamp) -> Option<Alert> {
    match alert.state {
        AlertState::Pending if !alert.told => None,
        AlertState::Pending | AlertState::Firing => {
            alert.state = AlertState::Closed;
            alert.ended_at = Some(now.max(alert.since));
            Some(alert)
        }
        AlertState::Resolved | AlertState::Closed => Some(alert),
    }
}
