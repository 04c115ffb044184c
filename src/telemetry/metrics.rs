//! All metrics as one owned value: the daemon's owner task tells it what happened, and takes a snapshot once a second.
//!
//! Everything that a configured scenario can show exists from the start at 0, since a series that first appears at 7
//! hides those 7 from `increase()`. Counters are added to from the same seconds that make up a run, so they are exact.

mod create;
mod tables;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use self::tables::Tables;
use super::{
    catalogue::Family,
    own::{ExportFailure, OwnStats},
    process::ProcessStats,
    series::Snapshot,
};
use crate::{
    measure::data::{RunData, Series, Timing},
    model::{
        Name,
        outcome::{DropReason, Outcome},
        run::{RunSummary, ThresholdReport, ThresholdResult, Verdict},
        units::Unit,
    },
};

/// Lines of `/metrics` at most; what would not fit is refused and counted.
pub const SERIES_LIMIT: usize = 50_000;
/// Why a due instant had no run.
pub const MISSED: [&str; 5] = ["overlap", "downtime", "paused", "capacity", "shutdown"];
/// Why a reading of a target's figures failed.
pub const POLL_FAILURES: [&str; 4] = ["http", "timeout", "json", "missing_field"];
/// Why a notification could not be sent.
pub const NOTIFY_FAILURES: [&str; 9] =
    ["connect", "tls", "auth", "deferred", "rejected", "timeout", "config", "expired", "stopping"];
/// The states of an alert.
pub const ALERT_STATES: [&str; 3] = ["inactive", "pending", "firing"];
/// The alert of a scenario's verdict, beside those of its thresholds.
pub const VERDICT_ALERT: &str = "verdict";
/// The alert of a scenario that did not run when it was due.
pub const MISSED_ALERT: &str = "missed";

/// What there is to know of a scenario before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: Name,
    /// Name of its target.
    pub target: Name,
    /// Names of its steps.
    pub steps: Vec<Name>,
    /// Names of its thresholds: each is an alert.
    pub thresholds: Vec<Name>,
    /// The load model.
    pub executor: Name,
    /// `normal` or `overload`.
    pub intent: Name,
    /// Whom to ask; empty if nobody is named.
    pub owner: Name,
    /// In words: `*/5 * * * * UTC`, `every 30s`, `manual`.
    pub schedule: Name,
}

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Revision of the source; `unknown` where the build did not say.
    pub revision: &'static str,
}

impl Build {
    /// This binary's.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: match option_env!("PLIMSOLL_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        },
    };
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    tables: Tables,
    since: Timestamp,
}

/// Seconds since 1970, to the millisecond.
fn unix(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}

/// The state as metrics show it: whatever is neither pending nor firing is inactive, so that an alert is always in one
/// of [`ALERT_STATES`].
fn shown_state(state: &str) -> &'static str {
    ALERT_STATES.into_iter().find(|shown| *shown == state).unwrap_or(ALERT_STATES[0])
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

impl Metrics {
    /// All series of these scenarios at 0. `channels` are the ways in which notifications go out.
    pub fn new(scenarios: &[ScenarioFacts], channels: &[Name], build: Build, now: Timestamp) -> Self {
        Self::with_limit(scenarios, channels, build, now, SERIES_LIMIT)
    }

    fn with_limit(scenarios: &[ScenarioFacts], channels: &[Name], build: Build, now: Timestamp, limit: usize) -> Self {
        let mut tables = Tables::new(limit);
        create::daemon(&mut tables, channels, build, limit);
        let targets: BTreeSet<_> = scenarios.iter().map(|scenario| &scenario.target).collect();
        for target in targets {
            create::target(&mut tables, target);
        }
        // The small families of all scenarios go first: if the budget is short, distributions are what is missing.
        for scenario in scenarios {
            create::counts(&mut tables, scenario);
        }
        for scenario in scenarios {
            create::distributions(&mut tables, scenario);
        }
        Self { tables, since: now }
    }

    /// A second of a run of `scenario`.
    pub fn record_second(&mut self, scenario: &str, delta: &RunData) {
        for (key, series) in &delta.series {
            self.record_series(scenario, &key.step, series);
        }
        let tables = &mut self.tables;
        tables.count(Family::Arrivals, &[scenario], delta.planned());
        for (reason, count) in DropReason::ALL.iter().zip(delta.dropped) {
            tables.count(Family::DroppedRequests, &[scenario, reason.as_str()], count);
        }
        let all = delta.all_iterations();
        let iterations = all.counts;
        for (result, count) in [
            ("completed", iterations.completed),
            ("failed", iterations.failed),
            ("interrupted", iterations.interrupted),
        ] {
            tables.count(Family::Iterations, &[scenario, result], count);
        }
        tables.observe(Family::IterationDuration, &[scenario], &all.time);
        tables.observe(Family::ScheduleLag, &[scenario], &delta.send_lag);
        tables.count(Family::HookRequests, &[scenario, "ok"], delta.hooks.ok);
        tables.count(Family::HookRequests, &[scenario, "failed"], delta.hooks.failed);
        tables.count(Family::StepPolls, &[scenario], delta.polls);
        tables.count(Family::SamplesLost, &[scenario], delta.samples_lost);
    }

    fn record_series(&mut self, scenario: &str, step: &str, series: &Series) {
        let tables = &mut self.tables;
        for (outcome, count) in Outcome::ALL.iter().zip(series.outcomes) {
            tables.count(Family::Requests, &[scenario, step, outcome.as_str()], count);
        }
        for (outcome, hist) in Outcome::ALL.iter().zip(&series.latency) {
            tables.observe(Family::RequestLatency, &[scenario, step, outcome.as_str()], hist);
        }
        for (outcome, hist) in Outcome::ALL.iter().zip(&series.service_time) {
            tables.observe(Family::RequestServiceTime, &[scenario, step, outcome.as_str()], hist);
        }
        for (timing, hist) in Timing::ALL.iter().zip(&series.timing) {
            tables.observe(Family::RequestTiming, &[scenario, timing.as_str()], hist);
        }
        for ((outcome, reason), count) in &series.reasons {
            let family = if *outcome == Outcome::Rejected { Family::Rejections } else { Family::Failures };
            tables.count_folded(family, &[scenario, step, reason], *count);
        }
        for (status, count) in &series.status {
            let code = if *status == 0 { "other".to_owned() } else { status.to_string() };
            tables.count_folded(Family::HttpResponses, &[scenario, &code], *count);
        }
        tables.count(Family::Sent, &[scenario], series.bytes.0);
        tables.count(Family::Received, &[scenario], series.bytes.1);
        tables.count(Family::ConnectionsOpened, &[scenario], series.connections.0);
        tables.count(Family::ConnectionsReused, &[scenario], series.connections.1);
        tables.count(Family::Reconnects, &[scenario], series.reconnects);
    }

    /// Unanswered requests of a scenario now.
    pub fn in_flight(&mut self, scenario: &str, requests: u64) {
        self.tables.set(Family::ActiveRequests, &[scenario], requests as f64);
    }

    /// Runs of a scenario going on now.
    pub fn running(&mut self, scenario: &str, runs: u64) {
        self.tables.set(Family::RunActive, &[scenario], runs as f64);
    }

    /// A run started, so long after it was due.
    pub fn run_started(&mut self, scenario: &str, delay: Duration) {
        self.tables.observe_one(Family::ScheduleStartDelay, &[scenario], delay.as_secs_f64());
    }

    /// A run ended and was judged.
    pub fn run_finished(&mut self, run: &RunSummary) {
        let (tables, scenario) = (&mut self.tables, run.scenario.as_str());
        tables.count(Family::Runs, &[scenario, run.verdict.as_str()], 1);
        let verdicts = Verdict::ALL.map(Verdict::as_str);
        tables.set_state(Family::LastRunStatus, &[scenario], &verdicts, Some(run.verdict.as_str()));
        tables.set(Family::LastRunTimestamp, &[scenario], unix(run.ended_at));
        if run.verdict == Verdict::Pass {
            tables.set(Family::LastSuccessTimestamp, &[scenario], unix(run.ended_at));
        }
        tables.set(Family::LastRunDuration, &[scenario], run.duration_s);
        tables.set(Family::LastRunThroughput, &[scenario], run.throughput_per_s);
        let outcomes = run.outcomes;
        let counts = [outcomes.ok, outcomes.rejected, outcomes.failed, outcomes.interrupted];
        for (outcome, count) in Outcome::ALL.iter().zip(counts) {
            tables.set(Family::LastRunRequests, &[scenario, outcome.as_str()], count as f64);
        }
        tables.clear(Family::LastRunLatency, scenario);
        if let Some(ok) = run.latency_s.get(Outcome::Ok.as_str()).filter(|stats| stats.count > 0) {
            for (stat, value) in [
                ("min", ok.min),
                ("mean", ok.mean),
                ("p50", ok.p50),
                ("p90", ok.p90),
                ("p95", ok.p95),
                ("p99", ok.p99),
                ("p999", ok.p999),
                ("max", ok.max),
            ] {
                tables.set(Family::LastRunLatency, &[scenario, stat], value);
            }
        }
        self.thresholds(scenario, &run.thresholds);
    }

    fn thresholds(&mut self, scenario: &str, reports: &[ThresholdReport]) {
        for family in Family::ALL.iter().filter(|family| family.name().starts_with("plimsoll_threshold_")) {
            self.tables.clear(*family, scenario);
        }
        for report in reports {
            let labels = [scenario, report.name.as_str()];
            let families = match report.unit.as_str() {
                "s" => Some((Family::ThresholdDurationValue, Family::ThresholdDurationLimit)),
                "ratio" | "pp" => Some((Family::ThresholdShareValue, Family::ThresholdShareLimit)),
                "B" => Some((Family::ThresholdMemoryValue, Family::ThresholdMemoryLimit)),
                "1/s" => Some((Family::ThresholdThroughputValue, Family::ThresholdThroughputLimit)),
                "" => Some((Family::ThresholdCountValue, Family::ThresholdCountLimit)),
                _ => None, // Bytes per second have a margin and a result only.
            };
            let figures = families.map(|(value, limit)| [(value, report.value), (limit, report.limit)]);
            let margin = (Family::ThresholdMargin, report.margin_ratio);
            let breached = match report.result {
                ThresholdResult::Pass | ThresholdResult::Warn => Some(0.0),
                ThresholdResult::Fail => Some(1.0),
                ThresholdResult::NoData | ThresholdResult::Skipped => None,
            };
            for (family, figure) in figures.into_iter().flatten().chain([margin, (Family::ThresholdBreached, breached)])
            {
                if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
                    self.tables.set(family, &labels, figure);
                }
            }
        }
    }

    /// A due instant had no run; `reason` is one of [`MISSED`].
    pub fn missed(&mut self, scenario: &str, reason: &str) {
        self.tables.count_folded(Family::ScheduleMissed, &[scenario, reason], 1);
    }

    /// When a scenario is due next; `None` = when a person says so.
    pub fn next_run(&mut self, scenario: &str, at: Option<Timestamp>) {
        match at {
            Some(at) => self.tables.set(Family::ScheduleNextRunTimestamp, &[scenario], unix(at)),
            None => self.tables.clear(Family::ScheduleNextRunTimestamp, scenario),
        }
    }

    /// An alert went into a state: one of [`ALERT_STATES`], or one of the ends of an alert, which is inactive then.
    pub fn transition(&mut self, scenario: &str, alert: &str, state: &str) {
        let state = shown_state(state);
        self.tables.count_folded(Family::AlertTransitions, &[scenario, alert, state], 1);
        self.alert_state(scenario, alert, state);
    }

    /// The state of an alert, as restored from the store: no transition.
    pub fn alert_state(&mut self, scenario: &str, alert: &str, state: &str) {
        self.tables.set_state(Family::AlertStatus, &[scenario, alert], &ALERT_STATES, Some(shown_state(state)));
    }

    /// A notification was accepted, so long after it was decided.
    pub fn notified(&mut self, channel: &str, latency: Duration, at: Timestamp) {
        self.tables.count(Family::Notifications, &[channel], 1);
        self.tables.observe_one(Family::NotificationLatency, &[channel], latency.as_secs_f64());
        self.tables.set(Family::NotificationLastSuccessTimestamp, &[channel], unix(at));
    }

    /// An attempt to notify failed; `reason` is one of [`NOTIFY_FAILURES`].
    pub fn notify_failed(&mut self, channel: &str, reason: &str) {
        self.tables.count(Family::Notifications, &[channel], 1);
        self.tables.count_folded(Family::NotificationsFailed, &[channel, reason], 1);
    }

    /// Notifications that wait.
    pub fn queue(&mut self, channel: &str, waiting: u64) {
        self.tables.set(Family::NotificationQueueLength, &[channel], waiting as f64);
    }

    /// The target's figures were read, or not: `Err` holds one of [`POLL_FAILURES`].
    pub fn target_poll(&mut self, target: &str, result: Result<(), &str>) {
        self.tables.count(Family::TargetPolls, &[target], 1);
        self.tables.set(Family::TargetUp, &[target], flag(result.is_ok()));
        if let Err(reason) = result {
            self.tables.count_folded(Family::TargetPollFailures, &[target, reason], 1);
        }
    }

    /// The last value of one of the target's figures, in the base unit.
    pub fn target_stat(&mut self, target: &str, stat: &str, unit: Unit, value: f64) {
        let unit = if unit == Unit::Count { "count" } else { unit.as_str() };
        self.tables.set(Family::TargetStat, &[target, stat, unit], value);
    }

    /// The certificate that the target showed last is valid for `seconds` from `at`.
    pub fn certificate(&mut self, target: &str, at: Timestamp, seconds: f64) {
        self.tables.set(Family::CertificateExpiry, &[target], (unix(at) + seconds).round());
    }

    /// Whether all load is stopped.
    pub fn paused(&mut self, on: bool) {
        self.tables.set(Family::Paused, &[], flag(on));
    }

    /// Whether the database cannot be written.
    pub fn store_degraded(&mut self, on: bool) {
        self.tables.set(Family::StoreDegraded, &[], flag(on));
    }

    /// The configuration was loaded, or refused.
    pub fn reloaded(&mut self, ok: bool, at: Timestamp) {
        self.tables.set(Family::ConfigLastReloadSuccessful, &[], flag(ok));
        if ok {
            self.tables.set(Family::ConfigLastReloadSuccessTimestamp, &[], unix(at));
        }
    }

    /// What the exporters counted about themselves.
    pub fn own(&mut self, own: &OwnStats) {
        self.tables.set_count(Family::OtlpExports, &["metrics"], own.exports());
        for why in ExportFailure::ALL {
            self.tables.set_count(Family::OtlpExportFailures, &["metrics", why.as_str()], own.failures(why));
        }
        self.tables.set_distribution(Family::ExpositionDuration, &[], own.renderings());
    }

    /// What the daemon itself uses.
    pub fn process(&mut self, stats: &ProcessStats) {
        let tables = &mut self.tables;
        tables.set(Family::ProcessCpu, &[], stats.cpu_seconds);
        tables.set(Family::ProcessResidentMemory, &[], stats.resident_bytes as f64);
        tables.set(Family::ProcessVirtualMemory, &[], stats.virtual_bytes as f64);
        tables.set(Family::ProcessOpenFds, &[], stats.open_fds as f64);
        if let Some(max) = stats.max_fds {
            tables.set(Family::ProcessMaxFds, &[], max as f64);
        }
        tables.set(Family::ProcessStartTime, &[], stats.start_seconds);
    }

    /// Everything as it is now; costs about a reference count per family.
    pub fn snapshot(&mut self, now: Timestamp) -> Arc<Snapshot> {
        for family in Family::ALL {
            let (lines, refused) = (self.tables.lines_of(*family), self.tables.refused(*family));
            self.tables.set(Family::Series, &[family.name()], lines as f64);
            self.tables.set_count(Family::SeriesDropped, &[family.name(), "budget"], refused);
        }
        Arc::new(Snapshot::new(now, self.since, self.tables.all()))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
