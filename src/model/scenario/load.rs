//! How much is sent: the load models with their numbers, who sends, and how they pause.

use std::{sync::Arc, time::Duration};

use super::step::Step;
use crate::model::{Name, labels::Labels, units::Rate};

/// Users that do the same: a load and what each of its iterations does. A scenario has one, or one per phase or per kind
/// of user.
#[derive(Debug, Clone)]
pub struct Group {
    /// `phase=overload`, `user=short`; empty where the scenario has only this group. Labels of every series in it.
    pub labels: Labels,
    /// How much.
    pub load: Load,
    /// What an iteration does: one of these, chosen by weight. At least one; exactly one where only `steps` are written.
    pub tasks: Vec<Task>,
    /// Pause after each iteration of a closed load.
    pub think: Option<Think>,
    /// Done once by each user before its first iteration; in no rate.
    pub on_start: Vec<Step>,
    /// Done once by each user after its last iteration; in no rate.
    pub on_stop: Vec<Step>,
    /// Each user keeps the cookies it is given.
    pub cookies: bool,
}

impl Group {
    /// Every step of every task.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.tasks.iter().flat_map(|task| &task.steps)
    }
}

/// What one iteration does.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name; that of the scenario's only task is empty.
    pub name: Name,
    /// Share against the other tasks; at least 1.
    pub weight: u32,
    /// Captures without which a user does not choose it.
    pub needs: Vec<Name>,
    /// In order.
    pub steps: Vec<Step>,
}

/// A pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Think {
    /// This long.
    Constant(Duration),
    /// Evenly between the two.
    Between(Duration, Duration),
    /// Exponentially distributed around this mean: users act independently of each other.
    Poisson(Duration),
    /// Iterations start this far apart, or at once where one took longer.
    Pacing(Duration),
    /// Iterations of one user per time: pacing at 1/rate.
    Throughput(Rate),
}

/// How much is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// The load model.
    pub executor: Executor,
    /// Unanswered requests at once, waiters for a connection included; beyond it arrivals are dropped.
    pub max_in_flight: u32,
    /// How the connections are held; overrides the target's.
    pub connections: Connections,
    /// Iterations may finish for this long after the planned duration.
    pub graceful_stop: Duration,
    /// `${identity}` goes round 1 to this many; `None`: it is the user's number.
    pub identities: Option<u32>,
}

/// The load models, under k6's names where k6 has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Executor {
    /// One iteration; `attempts` tries until one is ok.
    Probe {
        /// At least 1.
        attempts: u32,
    },
    /// `vus` users with `iterations` iterations each.
    PerVuIterations {
        /// Users.
        vus: u32,
        /// Iterations of each.
        iterations: u64,
        /// Whether all users leave a barrier at the same instant.
        together: bool,
        /// No new iteration after this long.
        max_duration: Duration,
    },
    /// `vus` users share `iterations` iterations: who is free takes the next.
    SharedIterations {
        /// Users.
        vus: u32,
        /// Of all users together.
        iterations: u64,
        /// No new iteration after this long.
        max_duration: Duration,
    },
    /// `vus` users, one iteration after the other.
    ConstantVus {
        /// Users.
        vus: u32,
        /// Planned length.
        duration: Duration,
    },
    /// The number of users follows straight lines.
    RampingVus {
        /// At the start.
        start_vus: u32,
        /// In order.
        stages: Vec<VuStage>,
        /// A user that is taken away may finish its iteration for this long.
        graceful_ramp_down: Duration,
    },
    /// One level of users after the other, each a `level` of its own.
    SteppedVus {
        /// Users of each level.
        levels: Vec<u32>,
        /// What ends a level.
        each: LevelEnd,
        /// Whether all users of a level leave a barrier at the same instant.
        together: bool,
        /// Between the end of a level and the start of the next.
        pause: Duration,
    },
    /// Open model: an iteration starts at each multiple of the period, whatever became of the others.
    ConstantArrivalRate {
        /// Iterations per time.
        rate: Rate,
        /// Planned length.
        duration: Duration,
        /// How they are spread.
        arrivals: Arrivals,
    },
    /// Open model whose rate follows straight lines.
    RampingArrivalRate {
        /// At the start.
        start_rate: Rate,
        /// In order.
        stages: Vec<RateStage>,
        /// How they are spread.
        arrivals: Arrivals,
    },
    /// Many iterations at the same instant, again and again; each a `burst` of its own.
    Burst {
        /// Iterations of one burst.
        size: u32,
        /// Bursts; where none is written, as many as start within the duration of the scenario.
        repeat: u64,
        /// What lies between them.
        gap: BurstGap,
    },
    /// Locust's model: users are spawned at a rate, stay, and are taken away.
    Users {
        /// Users at the peak.
        users: u32,
        /// New users per time.
        spawn_rate: Rate,
        /// How long all of them stay: the measured window.
        hold_for: Duration,
        /// Time in which they are taken away, evenly.
        ramp_down: Duration,
    },
    /// Holds as many as the target allows, and looks what one more gets.
    Limit(Box<LimitSpec>),
    /// Looks for the highest load that the target sustains.
    Search(Box<SearchSpec>),
}

/// A stage of `ramping-vus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VuStage {
    /// Its length; zero is a jump.
    pub duration: Duration,
    /// Users at its end.
    pub target: u32,
}

/// A stage of `ramping-arrival-rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateStage {
    /// Its length; zero is a jump.
    pub duration: Duration,
    /// Rate at its end.
    pub target: Rate,
}

/// What ends a level of `stepped-vus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelEnd {
    /// Each user has done so many iterations, or this long has passed.
    Iterations {
        /// Of each user.
        iterations: u64,
        /// No new iteration after this long.
        max_duration: Duration,
    },
    /// This long.
    Duration(Duration),
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Uniform,
    /// Independently of each other: exponential gaps, the same ones for the same seed.
    Poisson,
}

/// What lies between bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BurstGap {
    /// From start to start; bursts may overlap.
    Every(Duration),
    /// From the end of one to the start of the next.
    Pause(Duration),
}

/// The `limit` load: hold, over, free, retry; what was acquired is always released.
#[derive(Debug, Clone)]
pub struct LimitSpec {
    /// Held at once; with `per_user`, by each user.
    pub hold: u32,
    /// Tried beyond it.
    pub over: u32,
    /// Released again; as many retries follow.
    pub free: u32,
    /// How often all of it is done.
    pub cycles: u32,
    /// The limit is each user's own: so many users, named by `${user}`.
    pub per_user: Option<u32>,
    /// Other users who try once while the limit is reached.
    pub bystanders: u32,
    /// Tries at the same instant, before the others, all released again; 0 = none.
    pub race: u32,
    /// Takes one.
    pub acquire: Vec<Step>,
    /// Gives one back.
    pub release: Vec<Step>,
}

impl PartialEq for LimitSpec {
    fn eq(&self, other: &Self) -> bool {
        let numbers =
            |spec: &Self| (spec.hold, spec.over, spec.free, spec.cycles, spec.per_user, spec.bystanders, spec.race);
        numbers(self) == numbers(other)
    }
}

/// The `search` load: doubles until the target no longer sustains it, then bisects.
#[derive(Debug, Clone)]
pub struct SearchSpec {
    /// What is varied.
    pub variable: SearchVariable,
    /// First load: iterations per second, or users.
    pub start: f64,
    /// No load beyond this.
    pub max: f64,
    /// By which the load grows until it is not sustained; above 1.
    pub factor: f64,
    /// Relative width at which the bisection ends.
    pub precision: f64,
    /// How long each load is measured.
    pub measure: Duration,
    /// Rest between loads.
    pub cooldown: Duration,
    /// The found load is held for this long in the end; zero leaves it out.
    pub confirm: Duration,
    /// The search ends after this long with what it knows.
    pub deadline: Duration,
    /// What must hold for a load to be sustained.
    pub sustain: Arc<[crate::model::expr::Threshold]>,
}

impl PartialEq for SearchSpec {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |spec: &Self| (spec.variable, spec.start.to_bits(), spec.max.to_bits(), spec.measure);
        numbers(self) == numbers(other)
    }
}

/// What a search varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchVariable {
    /// Iterations per second of an open load.
    Rate,
    /// Users of a closed load.
    Vus,
}

impl Executor {
    /// The word used in configuration and reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "probe",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::SharedIterations { .. } => "shared-iterations",
            Self::ConstantVus { .. } => "constant-vus",
            Self::RampingVus { .. } => "ramping-vus",
            Self::SteppedVus { .. } => "stepped-vus",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
            Self::RampingArrivalRate { .. } => "ramping-arrival-rate",
            Self::Burst { .. } => "burst",
            Self::Users { .. } => "users",
            Self::Limit(_) => "limit",
            Self::Search(_) => "search",
        }
    }
}

/// How connections are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each user keeps one of its own.
    PerVu,
    /// A pool of this many, shared first come, first served.
    Pool(u32),
}
