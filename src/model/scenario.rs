//! A checked scenario: immutable, complete, and free of everything that only the configuration file needs.

pub mod event;
pub mod load;
pub mod network;
pub mod probe;
mod reads;
pub mod step;
pub mod target;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use super::stream::{StreamDone, StreamFormat, StreamSpec};
pub use event::TimedEvent;
pub use load::{
    Arrivals, BurstGap, Connections, Executor, Group, LevelEnd, LimitSpec, Load, RateStage, SearchSpec, SearchVariable,
    Task, Think, VuStage,
};
pub use network::{AbortSpec, NetworkSpec};
pub use probe::{ProbeSpec, RecordType, TextMatch};
pub use step::{
    Action, Auth, BodySpec, Capture, CaptureFrom, Loop, LoopOver, OkStatus, Part, PartData, Reaction, RequestSpec,
    Retry, Step, Until,
};
pub use target::{
    BaseUrl, CERT_EXPIRES_IN, ClassifyRule, ClientIdentity, HttpOptions, HttpVersion, ReasonSource, StatRead, StatSpec,
    StatsSpec, StatusMatch, Target, TlsOptions,
};

use super::{Name, expr::Threshold, metric::CustomMetric, schedule::ScheduleSpec};

/// One scenario, ready to be planned and run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Unique; a metric label.
    pub name: Name,
    /// In words.
    pub description: Option<String>,
    /// For `--select`.
    pub labels: Vec<Name>,
    /// Whom to ask.
    pub owner: Option<Name>,
    /// What it is sent to.
    pub target: Arc<Target>,
    /// Whether rejections are wanted.
    pub intent: Intent,
    /// When it is due.
    pub schedule: ScheduleSpec,
    /// Who sends how much; at least one.
    pub groups: Vec<Arc<Group>>,
    /// Whether the groups follow each other or run at the same time.
    pub arrangement: Arrangement,
    /// All of it is done so many times.
    pub repeat: Repeat,
    /// What is intended before this much of the load has passed is in the ledger, but not judged.
    pub warmup: Duration,
    /// What must hold of the target's figures before the load; otherwise the run is skipped.
    pub require: Vec<Threshold>,
    /// Lists that steps grow.
    pub state: State,
    /// How our side of the network is made worse than it is.
    pub network: Option<NetworkSpec>,
    /// What is done beside the load, in order of time.
    pub events: Vec<TimedEvent>,
    /// Requests before the load, not counted as load.
    pub before: Vec<Step>,
    /// Requests after the load, even after an abort; not counted as load.
    pub after: Vec<Step>,
    /// Rows that templates read as `${data.NAME.FIELD}`.
    pub data: BTreeMap<Name, Arc<Feed>>,
    /// Metrics of the user's own.
    pub metrics: Vec<CustomMetric>,
    /// How the target must have recovered after a phase.
    pub recovery: Option<RecoverySpec>,
    /// What must hold, the implicit ones included.
    pub thresholds: Vec<Threshold>,
    /// What must hold of the generator for latency and throughput to be trusted.
    pub valid_if: Vec<Threshold>,
    /// Constants for templates, one object: `${vars.x}`, `${secret.x}`, `${env.X}`.
    pub constants: Constants,
    /// Hash of everything above, as `sha256:…`.
    pub config_hash: String,
    /// Seed of everything random in its runs.
    pub seed: u64,
}

impl Scenario {
    /// Every step of every group, hooks left out.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.groups.iter().flat_map(|group| group.steps())
    }

    /// Whether it is a probe: one iteration.
    pub fn is_probe(&self) -> bool {
        self.groups.iter().all(|group| matches!(group.load.executor, Executor::Probe { .. }))
    }

    /// The word for its load: the executor, or `phases` or `users` where it has several groups.
    pub fn executor(&self) -> &'static str {
        match (&self.groups[..], self.arrangement) {
            ([only], _) => only.load.executor.as_str(),
            (_, Arrangement::Sequence) => "phases",
            (_, Arrangement::SideBySide) => "groups",
        }
    }
}

/// How the groups of a scenario stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrangement {
    /// One after the other: `phases`.
    #[default]
    Sequence,
    /// At the same time: `users`.
    SideBySide,
}

/// `repeat`: all of the load again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// At least 1.
    pub times: u32,
    /// Between the end of one and the start of the next.
    pub pause: Duration,
}

impl Default for Repeat {
    fn default() -> Self {
        Self { times: 1, pause: Duration::ZERO }
    }
}

/// `recovery`: the target must be well again soon after a phase.
#[derive(Debug, Clone)]
pub struct RecoverySpec {
    /// Name of the phase after which it recovers.
    pub after: Name,
    /// What holds of the last seconds when it is well; at least one.
    pub until: Vec<Threshold>,
    /// It must have been well for this long.
    pub hold: Duration,
    /// From the end of the phase to when it was well; what takes longer is a failure.
    pub within: Duration,
}

/// `state`: lists that steps grow by `push`, such as the messages of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Each with what it holds in the beginning.
    pub lists: Vec<(Name, Arc<[serde_json::Value]>)>,
    /// It lasts as long as its user; otherwise it begins anew with each iteration.
    pub per_vu: bool,
}

/// Rows of data that iterations take one by one.
#[derive(Debug, PartialEq)]
pub struct Feed {
    /// At least one; each an object.
    pub rows: Vec<serde_json::Value>,
    /// In which order.
    pub order: FeedOrder,
    /// What happens when all were taken.
    pub on_end: FeedEnd,
}

/// In which order rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedOrder {
    /// As written.
    #[default]
    Sequence,
    /// Any row at any time.
    Random,
    /// Each row once, in an order drawn by the run's seed.
    Shuffle,
}

/// What happens when all rows were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedEnd {
    /// They are taken again from the start.
    #[default]
    Cycle,
    /// The load ends as if its time were over.
    Stop,
    /// The iteration fails.
    Fail,
}

/// What templates may use besides what a run brings; holds secrets, so it shows nothing of itself.
#[derive(Clone)]
pub struct Constants(pub Arc<serde_json::Map<String, serde_json::Value>>);

impl std::fmt::Debug for Constants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Constants(…)")
    }
}

/// Whether rejections are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intent {
    /// They are not.
    #[default]
    Normal,
    /// They are: shipped rules and SLOs leave the scenario out, and implicit thresholds on shares are lifted.
    Overload,
}
