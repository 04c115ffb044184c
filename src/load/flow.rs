//! How an iteration goes through its steps: whether a step is done, how often, and what follows.
//!
//! A plain step takes the short way: it asks for its turn, sends its request and leaves its sample. What loops, polls or
//! tries again goes round in a future of its own, so that the others stay small.

mod poll;
mod repeat;
mod retry;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use repeat::MAX_VALUES;
pub(super) use retry::{after as retry_after, pause as retry_pause};

use super::{
    perform::Performed,
    user::{Model, Shared, User},
};
use crate::{
    http::scope::Scope,
    model::{
        Name, clock,
        labels::Labels,
        outcome::{CLIENT_ABORT, DropReason, Outcome},
        scenario::{Reaction, Step, Think},
    },
};

/// How a step left its iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The next step follows.
    GoOn,
    /// It ended so, and may be tried again.
    Again(Outcome),
    /// The iteration ends here.
    Ended,
    /// It ends here, for its client was gone.
    Gone,
    /// The run is over: no further step.
    Over,
}

/// Where a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    /// In the ledger.
    Load,
    /// As a hook of a user: it passes the gate like any other.
    UserHook,
    /// As a hook of the run, beside the gate.
    RunHook,
}

/// The iteration that a step is part of.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) labels: &'a Labels,
    pub(super) scope: &'a mut Arc<Scope>,
    pub(super) user: &'a mut User,
    pub(super) model: Model,
    pub(super) tally: Tally,
    /// Why a hook did not end ok.
    pub(super) why: Option<String>,
}

/// A request that was sent, or was not.
#[derive(Debug)]
struct Done {
    left: Left,
    ended: Instant,
    /// What the target asked for, where the step wants to know.
    retry_after: Option<Duration>,
}

impl Done {
    fn at(left: Left, ended: Instant) -> Self {
        Self { left, ended, retry_after: None }
    }
}

/// Our timer rings up to this late by its nature; what goes beyond is our lateness, not the user's thinking.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// From a refusal to the next request of the same user.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Longest value of a tag, bytes.
const MAX_TAG: usize = 80;

impl Shared {
    /// Waits until `due`, or until no further step may start; when the next request is intended.
    async fn wait(&self, due: Instant) -> Instant {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.stop.wait_draining() => {}
        }
        let woken = clock::mono();
        if woken.saturating_duration_since(due) > TICK { due } else { woken }
    }

    /// How the step left its iteration, and when the next is intended.
    pub(super) async fn step(&self, step: &Step, walk: &mut Walk<'_>, intended: Instant) -> (Left, Instant) {
        if self.stop.is_draining() {
            return (Left::Over, clock::mono());
        }
        let retries = |reaction: &Reaction| matches!(reaction, Reaction::Retry(_));
        let plain = step.when.is_none() && step.repeat.is_none() && step.until.is_none();
        if !plain || retries(&step.on_rejected) || retries(&step.on_failed) {
            return Box::pin(self.rounds(step, walk, intended)).await;
        }
        let done = self.once(step, walk, intended).await;
        (done.left, self.rest(step, walk, done.left, done.ended).await)
    }

    /// The pause after a step that the iteration goes on from.
    async fn rest(&self, step: &Step, walk: &Walk<'_>, left: Left, ended: Instant) -> Instant {
        match step.think {
            Some(think) if left == Left::GoOn => self.wait(ended + pause(think, walk.scope)).await,
            _ => ended,
        }
    }

    /// One request: through the gate, to the target, into the ledger.
    async fn once(&self, step: &Step, walk: &mut Walk<'_>, intended: Instant) -> Done {
        if walk.tally == Tally::RunHook {
            let done = self.perform(step, walk.scope, intended, walk.user, None).await;
            return self.settle(step, walk, done, intended);
        }
        let patience = step.timeout.unwrap_or(self.scenario.target.http.timeout);
        let (permit, intended) = match self.admit(intended, walk.model, walk.tally, patience).await {
            Ok(admitted) => admitted,
            Err(left) => return Done::at(left, clock::mono()),
        };
        let in_flight = (permit, self.recorder.enter());
        let gone_after = self.gone_after(step, walk.tally);
        let done = self.perform(step, walk.scope, intended, walk.user, gone_after).await;
        drop(in_flight);
        if done.refused.is_some() {
            return Box::pin(self.settle_refused(step, walk, done, intended)).await;
        }
        self.settle(step, walk, done, intended)
    }

    /// A user of a closed load whose request was refused waits before its next: it would ask as fast as it can, and what it
    /// lacks, mostly descriptors, would never come free.
    async fn settle_refused(&self, step: &Step, walk: &mut Walk<'_>, done: Performed, intended: Instant) -> Done {
        let backs_off = walk.model == Model::Closed
            && walk.tally == Tally::Load
            && done.refused.is_some_and(|reason| reason != DropReason::Deadline);
        let mut done = self.settle(step, walk, done, intended);
        if backs_off {
            done.ended = self.wait(clock::mono() + BACK_OFF).await;
        }
        done
    }

    /// Counts a request that is done, keeps what was captured, and says how the iteration goes on.
    fn settle(&self, step: &Step, walk: &mut Walk<'_>, mut done: Performed, intended: Instant) -> Done {
        if walk.tally != Tally::Load {
            return self.settle_hook(step, walk, done);
        }
        if let Some(reason) = done.refused {
            self.recorder.drop_one(reason, intended);
            if reason != DropReason::Deadline {
                self.note(step, &done, Outcome::Failed);
            }
            return Done::at(reaction(step, Outcome::Failed), done.ended);
        }
        let grown = if step.push.is_empty() { BTreeMap::new() } else { self.pushed(step, walk.scope, &mut done) };
        let tagged = (!step.tags.is_empty()).then(|| tagged(step, walk));
        let labels = tagged.as_ref().unwrap_or(walk.labels);
        let series = self.recorder.series(&step.name, labels);
        if !done.custom.is_empty() {
            self.recorder.custom(&self.scenario.metrics, &done.custom, (&step.name, labels), intended);
        }
        self.recorder.sample(series, &done.sample, intended, done.handed.saturating_duration_since(intended));
        let outcome = done.landing.class.outcome;
        self.note(step, &done, outcome);
        if self.samples.is_some() {
            self.tell(step, labels, walk.scope, &done, intended);
        }
        keep(walk.scope, done.captured);
        if !grown.is_empty() {
            Arc::make_mut(walk.scope).captures.extend(grown);
        }
        let gone = &*done.landing.class.reason == CLIENT_ABORT;
        let left = if gone { Left::Gone } else { reaction(step, outcome) };
        Done { left, ended: done.ended, retry_after: done.retry_after }
    }

    /// How long the client of a request of the load waits: drawn, where some do not wait for ever.
    fn gone_after(&self, step: &Step, tally: Tally) -> Option<Duration> {
        let network = self.network.as_ref().filter(|_| tally == Tally::Load && step.http().is_some())?;
        network.patience()
    }

    fn settle_hook(&self, step: &Step, walk: &mut Walk<'_>, done: Performed) -> Done {
        let class = &done.landing.class;
        let ok = class.outcome == Outcome::Ok;
        self.recorder.hook(ok);
        if !ok {
            self.note(step, &done, Outcome::Failed);
            let why = format!("`{}` did not end ok ({}): {}", step.name, class.reason, done.landing.detail);
            walk.why = Some(self.redactor.redact(&why));
        }
        let left = reaction(step, class.outcome);
        keep(walk.scope, done.captured);
        Done { left, ended: done.ended, retry_after: done.retry_after }
    }
}

fn keep(scope: &mut Arc<Scope>, captured: Vec<(Name, serde_json::Value)>) {
    if !captured.is_empty() {
        Arc::make_mut(scope).captures.extend(captured);
    }
}

fn reaction(step: &Step, outcome: Outcome) -> Left {
    let reaction = match outcome {
        Outcome::Ok => return Left::GoOn,
        Outcome::Interrupted => return Left::Over,
        Outcome::Rejected => &step.on_rejected,
        Outcome::Failed => &step.on_failed,
    };
    match reaction {
        Reaction::Continue => Left::GoOn,
        Reaction::Stop => Left::Ended,
        Reaction::Retry(_) => Left::Again(outcome),
    }
}

/// The labels of the walk and the step's own.
fn tagged(step: &Step, walk: &Walk<'_>) -> Labels {
    step.tags.iter().fold(walk.labels.clone(), |labels, (name, template)| {
        let value = match template.as_literal() {
            Some(text) => text.to_owned(),
            None => template.render(&walk.scope.value()).unwrap_or_else(|_| "unknown".to_owned()),
        };
        labels.with(name.clone(), tag(&value))
    })
}

/// The value of a tag, as a label shows it.
pub(super) fn tag(value: &str) -> String {
    value[..value.floor_char_boundary(MAX_TAG)].chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}

/// The length of a pause; what paces whole iterations is no pause of a step.
fn pause(think: Think, scope: &Scope) -> Duration {
    match think {
        Think::Constant(pause) => pause,
        other => crate::load::plan::think::pause(other, &mut scope.rng()),
    }
}

#[cfg(test)]
pub(super) mod tests;
