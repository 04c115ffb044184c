//! Runs and settings for the tests of this room.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, tz::TimeZone};

use crate::model::{
    run::{
        FailureSample, GeneratorReport, HookCounts, IterationCounts, OutcomeCounts, RunSummary, SCHEMA, Severity,
        StatSummary, ThresholdReport, ThresholdResult, TimeStats, Trigger, Verdict,
    },
    settings::{AlertSettings, EmailSettings, Receiver, SmtpTls},
};

use crate::alert::{House, ScenarioFacts};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// 04:00:00 plus so many seconds.
pub(super) fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(at("2026-11-20T04:00:00Z").as_second() + seconds).expect("in range")
}

pub(super) fn email(port: u16, to: &[&str]) -> EmailSettings {
    EmailSettings {
        to: to.iter().map(|&to| to.to_owned()).collect(),
        from: "Plimsoll <plimsoll@example.com>".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        tls_ca: None,
        credentials: None,
        hello: Some("probe.example.com".to_owned()),
        timeout: Duration::from_secs(30),
    }
}

pub(super) fn receiver(name: &str, to: &[&str]) -> Receiver {
    Receiver { name: name.into(), email: email(25, to) }
}

pub(super) fn settings() -> AlertSettings {
    AlertSettings { receivers: vec![receiver("on_call", &["oncall@example.com"])], ..AlertSettings::default() }
}

pub(super) fn house() -> House {
    House {
        page_url: "http://127.0.0.1:9590".to_owned(),
        zone: TimeZone::get("Europe/Berlin").expect("bundled"),
        host: "probe-1".to_owned(),
    }
}

pub(super) fn facts(name: &str) -> ScenarioFacts {
    ScenarioFacts {
        name: name.into(),
        target: "ollama".into(),
        target_url: "http://localhost:11434".to_owned(),
        overload: false,
        owner: Some("gateway team".into()),
        description: Some("Keeps 10 requests per second on the model".to_owned()),
        schedule: "every 10m".to_owned(),
        next_run: Some(t(900)),
        thresholds: vec!["rate_rejected".into(), "p95_latency".into()],
    }
}

pub(super) fn threshold(name: &str, expr: &str, value: f64, limit: f64, unit: &str, holds: bool) -> ThresholdReport {
    ThresholdReport {
        expr: expr.to_owned(),
        name: name.to_owned(),
        value: Some(value),
        limit: Some(limit),
        unit: unit.to_owned(),
        margin_ratio: Some(1.0 - value / limit),
        result: if holds { ThresholdResult::Pass } else { ThresholdResult::Fail },
        severity: Severity::Critical,
        implicit: false,
        for_runs: 1,
        runbook: None,
        hint: None,
    }
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn times(p50: f64, p95: f64, p99: f64) -> TimeStats {
    TimeStats { count: 100, p50, p95, p99, max: p99, ..TimeStats::default() }
}

/// A run of five minutes that started `start` seconds after 04:00 and passed.
pub(super) fn passed(scenario: &str, start: i64) -> RunSummary {
    RunSummary {
        schema: SCHEMA.to_owned(),
        run_id: format!("run-{scenario}-{start}"),
        scenario: scenario.to_owned(),
        target: "ollama".to_owned(),
        trigger: Trigger::Every,
        due_at: t(start),
        started_at: t(start),
        ended_at: t(start + 300),
        duration_s: 300.0,
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        aborted: None,
        planned: 3000,
        sent: 3000,
        dropped: BTreeMap::new(),
        outcomes: OutcomeCounts { ok: 3000, ..OutcomeCounts::default() },
        rejected: BTreeMap::new(),
        failed: BTreeMap::new(),
        status: counts(&[("200", 3000)]),
        iterations: IterationCounts::default(),
        iteration_s: TimeStats::default(),
        throughput_per_s: 10.0,
        latency_s: [("ok".to_owned(), times(0.38, 0.7, 1.2))].into(),
        service_time_s: BTreeMap::new(),
        send_lag_s: times(0.000_01, 0.000_03, 0.000_04),
        timing_s: BTreeMap::new(),
        steps: BTreeMap::new(),
        groups: BTreeMap::new(),
        stats: BTreeMap::new(),
        thresholds: vec![threshold("rate_rejected", "rate(rejected) <= 5%", 0.0, 0.05, "ratio", true)],
        generator: GeneratorReport { valid: true, cpu_ratio: 0.08, ..GeneratorReport::default() },
        polls: 0,
        reconnects: 0,
        hooks: HookCounts::default(),
        first_failure: None,
        hints: Vec::new(),
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
        plan: serde_json::Value::Null,
        config_hash: "sha256:abc".to_owned(),
        version: "0.1.0".to_owned(),
        seed: 1,
    }
}

/// The same, with too many rejections.
pub(super) fn rejected(scenario: &str, start: i64) -> RunSummary {
    let memory = StatSummary {
        unit: "B".to_owned(),
        samples: 150,
        failed: 0,
        first: Some(13.5e9),
        last: Some(13.6e9),
        min: Some(13.5e9),
        max: Some(13.9e9),
        growth_ratio: None,
        slope_per_s: None,
        trend: "none".to_owned(),
    };
    RunSummary {
        verdict: Verdict::Fail,
        reasons: vec!["rate(rejected) <= 5%: 12.3 %".to_owned()],
        sent: 2998,
        dropped: counts(&[("max_in_flight", 2)]),
        outcomes: OutcomeCounts { ok: 2621, rejected: 369, failed: 8, interrupted: 0 },
        rejected: counts(&[("queue_full", 369)]),
        failed: counts(&[("timeout", 8)]),
        status: counts(&[("200", 2621), ("503", 369)]),
        latency_s: [("ok".to_owned(), times(0.39, 1.4, 2.4))].into(),
        stats: [("memory".to_owned(), memory)].into(),
        thresholds: vec![threshold("rate_rejected", "rate(rejected) <= 5%", 0.123, 0.05, "ratio", false)],
        first_failure: Some(FailureSample {
            step: "generate".to_owned(),
            outcome: "rejected".to_owned(),
            reason: "queue_full".to_owned(),
            request: "POST /api/generate".to_owned(),
            status: Some(503),
            detail: "the server said that its queue is full".to_owned(),
            body: "{\"error\":\"server busy, please try again\"}".to_owned(),
            at_s: 12.0,
        }),
        hints: vec!["503s came with Retry-After: 5".to_owned()],
        ..passed(scenario, start)
    }
}

/// A run that measured nothing.
pub(super) fn no_data(scenario: &str, start: i64) -> RunSummary {
    RunSummary {
        verdict: Verdict::NoData,
        reasons: vec!["no request was sent".to_owned()],
        planned: 0,
        sent: 0,
        outcomes: OutcomeCounts::default(),
        status: BTreeMap::new(),
        throughput_per_s: 0.0,
        latency_s: BTreeMap::new(),
        send_lag_s: TimeStats::default(),
        thresholds: Vec::new(),
        ..passed(scenario, start)
    }
}
