//! Evenly spaced arrivals.

use std::time::Duration;

use super::ramp::Ramp;
use crate::model::units::Rate;

/// Rates are kept to a millionth of an iteration.
const MICRO: u128 = 1_000_000;

/// Evenly spaced arrivals: the i-th at `i × per / count`, computed from i alone, so that no error adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uniform {
    per_ns: u128,
    count_micro: u128,
    total: u64,
    duration: Duration,
}

impl Uniform {
    /// Arrivals at `rate` for `duration`: those whose offset lies before its end.
    pub fn new(rate: Rate, duration: Duration) -> Self {
        let per_ns = rate.per.as_nanos();
        let count_micro = ((rate.count * MICRO as f64).round() as u128).max(1);
        let total = (duration.as_nanos() * count_micro).div_ceil(per_ns * MICRO);
        Self { per_ns, count_micro, total: u64::try_from(total).unwrap_or(u64::MAX), duration }
    }

    /// The same as a ramp that does not rise, for what is placed under a line.
    pub fn ramp(&self) -> Ramp {
        let rate = Rate {
            count: self.count_micro as f64 / MICRO as f64,
            per: Duration::from_nanos(u64::try_from(self.per_ns).unwrap_or(u64::MAX)),
        };
        Ramp::new(rate, &[(self.duration, rate)])
    }

    /// Number of arrivals.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Offset of the i-th arrival (from 0) from the start, within 1 ns.
    pub fn offset(&self, index: u64) -> Duration {
        let ns = u128::from(index) * self.per_ns * MICRO / self.count_micro;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uniform(count: f64, per_s: u64, duration_s: f64) -> Uniform {
        Uniform::new(Rate { count, per: Duration::from_secs(per_s) }, Duration::from_secs_f64(duration_s))
    }

    #[test]
    fn counts() {
        let check = |count, per_s, duration_s, total| {
            assert_eq!(uniform(count, per_s, duration_s).total(), total, "{count}/{per_s}s for {duration_s}s");
        };
        check(100.0, 1, 10.0, 1000);
        check(10.0, 1, 300.0, 3000);
        check(30.0, 60, 600.0, 300);
        check(0.5, 1, 3.0, 2);
        check(3.0, 1, 1.0, 3);
        check(1.0, 3600, 1.0, 1);
    }

    #[test]
    fn a_day_does_not_drift() {
        let plan = uniform(3.0, 1, 86_400.0);
        assert_eq!(plan.total(), 259_200);
        assert_eq!(plan.offset(3 * 86_399), Duration::from_secs(86_399));
        assert_eq!(plan.offset(3 * 86_399 + 1), Duration::from_nanos(86_399_333_333_333));
    }

    proptest! {
        #[test]
        fn offsets_are_monotone_even_and_inside(count in 0.01f64..50_000.0, minutes in 1u64..2000, index in 0u64..1_000_000_000) {
            let duration = Duration::from_secs(minutes * 60);
            let plan = Uniform::new(Rate { count, per: Duration::from_secs(1) }, duration);
            let index = index % plan.total();
            prop_assert!(plan.offset(index) < duration);
            prop_assert!(plan.offset(plan.total()) >= duration);
            let gap = plan.offset(index + 1).checked_sub(plan.offset(index)).expect("monotone").as_nanos() as f64;
            let period = 1e9 / ((count * 1e6).round() / 1e6);
            prop_assert!((gap - period).abs() <= 1.0 + period * 1e-9, "{gap} {period}");
        }
    }
}
