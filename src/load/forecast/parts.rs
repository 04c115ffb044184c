//! The timeline of one group of users: what begins when, and how much of it there is.

use std::time::Duration;

use super::{Count, per_iteration, shortest_gap};
use crate::{
    load::plan::{
        arrivals::Arrivals,
        burst::Bursts,
        limit::{Act, Limit},
        outline::rate_ramp,
        users::Users,
    },
    model::{
        scenario::{BurstGap, Executor, Group, LevelEnd, SearchVariable},
        settings::Policy,
    },
};

/// A part of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What tells it from the others: `phase=overload`, `level 2`, `spawn`; empty where there is one.
    pub name: String,
    /// When it begins, from the start of the load.
    pub at: Duration,
    /// It may begin sooner: what comes before it ends with its last answer.
    pub sooner: bool,
    /// It begins when what comes before it has had its last answer, whenever that is.
    pub follows: bool,
    /// How long it lasts, at most; `None` = until its last answer.
    pub length: Option<Duration>,
    /// What goes on in it.
    pub shape: Shape,
    /// Iterations that start in it.
    pub iterations: Count,
}

/// What goes on in a part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Iterations per second, at its begin and at its end.
    Rate(f64, f64),
    /// Users, at its begin and at its end.
    Users(f64, f64),
    /// So many at the same instant.
    Bursts {
        /// Of one burst.
        size: u32,
        /// How many bursts.
        repeat: u64,
        /// From start to start; `None` = each waits for the last answer of the one before.
        every: Option<Duration>,
    },
    /// One after the other for each of so many users.
    Turns(u32),
}

impl Part {
    /// The same, after what comes before.
    pub(super) fn after(mut self, at: Duration, sooner: bool, follows: bool) -> Self {
        self.at += at;
        self.sooner |= sooner;
        self.follows |= follows;
        self
    }
}

/// The parts of a group with their sums.
pub(super) struct Own {
    pub(super) parts: Vec<Part>,
    pub(super) iterations: Count,
    pub(super) requests: Count,
    /// At most; `None` = until its last answer.
    pub(super) length: Option<Duration>,
    /// It may end sooner.
    pub(super) sooner: bool,
}

struct Line<'a> {
    group: &'a Group,
    policy: &'a Policy,
    parts: Vec<Part>,
    at: Duration,
    sooner: bool,
    follows: bool,
}

/// The timeline of `group`.
pub(super) fn of(group: &Group, policy: &Policy) -> Own {
    let mut line = Line { group, policy, parts: Vec::new(), at: Duration::ZERO, sooner: false, follows: false };
    let iterations = line.lay();
    let requests = iterations.times(per_iteration(group));
    let name = group.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    for part in &mut line.parts {
        part.name = [&*name, &part.name].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    }
    let unbounded = line.parts.iter().any(|part| part.length.is_none());
    Own { iterations, requests, length: Some(line.at).filter(|_| !unbounded), sooner: line.sooner, parts: line.parts }
}

impl Line<'_> {
    /// Adds a part at the end of the line.
    fn add(&mut self, name: impl Into<String>, length: Option<Duration>, shape: Shape, iterations: Count) {
        let (at, sooner, follows) = (self.at, self.sooner, self.follows);
        self.parts.push(Part { name: name.into(), at, sooner, follows, length, shape, iterations });
        self.at += length.unwrap_or_default();
        self.follows |= length.is_none();
    }

    /// Adds a part that ends with its iterations, and after `length` at the latest.
    fn bounded(&mut self, name: impl Into<String>, users: u32, length: Duration, iterations: u64) {
        let users = f64::from(users);
        self.add(name, Some(length), Shape::Users(users, users), Count::exactly(iterations));
        self.sooner = true;
    }

    /// Adds users that go on for a time.
    fn users(&mut self, name: impl Into<String>, length: Duration, from: u32, to: u32, least: u32) {
        let iterations = Count { least: u64::from(least), most: self.at_most(from.max(to), length) };
        self.add(name, Some(length), Shape::Users(f64::from(from), f64::from(to)), iterations);
    }

    /// Iterations that users start within a time: their pauses bound it, and the caps of the policy.
    fn at_most(&self, users: u32, length: Duration) -> Option<u64> {
        let gap = shortest_gap(self.group).as_nanos();
        let by_pause = (gap > 0).then(|| {
            let each = length.as_nanos() / gap + 1;
            u64::try_from(each.saturating_mul(u128::from(users))).unwrap_or(u64::MAX)
        });
        let sends = per_iteration(self.group).least;
        let cap = self.policy.max_rate * length.as_secs_f64() + (self.policy.max_rate * 0.1).max(10.0) + 1.0;
        let by_cap = (sends > 0).then(|| (cap / sends as f64).ceil() as u64 + u64::from(users));
        match (by_pause, by_cap) {
            (Some(pause), Some(cap)) => Some(pause.min(cap)),
            (pause, cap) => pause.or(cap),
        }
    }

    fn lay(&mut self) -> Count {
        match &self.group.load.executor {
            Executor::Probe { attempts } => {
                let count = Count { least: 1, most: Some(u64::from(*attempts).max(1)) };
                self.add("", None, Shape::Turns(1), count);
            }
            Executor::PerVuIterations { vus, iterations, max_duration, .. } => {
                self.bounded("", *vus, *max_duration, u64::from(*vus).saturating_mul(*iterations));
            }
            Executor::SharedIterations { vus, iterations, max_duration } => {
                self.bounded("", *vus, *max_duration, *iterations);
            }
            Executor::ConstantVus { vus, duration } => self.users("", *duration, *vus, *vus, *vus),
            Executor::RampingVus { start_vus, stages, .. } => {
                let mut from = *start_vus;
                for (index, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.duration.is_zero()) {
                    self.users(format!("stage {}", index + 1), stage.duration, from, stage.target, 0);
                    from = stage.target;
                }
            }
            Executor::SteppedVus { levels, each, pause, .. } => self.levels(levels, *each, *pause),
            Executor::ConstantArrivalRate { rate, duration, .. } => {
                let total = Arrivals::constant(*rate, *duration).total();
                let rate = rate.per_second();
                self.add("", Some(*duration), Shape::Rate(rate, rate), Count::exactly(total));
            }
            Executor::RampingArrivalRate { start_rate, stages, .. } => {
                let (mut from, mut before) = (*start_rate, 0);
                for (index, stage) in stages.iter().enumerate() {
                    let total = rate_ramp(*start_rate, &stages[..=index]).total();
                    if !stage.duration.is_zero() {
                        let shape = Shape::Rate(from.per_second(), stage.target.per_second());
                        let own = Count::exactly(total - before);
                        self.add(format!("stage {}", index + 1), Some(stage.duration), shape, own);
                    }
                    (from, before) = (stage.target, total);
                }
            }
            Executor::Burst { size, repeat, gap } => {
                let bursts = Bursts { size: *size, repeat: *repeat, gap: *gap };
                let every = if let BurstGap::Every(every) = gap { Some(*every) } else { None };
                let shape = Shape::Bursts { size: *size, repeat: *repeat, every };
                self.add("", bursts.length(), shape, Count::exactly(bursts.total()));
            }
            Executor::Users { users, spawn_rate, hold_for, ramp_down } => {
                let plan = Users::new(*users, *spawn_rate, *hold_for, *ramp_down);
                self.users("spawn", plan.all_there(), 0, *users, *users);
                self.users("hold", *hold_for, *users, *users, 0);
                self.users("ramp down", *ramp_down, *users, 0, 0);
            }
            Executor::Limit(spec) => self.limit(Limit::from(&**spec)),
            Executor::Search(spec) => match spec.variable {
                SearchVariable::Rate => {
                    let most = (spec.max * spec.deadline.as_secs_f64()).ceil() as u64;
                    let shape = Shape::Rate(spec.start, spec.max);
                    self.add("", Some(spec.deadline), shape, Count { least: 0, most: Some(most) });
                    self.sooner = true;
                }
                SearchVariable::Vus => {
                    self.users("", spec.deadline, spec.start as u32, spec.max as u32, 0);
                    self.sooner = true;
                }
            },
        }
        self.parts.iter().map(|part| part.iterations).fold(Count::exactly(0), Count::plus)
    }

    fn levels(&mut self, levels: &[u32], each: LevelEnd, pause: Duration) {
        for (index, vus) in levels.iter().enumerate() {
            let name = format!("level={}", index + 1);
            match each {
                LevelEnd::Iterations { iterations, max_duration } => {
                    self.bounded(name, *vus, max_duration, u64::from(*vus).saturating_mul(iterations));
                }
                LevelEnd::Duration(length) => self.users(name, length, *vus, *vus, *vus),
            }
            if index + 1 < levels.len() {
                self.at += pause;
            }
        }
    }

    fn limit(&mut self, limit: Limit) {
        for act in limit.acts() {
            let Act::Acquire { part, users, each, .. } = act else { continue };
            let count = u64::from(users) * u64::from(each) * u64::from(limit.cycles);
            self.add(format!("part={}", part.as_str()), None, Shape::Turns(users), Count::exactly(count));
        }
    }
}
