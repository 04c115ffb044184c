//! A distribution of times: a two-digit HDR histogram for quantiles, and exact count, sum, minimum and maximum beside it.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::model::run::TimeStats;

/// Largest value kept, in microseconds: an hour; longer times count as an hour in quantiles (max stays exact).
const MAX_US: u64 = 3_600_000_000;

/// Times between 1 µs and 1 h, quantiles within 1 %. About 10 KiB once something was recorded, nothing before.
#[derive(Debug, Clone, Default)]
pub struct Hist {
    buckets: Option<Box<Histogram<u32>>>,
    count: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Hist {
    /// Adds one time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let buckets = self.buckets.get_or_insert_with(|| {
            Box::new(Histogram::new_with_bounds(1, MAX_US, 2).expect("the bounds are constant and valid"))
        });
        buckets.saturating_record((ns / 1000).max(1));
        self.min_ns = if self.count == 0 { ns } else { self.min_ns.min(ns) };
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns += u128::from(ns);
        self.count += 1;
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.buckets else { return };
        match &mut self.buckets {
            Some(ours) => ours.add(&**theirs).expect("all histograms have the same bounds"),
            None => self.buckets = Some(theirs.clone()),
        }
        self.min_ns = if self.count == 0 { other.min_ns } else { self.min_ns.min(other.min_ns) };
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns += other.sum_ns;
        self.count += other.count;
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum in seconds, exact.
    pub fn sum(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Smallest value in seconds; `None` without values.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then(|| self.min_ns as f64 / 1e9)
    }

    /// Largest value in seconds; `None` without values.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then(|| self.max_ns as f64 / 1e9)
    }

    /// Mean in seconds; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }

    /// The value (seconds) at or below which the share `q` (0 to 1) of the values lie; `None` without values.
    /// Kept within the exact minimum and maximum.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let buckets = self.buckets.as_ref()?;
        let value = buckets.value_at_quantile(q.clamp(0.0, 1.0)) as f64 / 1e6;
        Some(value.clamp(self.min_ns as f64 / 1e9, self.max_ns as f64 / 1e9))
    }

    /// How many values lie at or below each bound (seconds, ascending); values count by their bucket's lower edge.
    pub fn cumulative(&self, bounds: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        let Some(buckets) = &self.buckets else { return counts };
        let (mut next, mut seen) = (0, 0);
        for step in buckets.iter_recorded() {
            let low = buckets.lowest_equivalent(step.value_iterated_to()) as f64 / 1e6;
            while next < bounds.len() && low > bounds[next] {
                counts[next] = seen;
                next += 1;
            }
            seen += step.count_since_last_iteration();
        }
        counts[next..].fill(seen);
        counts
    }

    /// The figures that reports show.
    pub fn stats(&self) -> TimeStats {
        let q = |q| self.quantile(q).unwrap_or_default();
        TimeStats {
            count: self.count,
            min: self.min().unwrap_or_default(),
            mean: self.mean().unwrap_or_default(),
            p50: q(0.5),
            p90: q(0.9),
            p95: q(0.95),
            p99: q(0.99),
            p999: q(0.999),
            max: self.max().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Hist {
        let mut hist = Hist::default();
        millis.into_iter().for_each(|ms| hist.record(Duration::from_millis(ms)));
        hist
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        let hist = of(1..=1000);
        for (q, expected) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let value = hist.quantile(q).expect("has values");
            assert!((value / expected - 1.0).abs() < 0.01, "q{q}: {value}");
        }
        assert_eq!((hist.min(), hist.max(), hist.count()), (Some(0.001), Some(1.0), 1000));
        assert!((hist.mean().expect("has values") - 0.5005).abs() < 1e-9);
    }

    #[test]
    fn merging_is_recording_both() {
        let mut left = of(1..=500);
        left.merge(&of(501..=1000));
        assert_eq!(left.stats(), of(1..=1000).stats());
        let mut empty = Hist::default();
        empty.merge(&left);
        empty.merge(&Hist::default());
        assert_eq!(empty.stats(), left.stats());
    }

    #[test]
    fn cumulative_counts_end_at_the_total() {
        let hist = of([1, 2, 30, 400, 5000]);
        assert_eq!(hist.cumulative(&[0.0005, 0.0015, 0.1, 1.0, 10.0]), [0, 1, 3, 4, 5]);
        assert_eq!(Hist::default().cumulative(&[1.0]), [0]);
    }

    #[test]
    fn nothing_is_no_data() {
        let empty = Hist::default();
        assert_eq!((empty.quantile(0.5), empty.min(), empty.max(), empty.mean()), (None, None, None, None));
    }
}
