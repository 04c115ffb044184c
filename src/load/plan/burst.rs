//! Bursts: so many at once, again and again.

use std::time::Duration;

use crate::model::scenario::BurstGap;

/// Bursts of `size` iterations, `repeat` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// Iterations of each.
    pub size: u32,
    /// How many.
    pub repeat: u64,
    /// How they follow each other.
    pub gap: BurstGap,
}

impl Bursts {
    /// Start of the n-th burst (from 0), given when the one before had its last answer; `None` = there is no such burst.
    pub fn start(&self, index: u64, ended: Duration) -> Option<Duration> {
        if index >= self.repeat {
            return None;
        }
        Some(match self.gap {
            BurstGap::Every(every) => times(every, index),
            BurstGap::Pause(_) if index == 0 => Duration::ZERO,
            BurstGap::Pause(pause) => ended + pause,
        })
    }

    /// Iterations planned.
    pub fn total(&self) -> u64 {
        self.repeat.saturating_mul(u64::from(self.size))
    }

    /// Planned length, the time of the last burst included; `None` where it depends on how soon the bursts end.
    pub fn length(&self) -> Option<Duration> {
        match self.gap {
            BurstGap::Every(every) => Some(times(every, self.repeat)),
            BurstGap::Pause(_) => None,
        }
    }
}

fn times(every: Duration, count: u64) -> Duration {
    let ns = every.as_nanos().saturating_mul(u128::from(count));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn starts() {
        let check = |repeat, gap, took: u64, expected: &[u64], length: Option<u64>| {
            let plan = Bursts { size: 5, repeat, gap };
            let (mut starts, mut ended) = (Vec::new(), Duration::ZERO);
            while let Some(at) = plan.start(starts.len() as u64, ended) {
                starts.push(at.as_secs());
                ended = at + s(took);
            }
            assert_eq!((starts, plan.length()), (expected.to_vec(), length.map(s)), "{plan:?}");
            assert_eq!(plan.total(), 5 * repeat);
        };
        check(3, BurstGap::Every(s(10)), 25, &[0, 10, 20], Some(30));
        check(3, BurstGap::Pause(s(10)), 25, &[0, 35, 70], None);
        check(1, BurstGap::Pause(s(60)), 1, &[0], None);
        check(0, BurstGap::Every(s(60)), 1, &[], Some(0));
    }

    #[test]
    fn a_day_of_bursts_does_not_drift() {
        let plan = Bursts { size: 1, repeat: u64::MAX, gap: BurstGap::Every(Duration::from_nanos(333_333_333)) };
        assert_eq!(plan.start(259_200, Duration::ZERO), Some(Duration::from_nanos(259_200 * 333_333_333)));
    }
}
