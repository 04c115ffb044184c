//! `scenarios:` and `requests:`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    data::Data,
    group::{Cookies, Phase, Repeat, Task, Think, UserGroup},
    load::Load,
    metric::{Metric, Recovery},
    network::{Event, Network},
    step::Step,
    words::{CronText, DurationText, ExprText, OneOrMany, Ordered, ShareText},
};

/// What is sent, when, how much, and what must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// In words.
    pub(crate) description: Option<String>,
    /// For `--select`.
    pub(crate) labels: Option<Vec<String>>,
    /// Whom to ask.
    pub(crate) owner: Option<String>,
    /// A page to open when a threshold is breached that names none.
    pub(crate) runbook: Option<String>,
    /// `overload`: rejections are wanted; normal by default.
    pub(crate) intent: Option<Intent>,
    /// Name of a target; may be left out where there is one.
    pub(crate) target: Option<String>,
    /// One scenario for each value, or each combination of values: `{model: [a, b]}`. It is called NAME-VALUE, and
    /// templates use `${model}`; `target` chooses a target.
    pub(crate) for_each: Option<Ordered<Vec<Json>>>,
    /// When it is due; `manual` by default.
    pub(crate) schedule: Option<Schedule>,
    /// How much is sent.
    pub(crate) load: Option<Load>,
    /// Several loads, one after the other, instead of `load`; each is a `phase`.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) phases: Option<Vec<Phase>>,
    /// Several kinds of users at the same time, instead of `load`; each is a `user`.
    #[schemars(extend("maxProperties" = 100))]
    pub(crate) users: Option<Ordered<UserGroup>>,
    /// Length of loads that have none of their own.
    pub(crate) duration: Option<DurationText>,
    /// All of the load again.
    pub(crate) repeat: Option<Repeat>,
    /// What is intended before this much of the load has passed is counted, but not judged; 0s by default.
    pub(crate) warmup: Option<DurationText>,
    /// Lists that steps grow by `push` and send by `{append: [NAME, …]}` in a JSON body, each with what it holds in the
    /// beginning: `{history: []}`. A list keeps its newest 256 values, of 256 KiB.
    pub(crate) state: Option<Ordered<Vec<Json>>>,
    /// How long the lists of `state` last: `iteration` begins anew with each, `vu` goes on as long as the user; iteration by default.
    pub(crate) state_per: Option<StatePer>,
    /// Our side of the network, made worse than it is: far, slow or impatient clients.
    pub(crate) network: Option<Network>,
    /// What is done at moments of the load, beside it; counted as hooks.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) events: Option<Vec<Event>>,
    /// Requests before the load, not counted as load.
    pub(crate) before: Option<Vec<Step>>,
    /// Requests after the load, even after an abort; not counted as load.
    pub(crate) after: Option<Vec<Step>>,
    /// Done once by each user before its first iteration; in no rate.
    pub(crate) on_start: Option<Vec<Step>>,
    /// Done once by each user after its last iteration; in no rate.
    pub(crate) on_stop: Option<Vec<Step>>,
    /// `per_vu` lets each user keep the cookies it is given; none by default.
    pub(crate) cookies: Option<Cookies>,
    /// The requests of an iteration, in order.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) steps: Option<Vec<Step>>,
    /// What users choose from by weight, instead of `steps`.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) tasks: Option<Vec<Task>>,
    /// Pause after each iteration.
    pub(crate) think: Option<Think>,
    /// limit: takes one of what is limited.
    pub(crate) acquire: Option<OneOrMany<Step>>,
    /// limit: gives one back; done for all that was taken, even after an abort.
    pub(crate) release: Option<OneOrMany<Step>>,
    /// search: what must hold for a load to be sustained.
    pub(crate) sustain: Option<OneOrMany<Threshold>>,
    /// Rows that iterations take one by one.
    pub(crate) data: Option<Ordered<Data>>,
    /// What must hold of the target's figures before the load; otherwise the run is skipped.
    pub(crate) require: Option<OneOrMany<Threshold>>,
    /// Metrics of one's own, by name.
    pub(crate) metrics: Option<Ordered<Metric>>,
    /// The target must be well again soon after a phase.
    pub(crate) recovery: Option<Recovery>,
    /// What must hold of a run.
    pub(crate) thresholds: Option<OneOrMany<Threshold>>,
    /// What must hold of the generator for latency and throughput to be trusted.
    pub(crate) valid_if: Option<OneOrMany<Threshold>>,
}

/// How long a state lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatePer {
    Iteration,
    Vu,
}

/// Whether rejections are wanted.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Intent {
    Normal,
    Overload,
}

/// When a scenario is due: a word or a map.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Schedule {
    /// `manual`, a cron expression, or a period such as `5m`.
    Text(String),
    /// In full.
    Full(ScheduleMap),
}

/// When a scenario is due.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleMap {
    /// Each so often, such as `5m`.
    pub(crate) every: Option<DurationText>,
    /// A cron expression of 5 or 6 fields, or `@daily` and the like.
    pub(crate) cron: Option<CronText>,
    /// Only when a person says so.
    pub(crate) manual: Option<bool>,
    /// IANA zone of the cron expression, such as `Europe/Berlin`; the daemon's by default.
    pub(crate) timezone: Option<String>,
    /// Upper bound of a random delay; 0s by default.
    pub(crate) jitter: Option<DurationText>,
    /// When it is due while a run is still going; `skip` by default.
    pub(crate) overlap: Option<Overlap>,
    /// What becomes of instants that passed while nobody was there; `skip` by default.
    pub(crate) misfire: Option<Misfire>,
    /// A run is stopped after this long.
    pub(crate) timeout: Option<DurationText>,
}

/// When a scenario is due while a run of it is still going.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Overlap {
    Skip,
    Queue,
    Replace,
    Allow,
}

/// What becomes of instants that passed while nobody was there.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Misfire {
    Skip,
    RunOnce,
}

/// A condition on a run, alone or with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Threshold {
    /// Alone.
    Short(ExprText),
    /// With options.
    Long(Box<ThresholdMap>),
}

/// A condition on a run with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThresholdMap {
    /// The condition.
    pub(crate) expr: Option<ExprText>,
    /// Instead of `expr`: what is measured, such as `elapsed`; with `pass`.
    pub(crate) of: Option<ExprText>,
    /// of: what passes, such as `< 25s`.
    pub(crate) pass: Option<ExprText>,
    /// of: what is no worse than a warning, such as `< 35s`.
    pub(crate) warn: Option<ExprText>,
    /// of: what fails, such as `> 40s`; what lies between is a warning.
    pub(crate) fail: Option<ExprText>,
    /// Only the seconds count in which this holds of the target's figures: `queued < 95% * queue_limit`.
    #[serde(rename = "while")]
    pub(crate) only_while: Option<ExprText>,
    /// Its name in metrics and alerts.
    pub(crate) name: Option<String>,
    /// How loud a breach is; `critical` by default.
    pub(crate) severity: Option<SeverityWord>,
    /// A breach during the run ends it; false by default.
    pub(crate) abort_on_fail: Option<bool>,
    /// Not judged during the run before this much of it has passed.
    pub(crate) delay_abort_eval: Option<DurationText>,
    /// So many runs in a row must breach before the alert fires; 1 by default.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) for_runs: Option<u32>,
    /// Fewer samples than this are no data; 0 by default.
    pub(crate) min_samples: Option<u64>,
    /// slope: how sure it must be; 95% by default.
    pub(crate) confidence: Option<ShareText>,
    /// What a breach means or what to do about it, in reports and mails.
    pub(crate) hint: Option<String>,
    /// A page to open when it is breached.
    pub(crate) runbook: Option<String>,
}

/// How loud a breach is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SeverityWord {
    Critical,
    Warning,
    Info,
}
