//! A run's worth of metrics, for the tests of whatever renders them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Build, Metrics, ScenarioFacts};
use crate::{
    measure::data::{RunData, Sample, SeriesKey},
    model::{
        labels::Labels,
        outcome::{Classified, DropReason, Outcome},
        run::{IterationCounts, RunSummary, SCHEMA, ThresholdReport, ThresholdResult, TimeStats, Trigger, Verdict},
        units::Unit,
    },
    telemetry::{own::OwnStats, process::ProcessStats, series::Snapshot},
};

pub(crate) const NOW: Timestamp = Timestamp::constant(1_763_600_000, 0);

pub(crate) fn facts() -> Vec<ScenarioFacts> {
    vec![ScenarioFacts {
        name: "sustained".into(),
        target: "ollama".into(),
        steps: vec!["generate".into()],
        thresholds: vec!["p95_latency".into(), "rate_rejected".into()],
        executor: "constant-arrival-rate".into(),
        owner: "team \"chat\"".into(),
        intent: "normal".into(),
        schedule: "*/5 * * * * UTC".into(),
    }]
}

pub(crate) fn metrics() -> Metrics {
    Metrics::new(&facts(), &["email".into()], Build { version: "0.1.0", revision: "abc" }, NOW)
}

fn sample(outcome: Outcome, reason: &str, status: Option<u16>, ms: u64) -> Sample {
    let time = Duration::from_millis(ms);
    Sample {
        class: Classified { outcome, reason: reason.into() },
        status,
        latency: Some(time),
        service_time: Some(time),
        timing: [None, None, Some(Duration::from_millis(1)), None, Some(time), Some(Duration::from_millis(1))],
        bytes: (100, 2000),
        reused: Some(ms.is_multiple_of(2)),
        reconnected: ms == 80,
        stream: None,
    }
}

/// Seven ok, two rejected, one failed, one interrupted, one dropped.
pub(crate) fn second() -> RunData {
    let key = SeriesKey { step: "generate".into(), labels: Labels::default() };
    let mut data = RunData { window: Duration::from_secs(1), ..RunData::default() };
    (1..=7).for_each(|n| data.record(&key, &sample(Outcome::Ok, "", Some(200), n * 40)));
    data.record(&key, &sample(Outcome::Rejected, "status_429", Some(429), 2));
    data.record(&key, &sample(Outcome::Rejected, "queue_full", Some(503), 3));
    data.record(&key, &sample(Outcome::Failed, "timeout", None, 60_000));
    data.record(&key, &sample(Outcome::Interrupted, "", None, 5));
    data.drop_one(DropReason::MaxInFlight);
    let iterations = data.iterations.entry(Labels::default()).or_default();
    iterations.counts = IterationCounts { completed: 7, failed: 3, interrupted: 1 };
    iterations.time.record(Duration::from_millis(300));
    data.hooks.ok = 2;
    data.polls = 4;
    (0..11).for_each(|n| data.send_lag.record(Duration::from_micros(30 * n)));
    data
}

pub(crate) fn threshold(
    name: &str,
    unit: &str,
    value: Option<f64>,
    limit: f64,
    result: ThresholdResult,
) -> ThresholdReport {
    ThresholdReport {
        expr: name.into(),
        name: name.into(),
        value,
        limit: Some(limit),
        unit: unit.into(),
        margin_ratio: value.map(|value| 1.0 - value / limit),
        result,
        severity: crate::model::run::Severity::Critical,
        implicit: false,
        for_runs: 1,
        runbook: None,
        hint: None,
    }
}

pub(crate) fn summary(verdict: Verdict) -> RunSummary {
    let data = second();
    let total = data.total();
    RunSummary {
        schema: SCHEMA.into(),
        run_id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        scenario: "sustained".into(),
        target: "ollama".into(),
        trigger: Trigger::Cron,
        due_at: NOW,
        started_at: NOW,
        ended_at: NOW + Duration::from_millis(300_306),
        duration_s: 300.306,
        verdict,
        reasons: vec!["rate_rejected is above its limit".into()],
        aborted: None,
        planned: data.planned(),
        sent: data.sent(),
        dropped: [("max_in_flight".into(), 1)].into(),
        outcomes: data.counts(),
        rejected: [("status_429".into(), 1), ("queue_full".into(), 1)].into(),
        failed: [("timeout".into(), 1)].into(),
        status: [("200".into(), 7), ("429".into(), 1), ("503".into(), 1)].into(),
        iterations: data.all_iterations().counts,
        iteration_s: data.all_iterations().time.stats(),
        throughput_per_s: 9.63,
        latency_s: [("ok".into(), total.latency[0].stats())].into(),
        service_time_s: [("ok".into(), total.service_time[0].stats())].into(),
        send_lag_s: TimeStats::default(),
        timing_s: [].into(),
        steps: [].into(),
        groups: [].into(),
        stats: [].into(),
        thresholds: vec![
            threshold("p95_latency", "s", Some(0.28), 2.0, ThresholdResult::Pass),
            threshold("rate_rejected", "ratio", Some(0.2), 0.05, ThresholdResult::Fail),
            threshold("max_memory", "B", Some(13.6e9), 16e9, ThresholdResult::Pass),
            threshold("rate_requests", "1/s", Some(9.63), 100.0, ThresholdResult::Pass),
            threshold("count_dropped", "", Some(1.0), 10.0, ThresholdResult::Warn),
            threshold("avg_waited", "s", None, 10.0, ThresholdResult::NoData),
        ],
        generator: crate::model::run::GeneratorReport { valid: true, ..Default::default() },
        polls: 0,
        reconnects: 0,
        hooks: data.hooks,
        first_failure: None,
        hints: vec![],
        limit: None,
        elapsed_s: None,
        streams: None,
        metrics: std::collections::BTreeMap::new(),
        measured: None,
        environment: None,
        interrupted: std::collections::BTreeMap::new(),
        events: Vec::new(),
        recovery_s: None,
        search: None,
        plan: serde_json::json!({"executor": "constant-arrival-rate", "rate_per_s": 10.0, "duration_s": 300}),
        config_hash: "sha256:0".into(),
        version: "0.1.0".into(),
        seed: 4711,
    }
}

/// One whole life: everything that can happen happened once.
pub(crate) fn after_one_run() -> Arc<Snapshot> {
    let mut metrics = metrics();
    metrics.running("sustained", 1);
    metrics.run_started("sustained", Duration::from_millis(4));
    metrics.in_flight("sustained", 3);
    metrics.record_second("sustained", &second());
    metrics.running("sustained", 0);
    metrics.run_finished(&summary(Verdict::Pass));
    metrics.run_finished(&summary(Verdict::Fail));
    metrics.missed("sustained", "overlap");
    metrics.next_run("sustained", Some(NOW + Duration::from_mins(5)));
    metrics.transition("sustained", "rate_rejected", "firing");
    metrics.notify_failed("email", "connect");
    metrics.notified("email", Duration::from_millis(120), NOW);
    metrics.queue("email", 2);
    metrics.target_poll("ollama", Ok(()));
    metrics.target_poll("ollama", Err("timeout"));
    metrics.target_stat("ollama", "memory", Unit::Bytes, 13.6e9);
    metrics.target_stat("ollama", "queued", Unit::Count, 3.0);
    metrics.certificate("ollama", NOW, 86_400.0);
    metrics.paused(true);
    metrics.store_degraded(false);
    metrics.reloaded(true, NOW);
    let own = OwnStats::default();
    own.exported();
    own.rendered(Duration::from_millis(2));
    metrics.own(&own);
    metrics.process(&ProcessStats {
        cpu_seconds: 1.5,
        resident_bytes: 18_874_368,
        virtual_bytes: 200_000_000,
        open_fds: 61,
        max_fds: Some(1024),
        start_seconds: 1.763_599_9e9,
    });
    metrics.snapshot(NOW)
}
