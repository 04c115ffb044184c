//! What a run will do, in numbers and as a timeline, before anything is sent (pure): exact where the plan says so, bounds
//! where it depends on how soon the target answers. The same plans are carried out by the executors.

mod parts;

use std::{fmt, time::Duration};

pub use parts::{Part, Shape};

use super::plan::{self, limit::Limit, outline::group_outline};
use crate::model::{
    scenario::{Arrangement, BodySpec, Connections, Executor, Group, LoopOver, Scenario, Step, Think},
    settings::Policy,
};

/// At least so many, and at most so many where something bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// At least.
    pub least: u64,
    /// At most; `None` = nothing in the plan says so.
    pub most: Option<u64>,
}

impl Count {
    /// Exactly so many.
    pub fn exactly(count: u64) -> Self {
        Self { least: count, most: Some(count) }
    }

    /// Whether it is known to the unit.
    pub fn is_exact(self) -> bool {
        self.most == Some(self.least)
    }

    /// Whether `count` is within.
    pub fn covers(self, count: u64) -> bool {
        count >= self.least && self.most.is_none_or(|most| count <= most)
    }

    fn plus(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.saturating_add(b));
        Self { least: self.least.saturating_add(other.least), most }
    }

    fn times(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.saturating_mul(b));
        Self { least: self.least.saturating_mul(other.least), most }
    }

    fn or(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.max(b));
        Self { least: self.least.min(other.least), most }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            Some(most) if most == self.least => write!(f, "{most}"),
            Some(most) => write!(f, "{} to {most}", self.least),
            None => write!(f, "at least {}", self.least),
        }
    }
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// In order; of the first repetition.
    pub parts: Vec<Part>,
    /// Iterations of all repetitions.
    pub iterations: Count,
    /// Requests, sent and dropped, where every answer is ok; tries again come on top.
    pub requests: Count,
    /// Planned length at most; the grace comes on top. `None` = it ends with its last answer.
    pub duration: Option<Duration>,
    /// How long requests may take after that.
    pub grace: Duration,
    /// Unanswered requests at once, at most.
    pub concurrency: u64,
    /// Connections open at once, at most; one for the target's figures or the hooks included.
    pub connections: u64,
    /// A connection is opened for each request: so many per second, where the load is open.
    pub opened_per_s: Option<f64>,
    /// Bytes of the request bodies of one iteration where they are known, of the largest task.
    pub body_bytes: Option<u64>,
    /// Distributions that the run keeps, each with its three outcomes.
    pub series: u64,
    /// Memory that users, connections and distributions take at the peak, in bytes; measured, not exact.
    pub memory: u64,
}

/// A user with its connection: resident memory grew by 6.0 to 7.2 kB for each of 500, 1,000 and 2,000; rounded up.
pub const USER_BYTES: u64 = 8 * 1024;
/// TLS on top of it: buffers and session.
pub const TLS_BYTES: u64 = 40 * 1024;
/// A distribution: the bounds and precision of `measure::hist`.
pub const HIST_BYTES: u64 = 11 * 1024;
/// Distributions of one series: latency and service time by outcome, and the parts of a request; this second's and the run's.
const HISTS: u64 = 2 * 12;

/// What `scenario` will do where `policy` bounds it.
pub fn forecast(scenario: &Scenario, policy: &Policy) -> Forecast {
    let zero = Count::exactly(0);
    let (mut iterations, mut requests, mut parts) = (zero, zero, Vec::new());
    let (mut concurrency, mut connections, mut at) = (0u64, 0u64, Duration::ZERO);
    let (mut sooner, mut follows) = (false, false);
    for group in &scenario.groups {
        let own = parts::of(group, policy);
        iterations = iterations.plus(own.iterations);
        requests = requests.plus(own.requests);
        let most = group_concurrency(scenario, group);
        let held = match group.load.connections {
            Connections::PerVu => most,
            Connections::Pool(size) => most.min(u64::from(size)),
        };
        if scenario.arrangement == Arrangement::Sequence {
            (concurrency, connections) = (concurrency.max(most), connections.max(held));
        } else {
            (concurrency, connections) = (concurrency + most, connections + held);
            (at, sooner, follows) = (Duration::ZERO, false, false);
        }
        parts.extend(own.parts.into_iter().map(|part| part.after(at, sooner, follows)));
        at += own.length.unwrap_or_default();
        sooner |= own.sooner;
        follows |= own.length.is_none();
    }
    let times = Count::exactly(u64::from(scenario.repeat.times.max(1)));
    let series: u64 = scenario.groups.iter().map(|group| series(group)).sum();
    let user = USER_BYTES + if scenario.target.base.https { TLS_BYTES } else { 0 };
    let outline = plan::outline(scenario);
    Forecast {
        parts,
        iterations: iterations.times(times),
        requests: requests.times(times),
        duration: outline.duration,
        grace: plan::grace(scenario),
        concurrency,
        connections: connections + u64::from(beside(scenario)),
        opened_per_s: outline.rate_per_s.filter(|_| !scenario.target.http.reuse),
        body_bytes: scenario.groups.iter().map(|group| body_bytes(group)).try_fold(0, |most, own| Some(own?.max(most))),
        series,
        memory: concurrency * user + series * HISTS * HIST_BYTES,
    }
}

/// Whether there are hooks or figures of the target, which have a connection of their own.
fn beside(scenario: &Scenario) -> bool {
    scenario.target.stats.is_some() || !scenario.before.is_empty() || !scenario.after.is_empty()
}

/// Unanswered requests at once: of an open load no more than start while one iteration may last.
fn group_concurrency(scenario: &Scenario, group: &Group) -> u64 {
    let outline = group_outline(group);
    let most = outline.iterations.unwrap_or(u64::MAX).min(u64::from(outline.concurrency));
    let Some(rate) = outline.rate_per_s else { return most };
    longest(scenario, group).map_or(most, |time| most.min((rate * time.as_secs_f64()).ceil() as u64 + 1))
}

/// How long an iteration may last; `None` where something in it has no bound.
fn longest(scenario: &Scenario, group: &Group) -> Option<Duration> {
    let task = |steps: &[Step]| {
        steps.iter().try_fold(Duration::ZERO, |sum, step| {
            let plain = step.repeat.is_none() && step.until.is_none() && step.think.is_none();
            plain.then(|| sum + step.timeout.unwrap_or(scenario.target.http.timeout))
        })
    };
    group.tasks.iter().map(|each| task(&each.steps)).try_fold(Duration::ZERO, |most, own| Some(own?.max(most)))
}

/// Requests of one iteration, where every answer is ok.
fn per_iteration(group: &Group) -> Count {
    if let Executor::Limit(spec) = &group.load.executor {
        return requests_of(&spec.acquire);
    }
    let tasks = group.tasks.iter().map(|task| requests_of(&task.steps));
    tasks.reduce(Count::or).unwrap_or(Count::exactly(0))
}

fn requests_of(steps: &[Step]) -> Count {
    steps.iter().map(requests_of_step).fold(Count::exactly(0), Count::plus)
}

fn requests_of_step(step: &Step) -> Count {
    let count = match step.repeat.as_ref().map(|repeat| &repeat.over) {
        None => Count::exactly(1),
        Some(LoopOver::Values(values)) => Count::exactly(values.len() as u64),
        Some(LoopOver::Variable(_)) => Count { least: 0, most: None },
        Some(LoopOver::Times(least, most)) => Count { least: u64::from(*least), most: Some(u64::from(*most)) },
    };
    if step.when.is_some() { Count { least: 0, ..count } } else { count }
}

/// The shortest pause from one iteration to the next of a user.
fn shortest_gap(group: &Group) -> Duration {
    let shortest = |think: Option<Think>| match think {
        None | Some(Think::Poisson(_)) => Duration::ZERO,
        Some(Think::Constant(pause) | Think::Between(pause, _) | Think::Pacing(pause)) => pause,
        Some(Think::Throughput(rate)) => Duration::try_from_secs_f64(1.0 / rate.per_second()).unwrap_or(Duration::MAX),
    };
    let own = shortest(group.think);
    if matches!(group.think, Some(Think::Pacing(_) | Think::Throughput(_))) {
        return own;
    }
    let within = |steps: &[Step]| steps.iter().map(|step| shortest(step.think)).sum::<Duration>();
    own + group.tasks.iter().map(|task| within(&task.steps)).min().unwrap_or_default()
}

/// Bytes of the bodies of one iteration; `None` where they depend on what is filled in.
fn body_bytes(group: &Group) -> Option<u64> {
    let of = |steps: &[Step]| {
        steps.iter().try_fold(0u64, |sum, step| {
            let Some(request) = step.http() else { return Some(sum) };
            let own = match &request.body {
                BodySpec::None => 0,
                BodySpec::Text(text) => text.as_literal()?.len() as u64,
                BodySpec::Raw(bytes) => bytes.len() as u64,
                BodySpec::Json(json) if json.variables().is_empty() => {
                    json.render(&minijinja::Value::UNDEFINED).ok()?.len() as u64
                }
                _ => return None,
            };
            Some(sum + own)
        })
    };
    group.tasks.iter().map(|task| of(&task.steps)).try_fold(0, |most, own| Some(own?.max(most)))
}

/// Distributions kept of a group: one for each step and each of its levels, bursts or parts.
fn series(group: &Group) -> u64 {
    let steps = group.steps().map(|step| &step.name).collect::<std::collections::BTreeSet<_>>().len() as u64;
    let own = match &group.load.executor {
        Executor::SteppedVus { levels, .. } => steps * levels.len() as u64,
        Executor::Burst { repeat, .. } => steps.saturating_mul(*repeat),
        Executor::Limit(spec) => spec.acquire.len() as u64 * Limit::from(&**spec).acts().len() as u64,
        _ => steps,
    };
    own.min(super::recorder::MAX_SERIES as u64)
}

#[cfg(test)]
mod tests;
