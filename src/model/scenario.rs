//! A checked scenario: immutable, complete, and free of everything that only the configuration file needs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use ::http::{HeaderName, Method, StatusCode};
use serde_json_path::JsonPath;

use super::{
    Name,
    expr::{Expect, Threshold},
    outcome::Outcome,
    schedule::ScheduleSpec,
    template::{JsonTemplate, Template},
    units::{Rate, Unit},
};

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
    /// How much is sent.
    pub load: Load,
    /// Requests before the load, not counted as load.
    pub before: Vec<Step>,
    /// The iteration.
    pub steps: Vec<Step>,
    /// Requests after the load, even after an abort; not counted as load.
    pub after: Vec<Step>,
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
}

/// The load models, under k6's names.
#[derive(Debug, Clone)]
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
    /// Open model: an iteration starts at each multiple of the period, whatever became of the others.
    ConstantArrivalRate {
        /// Iterations per time.
        rate: Rate,
        /// Planned length.
        duration: Duration,
    },
}

impl Executor {
    /// The word used in configuration and reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "probe",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
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

/// A service under test.
#[derive(Debug, Clone)]
pub struct Target {
    /// Unique; a metric label and what alerts are grouped by.
    pub name: Name,
    /// Where it is.
    pub base: BaseUrl,
    /// Sent with each request.
    pub headers: Vec<(HeaderName, Template)>,
    /// Timeouts and connection policy.
    pub http: HttpOptions,
    /// First match wins; each response lands in exactly one outcome.
    pub classify: Vec<ClassifyRule>,
    /// The target's own figures.
    pub stats: Option<StatsSpec>,
}

/// The figure that a target which shows a certificate has without being asked: how long it is still valid, in seconds.
pub const CERT_EXPIRES_IN: &str = "cert_expires_in";

impl Target {
    /// Unit and kind (counter or gauge) of a figure: one that is read, or [`CERT_EXPIRES_IN`].
    pub fn figures(&self) -> impl Iterator<Item = (Name, (Unit, bool))> {
        let read = self.stats.iter().flat_map(|stats| &stats.stats);
        let read = read.map(|(name, stat)| (name.clone(), (stat.unit, stat.counter)));
        read.chain(self.base.https.then(|| (CERT_EXPIRES_IN.into(), (Unit::Seconds, false))))
    }
}

/// Scheme, host, port and path prefix of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// TLS from the first byte.
    pub https: bool,
    /// Host name or address literal, without brackets.
    pub host: Name,
    /// Port.
    pub port: u16,
    /// Path prefix without a trailing slash; empty for none.
    pub prefix: Name,
}

impl BaseUrl {
    /// `host[:port]` for the Host header; the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == if self.https { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// Timeouts and connection policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Default for loads that name none.
    pub connections: Option<Connections>,
    /// From the hand-over of a request to its last byte, waiting for a connection included.
    pub timeout: Duration,
    /// For DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Keep connections open between requests.
    pub reuse: bool,
    /// Names are resolved again after this long.
    pub dns_ttl: Duration,
    /// Certificates and names.
    pub tls: TlsOptions,
    /// A body beyond this many bytes ends the request as `failed{body_limit}`.
    pub max_body: u64,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connections: None,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            reuse: true,
            dns_ttl: Duration::from_mins(1),
            tls: TlsOptions::default(),
            max_body: 10 * 1024 * 1024,
        }
    }
}

/// How a target's certificate is judged, and what we show of ourselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of additional certificate authorities.
    pub ca: Option<PathBuf>,
    /// What we show when the target asks who we are.
    pub identity: Option<ClientIdentity>,
    /// The name asked for (SNI) and expected in the certificate, instead of the host's; a name or an address that TLS
    /// takes.
    pub server_name: Option<Name>,
    /// Accept any certificate. The report says so.
    pub insecure: bool,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file: the certificate, then those that vouch for it.
    pub cert: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
}

/// One rule of `classify`.
#[derive(Debug, Clone)]
pub struct ClassifyRule {
    /// Where a matching response lands: ok, rejected or failed.
    pub outcome: Outcome,
    /// Statuses that match; empty matches all.
    pub status: Vec<StatusMatch>,
    /// A condition on the response that must hold too.
    pub when: Option<Expect>,
    /// The reason's name.
    pub reason: ReasonSource,
}

/// Where the name of a reason comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasonSource {
    /// `status_429` and the like.
    Status,
    /// Given.
    Fixed(Name),
    /// The value of a header (at most 8 different ones, then `other`), or a default where it is absent.
    Header {
        /// Its name.
        header: HeaderName,
        /// Where it is absent.
        default: Name,
    },
}

/// `429`, `5xx` or `500-504`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusMatch {
    /// First status that matches.
    pub first: u16,
    /// Last status that matches.
    pub last: u16,
}

impl StatusMatch {
    /// Whether it covers `status`.
    pub fn covers(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

/// One request of an iteration, with what is expected of its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// The request's name, never its URL: a metric label.
    pub name: Name,
    /// What is sent.
    pub request: RequestSpec,
    /// What must hold of the answer.
    pub expect: Vec<Expect>,
    /// What is kept of the answer for later steps.
    pub capture: Vec<Capture>,
    /// Whether the iteration goes on when this step does not end ok.
    pub continue_on_fail: bool,
    /// Statuses that are ok here whatever `classify` says; `None` leaves it to `classify`.
    pub ok: Option<OkStatus>,
    /// Pause after the step.
    pub think: Option<Duration>,
}

/// The step-level `ok:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OkStatus {
    /// Every answer.
    Any,
    /// These.
    Of(Vec<StatusMatch>),
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct RequestSpec {
    /// GET, POST, …
    pub method: Method,
    /// Path and query, appended to the target's base URL; captured values are percent-encoded in it.
    pub path: Template,
    /// On top of the target's.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body.
    pub body: BodySpec,
    /// Overrides the target's.
    pub timeout: Option<Duration>,
}

/// A request body.
#[derive(Debug, Clone)]
pub enum BodySpec {
    /// None.
    None,
    /// JSON, each leaf a template.
    Json(JsonTemplate),
    /// `application/x-www-form-urlencoded` fields.
    Form(Vec<(Name, Template)>),
    /// Text as it is; the content type is a header's business.
    Text(Template),
    /// The bytes of a file, read when the configuration was loaded.
    Raw(bytes::Bytes),
}

/// A value kept of an answer.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The variable.
    pub name: Name,
    /// Where it is found.
    pub from: CaptureFrom,
    /// Absent = `failed{capture}`, unless there is a default.
    pub required: bool,
    /// Where nothing is found.
    pub default: Option<serde_json::Value>,
}

/// Where a captured value is found.
#[derive(Debug, Clone)]
pub enum CaptureFrom {
    /// First node of a JSONPath (RFC 9535) query on the body.
    Json(JsonPath),
    /// A header's value.
    Header(HeaderName),
    /// A group of the first match in the body.
    Regex {
        /// The expression.
        regex: regex::Regex,
        /// 0 = the whole match.
        group: usize,
    },
}

/// The target's own figures: what is read and how often.
#[derive(Debug, Clone)]
pub struct StatsSpec {
    /// During runs.
    pub every: Duration,
    /// Between runs; zero = not at all.
    pub idle_every: Duration,
    /// How long after the last response the final reading is taken.
    pub settle: Duration,
    /// By name.
    pub stats: BTreeMap<Name, StatSpec>,
}

/// One figure.
#[derive(Debug, Clone)]
pub struct StatSpec {
    /// A gauge goes up and down; a counter only resets.
    pub counter: bool,
    /// Path and query below the target's base URL.
    pub path: Name,
    /// How it is found in the answer.
    pub read: StatRead,
    /// Unit of the value as read; values are kept in base units.
    pub unit: Unit,
    /// Multiplier from the unit as read to the base unit.
    pub scale: f64,
}

/// How a figure is found in an answer.
#[derive(Debug, Clone)]
pub enum StatRead {
    /// JSONPath on a JSON body.
    Json(JsonPath),
    /// A sample in Prometheus text format; series that match are summed.
    Prometheus {
        /// Name of the series.
        name: Name,
        /// Labels that must be equal.
        labels: Vec<(Name, Name)>,
    },
}
