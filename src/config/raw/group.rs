//! Who sends: the tasks of users, groups side by side, phases one after the other, and pauses.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    load::Load,
    step::Step,
    words::{DurationText, OneOrMany, RateText},
};

/// One of several loads that follow each other. What it does not say is the scenario's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    /// Its name: the label `phase` of its series.
    pub(crate) name: String,
    /// How much is sent.
    pub(crate) load: Load,
    /// The requests of an iteration, in order.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) steps: Option<Vec<Step>>,
    /// What users choose from by weight, instead of `steps`.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) tasks: Option<Vec<Task>>,
    /// Pause after each iteration.
    pub(crate) think: Option<Think>,
}

/// One of several kinds of users who act at the same time. What it does not say is the scenario's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserGroup {
    /// How much is sent.
    pub(crate) load: Load,
    /// The requests of an iteration, in order.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) steps: Option<Vec<Step>>,
    /// What users choose from by weight, instead of `steps`.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) tasks: Option<Vec<Task>>,
    /// Pause after each iteration.
    pub(crate) think: Option<Think>,
    /// `per_vu` lets each user keep the cookies it is given.
    pub(crate) cookies: Option<Cookies>,
    /// Done once by each user before its first iteration; in no rate.
    pub(crate) on_start: Option<Vec<Step>>,
    /// Done once by each user after its last iteration; in no rate.
    pub(crate) on_stop: Option<Vec<Step>>,
}

/// One thing that a user may do; it chooses by weight, again and again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// Its name in reports.
    pub(crate) name: String,
    /// Its share against the other tasks; 1 by default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) weight: Option<u32>,
    /// Captures of other tasks that it uses: a user without them chooses another task.
    pub(crate) needs: Option<OneOrMany<String>>,
    /// The requests of an iteration, in order.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) steps: Vec<Step>,
}

/// A pause: a fixed one such as 2s, or a map.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Think {
    /// This long.
    Constant(DurationText),
    /// In full.
    Full(ThinkMap),
}

/// A pause: exactly one of between, constant, pacing, throughput, poisson.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThinkMap {
    /// Evenly between two durations: [1s, 5s].
    #[schemars(length(min = 2, max = 2))]
    pub(crate) between: Option<Vec<DurationText>>,
    /// This long.
    pub(crate) constant: Option<DurationText>,
    /// Iterations of a user start this far apart, or at once where one took longer.
    pub(crate) pacing: Option<DurationText>,
    /// Iterations of one user per time, such as 0.1/s.
    pub(crate) throughput: Option<RateText>,
    /// Exponentially distributed around this mean: users act independently of each other.
    pub(crate) poisson: Option<DurationText>,
}

/// Who keeps cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cookies {
    PerVu,
    None,
}

/// All of the load again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    /// How often all of it is done.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) times: u32,
    /// From the end of one to the start of the next; 0s by default.
    pub(crate) pause: Option<DurationText>,
}
