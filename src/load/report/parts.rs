//! The parts of a run's document: steps, groups, streams, custom metrics.

use std::collections::BTreeMap;

use crate::{
    measure::{
        data::{Iterations, RunData, Series},
        dist::Dist,
        hist::Hist,
        stream::StreamSeries,
    },
    model::{
        Name,
        outcome::{DropReason, Outcome},
        run::{GroupStats, MeasuredSummary, MetricSummary, StreamSummary, TimeStats},
        units::Unit,
    },
};

/// Requests that ended ok, per second of the measured window.
pub fn throughput(data: &RunData) -> f64 {
    let window = data.window.as_secs_f64();
    if window > 0.0 { data.counts().ok as f64 / window } else { 0.0 }
}

pub(super) fn dropped(data: &RunData) -> BTreeMap<String, u64> {
    let named = DropReason::ALL.iter().zip(data.dropped);
    named.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.as_str().to_owned(), count)).collect()
}

pub(super) fn reasons(series: &Series, outcome: Outcome) -> BTreeMap<String, u64> {
    let own = series.reasons.iter().filter(|((of, _), _)| *of == outcome);
    own.map(|((_, reason), count)| (reason.to_string(), *count)).collect()
}

pub(super) fn status(series: &Series) -> BTreeMap<String, u64> {
    let name = |status: u16| if status == 0 { "other".to_owned() } else { status.to_string() };
    series.status.iter().map(|(status, count)| (name(*status), *count)).collect()
}

pub(super) fn by_outcome(hists: &[Hist; 3]) -> BTreeMap<String, TimeStats> {
    let named = Outcome::ALL.iter().zip(hists).filter(|(_, hist)| hist.count() > 0);
    named.map(|(outcome, hist)| (outcome.as_str().to_owned(), hist.stats())).collect()
}

pub(super) fn streams(series: &Series) -> Option<StreamSummary> {
    let StreamSeries { ttft, itl, tpot, tokens, speed, stalls } = series.stream.as_deref()?;
    Some(StreamSummary {
        ttft_s: ttft.stats(),
        itl_s: itl.stats(),
        tpot_s: tpot.stats(),
        tokens: tokens.stats(),
        tokens_per_s: speed.stats(),
        tokens_total: tokens.sum() as u64,
        stalls: *stalls,
    })
}

/// One step, or one group with its iterations.
fn stats_of(series: &Series, iterations: &Iterations) -> GroupStats {
    let elapsed = elapsed(iterations);
    let ok = series.counts().ok as f64;
    GroupStats {
        sent: series.sent(),
        outcomes: series.counts(),
        latency_s: by_outcome(&series.latency),
        iterations: iterations.counts,
        iteration_s: iterations.time.stats(),
        elapsed_s: elapsed,
        throughput_per_s: iterations.seconds().filter(|seconds| *seconds > 0.0).map(|seconds| ok / seconds),
        streams: streams(series),
    }
}

/// Seconds from the first intended instant to the last end.
pub(super) fn elapsed(iterations: &Iterations) -> Option<f64> {
    iterations.span.map(|(first, last)| (last - first).max(0.0))
}

pub(super) fn steps(data: &RunData) -> BTreeMap<String, GroupStats> {
    let mut merged: BTreeMap<&Name, Series> = BTreeMap::new();
    for (key, series) in &data.series {
        merged.entry(&key.step).or_default().merge(series);
    }
    let none = Iterations::default();
    merged.into_iter().map(|(step, series)| (step.to_string(), stats_of(&series, &none))).collect()
}

/// By every label: of a level there are requests and iterations, of a request's tag only requests.
pub(super) fn groups(data: &RunData) -> BTreeMap<String, GroupStats> {
    let mut merged: BTreeMap<String, (Series, Iterations)> = BTreeMap::new();
    for (key, series) in &data.series {
        for (dimension, value) in key.labels.iter() {
            merged.entry(format!("{dimension}={value}")).or_default().0.merge(series);
        }
    }
    for (labels, iterations) in &data.iterations {
        for (dimension, value) in labels.iter() {
            merged.entry(format!("{dimension}={value}")).or_default().1.merge(iterations);
        }
    }
    merged.into_iter().map(|(group, (series, iterations))| (group, stats_of(&series, &iterations))).collect()
}

/// The custom metrics over all steps and labels; `units` are those of the trends.
pub(super) fn metrics(data: &RunData, units: &BTreeMap<Name, Unit>) -> BTreeMap<String, MetricSummary> {
    let rates = data.custom.rates.iter().map(|(name, series)| {
        let (count, of) = series.values().fold((0, 0), |(is, of), (more, asked)| (is + more, of + asked));
        let ratio = (of > 0).then(|| count as f64 / of as f64);
        (name.to_string(), MetricSummary::Rate { count, of, ratio })
    });
    let trends = data.custom.trends.iter().map(|(name, series)| {
        let mut values = Dist::default();
        for dist in series.values() {
            values.merge(dist);
        }
        let unit = units.get(name).copied().unwrap_or(Unit::Count).as_str().to_owned();
        (name.to_string(), MetricSummary::Trend { unit, values: values.stats() })
    });
    rates.chain(trends).collect()
}

/// The measured window; `None` where everything that was sent lies in it.
pub fn measured(all: &RunData, judged: &RunData) -> Option<MeasuredSummary> {
    (judged.sent() != all.sent()).then(|| MeasuredSummary {
        window_s: judged.window.as_secs_f64(),
        sent: judged.sent(),
        outcomes: judged.counts(),
        throughput_per_s: throughput(judged),
        latency_s: by_outcome(&judged.total().latency),
    })
}
