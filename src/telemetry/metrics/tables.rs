//! The tables that the metrics are kept in: creation within a budget, folding of what has too many names.

use std::{ops::Bound, sync::Arc};

use crate::{
    measure::hist::Hist,
    model::Name,
    telemetry::{
        catalogue::{Family, Kind},
        series::{Distribution, Labels, Table, Value},
    },
};

/// Values of an open-ended label (reasons, codes) kept by name beside the same other labels; the rest is `other`.
pub(super) const MAX_NAMES: usize = 32;

/// One table per family, at most `limit` lines in all.
#[derive(Debug)]
pub(super) struct Tables {
    all: Vec<Arc<Table>>,
    lines: usize,
    limit: usize,
    refused: Vec<u64>,
}

impl Tables {
    pub(super) fn new(limit: usize) -> Self {
        let families = Family::ALL.len();
        Self { all: vec![Arc::default(); families], lines: 0, limit, refused: vec![0; families] }
    }

    pub(super) fn all(&self) -> &[Arc<Table>] {
        &self.all
    }

    /// Lines of `/metrics` that a family takes.
    pub(super) fn lines_of(&self, family: Family) -> usize {
        self.all[family as usize].len() * family.spec().lines()
    }

    pub(super) fn refused(&self, family: Family) -> u64 {
        self.refused[family as usize]
    }

    /// The series, made if there is room for it.
    fn slot(&mut self, family: Family, labels: &[&str]) -> Option<&mut Value> {
        let spec = family.spec();
        debug_assert_eq!(spec.labels.len(), labels.len(), "{}", spec.name);
        let labels: Labels = labels.iter().map(|label| Name::from(*label)).collect();
        let shared = &mut self.all[family as usize];
        if !shared.contains_key(&labels) {
            if self.lines + spec.lines() > self.limit {
                self.refused[family as usize] += 1;
                return None;
            }
            self.lines += spec.lines();
            Arc::make_mut(shared).insert(labels.clone(), zero(family));
        }
        Arc::make_mut(shared).get_mut(&labels)
    }

    /// Makes a series at 0.
    pub(super) fn create(&mut self, family: Family, labels: &[&str]) {
        self.slot(family, labels);
    }

    /// Adds to an exact count.
    pub(super) fn count(&mut self, family: Family, labels: &[&str], by: u64) {
        if by == 0 {
            return; // Nothing to copy a shared table for: what is configured exists already.
        }
        match self.slot(family, labels) {
            Some(Value::Count(count)) => *count += by,
            Some(other) => unreachable!("{} is not a count: {other:?}", family.name()),
            None => {}
        }
    }

    /// Like [`Self::count`], but folds the last label into `other` where it has too many values already.
    pub(super) fn count_folded(&mut self, family: Family, labels: &[&str], by: u64) {
        let names: Vec<Name> = labels.iter().map(|label| Name::from(*label)).collect();
        let (_, others) = names.split_last().expect("a folded label is there");
        let table = &self.all[family as usize];
        let full = !table.contains_key(&names[..])
            && table
                .range::<[Name], _>((Bound::Included(others), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(others))
                .nth(MAX_NAMES - 1)
                .is_some();
        if full {
            let mut labels = labels.to_vec();
            *labels.last_mut().expect("a folded label is there") = "other";
            self.count(family, &labels, by);
        } else {
            self.count(family, labels, by);
        }
    }

    /// Sets a figure.
    pub(super) fn set(&mut self, family: Family, labels: &[&str], value: f64) {
        self.replace(family, labels, Value::Number(value));
    }

    /// Sets a count to what another owner of it has counted.
    pub(super) fn set_count(&mut self, family: Family, labels: &[&str], value: u64) {
        self.replace(family, labels, Value::Count(value));
    }

    /// Replaces a whole distribution by what another owner of it has counted.
    pub(super) fn set_distribution(&mut self, family: Family, labels: &[&str], value: Distribution) {
        self.replace(family, labels, Value::Histogram(value));
    }

    /// Writes a value, unless it stands there already: a table that does not change is not copied.
    fn replace(&mut self, family: Family, labels: &[&str], value: Value) {
        let names: Vec<Name> = labels.iter().map(|label| Name::from(*label)).collect();
        if self.all[family as usize].get(&names[..]) != Some(&value)
            && let Some(slot) = self.slot(family, labels)
        {
            *slot = value;
        }
    }

    /// Adds everything of a histogram.
    pub(super) fn observe(&mut self, family: Family, labels: &[&str], hist: &Hist) {
        if hist.count() == 0 {
            return;
        }
        if let Some(Value::Histogram(distribution)) = self.slot(family, labels) {
            distribution.add(&hist.cumulative(family.spec().bounds), hist.sum(), hist.count());
        }
    }

    /// Adds one value, seconds.
    pub(super) fn observe_one(&mut self, family: Family, labels: &[&str], seconds: f64) {
        if let Some(Value::Histogram(distribution)) = self.slot(family, labels) {
            let one: Vec<u64> = family.spec().bounds.iter().map(|bound| u64::from(seconds <= *bound)).collect();
            distribution.add(&one, seconds, 1);
        }
    }

    /// 1 for the state that holds, 0 for all others; the state is the last label.
    pub(super) fn set_state(&mut self, family: Family, labels: &[&str], states: &[&str], holds: Option<&str>) {
        for state in states {
            let labels: Vec<&str> = labels.iter().chain([state]).copied().collect();
            self.set(family, &labels, f64::from(u8::from(holds == Some(*state))));
        }
    }

    /// Removes the series of a family whose first label has this value.
    pub(super) fn clear(&mut self, family: Family, first: &str) {
        let shared = &mut self.all[family as usize];
        if shared.keys().any(|labels| &*labels[0] == first) {
            let before = shared.len();
            Arc::make_mut(shared).retain(|labels, _| &*labels[0] != first);
            self.lines -= (before - shared.len()) * family.spec().lines();
        }
    }
}

fn zero(family: Family) -> Value {
    match family.spec().kind {
        Kind::Counter => Value::Count(0),
        Kind::Histogram => Value::Histogram(Distribution::empty(family.spec().bounds.len())),
        Kind::Gauge | Kind::StateSet | Kind::Info => Value::Number(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_refuses_and_counts() {
        let mut tables = Tables::new(3);
        for reason in ["overlap", "downtime", "paused", "capacity", "paused"] {
            tables.count(Family::ScheduleMissed, &["s", reason], 1);
        }
        assert_eq!((tables.lines_of(Family::ScheduleMissed), tables.refused(Family::ScheduleMissed)), (3, 1));
        tables.create(Family::ScheduleLag, &["s"]);
        assert_eq!(tables.refused(Family::ScheduleLag), 1);
        tables.clear(Family::ScheduleMissed, "s");
        tables.create(Family::RunActive, &["s"]);
        assert_eq!(tables.lines_of(Family::RunActive), 1, "what was removed makes room");
    }

    #[test]
    fn too_many_names_are_folded_without_losing_a_count() {
        let mut tables = Tables::new(1000);
        for n in 0..100 {
            tables.count_folded(Family::Failures, &["a", "step", &format!("r{n}")], 1);
            tables.count_folded(Family::Failures, &["b", "step", "timeout"], 1);
        }
        let table = &tables.all()[Family::Failures as usize];
        assert_eq!(table.len(), MAX_NAMES + 2);
        let sum: u64 = table.values().map(|value| if let Value::Count(count) = value { *count } else { 0 }).sum();
        assert_eq!(sum, 200);
        let other: Labels = ["a", "step", "other"].map(Name::from).into();
        assert_eq!(table[&other], Value::Count(100 - MAX_NAMES as u64));
    }
}
