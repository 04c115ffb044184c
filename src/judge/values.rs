//! What an aggregation comes to over what was measured.

use super::{evaluate::Evidence, select, trend};
use crate::{
    measure::{data::RunData, dist::Dist, hist::Hist},
    model::{
        Name,
        expr::{Aggregate, Aggregation, Metric},
    },
};

/// A measured value and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) number: f64,
    /// How many samples it rests on; the fewest of its parts.
    pub(super) samples: u64,
    /// A share as counts, so that 100 % is exact.
    pub(super) parts: Option<(u64, u64)>,
    /// 95 % bounds of a slope.
    pub(super) bounds: Option<(f64, f64)>,
}

impl Value {
    /// A share, as counts.
    pub(super) fn share((part, whole): (u64, u64)) -> Option<Self> {
        let share = Self::plain(part as f64 / whole as f64, whole);
        (whole > 0).then_some(Self { parts: Some((part, whole)), ..share })
    }

    pub(super) fn plain(number: f64, samples: u64) -> Self {
        Self { number, samples, parts: None, bounds: None }
    }
}

/// Values of which there are many.
enum Values {
    Times(Hist),
    Numbers(Dist),
}

impl Values {
    fn aggregated(&self, by: Aggregation) -> Option<Value> {
        let (value, count) = match self {
            Self::Times(hist) => {
                let value = match by {
                    Aggregation::Mean => hist.mean(),
                    Aggregation::Min => hist.min(),
                    Aggregation::Max => hist.max(),
                    Aggregation::Quantile(q) => hist.quantile(q),
                    _ => None,
                };
                (value, hist.count())
            }
            Self::Numbers(dist) => {
                let value = match by {
                    Aggregation::Count => Some(dist.count() as f64),
                    Aggregation::Mean => dist.mean(),
                    Aggregation::Min => dist.min(),
                    Aggregation::Max => dist.max(),
                    Aggregation::Quantile(q) => dist.quantile(q),
                    _ => None,
                };
                (value, dist.count())
            }
        };
        Some(Value::plain(value?, count))
    }
}

/// What it comes to; `None` where nothing was measured.
pub(super) fn aggregated(aggregate: &Aggregate, evidence: &Evidence<'_>) -> Option<Value> {
    let data = evidence.data;
    if let Some(name) = custom_name(aggregate, data) {
        return custom(name, aggregate, data);
    }
    match &aggregate.metric {
        Metric::Stat(name) => return stat(name, aggregate, evidence),
        Metric::Elapsed => {
            let (seconds, iterations) = select::elapsed(data, aggregate)?;
            return Some(Value::plain(seconds, iterations));
        }
        Metric::SafeRate => return data.findings.safe_rate.map(|rate| Value::plain(rate, data.sent())),
        Metric::Recovery => return data.findings.recovery_s.map(|seconds| Value::plain(seconds, data.sent())),
        _ => {}
    }
    let counts = matches!(aggregate.by, Aggregation::Count | Aggregation::Share | Aggregation::PerSecond);
    if counts {
        return counted(aggregate, evidence);
    }
    let values = match &aggregate.metric {
        Metric::Ttft => Values::Numbers(select::streams(data, aggregate).ttft),
        Metric::Itl => Values::Numbers(select::streams(data, aggregate).itl),
        Metric::Tpot => Values::Numbers(select::streams(data, aggregate).tpot),
        Metric::Tokens => Values::Numbers(select::streams(data, aggregate).tokens),
        Metric::TokensPerS => Values::Numbers(select::streams(data, aggregate).speed),
        _ => Values::Times(select::times(data, aggregate)?),
    };
    values.aggregated(aggregate.by)
}

fn counted(aggregate: &Aggregate, evidence: &Evidence<'_>) -> Option<Value> {
    let data = evidence.data;
    let count = select::count(data, evidence.clock_steps, aggregate)?;
    let of_requests = !matches!(aggregate.metric, Metric::SamplesLost | Metric::ClockSteps);
    let of_plan = matches!(aggregate.metric, Metric::Dropped | Metric::Planned);
    let seen = if of_plan { data.planned() } else { data.sent() };
    match aggregate.by {
        Aggregation::Count => (seen > 0 || !of_requests).then(|| Value::plain(count as f64, seen)),
        Aggregation::Share => {
            let whole = match aggregate.metric {
                Metric::Dropped | Metric::Planned => data.planned(),
                Metric::Iterations => select::iterations_counted(data, aggregate).1,
                _ => select::outcomes(data, aggregate).answered(),
            };
            Value::share((count, whole))
        }
        Aggregation::PerSecond => {
            let seconds = select::seconds(data, aggregate);
            (seconds > 0.0 && seen > 0).then(|| Value::plain(count as f64 / seconds, seen))
        }
        _ => None,
    }
}

/// The custom metric that is meant, if it is one; one that is called like a figure of streams stands for it.
fn custom_name<'a>(aggregate: &'a Aggregate, data: &RunData) -> Option<&'a str> {
    let name = match &aggregate.metric {
        Metric::Stat(name) => name,
        Metric::Ttft | Metric::Itl | Metric::Tpot | Metric::Tokens | Metric::TokensPerS | Metric::Stalls => {
            aggregate.metric.as_str()
        }
        _ => return None,
    };
    (data.custom.rates.contains_key(name) || data.custom.trends.contains_key(name)).then_some(name)
}

fn custom(name: &str, aggregate: &Aggregate, data: &RunData) -> Option<Value> {
    if let Some(series) = data.custom.rates.get(name) {
        let (is, of) =
            select::custom(data, series, aggregate).fold((0, 0), |(is, of), (more, asked)| (is + more, of + asked));
        return match aggregate.by {
            Aggregation::Count => (of > 0).then(|| Value::plain(is as f64, of)),
            Aggregation::Share => Value::share((is, of)),
            Aggregation::PerSecond => {
                let seconds = select::seconds(data, aggregate);
                (seconds > 0.0 && of > 0).then(|| Value::plain(is as f64 / seconds, of))
            }
            _ => None,
        };
    }
    let series = data.custom.trends.get(name)?;
    let mut sum = Dist::default();
    select::custom(data, series, aggregate).for_each(|dist| sum.merge(dist));
    Values::Numbers(sum).aggregated(aggregate.by).filter(|value| value.samples > 0)
}

fn stat(name: &Name, aggregate: &Aggregate, evidence: &Evidence<'_>) -> Option<Value> {
    if aggregate.by == Aggregation::Restarts {
        return restarts(name, evidence);
    }
    let series = evidence.data.stats.get(name)?;
    let points = &series.points;
    let (first, last) = (points.first()?, points.last()?);
    let samples = points.len() as u64;
    let values = || points.iter().map(|point| point.value);
    let before = || {
        let previous = evidence.history.previous.as_ref().filter(|_| aggregate.since_last_run)?;
        previous.stats.get(&**name)?.last
    };
    // What the target shows only once it has counted something began at 0.
    let before = || before().or(series.unborn.then_some(0.0));
    let value = match aggregate.by {
        Aggregation::First => first.value,
        Aggregation::Last => last.value,
        Aggregation::Mean => values().sum::<f64>() / samples as f64,
        Aggregation::Min => values().min_by(f64::total_cmp)?,
        Aggregation::Max => values().max_by(f64::total_cmp)?,
        Aggregation::Quantile(q) => {
            let mut sorted: Vec<f64> = values().collect();
            sorted.sort_by(f64::total_cmp);
            let rank = (q * samples as f64).ceil().max(1.0) as usize;
            *sorted.get(rank.min(sorted.len()) - 1)?
        }
        Aggregation::Growth { absolute: true } => trend::growth(points)?.absolute(),
        Aggregation::Growth { absolute: false } => trend::growth(points)?.ratio(),
        Aggregation::Slope => {
            let slope = trend::slope(points)?;
            return Some(Value { bounds: Some((slope.low, slope.high)), ..Value::plain(slope.per_second, samples) });
        }
        Aggregation::Increase | Aggregation::Count => trend::increase(points, before())?,
        Aggregation::PerSecond => {
            let seconds = last.at - first.at;
            (seconds > 0.0).then_some(trend::increase(points, None)? / seconds)?
        }
        Aggregation::Share | Aggregation::Restarts | Aggregation::Plain => return None,
    };
    Some(Value::plain(value, samples))
}

/// How often a counter fell; of `target` that one of its counters which fell most often.
fn restarts(name: &str, evidence: &Evidence<'_>) -> Option<Value> {
    let of = |name: &str| {
        let points = &evidence.data.stats.get(name)?.points;
        let falls = points.windows(2).filter(|pair| pair[1].value < pair[0].value).count();
        (points.len() > 1).then(|| Value::plain(falls as f64, points.len() as u64))
    };
    if name != "target" || evidence.data.stats.contains_key(name) {
        return of(name);
    }
    let all = evidence.history.counters.iter().filter_map(|name| of(name));
    all.max_by(|left, right| left.number.total_cmp(&right.number))
}
