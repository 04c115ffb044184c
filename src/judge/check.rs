//! What fits together: aggregations with metrics, selectors with metrics.

use super::lex::ExprError;
use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Metric, Threshold},
    metric::{CustomMetric, MetricKind},
    outcome::Outcome,
};

/// What can be done with a metric.
struct Uses {
    counted: bool,
    valued: bool,
}

fn uses(metric: &Metric) -> Uses {
    match metric {
        Metric::Latency
        | Metric::ServiceTime
        | Metric::SendLag
        | Metric::Iteration
        | Metric::Timing
        | Metric::Ttft
        | Metric::Itl
        | Metric::Tpot
        | Metric::TokensPerS => Uses { counted: false, valued: true },
        Metric::Tokens => Uses { counted: true, valued: true },
        _ => Uses { counted: true, valued: false },
    }
}

/// Whether the aggregation and the selectors fit the metric.
pub(super) fn check_aggregate(
    aggregate: &Aggregate,
    word: &str,
    name: &str,
    at: usize,
    metric_at: usize,
) -> Result<(), ExprError> {
    if let Metric::Stat(_) = aggregate.metric {
        return check_kept(aggregate, name, metric_at);
    }
    let Uses { counted, valued } = uses(&aggregate.metric);
    let fits = match aggregate.by {
        Aggregation::Count | Aggregation::Share | Aggregation::PerSecond => counted,
        Aggregation::Mean | Aggregation::Min | Aggregation::Max | Aggregation::Quantile(_) => valued,
        _ => false,
    };
    if fits {
        return check_selectors(aggregate, name, metric_at);
    }
    let error = ExprError::new(at, format!("`{word}` does not fit `{name}`"));
    Err(match (counted, &aggregate.metric) {
        (false, Metric::TokensPerS) => error.help("it is a speed: write avg(tokens_per_s) or p50(tokens_per_s)"),
        (true, Metric::Tokens) => error.help("write count(tokens), rps(tokens), avg(tokens) or max(tokens)"),
        (true, _) => error.help(format!("`{name}` is counted: write count({name}) or rate({name})")),
        (false, _) => {
            error.help(format!("`{name}` is a time: write p95({name}), avg({name}), min({name}) or max({name})"))
        }
    })
}

/// Whether the measurements are kept by the dimensions that are selected by.
pub(super) fn check_kept(aggregate: &Aggregate, name: &str, at: usize) -> Result<(), ExprError> {
    for selector in &aggregate.selectors {
        if is_kept(&aggregate.metric, &selector.by) {
            continue;
        }
        let error = ExprError::new(at, format!("`{name}` is not kept by `{}`", selector.by.as_str()));
        return Err(match (&aggregate.metric, &selector.by) {
            (Metric::Outcome(_), Dimension::Status) => {
                error.help("write requests{status=5xx}, or failed{reason=status}, rejected{reason=status_429}")
            }
            (Metric::Outcome(_), Dimension::Outcome) => error.help("it is an outcome already"),
            (Metric::Iteration | Metric::Iterations | Metric::Elapsed, Dimension::Step) => error
                .help("an iteration is all of its steps: select by level, phase, user, repeat or a tag of the load"),
            _ => error.help("leave the selector out"),
        });
    }
    Ok(())
}

fn is_kept(metric: &Metric, by: &Dimension) -> bool {
    let series = matches!(by, Dimension::Step | Dimension::Group(_));
    match metric {
        Metric::Requests => series || matches!(by, Dimension::Status | Dimension::Outcome),
        Metric::Outcome(Outcome::Failed) => series || matches!(by, Dimension::Reason | Dimension::Status),
        Metric::Outcome(Outcome::Rejected) => series || *by == Dimension::Reason,
        Metric::Dropped => *by == Dimension::Reason,
        Metric::Latency | Metric::ServiceTime => series || *by == Dimension::Outcome,
        Metric::Timing => series || *by == Dimension::Timing,
        Metric::Iteration | Metric::Iterations => matches!(by, Dimension::Group(_) | Dimension::Outcome),
        Metric::Elapsed => matches!(by, Dimension::Group(_)),
        Metric::Outcome(_)
        | Metric::Sent
        | Metric::Ttft
        | Metric::Itl
        | Metric::Tpot
        | Metric::Tokens
        | Metric::TokensPerS
        | Metric::Stalls
        | Metric::Stat(_) => series,
        Metric::Planned
        | Metric::SendLag
        | Metric::SamplesLost
        | Metric::ClockSteps
        | Metric::SafeRate
        | Metric::Recovery => false,
    }
}

fn check_selectors(aggregate: &Aggregate, name: &str, at: usize) -> Result<(), ExprError> {
    check_kept(aggregate, name, at)?;
    let has = |by: &Dimension| aggregate.selectors.iter().any(|selector| selector.by == *by);
    match aggregate.metric {
        Metric::Requests if has(&Dimension::Status) && has(&Dimension::Outcome) => {
            Err(ExprError::new(at, "requests are kept by status or by outcome, not by both").help("select by one"))
        }
        Metric::Outcome(Outcome::Failed) if has(&Dimension::Status) && has(&Dimension::Reason) => {
            Err(ExprError::new(at, "failures are kept by status or by reason, not by both").help("select by one"))
        }
        Metric::Iterations if takes_no_other(aggregate, Outcome::Rejected) => {
            let error = ExprError::new(at, "no iteration is rejected: it is ok, failed or interrupted");
            Err(error.help("write iterations{outcome=failed}, or rejected{step=…}"))
        }
        Metric::Iteration if has(&Dimension::Outcome) && !takes(aggregate, Outcome::Ok) => {
            Err(ExprError::new(at, "only completed iterations have a length").help("leave the outcome out"))
        }
        Metric::Latency | Metric::ServiceTime if takes_no_other(aggregate, Outcome::Interrupted) => {
            let error = ExprError::new(at, "what was interrupted is in no time");
            Err(error.help("select ok, rejected or failed"))
        }
        Metric::Timing if !has(&Dimension::Timing) => {
            Err(ExprError::new(at, "which part of the time?").help("write timing{timing=ttfb}"))
        }
        _ => Ok(()),
    }
}

/// Whether the selectors on the outcome take this one.
fn takes(aggregate: &Aggregate, outcome: Outcome) -> bool {
    let of = aggregate.selectors.iter().filter(|selector| selector.by == Dimension::Outcome);
    of.into_iter().all(|selector| selector.value.takes(outcome.as_str()) != selector.negated)
}

/// Whether they take this one only.
fn takes_no_other(aggregate: &Aggregate, outcome: Outcome) -> bool {
    Outcome::ALL.into_iter().all(|one| takes(aggregate, one) == (one == outcome))
}

/// Whether each custom metric is aggregated as what it is, and only they are selected from; for the configuration, which
/// knows them. A name that is not among `custom` is a figure of the target.
pub fn check_custom(threshold: &Threshold, custom: &[CustomMetric]) -> Result<(), ExprError> {
    for aggregate in threshold.aggregates() {
        let Metric::Stat(name) = &aggregate.metric else { continue };
        let at = threshold.source.find(&**name).unwrap_or_default();
        let kind = custom.iter().find(|metric| metric.name == *name).map(|metric| &metric.kind);
        let error = match kind {
            None if aggregate.selectors.is_empty() => continue,
            None => ExprError::new(at, format!("`{name}` is a stat, and stats are not selected from"))
                .help("leave out the braces, or name one of latency, requests, ok, rejected, failed"),
            Some(MetricKind::Rate(_)) => match aggregate.by {
                Aggregation::Count | Aggregation::Share | Aggregation::PerSecond => continue,
                _ => ExprError::new(at, format!("`{name}` is a rate: it is true or false"))
                    .help(format!("write rate({name}) > 95% or count({name})")),
            },
            Some(MetricKind::Trend { .. }) => match aggregate.by {
                Aggregation::Count
                | Aggregation::Mean
                | Aggregation::Min
                | Aggregation::Max
                | Aggregation::Quantile(_) => continue,
                _ => ExprError::new(at, format!("`{name}` is a trend: it is a number"))
                    .help(format!("write p95({name}), avg({name}), min({name}) or max({name})")),
            },
        };
        return Err(error);
    }
    Ok(())
}
