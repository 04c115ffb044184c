//! `metrics:` and `recovery:`: what is measured beside what every run measures.

use schemars::JsonSchema;
use serde::Deserialize;

use super::words::{DurationText, ExprText, OneOrMany, UnitText};

/// A metric of the user's own, recorded of each request that has what it asks for: exactly one of rate, trend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metric {
    /// A condition such as `hit == 'HIT'`; thresholds ask for the share: `rate(NAME) > 80%`.
    pub(crate) rate: Option<ExprText>,
    /// A number such as `$.usage.output_tokens / service_time`; thresholds ask for `p95(NAME)` and the like.
    pub(crate) trend: Option<ExprText>,
    /// trend: the number's unit; a plain count where none is written.
    pub(crate) unit: Option<UnitText>,
}

/// The target must be well again soon after a phase.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recovery {
    /// The phase after which it recovers.
    pub(crate) after: String,
    /// What holds when it is well.
    pub(crate) until: OneOrMany<ExprText>,
    /// It must have been well for this long; 10s by default.
    pub(crate) hold: Option<DurationText>,
    /// From the end of the phase to when it was well.
    pub(crate) within: DurationText,
}
