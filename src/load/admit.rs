//! How a request passes the gate, or does not.

use std::time::{Duration, Instant};

use super::{
    flow::{Left, Tally},
    gate::{Permit, Refusal},
    user::{Model, Shared},
};
use crate::model::{clock, outcome::DropReason};

impl Shared {
    /// Passes the gate. A closed load waits there, and is intended from when it may go; a probe waits no longer than
    /// `patience`; an open load is dropped.
    pub(super) async fn admit(
        &self,
        intended: Instant,
        model: Model,
        tally: Tally,
        patience: Duration,
    ) -> Result<(Permit, Instant), Left> {
        match self.gate.admit(clock::mono()) {
            Ok(permit) => Ok((permit, intended)),
            // Rare, and boxed so that what every request carries along stays small.
            Err(_) => Box::pin(self.admit_in_time(intended, model, tally, patience)).await,
        }
    }

    async fn admit_in_time(
        &self,
        intended: Instant,
        model: Model,
        tally: Tally,
        patience: Duration,
    ) -> Result<(Permit, Instant), Left> {
        let (mut by_rate, mut by_concurrency) = (false, false);
        let admitted = self.admitted(intended, model, tally, patience, (&mut by_rate, &mut by_concurrency)).await;
        self.recorder.held_back(by_rate, by_concurrency);
        admitted
    }

    /// Notes in `held` which caps it waited for: rate, concurrency.
    async fn admitted(
        &self,
        mut intended: Instant,
        model: Model,
        tally: Tally,
        patience: Duration,
        held: (&mut bool, &mut bool),
    ) -> Result<(Permit, Instant), Left> {
        let drop_one = |reason, intended| {
            if tally == Tally::Load {
                self.recorder.drop_one(reason, intended);
            }
        };
        let give_up = (model == Model::Probe).then(|| clock::mono() + patience);
        loop {
            let wait = match self.gate.admit(clock::mono()) {
                Ok(permit) => return Ok((permit, intended)),
                Err(Refusal::Paused) => {
                    self.stop.drain(super::stop::Cause::Person);
                    return Err(Left::Over);
                }
                Err(_) if model == Model::Open || give_up.is_some_and(|at| clock::mono() >= at) => {
                    drop_one(DropReason::Policy, intended);
                    return Err(Left::Ended);
                }
                Err(Refusal::Rate(wait)) => {
                    *held.0 = true;
                    wait.max(Duration::from_millis(1))
                }
                Err(Refusal::Concurrency) => {
                    *held.1 = true;
                    Duration::from_millis(5)
                }
            };
            let wait = give_up.map_or(wait, |at| wait.min(at.saturating_duration_since(clock::mono())));
            tokio::select! {
                () = tokio::time::sleep(wait) => intended = clock::mono(),
                () = self.stop.wait_draining() => {
                    if !self.stop.interrupts() {
                        drop_one(DropReason::Deadline, intended);
                    }
                    return Err(Left::Over);
                }
            }
        }
    }
}
