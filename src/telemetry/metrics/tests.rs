use super::*;
use crate::{
    model::outcome::fail,
    telemetry::series::{Distribution, Value},
};

fn count(snapshot: &Snapshot, family: Family, labels: &[&str]) -> u64 {
    match snapshot.get(family, labels) {
        Some(Value::Count(count)) => *count,
        other => panic!("{} {labels:?}: {other:?}", family.name()),
    }
}

fn number(snapshot: &Snapshot, family: Family, labels: &[&str]) -> Option<f64> {
    match snapshot.get(family, labels)? {
        Value::Number(number) => Some(*number),
        other => panic!("{} {labels:?}: {other:?}", family.name()),
    }
}

fn distribution<'a>(snapshot: &'a Snapshot, family: Family, labels: &[&str]) -> &'a Distribution {
    match snapshot.get(family, labels) {
        Some(Value::Histogram(distribution)) => distribution,
        other => panic!("{} {labels:?}: {other:?}", family.name()),
    }
}

#[test]
fn counters_equal_what_was_recorded() {
    let mut metrics = testing::metrics();
    let mut whole = RunData::default();
    for _ in 0..10 {
        metrics.record_second("sustained", &testing::second());
        whole.merge(&testing::second());
    }
    let snapshot = metrics.snapshot(testing::NOW);
    let total = whole.total();
    for (outcome, wanted) in Outcome::ALL.iter().zip(total.outcomes) {
        assert_eq!(count(&snapshot, Family::Requests, &["sustained", "generate", outcome.as_str()]), wanted);
    }
    assert_eq!(count(&snapshot, Family::Arrivals, &["sustained"]), whole.planned());
    assert_eq!(count(&snapshot, Family::DroppedRequests, &["sustained", "max_in_flight"]), whole.dropped());
    for ((outcome, reason), wanted) in &total.reasons {
        let family = if *outcome == Outcome::Rejected { Family::Rejections } else { Family::Failures };
        assert_eq!(count(&snapshot, family, &["sustained", "generate", reason]), *wanted);
    }
    for (status, wanted) in &total.status {
        assert_eq!(count(&snapshot, Family::HttpResponses, &["sustained", &status.to_string()]), *wanted);
    }
    assert_eq!(count(&snapshot, Family::Sent, &["sustained"]), total.bytes.0);
    assert_eq!(count(&snapshot, Family::Received, &["sustained"]), total.bytes.1);
    let connections = [Family::ConnectionsOpened, Family::ConnectionsReused];
    assert_eq!(connections.map(|family| count(&snapshot, family, &["sustained"])), <[u64; 2]>::from(total.connections));
    assert_eq!(count(&snapshot, Family::Iterations, &["sustained", "failed"]), whole.all_iterations().counts.failed);
    assert_eq!(count(&snapshot, Family::HookRequests, &["sustained", "ok"]), whole.hooks.ok);
    let beside = [Family::StepPolls, Family::Reconnects].map(|family| count(&snapshot, family, &["sustained"]));
    assert_eq!((beside, [whole.polls, total.reconnects]), ([40, 10], [40, 10]));
    let latency = distribution(&snapshot, Family::RequestLatency, &["sustained", "generate", "ok"]);
    assert_eq!(latency.count, total.latency[0].count());
    assert!((latency.sum - total.latency[0].sum()).abs() < 1e-9);
    assert_eq!(*latency.cumulative, *total.latency[0].cumulative(Family::RequestLatency.spec().bounds));
    assert_eq!(distribution(&snapshot, Family::ScheduleLag, &["sustained"]).count, whole.send_lag.count());
}

#[test]
fn what_is_configured_exists_at_zero() {
    let snapshot = testing::metrics().snapshot(testing::NOW);
    let check = |family, labels: &[&str]| assert_eq!(count(&snapshot, family, labels), 0, "{labels:?}");
    for outcome in Outcome::ALL {
        check(Family::Requests, &["sustained", "generate", outcome.as_str()]);
    }
    for reason in fail::ALL {
        check(Family::Failures, &["sustained", "generate", reason]);
    }
    for verdict in Verdict::ALL {
        check(Family::Runs, &["sustained", verdict.as_str()]);
        assert_eq!(number(&snapshot, Family::LastRunStatus, &["sustained", verdict.as_str()]), Some(0.0));
    }
    for outcome in ["ok", "rejected", "failed"] {
        assert_eq!(distribution(&snapshot, Family::RequestLatency, &["sustained", "generate", outcome]).count, 0);
    }
    check(Family::AlertTransitions, &["sustained", "p95_latency", "firing"]);
    assert_eq!(number(&snapshot, Family::AlertStatus, &["sustained", "verdict", "inactive"]), Some(1.0));
    check(Family::AlertTransitions, &["sustained", "missed", "inactive"]);
    check(Family::TargetPollFailures, &["ollama", "timeout"]);
    check(Family::NotificationsFailed, &["email", "auth"]);
    // About the past there is nothing to say yet.
    for family in
        [Family::LastRunTimestamp, Family::LastSuccessTimestamp, Family::ScheduleNextRunTimestamp, Family::TargetUp]
    {
        assert!(snapshot.table(family).is_empty(), "{}", family.name());
    }
}

#[test]
fn an_alert_is_always_in_one_state() {
    let mut metrics = testing::metrics();
    let labels = |state| ["sustained", "p95_latency", state];
    for (state, shown) in [
        ("pending", "pending"),
        ("firing", "firing"),
        ("resolved", "inactive"),
        ("firing", "firing"),
        ("closed", "inactive"),
    ] {
        metrics.transition("sustained", "p95_latency", state);
        let snapshot = metrics.snapshot(testing::NOW);
        let on = ALERT_STATES.map(|state| number(&snapshot, Family::AlertStatus, &labels(state)));
        assert_eq!(on, ALERT_STATES.map(|state| Some(flag(state == shown))), "{state}");
    }
    let snapshot = metrics.snapshot(testing::NOW);
    let counted = ALERT_STATES.map(|state| count(&snapshot, Family::AlertTransitions, &labels(state)));
    assert_eq!(counted, [2, 1, 2]);
    metrics.alert_state("sustained", "verdict", "resolved");
    let snapshot = metrics.snapshot(testing::NOW);
    assert_eq!(number(&snapshot, Family::AlertStatus, &["sustained", "verdict", "inactive"]), Some(1.0));
}

#[test]
fn every_family_is_produced() {
    let snapshot = testing::after_one_run();
    let missing: Vec<_> =
        snapshot.families().filter(|(_, table)| table.is_empty()).map(|(family, _)| family.name()).collect();
    assert_eq!(missing, [""; 0]);
    for (family, table) in snapshot.families() {
        assert!(table.keys().all(|labels| labels.len() == family.spec().labels.len()), "{}", family.name());
    }
}

#[test]
fn the_last_run_replaces_the_one_before() {
    let mut metrics = testing::metrics();
    metrics.run_finished(&testing::summary(Verdict::Pass));
    let before = metrics.snapshot(testing::NOW);
    assert!(number(&before, Family::LastRunLatency, &["sustained", "p95"]).is_some());
    assert_eq!(number(&before, Family::ThresholdBreached, &["sustained", "rate_rejected"]), Some(1.0));
    assert_eq!(number(&before, Family::ThresholdBreached, &["sustained", "avg_waited"]), None);
    let mut dead = testing::summary(Verdict::Fail);
    dead.latency_s.clear();
    dead.thresholds.truncate(1);
    metrics.run_finished(&dead);
    let after = metrics.snapshot(testing::NOW);
    assert_eq!(number(&after, Family::LastRunLatency, &["sustained", "p95"]), None, "no ok request, no latency");
    assert_eq!(number(&after, Family::ThresholdBreached, &["sustained", "rate_rejected"]), None);
    assert_eq!(number(&after, Family::LastRunStatus, &["sustained", "fail"]), Some(1.0));
    assert_eq!(number(&after, Family::LastRunStatus, &["sustained", "pass"]), Some(0.0));
    assert_eq!(count(&after, Family::Runs, &["sustained", "pass"]), 1);
    assert!(number(&before, Family::LastRunLatency, &["sustained", "p95"]).is_some(), "a snapshot does not change");
}

#[test]
fn a_full_budget_is_said() {
    let mut metrics = Metrics::with_limit(&testing::facts(), &[], Build::THIS, testing::NOW, 330);
    metrics.record_second("sustained", &testing::second());
    let snapshot = metrics.snapshot(testing::NOW);
    let lines: usize = snapshot.families().map(|(family, table)| table.len() * family.spec().lines()).sum();
    assert!(lines <= 330, "{lines}");
    assert_eq!(count(&snapshot, Family::Requests, &["sustained", "generate", "ok"]), 7, "counters go first");
    assert!(count(&snapshot, Family::SeriesDropped, &["plimsoll_request_latency_seconds", "budget"]) > 0);
}
