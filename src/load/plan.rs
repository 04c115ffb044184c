//! Plans: how much is sent and when, exact and free of drift (pure). Each is computed from absolute values, never from
//! the step before, so that no error adds up; none keeps memory per iteration.

pub mod arrivals;
pub mod burst;
pub mod limit;
pub mod ramp;
pub mod search;
pub mod tasks;
pub mod think;
pub mod uniform;
pub mod users;
pub mod vus;

use std::time::Duration;

pub use uniform::Uniform;

use crate::model::scenario::{Executor, Scenario};

/// What a run plans, in numbers; `None` where the plan does not bound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline {
    /// Iterations planned.
    pub iterations: u64,
    /// Planned length; the grace comes on top.
    pub duration: Option<Duration>,
    /// Largest number of unanswered requests at once.
    pub concurrency: u32,
    /// Iterations per second of an open load.
    pub rate_per_s: Option<f64>,
}

/// What `scenario` plans.
pub fn outline(scenario: &Scenario) -> Outline {
    match &scenario.load.executor {
        Executor::Probe { .. } => Outline { iterations: 1, duration: None, concurrency: 1, rate_per_s: None },
        Executor::PerVuIterations { vus, iterations, max_duration, .. } => Outline {
            iterations: u64::from(*vus) * iterations,
            duration: Some(*max_duration),
            concurrency: *vus,
            rate_per_s: None,
        },
        Executor::ConstantArrivalRate { rate, duration } => Outline {
            iterations: Uniform::new(*rate, *duration).total(),
            duration: Some(*duration),
            concurrency: scenario.load.max_in_flight,
            rate_per_s: Some(rate.per_second()),
        },
    }
}

/// How long iterations may go on after the planned duration: so long that each request ends answered or timed out.
pub fn grace(scenario: &Scenario) -> Duration {
    let timeouts = scenario.steps.iter().filter_map(|step| step.request.timeout);
    let longest = timeouts.chain([scenario.target.http.timeout]).max().unwrap_or_default();
    scenario.load.graceful_stop.max(longest)
}
