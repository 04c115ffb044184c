//! The values of all families, and the immutable picture of them that is published.
//!
//! Each family's table is shared with the last snapshot and copied only when it changes again, so that a snapshot costs
//! one reference count per family.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::catalogue::Family;
use crate::model::Name;

/// Label values, in the order of the catalogue's label names.
pub type Labels = Arc<[Name]>;

/// The value of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An exact count.
    Count(u64),
    /// Any other number.
    Number(f64),
    /// A distribution.
    Histogram(Distribution),
}

/// A distribution over the catalogue's bounds of its family.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    /// How many values lie at or below each bound.
    pub cumulative: Box<[u64]>,
    /// Sum of all values, seconds.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
}

impl Distribution {
    /// Empty, over so many bounds.
    pub fn empty(bounds: usize) -> Self {
        Self { cumulative: vec![0; bounds].into(), sum: 0.0, count: 0 }
    }

    /// Adds values given as cumulative counts over the same bounds.
    pub fn add(&mut self, cumulative: &[u64], sum: f64, count: u64) {
        self.cumulative.iter_mut().zip(cumulative).for_each(|(ours, theirs)| *ours += theirs);
        self.sum += sum;
        self.count += count;
    }
}

/// The series of one family, ordered by label values.
pub type Table = BTreeMap<Labels, Value>;

/// Everything there is to show, at one instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// Since when counters count.
    pub since: Timestamp,
    tables: Arc<[Arc<Table>]>,
}

impl Snapshot {
    /// Freezes one table per family, in the order of [`Family::ALL`].
    pub(super) fn new(at: Timestamp, since: Timestamp, tables: &[Arc<Table>]) -> Self {
        Self { at, since, tables: tables.into() }
    }

    /// Nothing yet.
    pub fn empty(at: Timestamp) -> Self {
        Self::new(at, at, &vec![Arc::default(); Family::ALL.len()])
    }

    /// The series of a family.
    pub fn table(&self, family: Family) -> &Table {
        &self.tables[family as usize]
    }

    /// All families with their series.
    pub fn families(&self) -> impl Iterator<Item = (Family, &Table)> {
        Family::ALL.iter().map(|family| (*family, self.table(*family)))
    }

    /// One series.
    pub fn get(&self, family: Family, labels: &[&str]) -> Option<&Value> {
        let labels: Labels = labels.iter().map(|label| Name::from(*label)).collect();
        self.table(family).get(&labels)
    }
}
