//! Arrivals along a rate that changes linearly from stage to stage (k6's ramping-arrival-rate): the n-th iteration starts
//! where the area under the rate line reaches n, so a ramp has neither steps nor drift.
//!
//! All in integers: rates in millionths of an iteration per common period, times in nanoseconds, areas doubled so that
//! the half of a triangle stays whole.

use std::time::Duration;

use crate::model::units::Rate;

/// Rates are kept to a millionth of an iteration per unit as written.
const MICRO: u128 = 1_000_000;

/// Periods without a small common multiple are brought to a day.
const DAY_NS: u128 = 86_400_000_000_000;

/// A rate along linear stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramp {
    stages: Vec<Stage>,
    /// Doubled area of one iteration.
    unit: u128,
    total: u64,
    length: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stage {
    /// Where it begins, in nanoseconds.
    at: u64,
    /// Doubled area up to there.
    before: u128,
    ns: u64,
    from: u128,
    to: u128,
}

impl Stage {
    /// Doubled area.
    fn area(&self) -> u128 {
        (self.from + self.to) * u128::from(self.ns)
    }

    /// Doubled area of its first `x` nanoseconds, rounded up: `2·from·x + (to − from)·x² / ns`.
    fn area_until(&self, x: u64) -> u128 {
        let (x, ns) = (u128::from(x), u128::from(self.ns));
        let (whole, rest) = (x * x / ns, x * x % ns);
        let straight = 2 * self.from * x;
        if self.to >= self.from {
            let rise = self.to - self.from;
            straight + rise * whole + (rise * rest).div_ceil(ns)
        } else {
            let fall = self.from - self.to;
            straight - fall * whole - fall * rest / ns
        }
    }

    /// The last nanosecond within the stage up to which the doubled area is at most `area`; that is less than the whole.
    fn solve(&self, area: u128) -> u64 {
        // A first guess, k6's formula in the form that subtracts no like numbers; then exactly.
        let (from, slope) = (self.from as f64, (self.to as f64 - self.from as f64) / self.ns as f64);
        let root = (from * from + slope * area as f64).max(0.0).sqrt();
        let guess = if from + root > 0.0 { (area as f64 / (from + root)) as u64 } else { 0 };
        let guess = guess.min(self.ns - 1);
        let fits = |x: u64| self.area_until(x) <= area;
        let (mut low, mut high, mut width) = (guess, guess, 1);
        while low > 0 && !fits(low) {
            high = low;
            low = low.saturating_sub(width);
            width *= 2;
        }
        if high == guess {
            width = 1;
            high = low + 1;
            while high < self.ns && fits(high) {
                low = high;
                high = (high + width).min(self.ns);
                width *= 2;
            }
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle) { low = middle } else { high = middle }
        }
        low
    }
}

impl Ramp {
    /// From `start` on, along stages of (length, rate at its end). A stage of length zero is a jump; a rate of zero pauses.
    pub fn new(start: Rate, stages: &[(Duration, Rate)]) -> Self {
        let rates = || std::iter::once(start).chain(stages.iter().map(|(_, rate)| *rate));
        let period = rates().try_fold(1u128, |multiple, rate| {
            let per = rate.per.as_nanos().max(1);
            Some(multiple / gcd(multiple, per) * per).filter(|multiple| *multiple <= DAY_NS)
        });
        let period = period.unwrap_or(DAY_NS);
        let micro =
            |rate: Rate| (rate.count.max(0.0) * MICRO as f64).round() as u128 * period / rate.per.as_nanos().max(1);
        let (mut at, mut before, mut from) = (0, 0, micro(start));
        let mut lines = Vec::with_capacity(stages.len());
        for (length, rate) in stages {
            let ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
            let stage = Stage { at, before, ns, from, to: micro(*rate) };
            (at, before, from) = (at.saturating_add(ns), before + stage.area(), stage.to);
            lines.push(stage);
        }
        lines.retain(|stage| stage.ns > 0);
        let unit = 2 * MICRO * period;
        let total = u64::try_from(before.div_ceil(unit)).unwrap_or(u64::MAX);
        Self { stages: lines, unit, total, length: Duration::from_nanos(at) }
    }

    /// Number of arrivals: the area under the line, rounded up as the first is at its beginning.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Sum of the stages.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The area under the whole line: iterations, fractions included.
    pub fn area(&self) -> f64 {
        self.stages.last().map_or(0.0, |stage| (stage.before + stage.area()) as f64 / self.unit as f64)
    }

    /// Offset of the i-th arrival (from 0), rounded down to a nanosecond; the end for those beyond the last.
    pub fn offset(&self, index: u64) -> Duration {
        self.solve(u128::from(index) * self.unit)
    }

    /// Where the area under the line reaches `area`.
    pub fn at(&self, area: f64) -> Duration {
        self.solve((area.max(0.0) * self.unit as f64) as u128)
    }

    fn solve(&self, area: u128) -> Duration {
        // The first stage that goes beyond it: stages without area are passed over.
        let index = self.stages.partition_point(|stage| stage.before + stage.area() <= area);
        let ns = self.stages.get(index).map(|stage| stage.at + stage.solve(area - stage.before));
        ns.map_or(self.length, Duration::from_nanos)
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::plan::Uniform;

    fn per_second(count: f64) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }

    fn ramp(start: f64, stages: &[(f64, f64)]) -> Ramp {
        let stages: Vec<_> = stages.iter().map(|(s, rate)| (Duration::from_secs_f64(*s), per_second(*rate))).collect();
        Ramp::new(per_second(start), &stages)
    }

    #[test]
    fn the_count_is_the_area() {
        let check =
            |start, stages: &[(f64, f64)], total| assert_eq!(ramp(start, stages).total(), total, "{start} {stages:?}");
        check(0.0, &[(10.0, 10.0)], 50);
        check(10.0, &[(10.0, 0.0)], 50);
        check(10.0, &[(10.0, 10.0)], 100);
        check(0.0, &[(10.0, 10.0), (20.0, 10.0), (10.0, 0.0)], 300);
        check(5.0, &[(10.0, 5.0), (0.0, 50.0), (10.0, 50.0)], 550);
        check(0.0, &[(10.0, 0.0), (1.0, 0.0)], 0);
        check(0.0, &[], 0);
        check(1.0, &[(0.5, 1.0)], 1);
    }

    #[test]
    fn offsets_are_where_the_area_reaches_the_index() {
        // From 0 to 10/s in 10 s: t²/2 = n.
        let up = ramp(0.0, &[(10.0, 10.0)]);
        let check = |ramp: &Ramp, index, ns: u64| assert_eq!(ramp.offset(index), Duration::from_nanos(ns), "{index}");
        check(&up, 0, 0);
        check(&up, 1, 1_414_213_562);
        check(&up, 2, 2_000_000_000);
        check(&up, 8, 4_000_000_000);
        check(&up, 32, 8_000_000_000);
        check(&up, 50, 10_000_000_000);
        // Down again, mirrored: (100 − t²)/2 before the end.
        let down = ramp(10.0, &[(10.0, 0.0)]);
        check(&down, 18, 2_000_000_000);
        check(&down, 48, 8_000_000_000);
        // A pause in the middle: nothing arrives in it.
        let pause = ramp(1.0, &[(2.0, 1.0), (0.0, 0.0), (10.0, 0.0), (0.0, 1.0), (2.0, 1.0)]);
        assert_eq!(pause.total(), 4);
        check(&pause, 1, 1_000_000_000);
        check(&pause, 2, 12_000_000_000);
        check(&pause, 3, 13_000_000_000);
    }

    #[test]
    fn units_may_differ() {
        let minute = Rate { count: 60.0, per: Duration::from_mins(1) };
        let plan = Ramp::new(minute, &[(Duration::from_secs(10), per_second(1.0)), (Duration::from_secs(10), minute)]);
        assert_eq!(plan.total(), 20);
        assert_eq!(plan.offset(19), Duration::from_secs(19));
    }

    proptest! {
        #[test]
        fn a_flat_ramp_is_uniform_to_the_nanosecond_for_a_day(count in 0.01f64..50_000.0, index in 0u64..10_000_000_000) {
            let day = Duration::from_hours(24);
            let plan = Ramp::new(per_second(count), &[(day, per_second(count))]);
            let uniform = Uniform::new(per_second(count), day);
            prop_assert_eq!(plan.total(), uniform.total());
            let index = index % plan.total();
            prop_assert_eq!(plan.offset(index), uniform.offset(index));
        }

        #[test]
        fn the_area_up_to_each_arrival_is_exact(
            start in 0.0f64..5_000.0,
            stages in proptest::collection::vec((0u64..40_000_000_000_000, 0.0f64..5_000.0), 1..6),
            pick in 0u64..u64::MAX,
        ) {
            let stages: Vec<_> = stages.iter().map(|(ns, rate)| (Duration::from_nanos(*ns), per_second(*rate))).collect();
            let plan = Ramp::new(per_second(start), &stages);
            prop_assume!(plan.total() > 0);
            let index = pick % plan.total();
            let area = |at: Duration| {
                let mut sum = 0u128;
                for stage in &plan.stages {
                    let x = (at.as_nanos() as u64).saturating_sub(stage.at).min(stage.ns);
                    sum += stage.area_until(x);
                }
                sum
            };
            let at = plan.offset(index);
            // At the offset the area has not passed the index, a nanosecond later it has.
            let aim = u128::from(index) * plan.unit;
            let rounding = plan.stages.len() as u128;
            prop_assert!(area(at) <= aim + rounding, "{at:?}");
            prop_assert!(area(at + Duration::from_nanos(1)) > aim, "{at:?}");
            prop_assert!(at < plan.length());
            prop_assert!(plan.offset(index + 1) >= at);
            prop_assert!((plan.area() - plan.total() as f64).abs() <= 1.0 + plan.area() * 1e-9);
        }
    }
}
