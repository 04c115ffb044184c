//! Steps that are left out, done for each of several values, or tried again.

use std::{sync::Arc, time::Instant};

use rand::RngExt as _;
use serde_json::Value;

use super::{Left, Walk, retry};
use crate::{
    http::scope::Scope,
    judge::ResponseView,
    load::{perform::unsendable, user::Shared},
    model::{
        clock,
        expr::Expect,
        outcome::Outcome,
        scenario::{Loop, LoopOver, Reaction, Step},
    },
};

/// Most values of a loop over a captured list.
pub(crate) const MAX_VALUES: usize = 10_000;

impl Shared {
    /// A step that is more than one request, or none.
    pub(super) async fn rounds(&self, step: &Step, walk: &mut Walk<'_>, intended: Instant) -> (Left, Instant) {
        if step.when.as_ref().is_some_and(|when| !holds(when, walk.scope)) {
            return (Left::GoOn, intended);
        }
        let Some(repeat) = &step.repeat else { return self.round(step, walk, intended).await };
        let values = match values(repeat, walk.scope) {
            Ok(values) => values,
            Err(why) => {
                let done = unsendable(&why);
                let done = self.settle(step, walk, done, intended);
                let left = if let Left::Again(_) = done.left { Left::Ended } else { done.left };
                return (left, done.ended);
            }
        };
        let (mut left, mut due) = (Left::GoOn, intended);
        for index in 0..values.len() {
            Arc::make_mut(walk.scope).captures.insert(repeat.name.clone(), values.get(index));
            (left, due) = self.round(step, walk, due).await;
            if left != Left::GoOn || self.stop.is_draining() {
                break;
            }
        }
        Arc::make_mut(walk.scope).captures.remove(&repeat.name);
        (left, due)
    }

    /// One value of a loop: tried until it ends ok or the tries are used up, and the pause after it.
    async fn round(&self, step: &Step, walk: &mut Walk<'_>, intended: Instant) -> (Left, Instant) {
        let (mut tries, mut due) = (0, intended);
        loop {
            let done = match &step.until {
                None => self.once(step, walk, due).await,
                Some(until) => self.poll(step, until, walk, due).await,
            };
            let Left::Again(outcome) = done.left else {
                return (done.left, self.rest(step, walk, done.left, done.ended).await);
            };
            let reaction = if outcome == Outcome::Rejected { &step.on_rejected } else { &step.on_failed };
            let Reaction::Retry(retry) = reaction else { return (Left::Ended, done.ended) };
            tries += 1;
            if tries > retry.max {
                return (Left::Ended, done.ended);
            }
            due = self.wait(done.ended + retry::pause(retry, tries, done.retry_after)).await;
            if self.stop.is_draining() {
                return (Left::Over, clock::mono());
            }
        }
    }
}

/// What a loop goes through.
enum Values {
    Json(Arc<[Value]>),
    Numbers(u32),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Json(values) => values.len(),
            Self::Numbers(last) => *last as usize,
        }
    }

    fn get(&self, index: usize) -> Value {
        match self {
            Self::Json(values) => values[index].clone(),
            Self::Numbers(_) => (index + 1).into(),
        }
    }
}

fn values(repeat: &Loop, scope: &Scope) -> Result<Values, String> {
    match &repeat.over {
        LoopOver::Values(values) => Ok(Values::Json(values.clone())),
        LoopOver::Times(least, most) if least == most => Ok(Values::Numbers(*least)),
        LoopOver::Times(least, most) => Ok(Values::Numbers(scope.rng().random_range(*least..=*most))),
        LoopOver::Variable(name) => match scope.get(name) {
            Some(Value::Array(values)) if values.len() <= MAX_VALUES => Ok(Values::Json(values.into())),
            Some(Value::Array(values)) => {
                Err(format!("loop: `{name}` has {} values; the most is {MAX_VALUES}", values.len()))
            }
            Some(_) => Err(format!("loop: `{name}` is not a list")),
            None => Err(format!("loop: `{name}` has no value")),
        },
    }
}

/// Whether a condition on variables holds; it does not where one of them has no value.
fn holds(when: &Expect, scope: &Scope) -> bool {
    ResponseView::without_answer(&|name| scope.get(name), |view| when.eval(view).is_ok())
}
