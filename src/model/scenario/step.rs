//! One step of an iteration: what is sent, what is expected of the answer, what is kept of it, and how the iteration goes on.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderName, Method};
use serde_json_path::JsonPath;

use super::{load::Think, probe::ProbeSpec, target::StatusMatch};
use crate::model::{
    Name,
    expr::Expect,
    stream::StreamSpec,
    template::{JsonTemplate, Template},
};

/// One step of an iteration, with what is expected of its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// The request's name, never its URL: a metric label.
    pub name: Name,
    /// What is done.
    pub action: Action,
    /// From the hand-over to the last byte; overrides the target's.
    pub timeout: Option<Duration>,
    /// The step is left out where this does not hold; it sees variables only.
    pub when: Option<Expect>,
    /// The step is done once for each value.
    pub repeat: Option<Loop>,
    /// The step is done again until this holds; it counts once, with its final answer.
    pub until: Option<Until>,
    /// What must hold of the answer.
    pub expect: Vec<Expect>,
    /// What is kept of the answer for later steps.
    pub capture: Vec<Capture>,
    /// What the lists of the scenario's `state` grow by once it ended ok.
    pub push: Vec<(Name, Vec<JsonTemplate>)>,
    /// How the iteration goes on after a rejection.
    pub on_rejected: Reaction,
    /// How the iteration goes on after a failure.
    pub on_failed: Reaction,
    /// Statuses that are ok here whatever `classify` says; `None` leaves it to `classify`.
    pub ok: Option<OkStatus>,
    /// The answer is a stream of tokens.
    pub stream: Option<StreamSpec>,
    /// Labels of its series beside the step's name: dimension and value.
    pub tags: Vec<(Name, Template)>,
    /// Pause after the step.
    pub think: Option<Think>,
}

impl Step {
    /// A step that does this and nothing else.
    pub fn new(name: impl Into<Name>, action: Action) -> Self {
        Self {
            name: name.into(),
            action,
            timeout: None,
            when: None,
            repeat: None,
            until: None,
            expect: Vec::new(),
            capture: Vec::new(),
            push: Vec::new(),
            on_rejected: Reaction::Stop,
            on_failed: Reaction::Stop,
            ok: None,
            stream: None,
            tags: Vec::new(),
            think: None,
        }
    }

    /// Whether it asks a place of its own for its certificate.
    pub fn shows_certificate(&self) -> bool {
        matches!(&self.action, Action::Probe(spec) if matches!(**spec, ProbeSpec::Tls { .. }))
    }

    /// How long it may take, polls and all, where the target gives a request `default`.
    pub fn patience(&self, default: Duration) -> Duration {
        let polls = self.until.as_ref().map(|until| until.timeout);
        polls.or(self.timeout).unwrap_or(default)
    }

    /// The HTTP request, if it is one.
    pub fn http(&self) -> Option<&RequestSpec> {
        match &self.action {
            Action::Http(request) => Some(request),
            Action::Probe(_) => None,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Sends an HTTP request.
    Http(Box<RequestSpec>),
    /// Asks in another way.
    Probe(Arc<ProbeSpec>),
}

/// `loop`: the step is done once for each value.
#[derive(Debug, Clone)]
pub struct Loop {
    /// What it goes through.
    pub over: LoopOver,
    /// The variable that holds the value.
    pub name: Name,
}

/// What a loop goes through.
#[derive(Debug, Clone)]
pub enum LoopOver {
    /// Values as written.
    Values(Arc<[serde_json::Value]>),
    /// The elements of a captured list.
    Variable(Name),
    /// So many times, chosen evenly between the two, both included; the variable counts from 1.
    Times(u32, u32),
}

/// `until`: polling.
#[derive(Debug, Clone)]
pub struct Until {
    /// What must hold of the answer for the polling to end.
    pub condition: Expect,
    /// From the end of one poll to the start of the next.
    pub every: Duration,
    /// From the first poll on; then the step is `failed{timeout}`.
    pub timeout: Duration,
}

/// How an iteration goes on after a step that did not end ok.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// It ends.
    Stop,
    /// It goes on with the next step.
    Continue,
    /// The step is tried again; if it still does not end ok, the iteration ends. Each try counts.
    Retry(Retry),
}

/// How a step is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Tries after the first one; at least 1.
    pub max: u32,
    /// Pause before the second try, doubled before each further one up to the last.
    pub backoff: (Duration, Duration),
    /// A longer `Retry-After` (at most 1 h) is obeyed.
    pub honor_retry_after: bool,
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
    /// Credentials; override the target's.
    pub auth: Option<Auth>,
}

impl RequestSpec {
    /// A request without a body.
    pub fn new(method: Method, path: Template) -> Self {
        Self { method, path, headers: Vec::new(), body: BodySpec::None, auth: None }
    }
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
    /// `multipart/form-data` parts, in order.
    Multipart(Vec<Part>),
    /// Text as it is; the content type is a header's business.
    Text(Template),
    /// The bytes of a file, read when the configuration was loaded.
    Raw(bytes::Bytes),
}

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub struct Part {
    /// The field's name.
    pub name: Name,
    /// The file's name, for an upload.
    pub file_name: Option<Name>,
    /// Media type; a file without one is `application/octet-stream`.
    pub content_type: Option<Name>,
    /// What it holds.
    pub data: PartData,
}

/// What a part of a multipart body holds.
#[derive(Debug, Clone)]
pub enum PartData {
    /// Text, filled in.
    Text(Template),
    /// The bytes of a file, read when the configuration was loaded.
    File(bytes::Bytes),
}

/// Credentials of a request.
#[derive(Debug, Clone)]
pub enum Auth {
    /// RFC 7617.
    Basic {
        /// User name.
        username: Template,
        /// Password.
        password: Template,
    },
    /// RFC 6750.
    Bearer(Template),
    /// Any header.
    Header(HeaderName, Template),
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
    /// The value of a cookie that the answer sets.
    Cookie(Name),
    /// A group of the first match in the body.
    Regex {
        /// The expression.
        regex: regex::Regex,
        /// 0 = the whole match.
        group: usize,
    },
}
