//! The target's own figures, read while the load goes on.

use super::Run;
use crate::{
    load::poller::{Poller, Readings},
    measure::data::StatPoint,
    model::clock,
};

impl Run {
    pub(super) async fn poll(&self, poller: &mut Poller) {
        let every = poller.spec().every;
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let readings = poller.read().await;
            self.keep(readings, self.since_load());
        }
    }

    pub(super) fn keep(&self, readings: Readings, at: f64) {
        for (name, reading) in readings {
            self.recorder.stat(&name, reading.ok().map(|value| StatPoint { at, value }));
        }
    }

    pub(super) fn since_load(&self) -> f64 {
        let start = self.load_started.get();
        start.map_or(0.0, |start| clock::mono().saturating_duration_since(start).as_secs_f64())
    }
}
