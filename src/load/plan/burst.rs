//! Bursts: so many at once, again and again.

use std::time::Duration;

/// How bursts follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// From start to start, whatever became of the burst before.
    Every(Duration),
    /// From the last answer of one to the start of the next.
    Pause(Duration),
}

/// Bursts of `size` iterations, `repeat` times; those that would start at or after `duration` are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// Iterations of each.
    pub size: u32,
    /// How many; `None` = until the duration is over.
    pub repeat: Option<u32>,
    /// How they follow each other.
    pub spacing: Spacing,
    /// Bound of their starts.
    pub duration: Option<Duration>,
}

impl Bursts {
    /// Start of the n-th burst (from 0), given when the one before had its last answer; `None` = there is no such burst.
    pub fn start(&self, index: u32, ended: Duration) -> Option<Duration> {
        if self.repeat.is_some_and(|repeat| index >= repeat)
            || (self.repeat, self.duration) == (None, None) && index > 0
        {
            return None;
        }
        let at = match self.spacing {
            Spacing::Every(every) => every.checked_mul(index)?,
            Spacing::Pause(_) if index == 0 => Duration::ZERO,
            Spacing::Pause(pause) => ended + pause,
        };
        (index == 0 || self.duration.is_none_or(|duration| at < duration)).then_some(at)
    }

    /// Iterations planned; `None` where it depends on how soon the bursts end.
    pub fn total(&self) -> Option<u64> {
        let count = match (self.repeat, self.spacing, self.duration) {
            (repeat, Spacing::Every(every), Some(duration)) => {
                let fit = duration.as_nanos().div_ceil(every.as_nanos().max(1)).max(1);
                u64::from(repeat.unwrap_or(u32::MAX)).min(u64::try_from(fit).unwrap_or(u64::MAX))
            }
            (Some(repeat), _, None) => u64::from(repeat),
            (None, _, None) => 1,
            (_, Spacing::Pause(_), Some(_)) => return None,
        };
        Some(count * u64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn starts() {
        let check = |repeat, spacing, duration, took: u64, expected: &[u64], total: Option<u64>| {
            let plan = Bursts { size: 5, repeat, spacing, duration };
            let (mut starts, mut ended) = (Vec::new(), Duration::ZERO);
            while let Some(at) = plan.start(starts.len() as u32, ended) {
                starts.push(at.as_secs());
                ended = at + s(took);
            }
            assert_eq!((starts, plan.total()), (expected.to_vec(), total), "{plan:?}");
        };
        check(Some(3), Spacing::Every(s(10)), None, 25, &[0, 10, 20], Some(15));
        check(Some(3), Spacing::Pause(s(10)), None, 25, &[0, 35, 70], Some(15));
        check(None, Spacing::Every(s(60)), Some(s(150)), 1, &[0, 60, 120], Some(15));
        check(None, Spacing::Every(s(60)), Some(s(120)), 1, &[0, 60], Some(10));
        check(None, Spacing::Pause(s(60)), Some(s(150)), 1, &[0, 61, 122], None);
        check(Some(2), Spacing::Every(s(60)), Some(s(600)), 1, &[0, 60], Some(10));
        check(None, Spacing::Every(s(60)), None, 1, &[0], Some(5));
        check(Some(1), Spacing::Pause(s(60)), None, 1, &[0], Some(5));
    }
}
