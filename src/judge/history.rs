//! What an aggregation came to in a run that is over: read from its summary, which holds less than the run did.

use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Metric, Pattern},
    outcome::Outcome,
    run::{OutcomeCounts, RunSummary, TimeStats},
};

/// The value of `aggregate` in `run`; `None` if the summary does not have it.
pub(super) fn value(aggregate: &Aggregate, run: &RunSummary) -> Option<f64> {
    if aggregate.selectors.iter().any(|selector| selector.negated || !matches!(selector.value, Pattern::Is(_))) {
        return None;
    }
    let stats = |times: &TimeStats| of_times(aggregate.by, times);
    match &aggregate.metric {
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
        Metric::Iteration => stats(&run.iteration_s),
        Metric::Timing if matches!(part(aggregate), Part::Whole) => {
            run.timing_s.get(selected(aggregate, &Dimension::Timing)?).and_then(stats)
        }
        _ => counted(aggregate, run),
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
        (Metric::Iterations, None) => run.iterations.completed,
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
