//! `network:` and `events:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    step::Step,
    words::{BandwidthText, DurationText, ShareText},
};

/// Our side of the network, made worse than it is. `before`, `after`, events and readings of the
/// target are left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// The bytes of each request leave this much later: the latency holds it, the service time does not; 0s by default.
    pub(crate) delay: Option<DurationText>,
    /// The delay lies evenly between `delay - jitter` and `delay + jitter`; 0s by default.
    pub(crate) jitter: Option<DurationText>,
    /// Read from each connection at most, such as 2Mbit/s; not slowed down by default.
    pub(crate) down: Option<BandwidthText>,
    /// Written to each connection at most; not slowed down by default.
    pub(crate) up: Option<BandwidthText>,
    /// Clients that do not wait for their answer.
    pub(crate) abort: Option<Abort>,
}

/// Clients that do not wait for their answer: interrupted{client_abort}, in no rate and no latency.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Abort {
    /// How many of the requests, exactly, in steps of 0.01%.
    pub(crate) share: ShareText,
    /// They close the connection this long after their request may leave, unless they are answered by then.
    pub(crate) after: DurationText,
}

/// Something that is done once, at a moment of the load and beside it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    /// After the start of the load.
    pub(crate) at: DurationText,
    /// What is done.
    #[serde(rename = "do")]
    pub(crate) act: Step,
    /// What puts it back in order once the load is over, even after an abort.
    pub(crate) undo: Option<Step>,
}
