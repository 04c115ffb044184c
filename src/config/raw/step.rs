//! A step of an iteration: one request, what is expected and kept of its answer, and how the iteration goes on.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    probe::{Dns, Grpc, Tcp, WebSocket},
    target::StatusList,
    words::{DurationText, ExprText, OneOrMany, Ordered, Scalar, TemplateText},
};

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
