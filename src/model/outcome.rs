//! What became of a request. A rejection is an outcome of its own, never an error: it is how a target protects itself.

use serde::{Deserialize, Serialize};

use super::Name;

/// The four ends of a sent request; `sent = ok + rejected + failed + interrupted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Answered as wanted, and every `expect` held.
    Ok,
    /// The target refused to take the work on (429, 503 with Retry-After, or a `classify` rule).
    Rejected,
    /// Anything else that ended the request.
    Failed,
    /// Cut by a person, a signal or an abort; in no rate.
    Interrupted,
}

impl Outcome {
    /// All outcomes, in the order in which tables show them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Rejected, Self::Failed, Self::Interrupted];

    /// The word used in configuration, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Index into arrays of one entry per outcome.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The built-in reasons of `failed`; `classify` may add names of its own.
pub mod fail {
    /// The name could not be resolved.
    pub const DNS: &str = "dns";
    /// No connection: refused, unreachable, or not within `connect_timeout`.
    pub const CONNECT: &str = "connect";
    /// The TLS handshake failed.
    pub const TLS: &str = "tls";
    /// Not answered in full within `timeout`.
    pub const TIMEOUT: &str = "timeout";
    /// The connection ended before the answer was complete.
    pub const RESET: &str = "reset";
    /// What came back is not HTTP.
    pub const PROTOCOL: &str = "protocol";
    /// A status that no `classify` rule calls ok or rejected.
    pub const STATUS: &str = "status";
    /// An `expect` did not hold.
    pub const EXPECT: &str = "expect";
    /// A required capture found nothing.
    pub const CAPTURE: &str = "capture";
    /// The body grew beyond the cap.
    pub const BODY_LIMIT: &str = "body_limit";
    /// Still unanswered at the cut that ends the planned duration.
    pub const UNFINISHED: &str = "unfinished";
    /// All of them, in the order in which tables show them.
    pub const ALL: [&str; 11] =
        [DNS, CONNECT, TLS, TIMEOUT, RESET, PROTOCOL, STATUS, EXPECT, CAPTURE, BODY_LIMIT, UNFINISHED];
}

/// The reasons of `rejected` that no status gives; `classify` may add names of its own.
pub mod reject {
    /// A gRPC service had no room.
    pub const EXHAUSTED: &str = "resource_exhausted";
}

/// Where more different reasons of an outcome are counted than are kept apart.
pub const OTHER_REASON: &str = "other";

/// The reason of requests that a client of ours gave up: `interrupted`, as `network: {abort: …}` says.
pub const CLIENT_ABORT: &str = "client_abort";

/// Why a planned request was never sent; `planned = sent + dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// `max_in_flight` requests were unanswered already: evidence against the target.
    MaxInFlight,
    /// The policy's caps or allow-list refused it.
    Policy,
    /// The run ended before its turn came.
    Deadline,
    /// The generator could not keep up.
    Generator,
}

impl DropReason {
    /// All reasons, in the order in which tables show them.
    pub const ALL: [Self; 4] = [Self::MaxInFlight, Self::Policy, Self::Deadline, Self::Generator];

    /// The word used in configuration, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxInFlight => "max_in_flight",
            Self::Policy => "policy",
            Self::Deadline => "deadline",
            Self::Generator => "generator",
        }
    }
}

/// An outcome together with its reason (`status_429`, `timeout`, …; empty for ok and interrupted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// Which of the four ends.
    pub outcome: Outcome,
    /// Why, for rejected and failed.
    pub reason: Name,
}
