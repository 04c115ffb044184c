//! The number of users along linear stages (k6's ramping-vus): a step function that changes by one at a time, evenly
//! within each stage; a stage of length zero jumps.

use std::time::Duration;

/// From then on so many users are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Offset from the start.
    pub at: Duration,
    /// Users.
    pub vus: u32,
}

/// The stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VuRamp {
    start: u32,
    stages: Vec<(Duration, u32)>,
}

impl VuRamp {
    /// From `start` users on, along stages of (length, users at its end).
    pub fn new(start: u32, stages: &[(Duration, u32)]) -> Self {
        Self { start, stages: stages.to_vec() }
    }

    /// Sum of the stages.
    pub fn length(&self) -> Duration {
        self.stages.iter().map(|(length, _)| *length).sum()
    }

    /// Most users at once.
    pub fn peak(&self) -> u32 {
        self.stages.iter().map(|(_, vus)| *vus).fold(self.start, u32::max)
    }

    /// Users wanted at an offset: as k6, a change of d users within a stage happens in d even steps, the last at its end.
    pub fn wanted(&self, at: Duration) -> u32 {
        let (mut begun, mut from) = (Duration::ZERO, self.start);
        for (length, to) in &self.stages {
            let into = at.saturating_sub(begun);
            if into < *length {
                let moved = into.as_nanos() * u128::from(from.abs_diff(*to)) / length.as_nanos();
                let moved = moved as u32;
                return if *to >= from { from + moved } else { from - moved };
            }
            (begun, from) = (begun + *length, *to);
        }
        from
    }

    /// The changes in order, the first at zero.
    pub fn levels(&self) -> impl Iterator<Item = Level> + use<> {
        let mut walk = Walk { ramp: self.clone(), stage: 0, begun: Duration::ZERO, from: self.start, step: 0 };
        std::iter::once(Level { at: Duration::ZERO, vus: self.start }).chain(std::iter::from_fn(move || walk.next()))
    }
}

struct Walk {
    ramp: VuRamp,
    stage: usize,
    begun: Duration,
    from: u32,
    step: u32,
}

impl Walk {
    fn next(&mut self) -> Option<Level> {
        loop {
            let (length, to) = *self.ramp.stages.get(self.stage)?;
            let steps = self.from.abs_diff(to);
            if self.step < steps {
                self.step = if length.is_zero() { steps } else { self.step + 1 };
                let ns = (length.as_nanos() * u128::from(self.step)).div_ceil(u128::from(steps));
                let vus = if to >= self.from { self.from + self.step } else { self.from - self.step };
                return Some(Level { at: self.begun + Duration::from_nanos(ns as u64), vus });
            }
            self.stage += 1;
            self.begun += length;
            (self.from, self.step) = (to, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(start: u32, stages: &[(u64, u32)]) -> VuRamp {
        let stages: Vec<_> = stages.iter().map(|(s, vus)| (Duration::from_secs(*s), *vus)).collect();
        VuRamp::new(start, &stages)
    }

    #[test]
    fn as_k6_steps() {
        let check = |plan: VuRamp, expected: &[(u64, u32)]| {
            let seen: Vec<_> = plan.levels().map(|level| (level.at.as_millis() as u64, level.vus)).collect();
            assert_eq!(seen, expected);
        };
        let second = 1000;
        check(
            plan(4, &[(2, 6), (5, 1), (0, 4), (3, 4)]),
            &[
                (0, 4),
                (second, 5),
                (2 * second, 6),
                (3 * second, 5),
                (4 * second, 4),
                (5 * second, 3),
                (6 * second, 2),
                (7 * second, 1),
                (7 * second, 4),
            ],
        );
        check(plan(0, &[(3, 2), (1, 2), (1, 0)]), &[(0, 0), (1500, 1), (3000, 2), (4500, 1), (5000, 0)]);
        check(plan(5, &[]), &[(0, 5)]);
        assert_eq!(plan(1, &[(2, 6), (5, 1)]).peak(), 6);
    }

    proptest! {
        #[test]
        fn steps_and_function_agree(start in 0u32..50, stages in proptest::collection::vec((0u64..20, 0u32..50), 0..6), ms in 0u64..100_000) {
            let plan = plan(start, &stages);
            let at = Duration::from_millis(ms);
            let by_steps = plan.levels().take_while(|level| level.at <= at).last().expect("the first is at zero").vus;
            prop_assert_eq!(by_steps, plan.wanted(at));
            let levels: Vec<_> = plan.levels().collect();
            prop_assert!(levels.windows(2).all(|pair| pair[0].at <= pair[1].at));
            prop_assert!(levels.iter().all(|level| level.at <= plan.length() && level.vus <= plan.peak()));
        }
    }
}
