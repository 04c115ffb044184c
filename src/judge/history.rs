//! What an aggregation came to in a run that is over: read from its summary, which holds less than the run did.

use super::trend;
use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Measure, Metric, Pattern},
    outcome::Outcome,
    run::{MetricSummary, OutcomeCounts, RunSummary, TimeStats},
};

/// The value of an aggregation, or of how much one differs, in `run`; `None` if the summary does not have it.
pub(super) fn value(measure: &Measure, run: &RunSummary) -> Option<f64> {
    match measure {
        Measure::Of(aggregate) => aggregated(aggregate, run),
        Measure::Spread { how, of, by } => {
            let Measure::Of(aggregate) = &**of else { return None };
            let prefix = format!("{}=", by.as_str());
            let parts: Vec<&str> = match by {
                Dimension::Step => run.steps.keys().map(String::as_str).collect(),
                _ => run.groups.keys().filter_map(|group| group.strip_prefix(&prefix)).collect(),
            };
            let of_part = |part: &&str| aggregated(&aggregate.clone().selecting(by, part), run);
            trend::spread(*how, &parts.iter().filter_map(of_part).collect::<Vec<f64>>())
        }
        _ => None,
    }
}

fn aggregated(aggregate: &Aggregate, run: &RunSummary) -> Option<f64> {
    if aggregate.selectors.iter().any(|selector| selector.negated || !matches!(selector.value, Pattern::Is(_))) {
        return None;
    }
    let stats = |times: &TimeStats| of_times(aggregate.by, times);
    match &aggregate.metric {
        Metric::Ttft | Metric::Itl | Metric::Tpot | Metric::Tokens | Metric::TokensPerS | Metric::Stalls => {
            match run.metrics.get(aggregate.metric.as_str()) {
                Some(metric) => custom(aggregate, metric, run),
                None => streamed(aggregate, run),
            }
        }
        Metric::Elapsed => match part(aggregate) {
            Part::Whole => run.elapsed_s,
            Part::Group(group) => run.groups.get(&group)?.elapsed_s,
            _ => None,
        },
        Metric::SafeRate => run.search.as_ref()?.get("line")?.as_f64(),
        Metric::Recovery => run.recovery_s,
        Metric::Stat(name) if run.metrics.contains_key(&**name) => custom(aggregate, &run.metrics[&**name], run),
        Metric::Stat(name) => {
            let stat = run.stats.get(&**name)?;
            match aggregate.by {
                Aggregation::First => stat.first,
                Aggregation::Last => stat.last,
                Aggregation::Min => stat.min,
                Aggregation::Max => stat.max,
                Aggregation::Growth { absolute: false } => stat.growth_ratio,
                Aggregation::Slope => stat.slope_per_s,
                _ => None,
            }
        }
        Metric::Latency => {
            let outcome = selected(aggregate, &Dimension::Outcome).unwrap_or("ok");
            match part(aggregate) {
                Part::Whole => run.latency_s.get(outcome),
                Part::Step(step) => run.steps.get(step)?.latency_s.get(outcome),
                Part::Group(group) => run.groups.get(&group)?.latency_s.get(outcome),
                Part::Other => None,
            }
            .and_then(stats)
        }
        Metric::ServiceTime if matches!(part(aggregate), Part::Whole) => {
            run.service_time_s.get(selected(aggregate, &Dimension::Outcome).unwrap_or("ok")).and_then(stats)
        }
        Metric::SendLag => stats(&run.send_lag_s),
        Metric::Iteration => match part(aggregate) {
            Part::Whole => stats(&run.iteration_s),
            Part::Group(group) => stats(&run.groups.get(&group)?.iteration_s),
            _ => None,
        },
        Metric::Timing if matches!(part(aggregate), Part::Whole) => {
            run.timing_s.get(selected(aggregate, &Dimension::Timing)?).and_then(stats)
        }
        _ => counted(aggregate, run),
    }
}

/// A custom metric; summaries hold it of the whole run.
fn custom(aggregate: &Aggregate, metric: &MetricSummary, run: &RunSummary) -> Option<f64> {
    if !aggregate.selectors.is_empty() {
        return None;
    }
    match (metric, aggregate.by) {
        (MetricSummary::Rate { count, .. }, Aggregation::Count) => Some(*count as f64),
        (MetricSummary::Rate { count, of, .. }, Aggregation::Share) => (*of > 0).then(|| *count as f64 / *of as f64),
        (MetricSummary::Rate { count, .. }, Aggregation::PerSecond) => {
            measured_seconds(run).map(|seconds| *count as f64 / seconds)
        }
        (MetricSummary::Trend { values, .. }, Aggregation::Count) => Some(values.count as f64),
        (MetricSummary::Trend { values, .. }, by) => of_times(by, values),
        (MetricSummary::Rate { .. }, _) => None,
    }
}

fn streamed(aggregate: &Aggregate, run: &RunSummary) -> Option<f64> {
    let Part::Whole = part(aggregate) else { return None };
    let streams = run.streams.as_ref()?;
    let total = match aggregate.metric {
        Metric::Stalls => streams.stalls,
        _ => streams.tokens_total,
    };
    match aggregate.by {
        Aggregation::Count => Some(total as f64),
        Aggregation::PerSecond => measured_seconds(run).map(|seconds| total as f64 / seconds),
        by => of_times(
            by,
            match aggregate.metric {
                Metric::Ttft => &streams.ttft_s,
                Metric::Itl => &streams.itl_s,
                Metric::Tpot => &streams.tpot_s,
                Metric::Tokens => &streams.tokens,
                Metric::TokensPerS => &streams.tokens_per_s,
                _ => return None,
            },
        ),
    }
}

/// Which part of the run the step and the groups select.
enum Part<'a> {
    Whole,
    Step(&'a str),
    Group(String),
    /// More than one selector; summaries do not go that deep.
    Other,
}

fn part(aggregate: &Aggregate) -> Part<'_> {
    let mut found = Part::Whole;
    for selector in &aggregate.selectors {
        let Pattern::Is(value) = &selector.value else { return Part::Other };
        found = match (&found, &selector.by) {
            (_, Dimension::Status | Dimension::Outcome | Dimension::Reason | Dimension::Timing) => continue,
            (Part::Whole, Dimension::Step) => Part::Step(value),
            (Part::Whole, Dimension::Group(name)) => Part::Group(format!("{name}={value}")),
            _ => return Part::Other,
        };
    }
    found
}

fn selected<'a>(aggregate: &'a Aggregate, by: &Dimension) -> Option<&'a str> {
    let selector = aggregate.selectors.iter().find(|selector| selector.by == *by)?;
    match &selector.value {
        Pattern::Is(value) => Some(value),
        _ => None,
    }
}

fn of_times(by: Aggregation, times: &TimeStats) -> Option<f64> {
    if times.count == 0 {
        return None;
    }
    let near = |q: f64, known: f64| (q - known).abs() < 1e-9;
    match by {
        Aggregation::Mean => Some(times.mean),
        Aggregation::Min => Some(times.min),
        Aggregation::Max => Some(times.max),
        Aggregation::Quantile(q) => {
            let known = [(0.5, times.p50), (0.9, times.p90), (0.95, times.p95), (0.99, times.p99), (0.999, times.p999)];
            known.iter().find(|(share, _)| near(q, *share)).map(|(_, value)| *value)
        }
        _ => None,
    }
}

fn counted(aggregate: &Aggregate, run: &RunSummary) -> Option<f64> {
    let counts: OutcomeCounts = match part(aggregate) {
        Part::Whole => run.outcomes,
        Part::Step(step) => run.steps.get(step)?.outcomes,
        Part::Group(group) => run.groups.get(&group)?.outcomes,
        Part::Other => return None,
    };
    let whole = matches!(part(aggregate), Part::Whole);
    let reason = selected(aggregate, &Dimension::Reason);
    let mut of = counts.answered();
    let count = match (&aggregate.metric, reason) {
        (Metric::Outcome(outcome), None) => match outcome {
            Outcome::Ok => counts.ok,
            Outcome::Rejected => counts.rejected,
            Outcome::Failed => counts.failed,
            Outcome::Interrupted => counts.interrupted,
        },
        (Metric::Outcome(outcome), Some(reason)) if whole => {
            let reasons = if outcome.as_str() == "rejected" { &run.rejected } else { &run.failed };
            reasons.get(reason).copied().unwrap_or_default()
        }
        (Metric::Requests, None) if aggregate.selectors.is_empty() => counts.answered(),
        (Metric::Dropped, reason) => {
            of = run.planned;
            reason.map_or_else(|| run.dropped.values().sum(), |reason| run.dropped.get(reason).copied().unwrap_or(0))
        }
        (Metric::Sent, None) if whole => run.sent,
        (Metric::Planned, None) => run.planned,
        (Metric::Iterations, None) => {
            let iterations = match part(aggregate) {
                Part::Whole => run.iterations,
                Part::Group(group) => run.groups.get(&group)?.iterations,
                _ => return None,
            };
            of = iterations.completed + iterations.failed;
            match selected(aggregate, &Dimension::Outcome) {
                None | Some("ok") => iterations.completed,
                Some("failed") => iterations.failed,
                Some("interrupted") => iterations.interrupted,
                Some(_) => 0,
            }
        }
        _ => return None,
    };
    match aggregate.by {
        Aggregation::Count => Some(count as f64),
        Aggregation::Share => (of > 0).then(|| count as f64 / of as f64),
        Aggregation::PerSecond => measured_seconds(run).map(|seconds| count as f64 / seconds),
        _ => None,
    }
}

/// Length of the measured window, which the document holds only as the throughput of ok requests; `None` if there were
/// none.
fn measured_seconds(run: &RunSummary) -> Option<f64> {
    let seconds = run.outcomes.ok as f64 / run.throughput_per_s;
    (run.outcomes.ok > 0 && seconds.is_finite() && seconds > 0.0).then_some(seconds)
}
