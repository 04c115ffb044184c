//! What steps come to: requests, tries again, polls, and how long they may take.

use std::time::Duration;

use super::Count;
use crate::{
    load::flow::{MAX_VALUES, retry_pause},
    model::scenario::{BodySpec, Executor, Group, LoopOver, Reaction, Retry, Step, Think},
};

/// What one passage through some steps sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sends {
    /// Where every answer is ok.
    pub(super) requests: Count,
    /// On top of it where answers are not, at most.
    pub(super) again: u64,
    /// Polls before the last one of each step.
    pub(super) polls: Count,
}

impl Sends {
    const NONE: Self = Self { requests: Count::ZERO, again: 0, polls: Count::ZERO };

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.plus(other.requests),
            again: self.again.saturating_add(other.again),
            polls: self.polls.plus(other.polls),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            requests: self.requests.or(other.requests),
            again: self.again.max(other.again),
            polls: self.polls.or(other.polls),
        }
    }

    /// Of steps in order.
    pub(super) fn of(steps: &[Step]) -> Self {
        steps.iter().map(Self::of_step).fold(Self::NONE, Self::plus)
    }

    /// Of one iteration of a group.
    pub(super) fn of_iteration(group: &Group) -> Self {
        if let Executor::Limit(spec) = &group.load.executor {
            return Self::of(&spec.acquire);
        }
        group.tasks.iter().map(|task| Self::of(&task.steps)).reduce(Self::or).unwrap_or(Self::NONE)
    }

    fn of_step(step: &Step) -> Self {
        let requests = rounds(step);
        let most = requests.most.unwrap_or(MAX_VALUES as u64);
        let again = most.saturating_mul(u64::from(tries_again(step)));
        let polls = polls(step).saturating_mul(most.saturating_add(again));
        Self { requests, again, polls: Count::at_most(polls) }
    }
}

/// How often a step is done in one passage, where every answer is ok.
pub(super) fn rounds(step: &Step) -> Count {
    let count = match step.repeat.as_ref().map(|repeat| &repeat.over) {
        None => Count::exactly(1),
        Some(LoopOver::Values(values)) => Count::exactly(values.len() as u64),
        Some(LoopOver::Variable(_)) => Count::at_most(MAX_VALUES as u64),
        Some(LoopOver::Times(least, most)) => Count { least: u64::from(*least), most: Some(u64::from(*most)) },
    };
    if step.when.is_some() { count.or_none() } else { count }
}

fn retries(step: &Step) -> impl Iterator<Item = &Retry> {
    [&step.on_rejected, &step.on_failed].into_iter().filter_map(|reaction| match reaction {
        Reaction::Retry(retry) => Some(retry),
        Reaction::Stop | Reaction::Continue => None,
    })
}

/// Tries after the first, at most.
fn tries_again(step: &Step) -> u32 {
    retries(step).map(|retry| retry.max).max().unwrap_or(0)
}

/// Polls of one try beside the one that counts: as many as begin, `every` apart, before the time is up.
fn polls(step: &Step) -> u64 {
    let Some(until) = &step.until else { return 0 };
    let all = until.timeout.as_nanos().div_ceil(until.every.as_nanos().max(1));
    u64::try_from(all).unwrap_or(u64::MAX).saturating_sub(1)
}

/// How long one passage through some steps may take, where each request may take `timeout`. Waiting for our own caps is
/// not in it.
pub(super) fn longest(steps: &[Step], timeout: Duration) -> Duration {
    let of_step = |step: &Step| {
        let once = step.patience(timeout);
        let tries = once.saturating_mul(tries_again(step) + 1).saturating_add(pauses(step));
        let rounds = rounds(step).most.unwrap_or(MAX_VALUES as u64);
        let each = tries.saturating_add(longest_pause(step.think));
        each.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    };
    steps.iter().map(of_step).fold(Duration::ZERO, Duration::saturating_add)
}

/// All pauses between the tries of a step.
fn pauses(step: &Step) -> Duration {
    let of_retry = |retry: &Retry| {
        let asked = retry.honor_retry_after.then_some(Duration::MAX);
        (1..=retry.max).map(|failed| retry_pause(retry, failed, asked)).fold(Duration::ZERO, Duration::saturating_add)
    };
    retries(step).map(of_retry).max().unwrap_or_default()
}

fn longest_pause(think: Option<Think>) -> Duration {
    match think {
        None | Some(Think::Pacing(_) | Think::Throughput(_)) => Duration::ZERO,
        Some(Think::Constant(pause) | Think::Between(_, pause)) => pause,
        // See `plan::think`: no draw is longer.
        Some(Think::Poisson(mean)) => mean.saturating_mul(37),
    }
}

fn shortest_pause(think: Option<Think>) -> Duration {
    match think {
        None | Some(Think::Poisson(_) | Think::Pacing(_) | Think::Throughput(_)) => Duration::ZERO,
        Some(Think::Constant(pause) | Think::Between(pause, _)) => pause,
    }
}

/// The shortest time from one iteration of a user to its next, where every answer is ok.
pub(super) fn shortest_gap(group: &Group) -> Duration {
    let within = |steps: &[Step]| {
        let of_step = |step: &Step| {
            shortest_pause(step.think).saturating_mul(u32::try_from(rounds(step).least).unwrap_or(u32::MAX))
        };
        steps.iter().map(of_step).fold(Duration::ZERO, Duration::saturating_add)
    };
    let steps = group.tasks.iter().map(|task| within(&task.steps)).min().unwrap_or_default();
    match group.think {
        Some(Think::Pacing(every)) => every.max(steps),
        Some(Think::Throughput(rate)) => {
            Duration::try_from_secs_f64(1.0 / rate.per_second()).unwrap_or(Duration::MAX).max(steps)
        }
        think => shortest_pause(think).saturating_add(steps),
    }
}

/// Bytes of the bodies of one iteration, of its largest task; `None` where they depend on what is filled in.
pub(super) fn body_bytes(group: &Group) -> Option<u64> {
    let acquire = if let Executor::Limit(spec) = &group.load.executor { &spec.acquire[..] } else { &[] };
    let tasks = group.tasks.iter().map(|task| &task.steps[..]).chain([acquire]);
    tasks.map(|steps| steps.iter().map(body_of_step).sum::<Option<u64>>()).try_fold(0, |most, own| Some(own?.max(most)))
}

fn body_of_step(step: &Step) -> Option<u64> {
    let Some(request) = step.http() else { return Some(0) };
    let own = match &request.body {
        BodySpec::None => 0,
        BodySpec::Text(text) => text.as_literal()?.len() as u64,
        BodySpec::Raw(bytes) => bytes.len() as u64,
        BodySpec::Json(json) if json.variables().is_empty() => {
            json.render(&minijinja::Value::UNDEFINED).ok()?.len() as u64
        }
        _ => return None,
    };
    if own == 0 { Some(0) } else { rounds(step).most.map(|rounds| own.saturating_mul(rounds)) }
}
