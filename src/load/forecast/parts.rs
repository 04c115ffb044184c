//! The timeline of one group of users: what begins when, and how much of it there is.

use std::time::Duration;

use super::{
    Count,
    steps::{Sends, longest, shortest_gap},
};
use crate::{
    load::plan::{
        self,
        arrivals::Arrivals,
        burst::Bursts,
        limit::{Act, Limit},
        outline::rate_ramp,
        search::SearchPlan,
        users::Users,
    },
    model::{
        scenario::{BurstGap, Executor, Group, LevelEnd, Scenario, SearchSpec, SearchVariable},
        settings::Policy,
        units::Rate,
    },
};

/// A part of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What tells it from the others: `phase=overload`, `level=2`, `spawn`; empty where there is one.
    pub name: String,
    /// When it begins as planned, from the start of the load: what comes before it takes all its time.
    pub at: Duration,
    /// When it begins at the earliest: what ends with its iterations is over at once.
    pub earliest: Duration,
    /// When it begins at the latest: the last answers of what comes before take all of the grace. `None` = what comes
    /// before ends with its last answer, whenever that is.
    pub latest: Option<Duration>,
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
        /// What lies between them.
        gap: BurstGap,
    },
    /// One after the other for each of so many users.
    Turns(u32),
    /// So many at the same instant, once.
    AtOnce(u32),
    /// Stages that grow until one breaks; which come after it is up to the target.
    Search(SearchPlan),
}

/// A point of the timeline: as planned, at the earliest, at the latest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Point {
    pub(super) at: Duration,
    pub(super) earliest: Duration,
    pub(super) latest: Option<Duration>,
}

impl Point {
    /// The start of the load.
    pub(super) const START: Self = Self { at: Duration::ZERO, earliest: Duration::ZERO, latest: Some(Duration::ZERO) };

    /// `other` later.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            at: self.at.saturating_add(other.at),
            earliest: self.earliest.saturating_add(other.earliest),
            latest: self.latest.zip(other.latest).map(|(a, b)| a.saturating_add(b)),
        }
    }

    /// Whichever is later.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            earliest: self.earliest.max(other.earliest),
            latest: self.latest.zip(other.latest).map(|(a, b)| a.max(b)),
        }
    }

    /// Exactly so long.
    pub(super) fn exactly(length: Duration) -> Self {
        Self { at: length, earliest: length, latest: Some(length) }
    }

    /// So long at most.
    fn at_most(length: Duration) -> Self {
        Self { earliest: Duration::ZERO, ..Self::exactly(length) }
    }

    /// Nobody knows.
    const OPEN: Self = Self { at: Duration::ZERO, earliest: Duration::ZERO, latest: None };

    /// Later by as much at most.
    fn late(self, by: Duration) -> Self {
        Self { latest: self.latest.map(|latest| latest.saturating_add(by)), ..self }
    }
}

impl Part {
    /// The same, after what comes before.
    pub(super) fn after(mut self, begin: Point) -> Self {
        let own = begin.plus(Point { at: self.at, earliest: self.earliest, latest: self.latest });
        (self.at, self.earliest, self.latest) = (own.at, own.earliest, own.latest);
        self
    }
}

/// The parts of a group, and when it ends.
pub(super) struct Own {
    pub(super) parts: Vec<Part>,
    pub(super) end: Point,
}

struct Line<'a> {
    group: &'a Group,
    policy: &'a Policy,
    grace: Duration,
    /// What users who start together do before the barrier.
    before: Duration,
    parts: Vec<Part>,
    now: Point,
}

/// The timeline of `group`.
pub(super) fn of(scenario: &Scenario, group: &Group, policy: &Policy) -> Own {
    let timeout = scenario.target.http.timeout;
    let grace = plan::group_grace(scenario, group);
    let before = longest(&group.on_start, timeout);
    let mut line = Line { group, policy, grace, before, parts: Vec::new(), now: Point::START };
    line.lay();
    let name = group.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    for part in &mut line.parts {
        part.name = [&*name, &part.name].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    }
    // The users of arrivals end after the last of them has landed, with a grace of their own.
    let open = !matches!(
        group.load.executor,
        Executor::ConstantVus { .. }
            | Executor::RampingVus { .. }
            | Executor::Users { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. }
            | Executor::SteppedVus { .. }
    );
    let leaving = if open && !group.on_stop.is_empty() { grace } else { Duration::ZERO };
    let stepped = matches!(group.load.executor, Executor::SteppedVus { .. });
    let landing = if stepped { Duration::ZERO } else { grace };
    Own { end: line.now.late(landing.saturating_add(leaving)), parts: line.parts }
}

/// Stages of a search, at most.
pub(super) fn stages(spec: &SearchSpec) -> u64 {
    let shortest = spec.measure.max(Duration::from_millis(1)).as_nanos();
    u64::try_from(spec.deadline.as_nanos() / shortest).unwrap_or(u64::MAX).saturating_add(1)
}

impl Line<'_> {
    /// Adds a part at the end of the line; `takes` is how long it is.
    fn add(&mut self, name: impl Into<String>, takes: Point, shape: Shape, iterations: Count) {
        let Point { at, earliest, latest } = self.now;
        let length = takes.latest.map(|_| takes.at);
        self.parts.push(Part { name: name.into(), at, earliest, latest, length, shape, iterations });
        self.now = self.now.plus(takes);
    }

    /// Adds a part that ends with its iterations, and after `length` at the latest.
    fn bounded(&mut self, name: impl Into<String>, users: u32, length: Duration, iterations: u64) {
        let shape = Shape::Users(f64::from(users), f64::from(users));
        self.add(name, Point::at_most(length), shape, Count::exactly(iterations));
    }

    /// Adds users that go on for a time.
    fn users(&mut self, name: impl Into<String>, length: Duration, from: u32, to: u32, least: u32) {
        let iterations = Count { least: u64::from(least), most: self.at_most(from.max(to), length) };
        let shape = Shape::Users(f64::from(from), f64::from(to));
        self.add(name, Point::exactly(length), shape, iterations);
    }

    /// Iterations that users start within a time: their pauses bound it, and the caps of the policy.
    fn at_most(&self, users: u32, length: Duration) -> Option<u64> {
        let gap = shortest_gap(self.group).as_nanos();
        let by_pause = (gap > 0).then(|| {
            let each = length.as_nanos() / gap + 1;
            u64::try_from(each.saturating_mul(u128::from(users))).unwrap_or(u64::MAX)
        });
        let sends = Sends::of_iteration(self.group).requests.least;
        let cap = most_admitted(self.policy, length);
        let by_cap = (sends > 0).then(|| (cap / sends as f64).ceil() as u64 + u64::from(users));
        match (by_pause, by_cap) {
            (Some(pause), Some(cap)) => Some(pause.min(cap)),
            (pause, cap) => pause.or(cap),
        }
    }

    /// What users who start together do before.
    fn gather(&mut self, together: bool) {
        if together {
            self.now = self.now.late(self.before);
        }
    }

    fn lay(&mut self) {
        match &self.group.load.executor {
            Executor::Probe { .. } => self.add("", Point::OPEN, Shape::Turns(1), Count::exactly(1)),
            Executor::PerVuIterations { vus, iterations, together, max_duration } => {
                self.gather(*together);
                self.bounded("", *vus, *max_duration, u64::from(*vus).saturating_mul(*iterations));
            }
            Executor::SharedIterations { vus, iterations, max_duration } => {
                self.bounded("", *vus, *max_duration, *iterations);
            }
            Executor::ConstantVus { vus, duration } => self.users("", *duration, *vus, *vus, *vus),
            Executor::RampingVus { start_vus, stages, .. } => {
                let mut from = *start_vus;
                for (index, stage) in stages.iter().enumerate() {
                    if !stage.duration.is_zero() {
                        self.users(format!("stage {}", index + 1), stage.duration, from, stage.target, 0);
                    }
                    from = stage.target;
                }
            }
            Executor::SteppedVus { levels, each, together, pause } => self.levels(levels, *each, *together, *pause),
            Executor::ConstantArrivalRate { rate, duration, .. } => {
                let total = Arrivals::constant(*rate, *duration).total();
                let rate = rate.per_second();
                self.add("", Point::exactly(*duration), Shape::Rate(rate, rate), Count::exactly(total));
            }
            Executor::RampingArrivalRate { start_rate, stages, .. } => {
                let (mut from, mut before) = (*start_rate, 0);
                for (index, stage) in stages.iter().enumerate() {
                    let total = rate_ramp(*start_rate, &stages[..=index]).total();
                    if !stage.duration.is_zero() {
                        let shape = Shape::Rate(from.per_second(), stage.target.per_second());
                        let own = Count::exactly(total - before);
                        self.add(format!("stage {}", index + 1), Point::exactly(stage.duration), shape, own);
                    }
                    (from, before) = (stage.target, total);
                }
            }
            Executor::Burst { size, repeat, gap } => self.bursts(Bursts { size: *size, repeat: *repeat, gap: *gap }),
            Executor::Users { users, spawn_rate, hold_for, ramp_down } => {
                let plan = Users::new(*users, *spawn_rate, *hold_for, *ramp_down);
                let spawning = !plan.all_there().is_zero();
                if spawning {
                    self.users("spawn", plan.all_there(), 0, *users, *users);
                }
                self.users("hold", *hold_for, *users, *users, if spawning { 0 } else { *users });
                if !ramp_down.is_zero() {
                    self.users("ramp down", *ramp_down, *users, 0, 0);
                }
            }
            Executor::Limit(spec) => self.limit(Limit::from(&**spec)),
            Executor::Search(spec) => self.search(spec),
        }
    }

    fn bursts(&mut self, bursts: Bursts) {
        let takes = match (bursts.gap, bursts.length()) {
            (BurstGap::Pause(pause), _) => {
                let pauses = u32::try_from(bursts.repeat.saturating_sub(1)).unwrap_or(u32::MAX);
                Point { earliest: pause.saturating_mul(pauses), ..Point::OPEN }
            }
            (_, length) => length.map_or(Point::OPEN, Point::exactly),
        };
        let shape = Shape::Bursts { size: bursts.size, repeat: bursts.repeat, gap: bursts.gap };
        self.add("", takes, shape, Count::exactly(bursts.total()));
    }

    fn levels(&mut self, levels: &[u32], each: LevelEnd, together: bool, pause: Duration) {
        for (index, vus) in levels.iter().enumerate() {
            if index > 0 {
                self.now = self.now.plus(Point::exactly(pause));
            }
            self.gather(together);
            let name = format!("level={}", index + 1);
            match each {
                LevelEnd::Iterations { iterations, max_duration } => {
                    self.bounded(name, *vus, max_duration, u64::from(*vus).saturating_mul(iterations));
                }
                LevelEnd::Duration(length) => self.users(name, length, *vus, *vus, *vus),
            }
            self.now = self.now.late(self.grace);
        }
    }

    fn limit(&mut self, limit: Limit) {
        for act in limit.acts() {
            let Act::Acquire { part, users, each, together, .. } = act else { continue };
            let count = u64::from(users) * u64::from(each) * u64::from(limit.cycles);
            let shape = if together { Shape::AtOnce(users.saturating_mul(each)) } else { Shape::Turns(users) };
            self.add(format!("part={}", part.as_str()), Point::OPEN, shape, Count::exactly(count));
        }
    }

    /// The first stage takes place if there is time for it; how many follow is up to the target.
    fn search(&mut self, spec: &SearchSpec) {
        let first = if spec.measure <= spec.deadline { spec.start.min(spec.max) } else { 0.0 };
        let takes = Point::at_most(spec.deadline);
        match spec.variable {
            SearchVariable::Rate => {
                let total = |rate: f64, length| Arrivals::constant(per_second(rate), length).total();
                let least = if first > 0.0 { total(first, spec.measure) } else { 0 };
                // Each stage rounds up.
                let most = total(spec.max, spec.deadline).saturating_add(stages(spec));
                let iterations = Count { least, most: Some(most) };
                self.add("", takes, Shape::Search(spec.into()), iterations);
            }
            SearchVariable::Vus => {
                let most = self.at_most(spec.max as u32, spec.deadline);
                // Whoever comes anew in a stage does not wait for anything.
                let anew = stages(spec).saturating_mul(spec.max as u64);
                let iterations = Count { least: first as u64, most: most.map(|most| most.saturating_add(anew)) };
                self.add("", takes, Shape::Search(spec.into()), iterations);
            }
        }
    }
}

fn per_second(count: f64) -> Rate {
    Rate { count, per: Duration::from_secs(1) }
}

/// Requests that the gate lets pass within a time, at most.
pub(super) fn most_admitted(policy: &Policy, length: Duration) -> f64 {
    policy.max_rate * length.as_secs_f64() + (policy.max_rate * 0.1).max(10.0) + 1.0
}
