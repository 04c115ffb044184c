//! `stream:`: an answer that comes token by token.

use schemars::JsonSchema;
use serde::Deserialize;

use super::words::{DurationText, OneOrMany};

/// How an answer is streamed: a word, or a map.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Stream {
    /// As OpenAI's or Ollama's API streams.
    Word(StreamWord),
    /// In full.
    Full(StreamMap),
}

/// How events are told apart.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StreamWord {
    Sse,
    Ndjson,
}

/// How an answer is streamed, and what is looked for in its events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamMap {
    /// `sse`: server-sent events, as OpenAI's API has them; `ndjson`: a JSON document per line, as Ollama's API has them.
    pub(crate) format: StreamWord,
    /// JSONPath of an event's text; an event without it is no token.
    pub(crate) token: Option<OneOrMany<String>>,
    /// JSONPath of the number of tokens that the target counted.
    pub(crate) usage: Option<String>,
    /// What ends the stream: the data of an event (`[DONE]`), a JSONPath (`$.done`), or `event: NAME`.
    pub(crate) done: Option<String>,
    /// A wait for the next token that is longer than this is a stall; 5s by default.
    pub(crate) stall: Option<DurationText>,
}
