//! Holds a threshold against what was measured. Nothing measured is `no_data`, never a pass.

use std::collections::BTreeMap;

use super::{
    check::unit_of,
    history, select, trend,
    window::{WindowJudge, not_held},
};
use crate::{
    measure::data::RunData,
    model::{
        Name,
        expr::{Aggregate, Aggregation, Compare, Measure, Metric, Operator, Threshold},
        run::{RunSummary, ThresholdReport, ThresholdResult},
        units::{Unit, human},
    },
};

/// Fewer good runs than this are no baseline.
pub const MIN_BASELINE: usize = 3;

/// Shares and sums of floats that differ by less than this are equal.
const EPSILON: f64 = 1e-12;

/// What is known besides the run itself.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The run before, for `since last_run`.
    pub previous: Option<RunSummary>,
    /// The last good runs, for `baseline(…)`.
    pub good: Vec<RunSummary>,
    /// Units of the target's figures.
    pub units: BTreeMap<Name, Unit>,
}

/// What a threshold is held against.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What was measured; of a probe with several attempts, the last one's.
    pub data: &'a RunData,
    /// What is known besides.
    pub history: &'a History,
    /// What was judged during the run: `over` windows, aborts and the course of the run for `drift`. Without it, `over` is
    /// judged over the whole run.
    pub windows: Option<&'a WindowJudge>,
    /// Steps of the wall clock beyond 2 s.
    pub clock_steps: u64,
}

/// A measured value and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Value {
    number: f64,
    /// How many samples it rests on; the fewest of its parts.
    samples: u64,
    /// A share as counts, so that 100 % is exact.
    parts: Option<(u64, u64)>,
    /// 95 % bounds of a slope.
    bounds: Option<(f64, f64)>,
}

impl Value {
    fn plain(number: f64, samples: u64) -> Self {
        Self { number, samples, parts: None, bounds: None }
    }
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    NoData,
    /// A baseline without enough history decides nothing.
    Skipped,
}

/// Judges a threshold over the run; with `over W` or `abort_on_fail`, what the run's judge found stands.
pub fn evaluate(threshold: &Threshold, evidence: &Evidence<'_>) -> ThresholdReport {
    if let Some(windows) = evidence.windows {
        if let Some(breach) = windows.breached(&threshold.name) {
            return breach.report.clone();
        }
        if threshold.over.is_some() {
            return windows.latest(&threshold.name).cloned().unwrap_or_else(|| short_run(threshold, evidence, windows));
        }
    }
    judge(threshold, evidence)
}

/// A run shorter than the window is one window, and breached for as long as it lasted.
fn short_run(threshold: &Threshold, evidence: &Evidence<'_>, windows: &WindowJudge) -> ThresholdReport {
    let report = judge(threshold, evidence);
    let held = windows.elapsed() >= threshold.hold;
    if report.result == ThresholdResult::Fail && !held { not_held(report) } else { report }
}

/// Judges a threshold over exactly the given data.
pub(super) fn judge(threshold: &Threshold, evidence: &Evidence<'_>) -> ThresholdReport {
    let sides = measure(&threshold.left, evidence).and_then(|left| {
        let right = measure(&threshold.right, evidence)?;
        if left.samples.min(right.samples) < threshold.min_samples { Err(Missing::NoData) } else { Ok((left, right)) }
    });
    report(threshold, evidence.history, sides)
}

fn report(threshold: &Threshold, history: &History, sides: Result<(Value, Value), Missing>) -> ThresholdReport {
    let unit = unit_of(&threshold.left, &threshold.right, &history.units);
    let (value, limit, margin, result) = match sides {
        Err(Missing::NoData) => (None, literal(&threshold.right), None, ThresholdResult::NoData),
        Err(Missing::Skipped) => (None, None, None, ThresholdResult::Skipped),
        Ok((left, right)) => {
            let holds = holds(&left, threshold.op, &right);
            let result = if holds { ThresholdResult::Pass } else { ThresholdResult::Fail };
            let margin = margin(decisive(&left, threshold.op), threshold.op, right.number, holds);
            (Some(left.number), Some(right.number), margin, result)
        }
    };
    let finite = |value: &f64| value.is_finite();
    ThresholdReport {
        expr: threshold.source.to_string(),
        name: threshold.name.to_string(),
        value: value.filter(finite),
        limit: limit.filter(finite),
        unit: if unit == Unit::Points { Unit::Ratio } else { unit }.as_str().to_owned(),
        margin_ratio: margin.filter(finite),
        result,
        severity: threshold.severity,
        implicit: threshold.implicit,
        for_runs: threshold.for_runs,
        runbook: threshold.runbook.as_ref().map(ToString::to_string),
    }
}

fn literal(measure: &Measure) -> Option<f64> {
    match measure {
        Measure::Number(quantity) => Some(quantity.value),
        _ => None,
    }
}

/// The value that decides: of a slope, the bound on the good side of it, so that only a certain breach is one.
fn decisive(left: &Value, op: Compare) -> f64 {
    match (left.bounds, op) {
        (Some((low, _)), Compare::Lt | Compare::Le) => low,
        (Some((_, high)), Compare::Gt | Compare::Ge) => high,
        _ => left.number,
    }
}

fn holds(left: &Value, op: Compare, right: &Value) -> bool {
    let limit = right.number;
    if let (Some((part, whole)), Compare::Eq | Compare::Ne) = (left.parts, op)
        && (limit.abs() < EPSILON || (limit - 1.0).abs() < EPSILON)
    {
        let equal = if limit < 0.5 { part == 0 } else { part == whole };
        return equal == (op == Compare::Eq);
    }
    let value = decisive(left, op);
    let equal = (value - limit).abs() <= EPSILON * value.abs().max(limit.abs());
    match op {
        Compare::Eq => equal,
        Compare::Ne => !equal,
        // A slope that may just as well be at the limit is not beyond it.
        Compare::Lt => value < limit && !equal || equal && left.bounds.is_some(),
        Compare::Le => value <= limit || equal,
        Compare::Gt => value > limit && !equal || equal && left.bounds.is_some(),
        Compare::Ge => value >= limit || equal,
    }
}

/// 1 − value/limit for a ceiling, value/limit − 1 for a floor. Where the limit is 0, and for `==`, only whether it holds
/// is known: 0 or −1.
fn margin(value: f64, op: Compare, limit: f64, holds: bool) -> Option<f64> {
    match op {
        Compare::Ne => None,
        Compare::Eq => Some(if holds { 0.0 } else { -1.0 }),
        _ if limit == 0.0 => Some(if holds { 0.0 } else { -1.0 }),
        Compare::Lt | Compare::Le => Some((limit - value) / limit.abs()),
        Compare::Gt | Compare::Ge => Some((value - limit) / limit.abs()),
    }
}

fn measure(side: &Measure, evidence: &Evidence<'_>) -> Result<Value, Missing> {
    match side {
        Measure::Number(quantity) => Ok(Value::plain(quantity.value, u64::MAX)),
        Measure::Of(aggregate) => aggregated(aggregate, evidence).ok_or(Missing::NoData),
        Measure::Drift(inner) => drift(inner, evidence).ok_or(Missing::NoData),
        Measure::Baseline(inner) => baseline(inner, evidence.history).ok_or(Missing::Skipped),
        Measure::Math(left, operator, right) => {
            let (left, right) = (measure(left, evidence)?, measure(right, evidence)?);
            let value = match operator {
                Operator::Add => left.number + right.number,
                Operator::Sub => left.number - right.number,
                Operator::Mul => left.number * right.number,
                Operator::Div => left.number / right.number,
            };
            if value.is_nan() || (*operator == Operator::Div && right.number == 0.0) {
                return Err(Missing::NoData);
            }
            Ok(Value::plain(value, left.samples.min(right.samples)))
        }
    }
}

fn aggregated(aggregate: &Aggregate, evidence: &Evidence<'_>) -> Option<Value> {
    let data = evidence.data;
    if let Metric::Stat(name) = &aggregate.metric {
        return stat(name, aggregate, evidence);
    }
    if let Some(hist) = select::times(data, aggregate) {
        let value = match aggregate.by {
            Aggregation::Mean => hist.mean(),
            Aggregation::Min => hist.min(),
            Aggregation::Max => hist.max(),
            Aggregation::Quantile(q) => hist.quantile(q),
            _ => None,
        };
        return Some(Value::plain(value?, hist.count()));
    }
    let count = select::count(data, evidence.clock_steps, aggregate)?;
    let of_requests = !matches!(aggregate.metric, Metric::SamplesLost | Metric::ClockSteps);
    let of_plan = matches!(aggregate.metric, Metric::Dropped | Metric::Planned);
    let seen = if of_plan { data.planned() } else { data.sent() };
    match aggregate.by {
        Aggregation::Count => (seen > 0 || !of_requests).then(|| Value::plain(count as f64, seen)),
        Aggregation::Share => {
            let whole = if of_plan { data.planned() } else { select::outcomes(data, aggregate).answered() };
            let share = Value::plain(count as f64 / whole as f64, whole);
            (whole > 0).then_some(Value { parts: Some((count, whole)), ..share })
        }
        Aggregation::PerSecond => {
            let seconds = data.window.as_secs_f64();
            (seconds > 0.0 && seen > 0).then(|| Value::plain(count as f64 / seconds, seen))
        }
        _ => None,
    }
}

fn stat(name: &Name, aggregate: &Aggregate, evidence: &Evidence<'_>) -> Option<Value> {
    let points = &evidence.data.stats.get(name)?.points;
    let (first, last) = (points.first()?, points.last()?);
    let samples = points.len() as u64;
    let values = || points.iter().map(|point| point.value);
    let before = || {
        let previous = evidence.history.previous.as_ref().filter(|_| aggregate.since_last_run)?;
        previous.stats.get(&**name)?.last
    };
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
        Aggregation::Share => return None,
    };
    Some(Value::plain(value, samples))
}

/// The trend of an aggregation over the course of the run.
fn drift(inner: &Measure, evidence: &Evidence<'_>) -> Option<Value> {
    let slices = evidence.windows?.course();
    let found = slices.iter().map(|data| measure(inner, &Evidence { data, windows: None, ..*evidence }).ok());
    let found: Vec<Option<Value>> = found.collect();
    let values: Vec<Option<f64>> = found.iter().map(|value| value.map(|value| value.number)).collect();
    let samples = found.iter().flatten().map(|value| value.samples).sum();
    Some(Value::plain(trend::drift(&values)?, samples))
}

/// The median over the last good runs, if there are enough.
fn baseline(inner: &Measure, history: &History) -> Option<Value> {
    let Measure::Of(aggregate) = inner else { return None };
    let values: Vec<f64> = history.good.iter().filter_map(|run| history::value(aggregate, run)).collect();
    if values.len() < MIN_BASELINE {
        return None;
    }
    Some(Value::plain(trend::median(values)?, u64::MAX))
}

/// What a person reads about a judged threshold: `rate(rejected) <= 5% is breached: 12.4 %`.
pub fn sentence(threshold: &Threshold, report: &ThresholdReport) -> String {
    let unit = Unit::named(&report.unit);
    let expr = &threshold.source;
    match (report.result, report.value) {
        (ThresholdResult::NoData, _) => format!("{expr} has no data"),
        (ThresholdResult::Skipped, _) => format!("{expr} is skipped: not enough good runs to compare with"),
        (ThresholdResult::Pass, Some(value)) => format!("{expr} holds: {}", human(value, unit)),
        (ThresholdResult::Pass, None) => format!("{expr} holds"),
        (_, None) => format!("{expr} is breached: it grew from nothing"),
        (_, Some(value)) => {
            let limit = report.limit.unwrap_or_default();
            let said = apart(value, limit, unit);
            match threshold.right {
                Measure::Number(_) => format!("{expr} is breached: {said}"),
                _ => format!("{expr} is breached: {said}, the limit being {}", human(limit, unit)),
            }
        }
    }
}

/// A value in as many digits as it takes to tell it from the limit: 99.98 % is not "100 %".
fn apart(value: f64, limit: f64, unit: Unit) -> String {
    let short = human(value, unit);
    if short != human(limit, unit) || unit != Unit::Ratio {
        return short;
    }
    (2..9)
        .map(|digits| (format!("{:.digits$} %", value * 100.0), format!("{:.digits$} %", limit * 100.0)))
        .find_map(|(value, limit)| (value != limit).then_some(value))
        .unwrap_or(short)
}
