//! Which part of what was measured a selector means.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    measure::{
        data::{Iterations, RunData, Series, SeriesKey, Timing},
        hist::Hist,
        stream::StreamSeries,
    },
    model::{
        Name,
        expr::{Aggregate, Dimension, Metric, Pattern, Selector},
        labels::Labels,
        outcome::{DropReason, Outcome},
        run::{IterationCounts, OutcomeCounts},
    },
};

/// The selectors on the step and the labels, with what `first` and `last` stand for.
struct Choice<'a>(Vec<(&'a Selector, Option<String>)>);

impl<'a> Choice<'a> {
    fn of(data: &RunData, aggregate: &'a Aggregate) -> Self {
        let by_key = |selector: &&Selector| matches!(selector.by, Dimension::Step | Dimension::Group(_));
        Self(aggregate.selectors.iter().filter(by_key).map(|selector| (selector, end(data, selector))).collect())
    }

    /// `step` is `None` for what has none.
    fn takes(&self, step: Option<&Name>, labels: &Labels) -> bool {
        self.0.iter().all(|(selector, end)| {
            let value = match &selector.by {
                Dimension::Step => step,
                Dimension::Group(name) => labels.get(name),
                _ => None,
            };
            let is = |value: &Name| match end {
                Some(end) => **value == **end,
                None => selector.value.takes(value),
            };
            value.is_some_and(is) != selector.negated
        })
    }
}

/// The series that the step and the groups select.
pub(super) fn series<'a>(data: &'a RunData, aggregate: &'a Aggregate) -> impl Iterator<Item = &'a Series> {
    let choice = Choice::of(data, aggregate);
    data.series.iter().filter(move |(key, _)| choice.takes(Some(&key.step), &key.labels)).map(|(_, series)| series)
}

/// The iterations that the groups select.
fn iterations<'a>(data: &'a RunData, aggregate: &'a Aggregate) -> impl Iterator<Item = &'a Iterations> {
    let choice = Choice::of(data, aggregate);
    data.iterations.iter().filter(move |(labels, _)| choice.takes(None, labels)).map(|(_, iterations)| iterations)
}

/// The part of a custom metric that the step and the groups select.
pub(super) fn custom<'a, T>(
    data: &'a RunData,
    of: &'a BTreeMap<SeriesKey, T>,
    aggregate: &'a Aggregate,
) -> impl Iterator<Item = &'a T> {
    let choice = Choice::of(data, aggregate);
    of.iter().filter(move |(key, _)| choice.takes(Some(&key.step), &key.labels)).map(|(_, value)| value)
}

/// Every step and set of labels that something was measured of.
fn keys(data: &RunData) -> impl Iterator<Item = (Option<&Name>, &Labels)> {
    let series = data.series.keys().map(|key| (Some(&key.step), &key.labels));
    let rates = data.custom.rates.values().flat_map(BTreeMap::keys);
    let trends = data.custom.trends.values().flat_map(BTreeMap::keys);
    let custom = rates.chain(trends).map(|key| (Some(&key.step), &key.labels));
    series.chain(custom).chain(data.iterations.keys().map(|labels| (None, labels)))
}

/// The values that a dimension has in this run.
pub(super) fn values_of(data: &RunData, by: &Dimension) -> BTreeSet<Name> {
    let value = |(step, labels): (Option<&Name>, &Labels)| match by {
        Dimension::Step => step.cloned(),
        Dimension::Group(name) => labels.get(name).cloned(),
        _ => None,
    };
    keys(data).filter_map(value).collect()
}

/// What `first` and `last` stand for: the lowest and highest number of a dimension.
fn end(data: &RunData, selector: &Selector) -> Option<String> {
    let Pattern::Is(word) = &selector.value else { return None };
    if !matches!(selector.by, Dimension::Group(_)) || !matches!(&**word, "first" | "last") {
        return None;
    }
    let values = values_of(data, &selector.by);
    let numbers: Option<BTreeSet<u64>> = values.iter().map(|value| value.parse().ok()).collect();
    let numbers = numbers?;
    let end = if &**word == "first" { numbers.first() } else { numbers.last() };
    end.map(ToString::to_string)
}

/// Seconds from the first intended instant to the last end of the selected iterations, and how many there were.
pub(super) fn elapsed(data: &RunData, aggregate: &Aggregate) -> Option<(f64, u64)> {
    let mut all = Iterations::default();
    iterations(data, aggregate).for_each(|part| all.merge_counts(part));
    let (first, last) = all.span?;
    let counts = all.counts;
    Some(((last - first).max(0.0), counts.completed + counts.failed + counts.interrupted))
}

/// Seconds that a count per second is divided by: of a level, a phase, … its own, otherwise the measured window.
pub(super) fn seconds(data: &RunData, aggregate: &Aggregate) -> f64 {
    let grouped = aggregate.selectors.iter().any(|selector| matches!(selector.by, Dimension::Group(_)));
    let own = || {
        let mut all = Iterations::default();
        iterations(data, aggregate).for_each(|part| all.merge_counts(part));
        all.seconds()
    };
    grouped.then(own).flatten().unwrap_or(data.window.as_secs_f64())
}

/// Whether all selectors of one dimension accept a value.
fn accepts(aggregate: &Aggregate, by: &Dimension, value: &str) -> bool {
    let of = aggregate.selectors.iter().filter(|selector| selector.by == *by);
    of.into_iter().all(|selector| selector.value.takes(value) != selector.negated)
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
        Metric::Outcome(Outcome::Failed) if has(aggregate, &Dimension::Status) => {
            let statuses = chosen().flat_map(|series| &series.failed_status);
            let of = statuses.filter(|(status, _)| accepts(aggregate, &Dimension::Status, &status.to_string()));
            of.map(|(_, count)| count).sum()
        }
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
        Metric::Iterations => iterations_counted(data, aggregate).0,
        Metric::Tokens => streams(data, aggregate).tokens.sum() as u64,
        Metric::Stalls => streams(data, aggregate).stalls,
        Metric::SamplesLost => data.samples_lost,
        Metric::ClockSteps => clock_steps,
        _ => return None,
    })
}

/// Iterations that ended as selected (completed unless an outcome is), and those that ended by themselves.
pub(super) fn iterations_counted(data: &RunData, aggregate: &Aggregate) -> (u64, u64) {
    let by = &Dimension::Outcome;
    let wanted = |outcome: Outcome| {
        if has(aggregate, by) { accepts(aggregate, by, outcome.as_str()) } else { outcome == Outcome::Ok }
    };
    let count = |counts: &IterationCounts| {
        u64::from(wanted(Outcome::Ok)) * counts.completed
            + u64::from(wanted(Outcome::Failed)) * counts.failed
            + u64::from(wanted(Outcome::Interrupted)) * counts.interrupted
    };
    iterations(data, aggregate)
        .fold((0, 0), |(of, all), part| (of + count(&part.counts), all + part.counts.completed + part.counts.failed))
}

/// The selected streamed answers.
pub(super) fn streams(data: &RunData, aggregate: &Aggregate) -> StreamSeries {
    let mut sum = StreamSeries::default();
    series(data, aggregate).filter_map(|series| series.stream.as_deref()).for_each(|stream| sum.merge(stream));
    sum
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
        Metric::Iteration => {
            let mut sum = Hist::default();
            iterations(data, aggregate).for_each(|part| sum.merge(&part.time));
            sum
        }
        _ => return None,
    })
}
