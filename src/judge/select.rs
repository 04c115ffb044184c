//! Which part of what was measured a selector means.

use std::collections::BTreeSet;

use crate::{
    measure::{
        data::{RunData, Series, SeriesKey, Timing},
        hist::Hist,
    },
    model::{
        expr::{Aggregate, Dimension, Metric, Pattern, Selector},
        outcome::{DropReason, Outcome},
        run::OutcomeCounts,
    },
};

/// The series that the step and the groups select.
pub(super) fn series<'a>(data: &'a RunData, aggregate: &'a Aggregate) -> impl Iterator<Item = &'a Series> {
    let by_key = |selector: &&Selector| matches!(selector.by, Dimension::Step | Dimension::Group(_));
    let tests: Vec<(&Selector, Option<String>)> =
        aggregate.selectors.iter().filter(by_key).map(|selector| (selector, end(data, selector))).collect();
    let chosen = move |key: &SeriesKey| tests.iter().all(|(selector, end)| selects(selector, end.as_deref(), key));
    data.series.iter().filter(move |(key, _)| chosen(key)).map(|(_, series)| series)
}

fn selects(selector: &Selector, end: Option<&str>, key: &SeriesKey) -> bool {
    let value = match &selector.by {
        Dimension::Step => Some(&key.step),
        Dimension::Group(name) => key.labels.get(name),
        _ => None,
    };
    let found = value.is_some_and(|value| end.map_or_else(|| matches(&selector.value, value), |end| **value == *end));
    found != selector.negated
}

/// What `first` and `last` stand for: the lowest and highest number of a dimension.
fn end(data: &RunData, selector: &Selector) -> Option<String> {
    let (Dimension::Group(name), Pattern::Is(word)) = (&selector.by, &selector.value) else { return None };
    if !matches!(&**word, "first" | "last") {
        return None;
    }
    let values = data.series.keys().filter_map(|key| key.labels.get(name));
    let numbers: Option<BTreeSet<u64>> = values.map(|value| value.parse().ok()).collect();
    let numbers = numbers?;
    let end = if &**word == "first" { numbers.first() } else { numbers.last() };
    end.map(ToString::to_string)
}

/// Whether a value matches, `!=` aside.
fn matches(pattern: &Pattern, value: &str) -> bool {
    match pattern {
        Pattern::Is(word) => **word == *value,
        Pattern::Class(class) => value.len() == 3 && value.parse().is_ok_and(|status: u16| status / 100 == *class),
        Pattern::Matches(regex) => regex.is_match(value),
    }
}

/// Whether all selectors of one dimension accept a value.
fn accepts(aggregate: &Aggregate, by: &Dimension, value: &str) -> bool {
    let of = aggregate.selectors.iter().filter(|selector| selector.by == *by);
    of.into_iter().all(|selector| matches(&selector.value, value) != selector.negated)
}

fn has(aggregate: &Aggregate, by: &Dimension) -> bool {
    aggregate.selectors.iter().any(|selector| selector.by == *by)
}

/// Counts by outcome of the selected series.
pub(super) fn outcomes(data: &RunData, aggregate: &Aggregate) -> OutcomeCounts {
    series(data, aggregate).map(Series::counts).fold(OutcomeCounts::default(), |sum, one| OutcomeCounts {
        ok: sum.ok + one.ok,
        rejected: sum.rejected + one.rejected,
        failed: sum.failed + one.failed,
        interrupted: sum.interrupted + one.interrupted,
    })
}

/// How many of the metric there were; `None` for what is not counted here.
pub(super) fn count(data: &RunData, clock_steps: u64, aggregate: &Aggregate) -> Option<u64> {
    let chosen = || series(data, aggregate);
    Some(match &aggregate.metric {
        Metric::Requests if has(aggregate, &Dimension::Status) => {
            let statuses = chosen().flat_map(|series| &series.status);
            let of = statuses.filter(|(status, _)| accepts(aggregate, &Dimension::Status, &status.to_string()));
            of.map(|(_, count)| count).sum()
        }
        Metric::Requests if has(aggregate, &Dimension::Outcome) => {
            let wanted =
                Outcome::ALL.iter().filter(|outcome| accepts(aggregate, &Dimension::Outcome, outcome.as_str()));
            wanted.map(|outcome| chosen().map(|series| series.outcomes[outcome.index()]).sum::<u64>()).sum()
        }
        Metric::Requests => outcomes(data, aggregate).answered(),
        Metric::Outcome(outcome) if has(aggregate, &Dimension::Reason) => {
            let reasons = chosen().flat_map(|series| &series.reasons).filter(|((of, _), _)| of == outcome);
            let wanted = reasons.filter(|((_, reason), _)| accepts(aggregate, &Dimension::Reason, reason));
            wanted.map(|(_, count)| count).sum()
        }
        Metric::Outcome(outcome) => chosen().map(|series| series.outcomes[outcome.index()]).sum(),
        Metric::Sent => chosen().map(Series::sent).sum(),
        Metric::Planned => data.planned(),
        Metric::Dropped => {
            let wanted =
                DropReason::ALL.iter().filter(|reason| accepts(aggregate, &Dimension::Reason, reason.as_str()));
            wanted.map(|reason| data.dropped[*reason as usize]).sum()
        }
        Metric::Iterations => data.all_iterations().counts.completed,
        Metric::SamplesLost => data.samples_lost,
        Metric::ClockSteps => clock_steps,
        _ => return None,
    })
}

/// The distribution of a time; `None` for what is not a time.
pub(super) fn times(data: &RunData, aggregate: &Aggregate) -> Option<Hist> {
    let by_outcome = |pick: fn(&Series) -> &[Hist; 3]| {
        let mut sum = Hist::default();
        for outcome in [Outcome::Ok, Outcome::Rejected, Outcome::Failed] {
            let unselected = !has(aggregate, &Dimension::Outcome) && outcome == Outcome::Ok;
            if unselected
                || has(aggregate, &Dimension::Outcome) && accepts(aggregate, &Dimension::Outcome, outcome.as_str())
            {
                series(data, aggregate).for_each(|series| sum.merge(&pick(series)[outcome.index()]));
            }
        }
        sum
    };
    Some(match &aggregate.metric {
        Metric::Latency => by_outcome(|series| &series.latency),
        Metric::ServiceTime => by_outcome(|series| &series.service_time),
        Metric::Timing => {
            let mut sum = Hist::default();
            for timing in Timing::ALL.iter().filter(|timing| accepts(aggregate, &Dimension::Timing, timing.as_str())) {
                series(data, aggregate).for_each(|series| sum.merge(&series.timing[*timing as usize]));
            }
            sum
        }
        Metric::SendLag => data.send_lag.clone(),
        Metric::Iteration => data.all_iterations().time,
        _ => return None,
    })
}
