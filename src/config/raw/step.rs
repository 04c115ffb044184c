//! A step of an iteration: one request, what is expected and kept of its answer, and how the iteration goes on.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    probe::{Dns, Grpc, Tcp, WebSocket},
    stream::Stream,
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
    /// Credentials; they override the target's.
    pub(crate) auth: Option<Auth>,
    /// A JSON body; its texts are templates.
    pub(crate) json: Option<Json>,
    /// A form body.
    pub(crate) form: Option<Ordered<Scalar>>,
    /// A `multipart/form-data` body: `{file: "@speech.wav", model: base}`; `@` reads a file when the configuration is loaded.
    pub(crate) multipart: Option<Ordered<Part>>,
    /// A text body.
    pub(crate) body: Option<TemplateText>,
    /// A body read from a file.
    pub(crate) body_file: Option<String>,
    /// What must hold of the answer.
    pub(crate) expect: Option<OneOrMany<ExprText>>,
    /// What is kept of the answer for later steps.
    pub(crate) capture: Option<Ordered<Capture>>,
    /// What the lists of the scenario's `state` grow by once the step ended ok; `${sent}` is what `append` added to the body.
    pub(crate) push: Option<Ordered<OneOrMany<Json>>>,
    /// `stop` ends the iteration when the step is not ok, `continue` goes on; stop by default.
    pub(crate) on_fail: Option<OnFail>,
    /// How the iteration goes on after a rejection and after a failure, each by itself.
    pub(crate) on: Option<On>,
    /// Statuses that are ok here: `any`, 404, 4xx, or a list.
    pub(crate) ok: Option<StatusList>,
    /// The step is left out where this does not hold; it sees variables only.
    pub(crate) when: Option<ExprText>,
    /// The step is done once for each value, or so many times.
    #[serde(rename = "loop")]
    pub(crate) repeat: Option<Loop>,
    /// The step is done again until this holds of its answer. It counts once, with its final answer.
    pub(crate) until: Option<ExprText>,
    /// until: from the end of one poll to the start of the next; 1s by default.
    pub(crate) every: Option<DurationText>,
    /// The answer is a stream of tokens: `sse` as OpenAI's API sends them, `ndjson` as Ollama's does, or a map.
    pub(crate) stream: Option<Stream>,
    /// Labels of its series beside the step's name; thresholds select by them.
    pub(crate) tags: Option<Ordered<Scalar>>,
    /// Pause after the step.
    pub(crate) think: Option<Pause>,
    /// Overrides the target's. With `until` it is for all polls together; 60s by default.
    pub(crate) timeout: Option<DurationText>,
}

/// Whether the iteration goes on.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFail {
    Stop,
    Continue,
}

/// Credentials of a request: exactly one of basic, bearer, header.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    /// User name and password (RFC 7617).
    pub(crate) basic: Option<Basic>,
    /// A token, such as `${secret.token}` (RFC 6750).
    pub(crate) bearer: Option<TemplateText>,
    /// A header and its value: `{x-api-key: "${secret.key}"}`.
    pub(crate) header: Option<Ordered<TemplateText>>,
}

/// User name and password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basic {
    /// User name.
    pub(crate) username: TemplateText,
    /// Password, such as `${secret.password}`.
    pub(crate) password: TemplateText,
}

/// A part of a multipart body: a text, `@` and a file's path, or a map.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Part {
    /// Text, or a file after `@`; `@@` is a literal `@`.
    Short(Scalar),
    /// In full.
    Long(PartMap),
}

/// A part of a multipart body: exactly one of file, text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartMap {
    /// A file, read when the configuration is loaded.
    pub(crate) file: Option<String>,
    /// A text.
    pub(crate) text: Option<TemplateText>,
    /// The name that the upload gives the file; that of the file by default.
    pub(crate) filename: Option<String>,
    /// Media type of the part, such as `audio/wav`.
    pub(crate) content_type: Option<String>,
}

/// How the iteration goes on after a step that did not end ok.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct On {
    /// After a rejection; stop by default.
    pub(crate) rejected: Option<Reaction>,
    /// After a failure; stop by default.
    pub(crate) failed: Option<Reaction>,
}

/// `stop`, `continue`, or `{retry: {max: 3}}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Reaction {
    /// A word.
    Word(OnFail),
    /// Tries again.
    Retry(RetryMap),
}

/// The step is tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryMap {
    /// How; each try counts. If none ends ok, the iteration ends.
    pub(crate) retry: Retry,
}

/// How a step is tried again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// Tries after the first one; 3 by default.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max: Option<u32>,
    /// Pause before the second try, doubled before each further one up to the last: `1s..10s`; 1s..10s by default.
    pub(crate) backoff: Option<String>,
    /// A longer `Retry-After` (at most 1h) is obeyed; true by default.
    pub(crate) honor_retry_after: Option<bool>,
}

/// Repeats a step: exactly one of over, times.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Loop {
    /// A list of values, or the name of a captured list.
    pub(crate) over: Option<Over>,
    /// So many times, or `{between: [4, 6]}`.
    pub(crate) times: Option<Times>,
    /// The variable that holds the value, or the number of the round from 1; `item` by default.
    #[serde(rename = "as")]
    pub(crate) name: Option<String>,
}

/// What a loop goes through.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Over {
    /// These values.
    Values(#[schemars(length(min = 1, max = 10_000))] Vec<Json>),
    /// The elements of a captured list.
    Variable(String),
}

/// How often a loop goes round.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Times {
    /// So often.
    Exactly(#[schemars(range(min = 1, max = 10_000))] u32),
    /// Between two numbers.
    Between(TimesBetween),
}

/// A number chosen anew each time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimesBetween {
    /// The smallest and the largest number: [4, 6].
    #[schemars(length(min = 2, max = 2))]
    pub(crate) between: Vec<u32>,
}

/// A pause: a fixed one such as 2s, or a random one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Pause {
    /// This long.
    Constant(DurationText),
    /// In full.
    Random(PauseMap),
}

/// A pause: exactly one of constant, between, poisson.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseMap {
    /// This long.
    pub(crate) constant: Option<DurationText>,
    /// Evenly between two durations: [1s, 5s].
    #[schemars(length(min = 2, max = 2))]
    pub(crate) between: Option<Vec<DurationText>>,
    /// Exponentially distributed around this mean.
    pub(crate) poisson: Option<DurationText>,
}

/// A value kept of an answer: exactly one of json, header, cookie, regex.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capture {
    /// A JSONPath such as `$.id`.
    pub(crate) json: Option<String>,
    /// A header's name.
    pub(crate) header: Option<String>,
    /// The name of a cookie that the answer sets.
    pub(crate) cookie: Option<String>,
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
