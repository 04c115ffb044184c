//! The target's own figures, read while the load goes on.

use std::time::Duration;

use super::Run;
use crate::{
    http::tls::Tls,
    load::poller::{Poller, Readings},
    measure::data::StatPoint,
    model::{clock, scenario::CERT_EXPIRES_IN},
};

/// A certificate that stays the same is noted this often.
const CERTIFICATE_EVERY: Duration = Duration::from_mins(1);

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
            self.recorder.stat(&name, reading.map(|value| StatPoint { at, value }));
        }
    }

    /// How long the certificates that were shown last are all still valid: at its first sight, when it changes, and now and then.
    pub(super) fn note_certificate(&self) {
        let ends = self.tls.borrow().iter().filter_map(Tls::certificate_ends).min();
        let (Some(ends), now) = (ends, self.request.clock.now()) else { return };
        let known = self.certificate.get();
        if known.is_some_and(|(at, known)| known == ends && now.mono.saturating_duration_since(at) < CERTIFICATE_EVERY)
        {
            return;
        }
        self.certificate.set(Some((now.mono, ends)));
        let value = ends.duration_since(now.wall).as_secs_f64();
        self.recorder.stat(&CERT_EXPIRES_IN.into(), Ok(StatPoint { at: self.since_load(), value }));
    }

    pub(super) fn since_load(&self) -> f64 {
        let start = self.load_started.get();
        start.map_or(0.0, |start| clock::mono().saturating_duration_since(start).as_secs_f64())
    }
}
