//! What is sent beside the load and is in no rate: hooks, what each user does before its first iteration and after its
//! last, and the releases of a limit.

use std::time::Duration;

use super::{Count, parts::stages, steps::Sends};
use crate::{
    load::plan::limit::Limit,
    model::scenario::{Executor, Group, SearchVariable, Step, TimedEvent},
};

/// Hooks as the document of a run counts them, and the polls in them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beside {
    pub(super) hooks: Count,
    pub(super) polls: Count,
}

/// Hooks that are sent once.
pub(super) fn of_steps(steps: &[Step]) -> Beside {
    let sends = Sends::of(steps);
    Beside { hooks: sends.requests, polls: sends.polls }
}

/// Events, of which one that lies beyond `sure` may find the load over.
pub(super) fn of_events(events: &[TimedEvent], sure: Duration) -> Beside {
    let mut all = Beside::default();
    for event in events {
        for step in std::iter::once(&event.act).chain(&event.undo) {
            let own = of_steps(std::slice::from_ref(step));
            all.hooks = all.hooks.plus(if event.at < sure { own.hooks } else { own.hooks.or_none() });
            all.polls = all.polls.plus(own.polls);
        }
    }
    all
}

/// Hooks of the users of a group with so many iterations, in one repetition.
pub(super) fn of_group(group: &Group, iterations: Count) -> Beside {
    let users = users(group, iterations);
    let (start, mut stop) = (of_steps(&group.on_start), of_steps(&group.on_stop));
    if let Executor::Probe { .. } = group.load.executor {
        stop = Beside::default();
    }
    let releases = match &group.load.executor {
        Executor::Limit(spec) => Count::exactly(Limit::from(&**spec).total()),
        _ => Count::ZERO,
    };
    Beside {
        hooks: start.hooks.plus(stop.hooks).times(users).plus(releases),
        polls: start.polls.plus(stop.polls).times(users),
    }
}

/// How many users come, each with a life of its own.
fn users(group: &Group, iterations: Count) -> Count {
    let slots = |each: u64| {
        let most = iterations.most.map_or(each, |most| most.min(each));
        Count { least: iterations.least.min(1), most: Some(most) }
    };
    let most_in_flight = u64::from(group.load.max_in_flight);
    match &group.load.executor {
        Executor::Probe { attempts } => Count { least: 1, most: Some(u64::from(*attempts).max(1)) },
        Executor::PerVuIterations { vus, .. } | Executor::ConstantVus { vus, .. } => Count::exactly(u64::from(*vus)),
        Executor::SharedIterations { vus, .. } => Count { least: 1, most: Some(u64::from(*vus)) },
        Executor::SteppedVus { levels, .. } => Count::exactly(levels.iter().map(|vus| u64::from(*vus)).sum()),
        Executor::RampingVus { start_vus, stages, .. } => {
            let (mut come, mut from) = (u64::from(*start_vus), *start_vus);
            for stage in stages {
                come += u64::from(stage.target.saturating_sub(from));
                from = stage.target;
            }
            Count::at_most(come)
        }
        Executor::Users { users, .. } => Count::exactly(u64::from(*users)),
        Executor::Burst { size, .. } => Count { least: u64::from(*size).min(most_in_flight), ..slots(most_in_flight) },
        Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => slots(most_in_flight),
        Executor::Limit(_) => Count::ZERO,
        Executor::Search(spec) => match spec.variable {
            SearchVariable::Rate => slots(most_in_flight.saturating_mul(stages(spec))),
            SearchVariable::Vus => Count::at_most(stages(spec).saturating_mul(spec.max as u64)),
        },
    }
}
