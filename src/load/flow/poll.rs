//! `until`: the request is sent again until its answer is as wanted. It is one step, so it counts once: with its final
//! answer, and a latency from the intended instant to that. The polls before it are counted beside the ledger.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use super::{Done, Left, Tally, Walk};
use crate::{
    load::{
        perform::Performed,
        user::{Model, Shared},
    },
    model::{
        clock,
        outcome::{Classified, Outcome, fail},
        scenario::{Step, Until},
    },
};

/// What is known of the polls so far.
#[derive(Default)]
struct Polls {
    sent: u64,
    /// When the first was intended and handed over: the step's own instants.
    first: Option<(Instant, Instant)>,
    bytes: (u64, u64),
}

impl Polls {
    /// Makes the last poll the answer of the whole step.
    fn add(&mut self, done: &mut Performed, intended: Instant) {
        let (intended, handed) = *self.first.get_or_insert((intended, done.handed));
        self.sent += 1;
        self.bytes = (self.bytes.0 + done.sample.bytes.0, self.bytes.1 + done.sample.bytes.1);
        done.handed = handed;
        done.sample.latency = Some(done.ended.saturating_duration_since(intended));
        done.sample.bytes = self.bytes;
    }

    fn intended(&self) -> Option<Instant> {
        self.first.map(|(intended, _)| intended)
    }
}

impl Shared {
    /// Polls; counts the final answer.
    pub(super) async fn poll(&self, step: &Step, until: &Until, walk: &mut Walk<'_>, intended: Instant) -> Done {
        let mut deadline = clock::mono() + until.timeout;
        let mut polls = Polls::default();
        let mut last: Option<(Performed, Instant)> = None;
        loop {
            let polled = self.one_poll(step, walk, (polls.intended(), intended), &mut deadline).await;
            let (mut done, intended) = match (polled, last.take()) {
                (Ok(done), None) => done,
                (Ok(done), Some(_)) => {
                    if done.0.refused.is_none() && done.0.was_put_together() {
                        self.recorder.poll(done.1);
                    }
                    done
                }
                // What was sent stays in the ledger, whatever kept the next poll back.
                (Err(_), Some((mut done, intended))) => {
                    self.give_up(&mut done);
                    return self.settle(step, walk, done, intended);
                }
                (Err(left), None) => return Done::at(left, clock::mono()),
            };
            if (done.refused.is_some() || !done.was_put_together()) && polls.sent == 0 {
                return self.settle_refused(step, walk, done, intended).await;
            }
            done.refused = None;
            polls.add(&mut done, intended);
            let class = &done.landing.class;
            let given_up = class.outcome == Outcome::Interrupted || &*class.reason == fail::UNFINISHED;
            if given_up || matches!(done.until, Some(Ok(()))) {
                return self.settle(step, walk, done, intended);
            }
            if done.ended + until.every >= deadline {
                not_in_time(until, &mut done);
                return self.settle(step, walk, done, intended);
            }
            self.wait(done.ended + until.every).await;
            if self.stop.is_draining() {
                self.give_up(&mut done);
                return self.settle(step, walk, done, intended);
            }
            last = Some((done, intended));
        }
    }

    /// One poll, and when the step is intended. Waiting at our own gate moves the deadline: it is not the target's doing.
    async fn one_poll(
        &self,
        step: &Step,
        walk: &mut Walk<'_>,
        (first, intended): (Option<Instant>, Instant),
        deadline: &mut Instant,
    ) -> Result<(Performed, Instant), Left> {
        let limit = self.scenario.target.http.timeout;
        let (mut held, mut at, mut gone_after) = (None, intended, None);
        if walk.tally != Tally::RunHook {
            // Only the first one is a request of the plan: what follows waits for its turn, even in an open load.
            let (model, tally) =
                if first.is_some() { (Model::Closed, Tally::UserHook) } else { (walk.model, walk.tally) };
            let asked = clock::mono();
            let (permit, admitted) = self.admit(intended, model, tally, limit).await?;
            *deadline += clock::mono().saturating_duration_since(asked);
            (held, at) = (Some((permit, self.recorder.enter())), admitted);
            if first.is_none() {
                gone_after = self.gone_after(step, walk.tally);
            }
        }
        let at = first.unwrap_or(at);
        let left = deadline.saturating_duration_since(clock::mono()).max(Duration::from_millis(1));
        let step =
            if left < limit { Cow::Owned(Step { timeout: Some(left), ..step.clone() }) } else { Cow::Borrowed(step) };
        let done = self.perform(&step, walk.scope, at, walk.user, gone_after).await;
        drop(held);
        Ok((done, at))
    }
}

fn not_in_time(until: &Until, done: &mut Performed) {
    let why = match &done.until {
        Some(Err(why)) => why.clone(),
        _ => format!("no answer ({}): {}", done.landing.class.reason, done.landing.detail),
    };
    let detail = format!("`{}` does not hold after {:?} of polling: {why}", until.condition.source, until.timeout);
    done.fail(Classified { outcome: Outcome::Failed, reason: fail::TIMEOUT.into() }, detail);
}
