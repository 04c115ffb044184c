//! `load:`: the load models and their numbers. One flat map: `lower::load` says which key belongs to which executor.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    target::Connections,
    words::{DurationText, LevelText, RateText, ShareText},
};

/// How much is sent. Each key says which executors take it; the others take all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// The load model.
    pub(crate) executor: ExecutorWord,
    /// probe: tries until one is ok; 1 by default.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: Option<u32>,
    /// per-vu-iterations, shared-iterations, constant-vus: users. stepped-vus: a list, the users of each level.
    pub(crate) vus: Option<Vus>,
    /// per-vu-iterations, stepped-vus: iterations of each user, 1 if left out. shared-iterations: of all users together.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) iterations: Option<u64>,
    /// per-vu-iterations, stepped-vus: `together` lets all users leave a barrier at the same instant.
    /// search: the first load, such as 5/s or 10 users.
    pub(crate) start: Option<Start>,
    /// per-vu-iterations, shared-iterations, stepped-vus: no new iteration (of a level) after this long; 10m by default.
    pub(crate) max_duration: Option<DurationText>,
    /// constant-vus, constant-arrival-rate: planned length. stepped-vus: of each level, instead of `iterations`.
    /// burst: bursts start within it, instead of `repeat`.
    pub(crate) duration: Option<DurationText>,
    /// ramping-vus: users at the start; 1 by default.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) start_vus: Option<u32>,
    /// ramping-arrival-rate: rate at the start, such as 10/s; 0/s by default.
    pub(crate) start_rate: Option<LevelText>,
    /// ramping-vus, ramping-arrival-rate: straight lines, one after the other.
    #[schemars(length(min = 1, max = 1000))]
    pub(crate) stages: Option<Vec<Stage>>,
    /// ramping-vus: a user that is taken away may finish its iteration for this long; 30s by default.
    pub(crate) graceful_ramp_down: Option<DurationText>,
    /// constant-arrival-rate: iterations per time.
    pub(crate) rate: Option<RateText>,
    /// constant-arrival-rate, ramping-arrival-rate: `uniform` spaces arrivals evenly, `poisson` lets them come
    /// independently of each other; uniform by default.
    pub(crate) arrivals: Option<Arrivals>,
    /// burst: iterations at the same instant.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) size: Option<u32>,
    /// burst: how many bursts; 1 by default.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) repeat: Option<u64>,
    /// burst: from the start of one to the start of the next; they may overlap.
    pub(crate) every: Option<DurationText>,
    /// burst, stepped-vus: from the end of one to the start of the next.
    pub(crate) pause: Option<DurationText>,
    /// users: how many at the peak. limit with `per: user`: whose limits are tried, 1 if left out.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) users: Option<u32>,
    /// users: new users per time; 1/s by default.
    pub(crate) spawn_rate: Option<RateText>,
    /// users: how long all of them stay: the measured window.
    pub(crate) hold_for: Option<DurationText>,
    /// users: time in which they are taken away, evenly; 0s by default.
    pub(crate) ramp_down: Option<DurationText>,
    /// limit: how many the target lets one hold at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) hold: Option<u32>,
    /// limit: tries beyond it; 1 by default.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) over: Option<u32>,
    /// limit: how many are then released and tried again; 1 by default.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) free: Option<u32>,
    /// limit: how often all of it is done; 1 by default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) cycles: Option<u32>,
    /// limit: `user` if each user has a limit of its own; `${user}` is its number.
    pub(crate) per: Option<PerWord>,
    /// limit: other users who try once while the limit is reached; 0 by default.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) bystanders: Option<u32>,
    /// limit: tries at the same instant, before the others; 0 by default.
    #[schemars(range(min = 0, max = 100_000))]
    pub(crate) race: Option<u32>,
    /// search: what is varied; rate by default.
    pub(crate) variable: Option<VariableWord>,
    /// search: by which the load grows until it is not sustained; 2 by default.
    pub(crate) factor: Option<f64>,
    /// search: relative width at which the bisection ends; 5% by default.
    pub(crate) precision: Option<ShareText>,
    /// search: how long each load is measured; 30s by default.
    pub(crate) measure: Option<DurationText>,
    /// search: rest between loads; 20s by default.
    pub(crate) cooldown: Option<DurationText>,
    /// search: no load beyond this; the policy's cap by default.
    pub(crate) max: Option<Amount>,
    /// search: it ends after this long with what it knows; 30m by default.
    pub(crate) deadline: Option<DurationText>,
    /// search: the found load is held for this long in the end, 0s leaves it out; 60s by default.
    pub(crate) confirm: Option<DurationText>,
    /// `${identity}` goes round from 1 to this many; the user's number by default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) identities: Option<u32>,
    /// `per_vu`, or the size of a pool; overrides the target's.
    pub(crate) connections: Option<Connections>,
    /// Unanswered requests at once; 1000 by default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_in_flight: Option<u32>,
    /// Iterations may finish for this long after the end, never less than the request timeout; 30s by default.
    pub(crate) graceful_stop: Option<DurationText>,
}

/// The load model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ExecutorWord {
    Probe,
    PerVuIterations,
    SharedIterations,
    ConstantVus,
    RampingVus,
    SteppedVus,
    ConstantArrivalRate,
    RampingArrivalRate,
    Burst,
    Users,
    Limit,
    Search,
}

/// How many users: a number, or one for each level.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Vus {
    /// Users.
    One(#[schemars(range(min = 1, max = 100_000))] u32),
    /// Users of each level.
    Levels(#[schemars(length(min = 1, max = 1000), inner(range(min = 1, max = 100_000)))] Vec<u32>),
}

/// Users as a number, or a rate with its unit.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Amount {
    /// Users.
    Users(#[schemars(range(min = 0, max = 100_000))] u32),
    /// A rate.
    Rate(LevelText),
}

/// How users start, or where a search does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Start {
    /// Users.
    Users(#[schemars(range(min = 1, max = 100_000))] u32),
    /// `together`, or a rate.
    Text(String),
}

/// A straight line to a number of users or a rate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// How long it takes; 0s is a jump.
    pub(crate) duration: DurationText,
    /// Where it ends: users such as 50, or a rate such as 50/s.
    pub(crate) target: Amount,
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    Uniform,
    Poisson,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PerWord {
    User,
}

/// What a search varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VariableWord {
    Rate,
    Vus,
}
