//! Plans: how much is sent and when, exact and free of drift (pure). Each is computed from absolute values, never from
//! the step before, so that no error adds up; none keeps memory per iteration.

pub mod arrivals;
pub mod burst;
pub mod limit;
pub mod outline;
pub mod ramp;
pub mod search;
pub mod tasks;
pub mod think;
pub mod uniform;
pub mod users;
pub mod vus;

mod document;

use std::time::Duration;

pub use document::document;
pub use outline::{Outline, outline};
pub use uniform::Uniform;

use crate::model::scenario::{Executor, Group, Scenario};

/// How long iterations may go on after the planned duration: so long that each request ends answered or timed out.
pub fn grace(scenario: &Scenario) -> Duration {
    scenario.groups.iter().map(|group| group_grace(scenario, group)).max().unwrap_or_default()
}

/// The same for one group of users.
pub fn group_grace(scenario: &Scenario, group: &Group) -> Duration {
    let acquire = match &group.load.executor {
        Executor::Limit(spec) => &spec.acquire[..],
        _ => &[],
    };
    let timeouts = group.steps().chain(acquire).map(|step| step.patience(Duration::ZERO));
    timeouts.chain([scenario.target.http.timeout, group.load.graceful_stop]).max().unwrap_or_default()
}
