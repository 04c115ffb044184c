//! What stands above the scenarios: what they have in common, and where else they run.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    Policy,
    data::Data,
    group::Cookies,
    scenario::{Intent, Schedule, Threshold},
    step::Step,
    words::{DurationText, OneOrMany, Ordered},
};

/// What every scenario has that does not say it itself. A scenario's own key wins, `thresholds: []` clears.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "merged into the scenarios before they are read; the schema is generated from it")]
pub(crate) struct Defaults {
    /// For `--select`.
    pub(crate) labels: Option<Vec<String>>,
    /// Whom to ask.
    pub(crate) owner: Option<String>,
    /// A page to open when a threshold is breached that names none.
    pub(crate) runbook: Option<String>,
    /// `overload`: rejections are wanted; normal by default.
    pub(crate) intent: Option<Intent>,
    /// Name of a target.
    pub(crate) target: Option<String>,
    /// When scenarios are due; `manual` by default.
    pub(crate) schedule: Option<Schedule>,
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
    /// Rows that iterations take one by one.
    pub(crate) data: Option<Ordered<Data>>,
    /// What must hold of the target's figures before the load; otherwise the run is skipped.
    pub(crate) require: Option<OneOrMany<Threshold>>,
    /// What must hold of a run.
    pub(crate) thresholds: Option<OneOrMany<Threshold>>,
    /// What must hold of the generator for latency and throughput to be trusted.
    pub(crate) valid_if: Option<OneOrMany<Threshold>>,
    /// Of every load: iterations may finish for this long after the end, never less than the request timeout; 30s by
    /// default.
    pub(crate) graceful_stop: Option<DurationText>,
    /// Of every load: unanswered requests at once; 1000 by default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_in_flight: Option<u32>,
}

/// Where else the scenarios run: what differs there, laid over the file by `--env NAME`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "laid over the tree before it is read; the schema is generated from it")]
pub(crate) struct Environment {
    /// Constants for templates: `${vars.name}`.
    pub(crate) vars: Option<Ordered<Json>>,
    /// What differs of targets: `{api: {base_url: "https://staging.example.com"}}`.
    pub(crate) targets: Option<Ordered<Json>>,
    /// What differs of scenarios: `{soak: {load: {rate: 1/s}}}`.
    pub(crate) scenarios: Option<Ordered<Json>>,
    /// What may be loaded there, and how hard; replaces single keys of `policy`.
    pub(crate) policy: Option<Policy>,
}
