//! How an iteration goes through its steps.

use std::{sync::Arc, time::Instant};

use super::user::{Model, Shared, User};
use crate::{
    http::scope::Scope,
    model::{
        clock,
        labels::Labels,
        outcome::Outcome,
        scenario::{Reaction, Step, Think},
    },
};

/// How a step left its iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The next step follows.
    GoOn,
    /// The iteration ends here.
    Ended,
    /// The run is over: no further step.
    Over,
}

/// Our timer rings up to this late by its nature; what goes beyond is our lateness, not the user's thinking.
const TICK: std::time::Duration = std::time::Duration::from_millis(2);

impl Shared {
    /// Waits out a pause after `ended`, or until no further step may start; when the next step is intended.
    pub(super) async fn think(&self, think: Think, ended: Instant) -> Instant {
        let due = ended + pause(think);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.stop.wait_draining() => {}
        }
        let woken = clock::mono();
        if woken.saturating_duration_since(due) > TICK { due } else { woken }
    }

    /// How the step left its iteration, and when it ended.
    pub(super) async fn step(
        &self,
        step: &Step,
        labels: &Labels,
        scope: &mut Arc<Scope>,
        intended: Instant,
        user: &mut User,
        model: Model,
    ) -> (Left, Instant) {
        if self.stop.is_draining() {
            return (Left::Over, clock::mono());
        }
        let patience = step.timeout.unwrap_or(self.scenario.target.http.timeout);
        let (permit, intended) = match self.admit(intended, model, patience).await {
            Ok(admitted) => admitted,
            Err(left) => return (left, clock::mono()),
        };
        let in_flight = (permit, self.recorder.enter());
        let done = self.perform(step, scope, intended, user).await;
        drop(in_flight);
        if let Some(reason) = done.refused {
            self.recorder.drop_one(reason, intended);
            self.note(step, &done, Outcome::Failed);
            return (reaction(&step.on_failed), done.ended);
        }
        let series = self.recorder.series(&step.name, labels);
        self.recorder.sample(series, &done.sample, intended, done.handed.saturating_duration_since(intended));
        let outcome = done.landing.class.outcome;
        self.note(step, &done, outcome);
        let ended = done.ended;
        if !done.captured.is_empty() {
            Arc::make_mut(scope).captures.extend(done.captured);
        }
        let left = match outcome {
            Outcome::Ok => Left::GoOn,
            Outcome::Rejected => reaction(&step.on_rejected),
            Outcome::Failed => reaction(&step.on_failed),
            Outcome::Interrupted => Left::Over,
        };
        (left, ended)
    }
}

fn reaction(reaction: &Reaction) -> Left {
    if *reaction == Reaction::Continue { Left::GoOn } else { Left::Ended }
}

fn pause(think: Think) -> std::time::Duration {
    match think {
        Think::Constant(pause) | Think::Between(pause, _) | Think::Poisson(pause) | Think::Pacing(pause) => pause,
        Think::Throughput(rate) => std::time::Duration::from_secs_f64(1.0 / rate.per_second()),
    }
}
