//! The executors: each turns a plan into iterations, and returns when the last of them has ended or was cut.

mod burst;
mod closed;
mod crew;
mod hands;
mod levels;
mod limit;
mod open;
mod ramping;
mod users;

use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::spawn_local;

use self::{
    closed::Closed,
    crew::{Crew, cut_after, race},
};
use super::{
    plan::{
        arrivals::Arrivals,
        burst::Bursts,
        outline::{rate_ramp, spread, vu_ramp},
        users::Users,
    },
    user::{Model, Shared, Turn, User},
};
use crate::model::{clock, scenario::Executor};

/// Runs the load of one group of users, planned from `begun` on, to its end. `grace` bounds what follows the planned
/// duration. Is to be called where local tasks can be spawned. Returns what the executor found, if it looks for something; fails only
/// if the machine has no timer left.
pub async fn execute(shared: &Rc<Shared>, begun: Instant, grace: Duration) -> io::Result<Option<Value>> {
    let crew = Crew::new(shared.clone(), begun, grace);
    let seed = shared.scenario.seed;
    match &shared.group.load.executor {
        Executor::Probe { .. } => probe(&crew).await,
        Executor::PerVuIterations { vus, iterations, together, max_duration } => {
            closed::per_vu(&crew, Closed::new(*vus, *max_duration).together(*together), *iterations).await;
        }
        Executor::SharedIterations { vus, iterations, max_duration } => {
            closed::shared(&crew, Closed::new(*vus, *max_duration), *iterations).await;
        }
        Executor::ConstantVus { vus, duration } => closed::constant(&crew, Closed::new(*vus, *duration)).await,
        Executor::RampingVus { start_vus, stages, graceful_ramp_down } => {
            ramping::ramping(&crew, vu_ramp(*start_vus, stages), *graceful_ramp_down).await?;
        }
        Executor::SteppedVus { levels, each, together, pause } => {
            levels::levels(&crew, levels, *each, *together, *pause).await;
        }
        Executor::ConstantArrivalRate { rate, duration, arrivals } => {
            let plan = spread(Arrivals::constant(*rate, *duration), *arrivals, seed);
            open::arrivals(&crew, plan, *duration).await?;
        }
        Executor::RampingArrivalRate { start_rate, stages, arrivals } => {
            let ramp = rate_ramp(*start_rate, stages);
            let length = ramp.length();
            open::arrivals(&crew, spread(Arrivals::ramping(ramp), *arrivals, seed), length).await?;
        }
        Executor::Burst { size, repeat, gap } => {
            burst::bursts(&crew, Bursts { size: *size, repeat: *repeat, gap: *gap }).await?;
        }
        Executor::Users { users, spawn_rate, hold_for, ramp_down } => {
            users::users(&crew, Users::new(*users, *spawn_rate, *hold_for, *ramp_down)).await?;
        }
        Executor::Limit(spec) => return Ok(Some(limit::limit(&crew, spec).await)),
        Executor::Search(_) => unreachable!("a search runs other executors: run::search"),
    }
    Ok(None)
}

/// One iteration.
async fn probe(crew: &Rc<Crew>) {
    let aboard = Crew::board(crew);
    spawn_local(async move {
        let shared = &aboard.crew.shared;
        shared.iterate(&Turn::of(1, 1), clock::mono(), &mut User::default(), Model::Probe).await;
    });
    race(cut_after(&crew.shared.stop, crew.grace), crew.all_landed()).await;
}

#[cfg(test)]
mod tests;
