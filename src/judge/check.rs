//! What fits together: aggregations with metrics, selectors with metrics, units with each other. A unit is asked for
//! wherever a bare number could be read two ways.

use std::collections::BTreeMap;

use super::lex::ExprError;
use crate::model::{
    Name,
    expr::{Aggregate, Aggregation, Dimension, Measure, Metric, Operator, Threshold},
    outcome::Outcome,
    units::Unit,
};

/// Whether the aggregation and the selectors fit the metric.
pub(super) fn check_aggregate(
    aggregate: &Aggregate,
    word: &str,
    name: &str,
    at: usize,
    metric_at: usize,
) -> Result<(), ExprError> {
    let counted = match aggregate.metric {
        Metric::Stat(_) => return check_stat(aggregate, name, metric_at),
        Metric::Latency | Metric::ServiceTime | Metric::SendLag | Metric::Iteration | Metric::Timing => false,
        _ => true,
    };
    let fits = match aggregate.by {
        Aggregation::Count | Aggregation::Share | Aggregation::PerSecond => counted,
        Aggregation::Mean | Aggregation::Min | Aggregation::Max | Aggregation::Quantile(_) => !counted,
        _ => false,
    };
    if !fits {
        let error = ExprError::new(at, format!("`{word}` does not fit `{name}`"));
        return Err(if counted {
            error.help(format!("`{name}` is counted: write count({name}) or rate({name})"))
        } else {
            error.help(format!("`{name}` is a time: write p95({name}), avg({name}), min({name}) or max({name})"))
        });
    }
    check_selectors(aggregate, name, metric_at)
}

fn check_stat(aggregate: &Aggregate, name: &str, at: usize) -> Result<(), ExprError> {
    if aggregate.selectors.is_empty() {
        return Ok(());
    }
    Err(ExprError::new(at, format!("`{name}` is a stat, and stats are not selected from"))
        .help("leave out the braces, or name one of latency, requests, ok, rejected, failed"))
}

/// Whether the measurements are kept by these dimensions.
fn check_selectors(aggregate: &Aggregate, name: &str, at: usize) -> Result<(), ExprError> {
    let has = |by: &Dimension| aggregate.selectors.iter().any(|selector| selector.by == *by);
    for selector in &aggregate.selectors {
        let series = matches!(selector.by, Dimension::Step | Dimension::Group(_));
        let kept = match aggregate.metric {
            Metric::Requests => series || matches!(selector.by, Dimension::Status | Dimension::Outcome),
            Metric::Outcome(Outcome::Rejected | Outcome::Failed) => series || selector.by == Dimension::Reason,
            Metric::Outcome(_) | Metric::Sent => series,
            Metric::Dropped => selector.by == Dimension::Reason,
            Metric::Latency | Metric::ServiceTime => series || selector.by == Dimension::Outcome,
            Metric::Timing => series || selector.by == Dimension::Timing,
            _ => false,
        };
        if !kept {
            let error = ExprError::new(at, format!("`{name}` is not kept by `{}`", selector.by.as_str()));
            return Err(match (&aggregate.metric, &selector.by) {
                (Metric::Outcome(_), Dimension::Status) => {
                    error.help("write requests{status=5xx}, or failed{reason=status}, rejected{reason=status_429}")
                }
                (Metric::Outcome(_), Dimension::Outcome) => error.help("it is an outcome already"),
                _ => error.help("leave the selector out"),
            });
        }
    }
    match aggregate.metric {
        Metric::Requests if has(&Dimension::Status) && has(&Dimension::Outcome) => {
            Err(ExprError::new(at, "requests are kept by status or by outcome, not by both").help("select by one"))
        }
        Metric::Requests
            if aggregate.by == Aggregation::Share && !has(&Dimension::Status) && !has(&Dimension::Outcome) =>
        {
            // Decided once the limit is known: `rate(requests) > 100/s` is per second.
            Ok(())
        }
        Metric::Timing if !has(&Dimension::Timing) => {
            Err(ExprError::new(at, "which part of the time?").help("write timing{timing=ttfb}"))
        }
        _ => Ok(()),
    }
}

/// The unit of a side, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dim {
    /// Known.
    Is(Unit),
    /// A stat's, and nobody said which.
    Open,
}

/// Whether both sides can be compared; stats may have any unit.
pub(super) fn check_sides(left: &Measure, right: &Measure, left_at: usize, right_at: usize) -> Result<(), ExprError> {
    sides(left, right, left_at, right_at, None)
}

/// Whether the limit has the unit that the stats have; for the configuration, which knows them. Stats that are not in
/// `units` are let through.
pub fn check_units(threshold: &Threshold, units: &BTreeMap<Name, Unit>) -> Result<(), ExprError> {
    let at = threshold.source.find(threshold.op.as_str()).unwrap_or_default();
    sides(&threshold.left, &threshold.right, at, at, Some(units))
}

fn sides(
    left: &Measure,
    right: &Measure,
    left_at: usize,
    right_at: usize,
    units: Option<&BTreeMap<Name, Unit>>,
) -> Result<(), ExprError> {
    let (left, right) = (dim(left, units, left_at)?, dim(right, units, right_at)?);
    let (Dim::Is(left), Dim::Is(right)) = (left, right) else { return Ok(()) };
    if left == right {
        return Ok(());
    }
    let (unit, at) = if right == Unit::Count { (left, right_at) } else { (right, right_at) };
    let example = example(if right == Unit::Count { unit } else { left });
    let message = if right == Unit::Count {
        "the unit is missing".to_owned()
    } else {
        format!("{} cannot be compared with {}", in_words(left), in_words(right))
    };
    Err(ExprError::new(at, message).help(format!("write the limit like {example}")))
}

fn dim(measure: &Measure, units: Option<&BTreeMap<Name, Unit>>, at: usize) -> Result<Dim, ExprError> {
    match measure {
        Measure::Number(quantity) => Ok(Dim::Is(quantity.unit)),
        Measure::Of(aggregate) => aggregate_dim(aggregate, units, at),
        Measure::Drift(_) => Ok(Dim::Is(Unit::Ratio)),
        Measure::Baseline(inner) => dim(inner, units, at),
        Measure::Math(left, operator, right) => {
            let by_number = matches!(**right, Measure::Number(quantity) if quantity.unit == Unit::Count);
            let (left, right) = (dim(left, units, at)?, dim(right, units, at)?);
            math_dim(left, *operator, right, by_number).ok_or_else(|| {
                let words = |dim| match dim {
                    Dim::Is(unit) => in_words(unit),
                    Dim::Open => "a stat",
                };
                let message = format!("{} {} {} has no meaning", words(left), operator.as_str(), words(right));
                let error = ExprError::new(at, message);
                match (left, right) {
                    (_, Dim::Is(Unit::Points)) => error.help("pp are differences of shares: rate(ok) - 5pp"),
                    (Dim::Is(Unit::Ratio), Dim::Is(Unit::Count)) => error.help("write 5pp or 5%"),
                    _ => error.help("add and subtract what has the same unit; multiply by a number or a share"),
                }
            })
        }
    }
}

fn aggregate_dim(aggregate: &Aggregate, units: Option<&BTreeMap<Name, Unit>>, at: usize) -> Result<Dim, ExprError> {
    let Metric::Stat(name) = &aggregate.metric else {
        return Ok(Dim::Is(match aggregate.by {
            Aggregation::Count => Unit::Count,
            Aggregation::Share if !has_share(aggregate) => {
                let error = ExprError::new(at, "a share of what? All requests are 100 % of themselves");
                return Err(error.help("write a limit per second, such as 100/s, or name ok, rejected or failed"));
            }
            Aggregation::Share => Unit::Ratio,
            Aggregation::PerSecond => Unit::PerSecond,
            _ => Unit::Seconds,
        }));
    };
    let own = units.and_then(|units| units.get(name)).copied();
    Ok(match (aggregate.by, own) {
        (Aggregation::Share | Aggregation::Growth { absolute: false }, _) => Dim::Is(Unit::Ratio),
        (Aggregation::PerSecond, _) => Dim::Is(Unit::PerSecond),
        (Aggregation::Slope, Some(unit)) => match unit {
            Unit::Count => Dim::Is(Unit::PerSecond),
            Unit::Bytes => Dim::Is(Unit::BytesPerSecond),
            _ => Dim::Open,
        },
        (Aggregation::Growth { absolute: true }, Some(Unit::Ratio)) => Dim::Is(Unit::Points),
        (_, Some(unit)) => Dim::Is(unit),
        (_, None) => Dim::Open,
    })
}

/// Whether its `rate` is a part of a whole.
fn has_share(aggregate: &Aggregate) -> bool {
    match aggregate.metric {
        Metric::Outcome(outcome) => outcome != Outcome::Interrupted,
        Metric::Dropped | Metric::Stat(_) => true,
        Metric::Requests => {
            aggregate.selectors.iter().any(|selector| matches!(selector.by, Dimension::Status | Dimension::Outcome))
        }
        _ => false,
    }
}

/// `by_number`: the right side is a bare number, by which anything can be divided; counts by counts are shares.
fn math_dim(left: Dim, operator: Operator, right: Dim, by_number: bool) -> Option<Dim> {
    use Dim::{Is, Open};
    let scalar = |dim: Dim| matches!(dim, Is(Unit::Count | Unit::Ratio));
    match operator {
        Operator::Add | Operator::Sub => match (left, right) {
            (Open | Is(Unit::Ratio), Is(Unit::Points)) => Some(Is(Unit::Ratio)),
            (Is(_), Is(Unit::Points)) if left != right => None,
            (Open, other) | (other, Open) => Some(other),
            _ => (left == right).then_some(left),
        },
        Operator::Mul if left == Is(Unit::Count) => Some(right),
        Operator::Mul if scalar(right) => Some(left),
        Operator::Mul => scalar(left).then_some(right),
        Operator::Div => match (left, right) {
            _ if by_number => Some(left),
            (Open, _) | (_, Open) => Some(Open),
            _ => (left == right).then_some(Is(Unit::Ratio)),
        },
    }
}

fn in_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a count",
        Unit::Seconds => "a time",
        Unit::Ratio => "a share",
        Unit::Points => "percentage points",
        Unit::Bytes => "a size",
        Unit::PerSecond => "a rate per second",
        Unit::BytesPerSecond => "bytes per second",
    }
}

fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "5",
        Unit::Seconds => "2s or 500ms",
        Unit::Ratio => "5%",
        Unit::Points => "5pp",
        Unit::Bytes => "30MB",
        Unit::PerSecond => "100/s",
        Unit::BytesPerSecond => "1MB/h",
    }
}

/// The unit in which a threshold's value is reported: the left side's, or else the limit's.
pub(super) fn unit_of(left: &Measure, right: &Measure, units: &BTreeMap<Name, Unit>) -> Unit {
    [left, right]
        .into_iter()
        .find_map(|side| match dim(side, Some(units), 0) {
            Ok(Dim::Is(unit)) => Some(unit),
            _ => None,
        })
        .unwrap_or(Unit::Count)
}
