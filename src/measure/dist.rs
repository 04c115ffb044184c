//! A distribution of numbers of any size and sign, in as many bytes as there are different ones: gaps within one answer,
//! tokens, custom trends. Times of requests, of which there are millions, are in a [`Hist`](super::hist::Hist).

use crate::model::run::TimeStats;

/// Bits of the mantissa that are kept: a value is known within 0.4 %.
const PRECISION: u32 = 8;

/// Most buckets; beyond it each two neighbours become one. Values within a factor of a million fit without that.
const MAX_BUCKETS: usize = 4096;

/// Numbers with exact count, sum, minimum and maximum, and quantiles within 0.4 %.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dist {
    /// Bucket and count, sorted by bucket.
    buckets: Vec<(i32, u32)>,
    /// How many times neighbours became one.
    coarser: u32,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Dist {
    /// Adds one number; what is not finite is left out.
    pub fn record(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.add(bucket(value) >> self.coarser, 1);
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.sum += value;
        self.count += 1;
    }

    fn add(&mut self, bucket: i32, count: u32) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => {
                self.buckets.insert(at, (bucket, count));
                if self.buckets.len() > MAX_BUCKETS {
                    self.coarsen(self.coarser + 1);
                }
            }
        }
    }

    fn coarsen(&mut self, to: u32) {
        let by = to.saturating_sub(self.coarser);
        let mut merged: Vec<(i32, u32)> = Vec::with_capacity(self.buckets.len());
        for (bucket, count) in self.buckets.drain(..) {
            match merged.last_mut() {
                Some((last, sum)) if *last == bucket >> by => *sum = sum.saturating_add(count),
                _ => merged.push((bucket >> by, count)),
            }
        }
        self.buckets = merged;
        self.coarser += by;
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.coarsen(other.coarser.max(self.coarser));
        for (bucket, count) in &other.buckets {
            let bucket = *bucket >> (self.coarser.saturating_sub(other.coarser));
            self.add(bucket, *count);
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = if self.count == 0 { other.max } else { self.max.max(other.max) };
        self.sum += other.sum;
        self.count += other.count;
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Smallest value; `None` without values.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// Largest value; `None` without values.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// Mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The value at or below which the share `q` (0 to 1) of the values lie; `None` without values. Kept within the exact
    /// minimum and maximum.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.buckets.iter().map(|(_, count)| u64::from(*count)).sum();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= rank
        });
        found.map(|(bucket, _)| value_of(*bucket, self.coarser).clamp(self.min, self.max))
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

/// Sign, exponent and the first bits of the mantissa, as a number that sorts like the value.
fn bucket(value: f64) -> i32 {
    let size = (value.abs().to_bits() >> (f64::MANTISSA_DIGITS - 1 - PRECISION)) as i32;
    if value.is_sign_negative() { -size - 1 } else { size }
}

/// The edge of a bucket that is nearest to zero: whole numbers up to 512 are exact.
fn value_of(bucket: i32, coarser: u32) -> f64 {
    let (low, high) = (i64::from(bucket) << coarser, ((i64::from(bucket) + 1) << coarser) - 1);
    let (size, sign) = if bucket < 0 { (-high - 1, -1.0) } else { (low, 1.0) };
    sign * f64::from_bits((size as u64) << (f64::MANTISSA_DIGITS - 1 - PRECISION))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Dist {
        let mut dist = Dist::default();
        for value in values {
            dist.record(*value);
        }
        dist
    }

    proptest! {
        #[test]
        fn a_value_is_known_within_half_a_percent(value in prop::num::f64::NORMAL) {
            let kept = value_of(bucket(value), 0);
            prop_assert!((kept / value - 1.0).abs() < 0.004, "{value}: {kept}");
        }

        #[test]
        fn buckets_are_in_order(left in prop::num::f64::NORMAL, right in prop::num::f64::NORMAL) {
            prop_assert!((left <= right) <= (bucket(left) <= bucket(right)));
        }

        #[test]
        fn merging_is_recording_both(
            left in prop::collection::vec(-1e3..1e6, 0..50),
            right in prop::collection::vec(-1e3..1e6, 0..50),
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let both = of(&[left, right].concat());
            prop_assert!((merged.sum() - both.sum()).abs() <= 1e-6);
            prop_assert_eq!((&merged.buckets, merged.count(), merged.min(), merged.max()),
                (&both.buckets, both.count(), both.min(), both.max()));
        }
    }

    #[test]
    fn quantiles() {
        let values: Vec<f64> = (-100..=900).map(f64::from).collect();
        let dist = of(&values);
        for (q, expected) in [(0.0, -100.0), (0.5, 400.0), (0.95, 850.0), (1.0, 900.0)] {
            let found = dist.quantile(q).expect("has values");
            assert!((found - expected).abs() <= 0.005 * f64::abs(expected), "q{q}: {found}");
        }
        assert_eq!((dist.min(), dist.max(), dist.count()), (Some(-100.0), Some(900.0), 1001));
        assert_eq!(dist.mean(), Some(400.0));
        let small = of(&[0.0, 0.0, 5.0]);
        assert_eq!((small.quantile(0.5), small.quantile(1.0)), (Some(0.0), Some(5.0)));
        assert_eq!((Dist::default().quantile(0.5), Dist::default().min(), Dist::default().mean()), (None, None, None));
        assert_eq!(of(&[f64::NAN, f64::INFINITY]), Dist::default());
    }

    #[test]
    fn memory_is_bounded() {
        let mut dist = Dist::default();
        for exponent in -300..300 {
            for digit in 1..100 {
                dist.record(f64::from(digit) * 10_f64.powi(exponent));
            }
        }
        assert!(dist.buckets.len() <= MAX_BUCKETS && dist.coarser > 0);
        assert_eq!(dist.buckets.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(), dist.count());
        let median = dist.quantile(0.5).expect("has values");
        assert!((0.01..100.0).contains(&median), "{median}");
        let mut fine = of(&[3.0]);
        fine.merge(&dist);
        let mut coarse = dist.clone();
        coarse.merge(&of(&[3.0]));
        assert_eq!(fine.buckets, coarse.buckets);
    }
}
