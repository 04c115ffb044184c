//! Holds a threshold against what was measured. Nothing measured is `no_data`, never a pass.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    check_units::unit_of,
    gauges, history, select, trend,
    values::{Value, aggregated},
    window::{WindowJudge, not_held},
};
use crate::{
    measure::data::RunData,
    model::{
        Name,
        expr::{Compare, Dimension, Limit, Measure, Metric, Operator, Spread, Threshold},
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
    /// Units of the target's figures and of the custom trends.
    pub units: BTreeMap<Name, Unit>,
    /// Those of the target's figures that only rise.
    pub counters: BTreeSet<Name>,
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
    if threshold.only_while.is_some() {
        let data = evidence.windows.and_then(|windows| windows.held(&threshold.name)).unwrap_or_default();
        return judge(threshold, &Evidence { data: &data, ..*evidence });
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
    let graded = match &sides {
        Ok((left, _)) => grade(threshold, left, evidence),
        Err(_) => ThresholdResult::Fail,
    };
    report(threshold, evidence.history, sides, graded)
}

/// What a value comes to that does not pass.
fn grade(threshold: &Threshold, left: &Value, evidence: &Evidence<'_>) -> ThresholdResult {
    let Some(grades) = &threshold.grades else { return ThresholdResult::Fail };
    let within = |limit: &Limit| measure(&limit.right, evidence).is_ok_and(|right| holds(left, limit.op, &right));
    let fails = match (&grades.warn, &grades.fail) {
        (_, Some(fail)) => within(fail),
        (Some(warn), None) => !within(warn),
        (None, None) => true,
    };
    if fails { ThresholdResult::Fail } else { ThresholdResult::Warn }
}

/// `graded`: what it is where it does not hold.
fn report(
    threshold: &Threshold,
    history: &History,
    sides: Result<(Value, Value), Missing>,
    graded: ThresholdResult,
) -> ThresholdReport {
    let unit = unit_of(&threshold.left, &threshold.right, &history.units);
    let (value, limit, margin, result) = match sides {
        Err(Missing::NoData) => (None, literal(&threshold.right), None, ThresholdResult::NoData),
        Err(Missing::Skipped) => (None, None, None, ThresholdResult::Skipped),
        Ok((left, right)) => {
            let holds = holds(&left, threshold.op, &right);
            let result = if holds { ThresholdResult::Pass } else { graded };
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
        hint: threshold.hint.as_ref().map(ToString::to_string),
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
    // What is beyond all bounds (it did not recover, it grew from nothing) is equal to no limit.
    let equal = value.is_finite() && (value - limit).abs() <= EPSILON * value.abs().max(limit.abs());
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

/// The value of a measure over exactly the given data.
pub(super) fn value_of(side: &Measure, evidence: &Evidence<'_>) -> Option<f64> {
    measure(side, evidence).ok().map(|value| value.number).filter(|value| value.is_finite())
}

fn measure(side: &Measure, evidence: &Evidence<'_>) -> Result<Value, Missing> {
    match side {
        Measure::Number(quantity) => Ok(Value::plain(quantity.value, u64::MAX)),
        Measure::Of(aggregate) => aggregated(aggregate, evidence).ok_or(Missing::NoData),
        Measure::Drift(inner) => drift(inner, evidence).ok_or(Missing::NoData),
        Measure::Baseline(inner) => baseline(inner, evidence.history).ok_or(Missing::Skipped),
        Measure::Share(held) => gauges::share(held, evidence.data).and_then(Value::share).ok_or(Missing::NoData),
        Measure::Spread { how, of, by } => spread(*how, of, by, evidence).ok_or(Missing::NoData),
        Measure::Math(left, operator, right) => {
            let (left, right) = (measure(left, evidence)?, measure(right, evidence)?);
            let value = operator.apply(left.number, right.number);
            if value.is_nan() || (*operator == Operator::Div && right.number == 0.0) {
                return Err(Missing::NoData);
            }
            Ok(Value::plain(value, left.samples.min(right.samples)))
        }
    }
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

/// How much a value differs between the parts of the run; `None` below two parts with a value.
fn spread(how: Spread, of: &Measure, by: &Dimension, evidence: &Evidence<'_>) -> Option<Value> {
    let Measure::Of(aggregate) = of else { return None };
    let parts = select::values_of(evidence.data, by);
    let found: Vec<Value> =
        parts.iter().filter_map(|part| aggregated(&aggregate.clone().selecting(by, part), evidence)).collect();
    let values: Vec<f64> = found.iter().map(|value| value.number).collect();
    Some(Value::plain(trend::spread(how, &values)?, found.iter().map(|value| value.samples).sum()))
}

/// The median over the last good runs, if there are enough.
fn baseline(inner: &Measure, history: &History) -> Option<Value> {
    let values: Vec<f64> = history.good.iter().filter_map(|run| history::value(inner, run)).collect();
    if values.len() < MIN_BASELINE {
        return None;
    }
    Some(Value::plain(trend::median(values)?, u64::MAX))
}

/// What a person reads about a judged threshold: `rate(rejected) <= 5% is breached: 12.4 %`.
pub fn sentence(threshold: &Threshold, report: &ThresholdReport) -> String {
    let unit = Unit::named(&report.unit);
    let expr = &threshold.source;
    let of_recovery = threshold.aggregates().iter().any(|aggregate| aggregate.metric == Metric::Recovery);
    let said = match (report.result, report.value) {
        (ThresholdResult::NoData, _) if of_recovery => {
            format!("{expr} has no data: the run ended before that could be told")
        }
        (ThresholdResult::NoData, _) => format!("{expr} has no data"),
        (ThresholdResult::Skipped, _) => format!("{expr} is skipped: not enough good runs to compare with"),
        (ThresholdResult::Pass, Some(value)) => format!("{expr} holds: {}", human(value, unit)),
        (ThresholdResult::Pass, None) => format!("{expr} holds"),
        (ThresholdResult::Warn, Some(value)) => format!("{expr} is short of a pass: {}", human(value, unit)),
        (ThresholdResult::Warn, None) => format!("{expr} is short of a pass"),
        (_, None) if of_recovery => format!("{expr} is breached: the target did not recover"),
        (_, None) => format!("{expr} is breached: it grew from nothing"),
        (_, Some(value)) => {
            let limit = report.limit.unwrap_or_default();
            let said = apart(value, limit, unit);
            match threshold.right {
                Measure::Number(_) => format!("{expr} is breached: {said}"),
                _ => format!("{expr} is breached: {said}, the limit being {}", human(limit, unit)),
            }
        }
    };
    match (report.result, &threshold.hint) {
        (ThresholdResult::Fail | ThresholdResult::Warn | ThresholdResult::NoData, Some(hint)) => {
            format!("{said} ({hint})")
        }
        _ => said,
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
