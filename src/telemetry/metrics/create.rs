//! What exists from the start, at 0.

use super::{
    ALERT_STATES, Build, MISSED, MISSED_ALERT, NOTIFY_FAILURES, POLL_FAILURES, ScenarioFacts, VERDICT_ALERT,
    tables::Tables,
};
use crate::{
    measure::data::Timing,
    model::{
        Name,
        outcome::{DropReason, Outcome, fail},
        run::Verdict,
    },
    telemetry::{
        catalogue::{Family, Kind},
        own::ExportFailure,
    },
};

/// One series per value of the last label.
fn each<'a>(tables: &mut Tables, family: Family, labels: &[&'a str], values: impl IntoIterator<Item = &'a str>) {
    for value in values {
        let labels: Vec<&str> = labels.iter().copied().chain([value]).collect();
        tables.create(family, &labels);
    }
}

/// The families of the daemon itself.
pub(super) fn daemon(tables: &mut Tables, channels: &[Name], build: Build, limit: usize) {
    tables.set(Family::BuildInfo, &[build.version, build.revision], 1.0);
    tables.set(Family::SeriesLimit, &[], limit as f64);
    for family in [Family::Paused, Family::StoreDegraded, Family::ExpositionDuration] {
        tables.create(family, &[]);
    }
    for family in Family::ALL {
        tables.create(Family::Series, &[family.name()]);
        tables.create(Family::SeriesDropped, &[family.name(), "budget"]);
    }
    tables.create(Family::OtlpExports, &["metrics"]);
    each(tables, Family::OtlpExportFailures, &["metrics"], ExportFailure::ALL.map(ExportFailure::as_str));
    for channel in channels {
        for family in [Family::Notifications, Family::NotificationQueueLength, Family::NotificationLatency] {
            tables.create(family, &[channel]);
        }
        each(tables, Family::NotificationsFailed, &[channel], NOTIFY_FAILURES);
    }
}

/// The families of a target.
pub(super) fn target(tables: &mut Tables, target: &str) {
    tables.create(Family::TargetPolls, &[target]);
    each(tables, Family::TargetPollFailures, &[target], POLL_FAILURES);
}

/// The counters and gauges of a scenario.
pub(super) fn counts(tables: &mut Tables, facts: &ScenarioFacts) {
    let name = &*facts.name;
    tables.set(
        Family::ScenarioInfo,
        &[name, &facts.executor, &facts.target, &facts.intent, &facts.owner, &facts.schedule],
        1.0,
    );
    let verdicts = Verdict::ALL.map(Verdict::as_str);
    each(tables, Family::Runs, &[name], verdicts);
    each(tables, Family::LastRunStatus, &[name], verdicts);
    for step in &facts.steps {
        each(tables, Family::Requests, &[name, step], Outcome::ALL.map(Outcome::as_str));
        each(tables, Family::Failures, &[name, step], fail::ALL);
        each(tables, Family::Rejections, &[name, step], ["status_429", "status_503"]);
    }
    each(tables, Family::HttpResponses, &[name], ["200", "429", "500", "503"]);
    each(tables, Family::DroppedRequests, &[name], DropReason::ALL.map(DropReason::as_str));
    each(tables, Family::Iterations, &[name], ["completed", "failed", "interrupted"]);
    each(tables, Family::HookRequests, &[name], ["ok", "failed"]);
    each(tables, Family::ScheduleMissed, &[name], MISSED);
    for family in Family::ALL.iter().filter(|family| family.spec().labels == ["scenario"]) {
        // Gauges about the last or the next run are absent until there is one.
        if family.spec().kind == Kind::Counter || matches!(family, Family::ActiveRequests | Family::RunActive) {
            tables.create(*family, &[name]);
        }
    }
    for alert in facts.thresholds.iter().map(|threshold| &**threshold).chain([VERDICT_ALERT, MISSED_ALERT]) {
        tables.set_state(Family::AlertStatus, &[name, alert], &ALERT_STATES, Some("inactive"));
        each(tables, Family::AlertTransitions, &[name, alert], ALERT_STATES);
    }
}

/// The distributions of a scenario.
pub(super) fn distributions(tables: &mut Tables, facts: &ScenarioFacts) {
    let name = &*facts.name;
    for family in [Family::IterationDuration, Family::ScheduleLag, Family::ScheduleStartDelay] {
        tables.create(family, &[name]);
    }
    each(tables, Family::RequestTiming, &[name], Timing::ALL.map(Timing::as_str));
    for step in &facts.steps {
        let outcomes = [Outcome::Ok, Outcome::Rejected, Outcome::Failed].map(Outcome::as_str);
        each(tables, Family::RequestLatency, &[name, step], outcomes);
        each(tables, Family::RequestServiceTime, &[name, step], outcomes);
    }
}
