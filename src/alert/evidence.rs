//! What of a run a mail quotes: small, bounded and stored, because a mail may be written minutes and a restart later.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::model::run::{FailureSample, OutcomeCounts, RunSummary, Verdict};

use super::text::clean;

/// Reasons, statuses, stats and hints kept of a run, each.
const KEEP: usize = 10;

/// What a mail may need to say about a scenario; kept while it has alerts or invalid runs in a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dossier {
    /// Invalid runs in a row.
    pub invalid_runs: u32,
    /// The latest run that breached.
    pub bad: Option<Evidence>,
    /// The latest run.
    pub latest: Option<Evidence>,
    /// The last good run before the breach.
    pub good: Option<Baseline>,
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The run.
    pub run_id: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its length, seconds.
    pub duration_s: f64,
    /// What it came to.
    pub verdict: Verdict,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Requests planned.
    pub planned: u64,
    /// Requests sent.
    pub sent: u64,
    /// Not sent, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Sent, by outcome.
    pub outcomes: OutcomeCounts,
    /// Rejected, by reason, most frequent first.
    pub rejected: Vec<(String, u64)>,
    /// Failed, by reason, most frequent first.
    pub failed: Vec<(String, u64)>,
    /// Answers by status, most frequent first.
    pub status: Vec<(String, u64)>,
    /// Answered per second.
    pub throughput_per_s: f64,
    /// Latency of ok requests.
    pub latency: Option<Quantiles>,
    /// The target's own figures.
    pub stats: Vec<Stat>,
    /// The first request that did not go well.
    pub first_failure: Option<FailureSample>,
    /// The generator kept up.
    pub generator_valid: bool,
    /// Why not, in words.
    pub generator_reasons: Vec<String>,
    /// CPU seconds per second of the generator.
    pub generator_cpu: f64,
    /// p99 of the generator's own lateness, seconds; absent when nothing was sent.
    pub send_lag_p99: Option<f64>,
    /// Lines worth reading.
    pub hints: Vec<String>,
    /// Hash of the scenario's configuration.
    pub config_hash: String,
}

/// Latency in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One figure of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// Its name.
    pub name: String,
    /// `B`, `s`, `ratio` or empty.
    pub unit: String,
    /// First and last value, smallest and largest.
    pub values: [Option<f64>; 4],
    /// Readings that failed.
    pub failed: u64,
}

/// The last good run, to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The run.
    pub run_id: String,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Latency of its ok requests.
    pub latency: Option<Quantiles>,
    /// Answered per second.
    pub throughput_per_s: f64,
}

impl Evidence {
    /// What is kept of `run`.
    pub fn of(run: &RunSummary) -> Self {
        let lines = |lines: &[String]| lines.iter().take(KEEP).map(|line| clean(line, 300)).collect();
        Self {
            run_id: run.run_id.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            duration_s: run.duration_s,
            verdict: run.verdict,
            reasons: lines(&run.reasons),
            planned: run.planned,
            sent: run.sent,
            dropped: top(&run.dropped),
            outcomes: run.outcomes,
            rejected: top(&run.rejected),
            failed: top(&run.failed),
            status: top(&run.status),
            throughput_per_s: run.throughput_per_s,
            latency: quantiles(run),
            stats: stats(run),
            first_failure: run.first_failure.as_ref().map(bounded),
            generator_valid: run.generator.valid,
            generator_reasons: lines(&run.generator.reasons),
            generator_cpu: run.generator.cpu_ratio,
            send_lag_p99: (run.send_lag_s.count > 0).then_some(run.send_lag_s.p99),
            hints: lines(&run.hints),
            config_hash: clean(&run.config_hash, 100),
        }
    }
}

impl Baseline {
    /// What is kept of a good run.
    pub fn of(run: &RunSummary) -> Self {
        Self {
            run_id: run.run_id.clone(),
            ended_at: run.ended_at,
            latency: quantiles(run),
            throughput_per_s: run.throughput_per_s,
        }
    }
}

fn quantiles(run: &RunSummary) -> Option<Quantiles> {
    let ok = run.latency_s.get("ok").filter(|times| times.count > 0)?;
    Some(Quantiles { p50: ok.p50, p95: ok.p95, p99: ok.p99 })
}

fn top(counts: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (clean(name, 60), *count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: u64 = counts.iter().skip(KEEP).map(|(_, count)| count).sum();
    counts.truncate(KEEP);
    if rest > 0 {
        counts.push(("others".to_owned(), rest));
    }
    counts
}

fn stats(run: &RunSummary) -> Vec<Stat> {
    let stat = |(name, stat): (&String, &crate::model::run::StatSummary)| Stat {
        name: clean(name, 80),
        unit: stat.unit.clone(),
        values: [stat.first, stat.last, stat.min, stat.max],
        failed: stat.failed,
    };
    run.stats.iter().take(KEEP).map(stat).collect()
}

fn bounded(sample: &FailureSample) -> FailureSample {
    FailureSample {
        step: clean(&sample.step, 100),
        outcome: clean(&sample.outcome, 20),
        reason: clean(&sample.reason, 60),
        request: clean(&sample.request, 300),
        status: sample.status,
        detail: clean(&sample.detail, 300),
        body: clean(&sample.body, 1024),
        at_s: sample.at_s,
    }
}
