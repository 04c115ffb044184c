//! How long a user waits between two iterations: Locust's wait times.

use std::time::Duration;

use rand::{RngExt, rngs::SmallRng};

/// How long a user waits between two iterations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    /// Any length in between, each as likely.
    Between(Duration, Duration),
    /// Always as long.
    Constant(Duration),
    /// From start to start; an iteration that takes longer is followed at once.
    Pacing(Duration),
    /// Exponentially distributed around this mean.
    Poisson(Duration),
}

/// When the next iteration starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Offset of its start.
    pub at: Duration,
    /// The iteration took longer than the pacing leaves: the rate that was asked for is not reached.
    pub missed: bool,
}

impl Wait {
    /// Locust's `constant_throughput`: so many iterations per second and user.
    pub fn throughput(per_s: f64) -> Self {
        Self::Pacing(Duration::try_from_secs_f64(1.0 / per_s).unwrap_or(Duration::MAX))
    }

    /// When to start the iteration after one that was intended at `start` and ended at `end`.
    pub fn next(self, start: Duration, end: Duration, rng: &mut SmallRng) -> Next {
        let at = match self {
            Self::Between(low, high) => end + low + high.saturating_sub(low).mul_f64(rng.random::<f64>()),
            Self::Constant(wait) => end + wait,
            // At most 36 means: one of 4·10¹⁵.
            Self::Poisson(mean) => end + mean.mul_f64(-(1.0 - rng.random::<f64>()).max(f64::EPSILON).ln()),
            Self::Pacing(every) => {
                let due = start.saturating_add(every);
                return Next { at: due.max(end), missed: due < end };
            }
        };
        Next { at, missed: false }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn starts() {
        let s = Duration::from_secs;
        let check = |wait: Wait, start, end, at, missed| {
            let mut rng = SmallRng::seed_from_u64(1);
            assert_eq!(wait.next(s(start), s(end), &mut rng), Next { at: s(at), missed }, "{wait:?}");
        };
        check(Wait::Constant(s(2)), 10, 13, 15, false);
        check(Wait::Between(s(3), s(3)), 10, 13, 16, false);
        check(Wait::Pacing(s(5)), 10, 13, 15, false);
        check(Wait::Pacing(s(5)), 10, 15, 15, false);
        check(Wait::Pacing(s(5)), 10, 18, 18, true);
        check(Wait::throughput(0.1), 10, 13, 20, false);
        check(Wait::Poisson(s(0)), 10, 13, 13, false);
    }

    #[test]
    fn means() {
        let mean = |wait: Wait| {
            let mut rng = SmallRng::seed_from_u64(2);
            let sum: Duration = (0..20_000).map(|_| wait.next(Duration::ZERO, Duration::ZERO, &mut rng).at).sum();
            sum.as_secs_f64() / 20_000.0
        };
        let s = Duration::from_secs;
        assert!((mean(Wait::Between(s(1), s(5))) - 3.0).abs() < 0.03);
        assert!((mean(Wait::Poisson(s(3))) - 3.0).abs() < 0.1);
    }
}
