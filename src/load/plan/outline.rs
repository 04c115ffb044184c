//! What a run plans, in numbers, before anything is sent.

use std::time::Duration;

use super::{arrivals::Arrivals, burst::Bursts, limit::Limit, ramp::Ramp, users::Users, vus::VuRamp};
use crate::model::scenario::{
    Arrangement, Arrivals as Spread, BurstGap, Executor, Group, LevelEnd, RateStage, Scenario, SearchVariable, VuStage,
};

/// What a run plans, in numbers; `None` where the plan does not bound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline {
    /// Iterations planned, to the unit; `None` where it depends on how soon the target answers.
    pub iterations: Option<u64>,
    /// Planned length at most; the grace comes on top.
    pub duration: Option<Duration>,
    /// Largest number of unanswered requests at once.
    pub concurrency: u32,
    /// Largest number of iterations per second of an open load.
    pub rate_per_s: Option<f64>,
}

/// What `scenario` plans.
pub fn outline(scenario: &Scenario) -> Outline {
    let parts = scenario.groups.iter().map(|group| group_outline(group));
    let whole = parts.reduce(|a, b| match scenario.arrangement {
        Arrangement::Sequence => a.then(b),
        Arrangement::SideBySide => a.beside(b),
    });
    let once = whole.unwrap_or(Outline { iterations: Some(0), duration: None, concurrency: 0, rate_per_s: None });
    let times = scenario.repeat.times.max(1);
    Outline {
        iterations: once.iterations.map(|iterations| iterations.saturating_mul(u64::from(times))),
        duration: once.duration.map(|length| length * times + scenario.repeat.pause * (times - 1)),
        ..once
    }
}

impl Outline {
    fn then(self, next: Self) -> Self {
        Self {
            iterations: self.iterations.zip(next.iterations).map(|(a, b)| a.saturating_add(b)),
            duration: self.duration.zip(next.duration).map(|(a, b)| a + b),
            concurrency: self.concurrency.max(next.concurrency),
            rate_per_s: max(self.rate_per_s, next.rate_per_s, f64::max),
        }
    }

    fn beside(self, other: Self) -> Self {
        Self {
            iterations: self.iterations.zip(other.iterations).map(|(a, b)| a.saturating_add(b)),
            duration: self.duration.zip(other.duration).map(|(a, b)| a.max(b)),
            concurrency: self.concurrency.saturating_add(other.concurrency),
            rate_per_s: max(self.rate_per_s, other.rate_per_s, |a, b| a + b),
        }
    }

    fn closed(vus: u32, iterations: Option<u64>, duration: Duration) -> Self {
        Self { iterations, duration: Some(duration), concurrency: vus, rate_per_s: None }
    }
}

fn max(a: Option<f64>, b: Option<f64>, both: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

/// What one group of users plans.
pub fn group_outline(group: &Group) -> Outline {
    let most = group.load.max_in_flight;
    match &group.load.executor {
        Executor::Probe { .. } => Outline { iterations: Some(1), duration: None, concurrency: 1, rate_per_s: None },
        Executor::PerVuIterations { vus, iterations, max_duration, .. } => {
            Outline::closed(*vus, Some(u64::from(*vus).saturating_mul(*iterations)), *max_duration)
        }
        Executor::SharedIterations { vus, iterations, max_duration } => {
            Outline::closed(*vus, Some(*iterations), *max_duration)
        }
        Executor::ConstantVus { vus, duration } => Outline::closed(*vus, None, *duration),
        Executor::RampingVus { start_vus, stages, .. } => {
            let ramp = vu_ramp(*start_vus, stages);
            Outline::closed(ramp.peak(), None, ramp.length())
        }
        Executor::SteppedVus { levels, each, pause, .. } => levels_outline(levels, *each, *pause),
        Executor::ConstantArrivalRate { rate, duration, .. } => Outline {
            iterations: Some(Arrivals::constant(*rate, *duration).total()),
            duration: Some(*duration),
            concurrency: most,
            rate_per_s: Some(rate.per_second()),
        },
        Executor::RampingArrivalRate { start_rate, stages, .. } => {
            let ramp = rate_ramp(*start_rate, stages);
            let rates = stages.iter().map(|stage| stage.target.per_second());
            Outline {
                iterations: Some(ramp.total()),
                duration: Some(ramp.length()),
                concurrency: most,
                rate_per_s: Some(rates.fold(start_rate.per_second(), f64::max)),
            }
        }
        Executor::Burst { size, repeat, gap } => {
            let bursts = Bursts { size: *size, repeat: *repeat, gap: *gap };
            let concurrency = if matches!(gap, BurstGap::Pause(_)) { (*size).min(most) } else { most };
            Outline { iterations: Some(bursts.total()), duration: bursts.length(), concurrency, rate_per_s: None }
        }
        Executor::Users { users, spawn_rate, hold_for, ramp_down } => {
            Outline::closed(*users, None, Users::new(*users, *spawn_rate, *hold_for, *ramp_down).length())
        }
        Executor::Limit(spec) => {
            let limit = Limit::from(&**spec);
            let (total, concurrency) = (limit.total(), limit.concurrency());
            Outline { iterations: Some(total), duration: None, concurrency, rate_per_s: None }
        }
        Executor::Search(spec) => match spec.variable {
            SearchVariable::Rate => {
                let rate_per_s = Some(spec.max);
                Outline { iterations: None, duration: Some(spec.deadline), concurrency: most, rate_per_s }
            }
            SearchVariable::Vus => Outline::closed(spec.max as u32, None, spec.deadline),
        },
    }
}

fn levels_outline(levels: &[u32], each: LevelEnd, pause: Duration) -> Outline {
    let users: u64 = levels.iter().map(|vus| u64::from(*vus)).sum();
    let (iterations, length) = match each {
        LevelEnd::Iterations { iterations, max_duration } => (Some(users.saturating_mul(iterations)), max_duration),
        LevelEnd::Duration(length) => (None, length),
    };
    let count = levels.len() as u32;
    let length = length * count + pause * count.saturating_sub(1);
    Outline::closed(levels.iter().copied().max().unwrap_or(0), iterations, length)
}

/// The users along the stages of a `ramping-vus`.
pub fn vu_ramp(start: u32, stages: &[VuStage]) -> VuRamp {
    let stages: Vec<_> = stages.iter().map(|stage| (stage.duration, stage.target)).collect();
    VuRamp::new(start, &stages)
}

/// The rate along the stages of a `ramping-arrival-rate`.
pub fn rate_ramp(start: crate::model::units::Rate, stages: &[RateStage]) -> Ramp {
    let stages: Vec<_> = stages.iter().map(|stage| (stage.duration, stage.target)).collect();
    Ramp::new(start, &stages)
}

/// Spreads arrivals as the configuration says.
pub fn spread(plan: Arrivals, spread: Spread, seed: u64) -> Arrivals {
    if spread == Spread::Poisson { plan.poisson(seed) } else { plan }
}
