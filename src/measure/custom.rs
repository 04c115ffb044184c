//! Metrics of the user's own: shares and numbers by the step and the labels of what they were recorded of.

use std::collections::BTreeMap;

use super::{data::SeriesKey, dist::Dist};
use crate::model::Name;

/// Series of all custom metrics together; what comes beyond is counted, but not kept.
pub const MAX_SERIES: usize = 1000;

/// The custom metrics of a run, or of a second of it.
#[derive(Debug, Clone, Default)]
pub struct Custom {
    /// How often it was true, and how often it was asked.
    pub rates: BTreeMap<Name, BTreeMap<SeriesKey, (u64, u64)>>,
    /// Numbers, in the unit of the metric.
    pub trends: BTreeMap<Name, BTreeMap<SeriesKey, Dist>>,
    /// Values that were not kept because there were too many series.
    pub lost: u64,
}

impl Custom {
    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.trends.is_empty() && self.lost == 0
    }

    /// Records whether it was true.
    pub fn rate(&mut self, name: &Name, key: &SeriesKey, is: bool) {
        self.add_rate(name, key, (u64::from(is), 1));
    }

    /// Records a number; what is not finite is left out.
    pub fn trend(&mut self, name: &Name, key: &SeriesKey, value: f64) {
        match self.trend_series(name, key) {
            Some(dist) => dist.record(value),
            None => self.lost += 1,
        }
    }

    fn add_rate(&mut self, name: &Name, key: &SeriesKey, (is, of): (u64, u64)) {
        let full = self.series() >= MAX_SERIES;
        let series = self.rates.entry(name.clone()).or_default();
        if full && !series.contains_key(key) {
            self.lost += of;
            return;
        }
        let sum = series.entry(key.clone()).or_default();
        *sum = (sum.0 + is, sum.1 + of);
    }

    fn trend_series(&mut self, name: &Name, key: &SeriesKey) -> Option<&mut Dist> {
        let full = self.series() >= MAX_SERIES;
        let series = self.trends.entry(name.clone()).or_default();
        if full && !series.contains_key(key) {
            return None;
        }
        Some(series.entry(key.clone()).or_default())
    }

    fn series(&self) -> usize {
        self.rates.values().map(BTreeMap::len).sum::<usize>() + self.trends.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        for (name, series) in &other.rates {
            for (key, counts) in series {
                self.add_rate(name, key, *counts);
            }
        }
        for (name, series) in &other.trends {
            for (key, theirs) in series {
                match self.trend_series(name, key) {
                    Some(ours) => ours.merge(theirs),
                    None => self.lost += theirs.count(),
                }
            }
        }
        self.lost += other.lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Labels;

    #[test]
    fn series_are_bounded_and_what_is_lost_is_counted() {
        let mut custom = Custom::default();
        for n in 0..MAX_SERIES + 10 {
            let key = SeriesKey { step: "s".into(), labels: Labels::one("n", n.to_string()) };
            custom.rate(&"good".into(), &key, n % 2 == 0);
            custom.rate(&"good".into(), &key, true);
        }
        let first = SeriesKey { step: "s".into(), labels: Labels::one("n", "0") };
        custom.trend(&"wait".into(), &first, 1.0);
        assert_eq!((custom.series(), custom.lost), (MAX_SERIES, 21));
        assert_eq!(custom.rates["good"][&first], (2, 2));
        let mut twice = custom.clone();
        twice.merge(&custom);
        assert_eq!((twice.series(), twice.lost, twice.rates["good"][&first]), (MAX_SERIES, 42, (4, 4)));
    }

    #[test]
    fn numbers_are_merged() {
        let key = SeriesKey { step: "s".into(), labels: Labels::default() };
        let mut custom = Custom::default();
        assert!(custom.is_empty());
        custom.trend(&"wait".into(), &key, 3.0);
        let mut both = Custom::default();
        both.merge(&custom);
        both.merge(&custom);
        assert_eq!((both.trends["wait"][&key].count(), both.trends["wait"][&key].max()), (2, Some(3.0)));
    }
}
