//! The arrivals of an open load, one after the other: evenly along the rate, or at random as independent users come.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{ramp::Ramp, uniform::Uniform};
use crate::model::units::Rate;

/// The instants of an open load, in order, as offsets from its start.
///
/// Random arrivals are a Poisson process of which the count is known: as many as the rate plans, each anywhere under the
/// rate line and independent of the others. So the plan keeps its word to the unit, and the gaps are exponential.
#[derive(Debug, Clone)]
pub struct Arrivals {
    line: Line,
    index: u64,
    total: u64,
    random: Option<Random>,
}

#[derive(Debug, Clone)]
enum Line {
    Flat(Uniform),
    Ramp(Ramp),
}

#[derive(Debug, Clone)]
struct Random {
    rng: SmallRng,
    /// Area passed so far.
    passed: f64,
    area: f64,
}

impl Arrivals {
    /// At a constant rate.
    pub fn constant(rate: Rate, duration: Duration) -> Self {
        let plan = Uniform::new(rate, duration);
        Self { total: plan.total(), line: Line::Flat(plan), index: 0, random: None }
    }

    /// Along a rate that ramps.
    pub fn ramping(plan: Ramp) -> Self {
        Self { total: plan.total(), line: Line::Ramp(plan), index: 0, random: None }
    }

    /// The same number, at random instants that follow the rate; equal seeds give equal plans.
    #[must_use]
    pub fn poisson(mut self, seed: u64) -> Self {
        if let Line::Flat(plan) = self.line {
            self.line = Line::Ramp(plan.ramp());
        }
        let Line::Ramp(ramp) = &self.line else { unreachable!("it is a ramp now") };
        self.random = Some(Random { rng: SmallRng::seed_from_u64(seed), passed: 0.0, area: ramp.area() });
        self
    }

    /// Number of arrivals in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of arrivals still to come.
    pub fn left(&self) -> u64 {
        self.total - self.index
    }
}

impl Random {
    /// The smallest of `left` independent points between what is passed and the whole area.
    fn step(&mut self, left: u64) -> f64 {
        let uniform = 1.0 - self.rng.random::<f64>();
        let share = -(uniform.ln() / left as f64).exp_m1();
        self.passed += (self.area - self.passed) * share;
        self.passed
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let left = self.left();
        if left == 0 {
            return None;
        }
        let index = self.index;
        self.index += 1;
        Some(match (&self.line, &mut self.random) {
            (Line::Ramp(plan), Some(random)) => plan.at(random.step(left)).min(plan.length()),
            (Line::Ramp(plan), None) => plan.offset(index),
            (Line::Flat(plan), _) => plan.offset(index),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left() as usize;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_second(count: f64) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }

    #[test]
    fn equal_seeds_give_equal_plans() {
        let plan =
            |seed| Arrivals::constant(per_second(50.0), Duration::from_secs(20)).poisson(seed).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn gaps_are_exponential_and_halves_are_even() {
        let plan = Arrivals::constant(per_second(100.0), Duration::from_secs(1000)).poisson(1);
        let offsets: Vec<f64> = plan.map(|at| at.as_secs_f64()).collect();
        assert_eq!(offsets.len(), 100_000);
        let gaps: Vec<f64> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Of an exponential distribution, 1/e of the gaps are longer than the mean, and 1/e² longer than twice that.
        let longer = |than: f64| gaps.iter().filter(|gap| **gap > than).count() as f64 / gaps.len() as f64;
        assert!((longer(0.01) - 0.3679).abs() < 0.006, "{}", longer(0.01));
        assert!((longer(0.02) - 0.1353).abs() < 0.006, "{}", longer(0.02));
        let half = offsets.iter().filter(|at| **at < 500.0).count() as f64;
        assert!((half - 50_000.0).abs() < 800.0, "{half}");
    }

    #[test]
    fn random_arrivals_follow_the_ramp() {
        let ramp = Ramp::new(per_second(0.0), &[(Duration::from_secs(100), per_second(1000.0))]);
        let plan = Arrivals::ramping(ramp).poisson(3);
        assert_eq!(plan.total(), 50_000);
        let early = plan.filter(|at| *at < Duration::from_secs(50)).count() as f64;
        assert!((early - 12_500.0).abs() < 400.0, "a quarter of the area: {early}");
    }

    proptest! {
        #[test]
        fn the_count_is_kept_in_order_and_inside(count in 0.1f64..500.0, s in 1u64..60, to in 0.0f64..500.0, seed: u64) {
            let length = Duration::from_secs(s);
            let flat = Arrivals::constant(per_second(count), length);
            let ramp = Arrivals::ramping(Ramp::new(per_second(count), &[(length, per_second(to))]));
            for plan in [flat.clone(), flat.poisson(seed), ramp.clone(), ramp.poisson(seed)] {
                let total = plan.total();
                let mut last = Duration::ZERO;
                let mut seen = 0;
                for at in plan {
                    prop_assert!(at >= last && at <= length, "{at:?}");
                    last = at;
                    seen += 1;
                }
                prop_assert_eq!(seen, total);
            }
        }
    }
}
