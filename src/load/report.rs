//! From counts to the document of a run (pure).

mod parts;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::parts::{by_outcome, dropped, groups, reasons, status, steps};
pub use self::parts::{measured, throughput};
use super::plan;
use crate::{
    judge::{History, stat_summary},
    measure::data::{RunData, Series, Timing},
    model::{
        Name,
        metric::MetricKind,
        outcome::{CLIENT_ABORT, Outcome, fail},
        run::{FailureSample, GeneratorReport, RunSummary, SCHEMA, Trigger, Verdict},
        scenario::{Scenario, Step},
        units::Unit,
    },
};

/// What a summary needs besides the counts.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Unique id of the run.
    pub run_id: Name,
    /// What started it.
    pub trigger: Trigger,
    /// The instant it was planned for.
    pub due: Timestamp,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How the generator fared.
    pub generator: GeneratorReport,
    /// The first request that did not go well.
    pub first_failure: Option<FailureSample>,
}

/// The document of a run, not yet judged: verdict `no_data`, no thresholds. `data` is everything that was sent.
pub fn summarise(scenario: &Scenario, data: &RunData, facts: Facts) -> RunSummary {
    let total = data.total();
    let units = stat_units(scenario);
    let stats = data.stats.iter().map(|(name, series)| {
        let (unit, counter) = units.get(name).copied().unwrap_or((Unit::Count, false));
        (name.to_string(), stat_summary(series, unit, counter))
    });
    let iterations = data.all_iterations();
    RunSummary {
        schema: SCHEMA.to_owned(),
        run_id: facts.run_id.to_string(),
        scenario: scenario.name.to_string(),
        target: scenario.target.name.to_string(),
        trigger: facts.trigger,
        due_at: facts.due,
        started_at: facts.started,
        ended_at: facts.ended,
        duration_s: facts.ended.duration_since(facts.started).as_secs_f64(),
        verdict: Verdict::NoData,
        reasons: Vec::new(),
        aborted: None,
        planned: data.planned(),
        sent: data.sent(),
        dropped: dropped(data),
        outcomes: total.counts(),
        rejected: reasons(&total, Outcome::Rejected),
        failed: reasons(&total, Outcome::Failed),
        status: status(&total),
        iterations: iterations.counts,
        iteration_s: iterations.time.stats(),
        throughput_per_s: throughput(data),
        latency_s: by_outcome(&total.latency),
        service_time_s: by_outcome(&total.service_time),
        send_lag_s: data.send_lag.stats(),
        timing_s: Timing::ALL
            .iter()
            .zip(&total.timing)
            .map(|(timing, hist)| (timing.as_str().to_owned(), hist.stats()))
            .collect(),
        steps: steps(data),
        groups: groups(data),
        stats: stats.collect(),
        thresholds: Vec::new(),
        generator: facts.generator,
        hooks: data.hooks,
        polls: data.polls,
        reconnects: total.reconnects,
        first_failure: facts.first_failure,
        hints: hints(scenario, &total),
        limit: None,
        elapsed_s: parts::elapsed(&iterations),
        streams: parts::streams(&total),
        metrics: parts::metrics(data, &trend_units(scenario).collect()),
        measured: None,
        environment: None,
        interrupted: reasons(&total, Outcome::Interrupted),
        events: Vec::new(),
        recovery_s: data.findings.recovery_s.filter(|seconds| seconds.is_finite()),
        search: None,
        plan: plan::document(scenario),
        config_hash: scenario.config_hash.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: scenario.seed,
    }
}

fn trend_units(scenario: &Scenario) -> impl Iterator<Item = (Name, Unit)> {
    scenario.metrics.iter().filter_map(|metric| match &metric.kind {
        MetricKind::Trend { unit, .. } => Some((metric.name.clone(), *unit)),
        MetricKind::Rate(_) => None,
    })
}

/// What the judge must know of the scenario's figures; without any earlier run.
pub fn history(scenario: &Scenario) -> History {
    let stats = stat_units(scenario);
    let counters = stats.iter().filter(|(_, (_, counter))| *counter).map(|(name, _)| name.clone()).collect();
    let units = stats.into_iter().map(|(name, (unit, _))| (name, unit)).chain(trend_units(scenario)).collect();
    History { units, counters, ..History::default() }
}

/// Unit and kind (counter or gauge) of each of the target's figures.
pub fn stat_units(scenario: &Scenario) -> BTreeMap<Name, (Unit, bool)> {
    scenario.target.all_figures(scenario.steps().any(Step::shows_certificate)).collect()
}

/// Lines worth reading: that certificates were not checked; where 503s were counted as failures, the rule to paste if they are the target's queue.
fn hints(scenario: &Scenario, total: &Series) -> Vec<String> {
    let unavailable = total.status.get(&503).copied().unwrap_or_default();
    let by_status = total.reasons.get(&(Outcome::Failed, fail::STATUS.into())).copied().unwrap_or_default();
    let mut hints = Vec::new();
    if scenario.target.http.tls.insecure && scenario.target.base.https {
        let name = &scenario.target.name;
        hints.push(format!("certificates were not checked: targets.{name} says `insecure: true`"));
    }
    if let Some(network) = &scenario.network {
        let gone = total.reasons.get(&(Outcome::Interrupted, CLIENT_ABORT.into())).copied().unwrap_or_default();
        let gone =
            if network.abort.is_some() { format!("; {gone} were gone before their answer") } else { String::new() };
        hints.push(format!("the network was made worse, and latencies hold it: {network}{gone}"));
    }
    if unavailable == 0 || by_status == 0 {
        return hints;
    }
    hints.push(format!(
        "{unavailable} {} 503 without Retry-After and counted as failed. If that is a full queue and not an outage, add under targets.{}: classify: [{{outcome: rejected, status: 503}}]",
        if unavailable == 1 { "answer was" } else { "answers were" },
        scenario.target.name
    ));
    hints
}
