//! How long a user waits between two iterations: Locust's wait times.

use std::time::Duration;

use rand::{RngExt, rngs::SmallRng};

use crate::model::scenario::Think;

/// When the next iteration starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Offset of its start.
    pub at: Duration,
    /// The iteration took longer than the pacing leaves: the rate that was asked for is not reached.
    pub missed: bool,
}

/// How long to pause after a step; what paces whole iterations is no pause here.
pub fn pause(think: Think, rng: &mut SmallRng) -> Duration {
    match think {
        Think::Constant(pause) => pause,
        Think::Between(low, high) => low + high.saturating_sub(low).mul_f64(rng.random::<f64>()),
        // At most 36 means: one of 4·10¹⁵.
        Think::Poisson(mean) => mean.mul_f64(-(1.0 - rng.random::<f64>()).max(f64::EPSILON).ln()),
        Think::Pacing(_) | Think::Throughput(_) => Duration::ZERO,
    }
}

/// When to start the iteration after one that was intended at `start` and ended at `end`.
pub fn next(think: Think, start: Duration, end: Duration, rng: &mut SmallRng) -> Next {
    let every = match think {
        Think::Pacing(every) => every,
        Think::Throughput(rate) => rate.per.div_f64(rate.count),
        Think::Constant(_) | Think::Between(..) | Think::Poisson(_) => {
            return Next { at: end.saturating_add(pause(think, rng)), missed: false };
        }
    };
    let due = start.saturating_add(every);
    Next { at: due.max(end), missed: due < end }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::model::units::Rate;

    #[test]
    fn starts() {
        let s = Duration::from_secs;
        let check = |wait: Think, start, end, at, missed| {
            let mut rng = SmallRng::seed_from_u64(1);
            assert_eq!(next(wait, s(start), s(end), &mut rng), Next { at: s(at), missed }, "{wait:?}");
        };
        check(Think::Constant(s(2)), 10, 13, 15, false);
        check(Think::Between(s(3), s(3)), 10, 13, 16, false);
        check(Think::Pacing(s(5)), 10, 13, 15, false);
        check(Think::Pacing(s(5)), 10, 15, 15, false);
        check(Think::Pacing(s(5)), 10, 18, 18, true);
        check(Think::Throughput(Rate { count: 6.0, per: Duration::from_mins(1) }), 10, 13, 20, false);
        check(Think::Poisson(s(0)), 10, 13, 13, false);
    }

    #[test]
    fn means() {
        let mean = |wait: Think| {
            let mut rng = SmallRng::seed_from_u64(2);
            let sum: Duration = (0..20_000).map(|_| next(wait, Duration::ZERO, Duration::ZERO, &mut rng).at).sum();
            sum.as_secs_f64() / 20_000.0
        };
        let s = Duration::from_secs;
        assert!((mean(Think::Between(s(1), s(5))) - 3.0).abs() < 0.03);
        assert!((mean(Think::Poisson(s(3))) - 3.0).abs() < 0.1);
    }
}
