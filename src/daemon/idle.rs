//! Reads the targets' figures between runs, so that the page and the metrics know of them when no load runs.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::event::Event;
use crate::{
    http::scope::{Draws, Scope},
    load::poller::Poller,
    measure::stats::StatFault,
    model::{
        Name,
        clock::Clock,
        scenario::{Scenario, Target},
        settings::Policy,
        units::Unit,
    },
    web::view::StatusView,
};

/// Starts one reader for each target with figures, all on one thread that ends with the process.
pub fn start(
    scenarios: &[Arc<Scenario>],
    policy: &Arc<Policy>,
    clock: &Arc<dyn Clock>,
    status: &watch::Receiver<Arc<StatusView>>,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<()> {
    let mut targets: BTreeMap<Name, (Arc<Target>, Scope)> = BTreeMap::new();
    for scenario in scenarios {
        let reads = scenario.target.stats.as_ref().is_some_and(|stats| !stats.idle_every.is_zero());
        if reads && !targets.contains_key(&scenario.target.name) {
            let scope = Scope {
                constants: scenario.constants.clone().into(),
                run_id: "idle".into(),
                vu: 0,
                iteration: 0,
                identity: 0,
                n: 0,
                captures: BTreeMap::new(),
                seed: scenario.seed,
                clock: clock.clone(),
                rows: Vec::new(),
                draws: Draws::default(),
            };
            targets.insert(scenario.target.name.clone(), (scenario.target.clone(), scope));
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    let (policy, status, events) = (policy.clone(), status.clone(), events.clone());
    std::thread::Builder::new().name("target-stats".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            tracing::error!("failed to start a runtime for the targets' figures");
            return;
        };
        let tasks = tokio::task::LocalSet::new();
        for (target, scope) in targets.into_values() {
            tasks.spawn_local(read(target, scope, policy.clone(), status.clone(), events.clone()));
        }
        runtime.block_on(tasks);
    })?;
    Ok(())
}

async fn read(
    target: Arc<Target>,
    scope: Scope,
    policy: Arc<Policy>,
    status: watch::Receiver<Arc<StatusView>>,
    events: mpsc::Sender<Event>,
) {
    let mut poller = match Poller::new(&target, &policy, scope) {
        Ok(Some(poller)) => poller,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(target = &*target.name, %error, "failed to read the target's figures between runs");
            return;
        }
    };
    let units: BTreeMap<Name, Unit> =
        poller.spec().stats.iter().map(|(name, stat)| (name.clone(), stat.unit)).collect();
    let mut ticks = tokio::time::interval(poller.spec().idle_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A run reads them itself, and more often.
        if status.borrow().scenarios.iter().any(|scenario| scenario.running > 0 && scenario.target == target.name) {
            continue;
        }
        let readings = poller.read().await.into_iter().map(|(name, reading)| {
            let unit = units.get(&name).copied().unwrap_or(Unit::Count);
            (name, reading.map(|value| (value, unit)).map_err(StatFault::as_str))
        });
        let event = Event::Readings { target: target.name.clone(), readings: readings.collect() };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
