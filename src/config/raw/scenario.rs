//! `scenarios:` and `requests:`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    probe::{Dns, Grpc, Tcp, WebSocket},
    target::{Connections, StatusList},
    words::{CronText, DurationText, ExprText, OneOrMany, Ordered, RateText, Scalar, TemplateText},
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
    /// `overload`: rejections are wanted; normal by default.
    pub(crate) intent: Option<Intent>,
    /// Name of a target; may be left out where there is one.
    pub(crate) target: Option<String>,
    /// When it is due; `manual` by default.
    pub(crate) schedule: Option<Schedule>,
    /// How much is sent.
    pub(crate) load: Load,
    /// Requests before the load, not counted as load.
    pub(crate) before: Option<Vec<Step>>,
    /// Requests after the load, even after an abort; not counted as load.
    pub(crate) after: Option<Vec<Step>>,
    /// The requests of an iteration, in order.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) steps: Vec<Step>,
    /// What must hold of a run.
    pub(crate) thresholds: Option<OneOrMany<Threshold>>,
    /// What must hold of the generator for latency and throughput to be trusted.
    pub(crate) valid_if: Option<OneOrMany<Threshold>>,
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

/// How much is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// The load model.
    pub(crate) executor: ExecutorWord,
    /// probe: tries until one is ok; 1 by default.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: Option<u32>,
    /// per-vu-iterations: users.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) vus: Option<u32>,
    /// per-vu-iterations: iterations of each user; 1 by default.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) iterations: Option<u64>,
    /// per-vu-iterations: `together` lets all users leave a barrier at the same instant.
    pub(crate) start: Option<StartWord>,
    /// per-vu-iterations: no new iteration after this long; 10m by default.
    pub(crate) max_duration: Option<DurationText>,
    /// constant-arrival-rate: iterations per time.
    pub(crate) rate: Option<RateText>,
    /// constant-arrival-rate: planned length.
    pub(crate) duration: Option<DurationText>,
    /// constant-arrival-rate: how arrivals are spread; uniform by default.
    pub(crate) arrivals: Option<Arrivals>,
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
    ConstantArrivalRate,
}

/// How users start.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartWord {
    Together,
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    Uniform,
}

/// One request, and what is expected of its answer. Exactly one of get, post, put, patch, delete, head, options, tcp, tls,
/// dns, websocket, grpc, request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// The request's name in metrics; `METHOD path` by default.
    pub(crate) name: Option<String>,
    /// A named request of `requests:`.
    pub(crate) request: Option<String>,
    /// Path of a GET.
    pub(crate) get: Option<TemplateText>,
    /// Path of a POST.
    pub(crate) post: Option<TemplateText>,
    /// Path of a PUT.
    pub(crate) put: Option<TemplateText>,
    /// Path of a PATCH.
    pub(crate) patch: Option<TemplateText>,
    /// Path of a DELETE.
    pub(crate) delete: Option<TemplateText>,
    /// Path of a HEAD.
    pub(crate) head: Option<TemplateText>,
    /// Path of an OPTIONS.
    pub(crate) options: Option<TemplateText>,
    /// A TCP connection instead of a request: `host:port`, or with what is sent and expected.
    pub(crate) tcp: Option<Tcp>,
    /// A TLS handshake instead of a request: `host:port`, 443 by default.
    pub(crate) tls: Option<String>,
    /// A question to a name server instead of a request.
    pub(crate) dns: Option<Dns>,
    /// A WebSocket instead of a request: a path, or with what is sent and expected.
    pub(crate) websocket: Option<WebSocket>,
    /// A question to the gRPC health service instead of a request.
    pub(crate) grpc: Option<Grpc>,
    /// On top of the target's.
    pub(crate) headers: Option<Ordered<Scalar>>,
    /// A JSON body; its texts are templates.
    pub(crate) json: Option<Json>,
    /// A form body.
    pub(crate) form: Option<Ordered<Scalar>>,
    /// A text body.
    pub(crate) body: Option<TemplateText>,
    /// A body read from a file.
    pub(crate) body_file: Option<String>,
    /// What must hold of the answer.
    pub(crate) expect: Option<OneOrMany<ExprText>>,
    /// What is kept of the answer for later steps.
    pub(crate) capture: Option<Ordered<Capture>>,
    /// `stop` ends the iteration when the step is not ok, `continue` goes on; stop by default.
    pub(crate) on_fail: Option<OnFail>,
    /// Statuses that are ok here: `any`, 404, 4xx, or a list.
    pub(crate) ok: Option<StatusList>,
    /// Pause after the step.
    pub(crate) think: Option<DurationText>,
    /// Overrides the target's.
    pub(crate) timeout: Option<DurationText>,
}

/// Whether the iteration goes on.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFail {
    Stop,
    Continue,
}

/// A value kept of an answer: exactly one of json, header, regex.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capture {
    /// A JSONPath such as `$.id`.
    pub(crate) json: Option<String>,
    /// A header's name.
    pub(crate) header: Option<String>,
    /// A regular expression on the body.
    pub(crate) regex: Option<String>,
    /// Which group of the expression; 1 where it has groups, else 0, the whole match.
    #[schemars(range(min = 0, max = 99))]
    pub(crate) group: Option<u32>,
    /// Where nothing is found.
    pub(crate) default: Option<Json>,
    /// Finding nothing fails the step; true unless there is a default.
    pub(crate) required: Option<bool>,
}

/// A condition on a run, alone or with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Threshold {
    /// Alone.
    Short(ExprText),
    /// With options.
    Long(ThresholdMap),
}

/// A condition on a run with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThresholdMap {
    /// The condition.
    pub(crate) expr: ExprText,
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
