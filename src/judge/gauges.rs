//! Conditions on the target's gauges at one moment: `while`, and the share of the readings in which one holds.

use crate::{
    measure::data::{RunData, StatPoint},
    model::expr::{Aggregate, Held, Measure, Metric},
};

/// Whether it holds, with each gauge's reading as `reading` tells it; `None` where one is not known.
pub(super) fn holds(held: &Held, reading: &dyn Fn(&str) -> Option<f64>) -> Option<bool> {
    Some(held.op.compares(value(&held.left, reading)?, value(&held.right, reading)?))
}

fn value(measure: &Measure, reading: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    match measure {
        Measure::Number(quantity) => Some(quantity.value),
        Measure::Of(Aggregate { metric: Metric::Stat(name), .. }) => reading(name),
        Measure::Math(left, operator, right) => {
            let (left, right) = (value(left, reading)?, value(right, reading)?);
            Some(operator.apply(left, right)).filter(|value| value.is_finite())
        }
        _ => None,
    }
}

/// In how many of the first gauge's readings it holds, and how many there are. The other gauges have the value of their
/// last reading before, or of their first one.
pub(super) fn share(held: &Held, data: &RunData) -> Option<(u64, u64)> {
    let mut first = None;
    held.left.visit(&mut |part| {
        if let Measure::Of(Aggregate { metric: Metric::Stat(name), .. }) = part {
            first = first.or(Some(name));
        }
    });
    let points = |name: &str| data.stats.get(name).map(|series| series.points.as_slice());
    let mut counts = (0, 0);
    for point in points(first?)? {
        let reading = |name: &str| points(name).and_then(|points| reading_at(points, point.at));
        if let Some(is) = holds(held, &reading) {
            counts = (counts.0 + u64::from(is), counts.1 + 1);
        }
    }
    (counts.1 > 0).then_some(counts)
}

fn reading_at(points: &[StatPoint], at: f64) -> Option<f64> {
    let after = points.partition_point(|point| point.at <= at);
    points.get(after.saturating_sub(1)).map(|point| point.value)
}
