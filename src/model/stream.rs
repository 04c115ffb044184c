//! What a streamed answer looks like: where its tokens are, and how it says that it is complete.

use std::time::Duration;

use serde_json_path::JsonPath;

use super::{Name, jsonpath};

/// How a step's answer is streamed, and what is looked for in its events.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// How events are told apart.
    pub format: StreamFormat,
    /// Where an event may hold a piece of the answer: it is a token if any of them finds a value that is neither false,
    /// null nor empty. None at all: every event with data is a token.
    pub token: Vec<JsonPath>,
    /// Where an event holds the target's own count of tokens; the last number wins.
    pub usage: Option<JsonPath>,
    /// What the last event looks like; `None`: the end of the body is the end of the answer.
    pub done: Option<StreamDone>,
    /// A wait for the next token that is longer than this is a stall.
    pub stall: Duration,
}

/// How events are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFormat {
    /// `text/event-stream` as WHATWG has it.
    Sse,
    /// One JSON value per line.
    Ndjson,
}

/// What the last event of a stream looks like.
#[derive(Debug, Clone)]
pub enum StreamDone {
    /// Its data is exactly this text: `[DONE]`.
    Text(Name),
    /// Its type is this: `event: message_stop`; SSE only.
    Event(Name),
    /// The query finds a value that is neither false, null nor empty.
    Path(JsonPath),
}

impl StreamSpec {
    /// The wait for a token that is a stall unless the configuration says otherwise.
    pub const STALL: Duration = Duration::from_secs(5);

    /// What `stream: sse` means: the answers of OpenAI's `/v1/chat/completions` and `/v1/completions`, and of what speaks
    /// like them; what a model thinks aloud and the tools it calls are tokens too.
    pub fn sse() -> Self {
        Self {
            format: StreamFormat::Sse,
            token: ["content", "reasoning_content", "tool_calls"]
                .map(|name| query(&format!("$.choices[0].delta.{name}")))
                .into_iter()
                .chain([query("$.choices[0].text")])
                .collect(),
            usage: Some(query("$.usage.completion_tokens")),
            done: Some(StreamDone::Text("[DONE]".into())),
            stall: Self::STALL,
        }
    }

    /// What `stream: ndjson` means: the answers of Ollama's `/api/generate` and `/api/chat`.
    pub fn ndjson() -> Self {
        Self {
            format: StreamFormat::Ndjson,
            token: ["response", "thinking", "message.content", "message.thinking", "message.tool_calls"]
                .map(|path| query(&format!("$.{path}")))
                .into(),
            usage: Some(query("$.eval_count")),
            done: Some(StreamDone::Path(query("$.done"))),
            stall: Self::STALL,
        }
    }
}

fn query(text: &str) -> JsonPath {
    jsonpath::parse(text).expect("our own queries are good")
}
