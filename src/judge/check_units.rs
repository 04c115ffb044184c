//! Whether two sides can be compared. A unit is asked for wherever a bare number could be read two ways.

use std::collections::BTreeMap;

use super::lex::ExprError;
use crate::model::{
    Name,
    expr::{Aggregate, Aggregation, Dimension, Held, Measure, Metric, Operator, Spread, Threshold},
    outcome::Outcome,
    units::Unit,
};

/// The unit of a side, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dim {
    /// Known.
    Is(Unit),
    /// Written with either of two units.
    Either(Unit, Unit),
    /// A stat's, and nobody said which.
    Open,
}

/// Whether both sides can be compared; stats may have any unit.
pub(super) fn check_sides(left: &Measure, right: &Measure, left_at: usize, right_at: usize) -> Result<(), ExprError> {
    sides(left, right, left_at, right_at, None)
}

/// Whether a further limit of the same measure fits it.
pub(super) fn check_limit(left: &Measure, limit: &Measure) -> Result<(), ExprError> {
    sides(left, limit, 0, 0, None)
}

/// Whether the limit has the unit that the stats have; for the configuration, which knows them. Stats that are not in
/// `units` are let through.
pub fn check_units(threshold: &Threshold, units: &BTreeMap<Name, Unit>) -> Result<(), ExprError> {
    let at = threshold.source.find(threshold.op.as_str()).unwrap_or_default();
    sides(&threshold.left, &threshold.right, at, at, Some(units))?;
    let mut limits = threshold.grades.iter().flat_map(|grades| [&grades.warn, &grades.fail]).flatten();
    limits.try_for_each(|limit| sides(&threshold.left, &limit.right, at, at, Some(units)))?;
    let mut held: Vec<&Held> = threshold.only_while.iter().collect();
    for side in [&threshold.left, &threshold.right] {
        side.visit(&mut |part| {
            if let Measure::Share(condition) = part {
                held.push(condition);
            }
        });
    }
    held.iter().try_for_each(|held| sides(&held.left, &held.right, at, at, Some(units)))
}

/// Whether the limit of a condition on gauges has their unit.
pub fn check_held(held: &Held, units: &BTreeMap<Name, Unit>) -> Result<(), ExprError> {
    let at = held.source.find(held.op.as_str()).unwrap_or_default();
    sides(&held.left, &held.right, at, at, Some(units))
}

fn sides(
    left: &Measure,
    right: &Measure,
    left_at: usize,
    right_at: usize,
    units: Option<&BTreeMap<Name, Unit>>,
) -> Result<(), ExprError> {
    let stat = matches!(left, Measure::Of(aggregate) if matches!(aggregate.metric, Metric::Stat(_)));
    let (left, right) = (dim(left, units, left_at)?, dim(right, units, right_at)?);
    let (left, right) = match (left, right) {
        (Dim::Open, _) | (_, Dim::Open) => return Ok(()),
        (Dim::Is(left), Dim::Is(right)) => (left, right),
        (Dim::Either(one, other), Dim::Is(unit)) | (Dim::Is(unit), Dim::Either(one, other))
            if unit == one || unit == other =>
        {
            return Ok(());
        }
        (Dim::Either(left, _), Dim::Is(right) | Dim::Either(right, _)) | (Dim::Is(left), Dim::Either(right, _)) => {
            (left, right)
        }
    };
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
    // A share of a figure that is read as a plain number.
    let plain = (left, right) == (Unit::Count, Unit::Ratio) && stat;
    let more = if plain { ", or give the figure its unit where it is declared: `unit: \"%\"`" } else { "" };
    Err(ExprError::new(at, message).help(format!("write the limit like {example}{more}")))
}

fn dim(measure: &Measure, units: Option<&BTreeMap<Name, Unit>>, at: usize) -> Result<Dim, ExprError> {
    match measure {
        Measure::Number(quantity) => Ok(Dim::Is(quantity.unit)),
        Measure::Of(aggregate) => aggregate_dim(aggregate, units, at),
        Measure::Drift(_) | Measure::Share(_) | Measure::Spread { how: Spread::Variation, .. } => {
            Ok(Dim::Is(Unit::Ratio))
        }
        Measure::Spread { how: Spread::Fairness, .. } => Ok(Dim::Either(Unit::Ratio, Unit::Count)),
        Measure::Baseline(inner) => dim(inner, units, at),
        // A written number or share scales what it is multiplied with: 90% * queue_limit is a count.
        Measure::Math(left, Operator::Mul, right) if is_scale(left) => dim(right, units, at),
        Measure::Math(left, Operator::Mul, right) if is_scale(right) => dim(left, units, at),
        Measure::Math(left, operator, right) => {
            let by_number = matches!(**right, Measure::Number(quantity) if quantity.unit == Unit::Count);
            let (left, right) = (dim(left, units, at)?, dim(right, units, at)?);
            math_dim(left, *operator, right, by_number).ok_or_else(|| {
                let words = |dim| match dim {
                    Dim::Is(unit) | Dim::Either(unit, _) => in_words(unit),
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

fn is_scale(measure: &Measure) -> bool {
    matches!(measure, Measure::Number(quantity) if matches!(quantity.unit, Unit::Count | Unit::Ratio))
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
            _ => match aggregate.metric {
                Metric::Tokens => Unit::Count,
                Metric::TokensPerS | Metric::SafeRate => return Ok(Dim::Either(Unit::PerSecond, Unit::Count)),
                _ => Unit::Seconds,
            },
        }));
    };
    let own = units.and_then(|units| units.get(name)).copied();
    Ok(match (aggregate.by, own) {
        (Aggregation::Share | Aggregation::Growth { absolute: false }, _) => Dim::Is(Unit::Ratio),
        (Aggregation::PerSecond, _) => Dim::Is(Unit::PerSecond),
        (Aggregation::Restarts, _) => Dim::Is(Unit::Count),
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
        Metric::Dropped | Metric::Stat(_) | Metric::Iterations => true,
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
            _ if left == right => Some(Is(Unit::Ratio)),
            // Tokens by time are a speed.
            (Is(Unit::Count), Is(Unit::Seconds)) => Some(Is(Unit::PerSecond)),
            (Is(Unit::Bytes), Is(Unit::Seconds)) => Some(Is(Unit::BytesPerSecond)),
            _ => None,
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
    let dims = [left, right].map(|side| dim(side, Some(units), 0).unwrap_or(Dim::Open));
    let is = dims.iter().find_map(|dim| match dim {
        Dim::Is(unit) => Some(*unit),
        _ => None,
    });
    let either = dims.iter().find_map(|dim| match dim {
        Dim::Either(unit, _) => Some(*unit),
        _ => None,
    });
    is.or(either).unwrap_or(Unit::Count)
}
