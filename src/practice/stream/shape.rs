//! The three ways in which LLM servers write a stream of tokens, and the same answers in one piece.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// What the answers say, over and over.
const WORDS: [&str; 3] = ["Practice ", "makes ", "perfect. "];

/// Whose way of streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ollama's `/api/generate`: one JSON object a line.
    Ollama,
    /// OpenAI's `/v1/chat/completions`: server-sent events, `[DONE]` at the end.
    OpenAi,
    /// Anthropic's `/v1/messages`: server-sent events with names.
    Anthropic,
}

/// A streamed answer that is still to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How it is written.
    pub shape: Shape,
    /// The model that seems to answer.
    pub model: String,
    /// The answer's id.
    pub id: String,
    /// When it was asked for.
    pub wall: jiff::Timestamp,
    /// Tokens of the question.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub tokens: u32,
}

/// The n-th token's text.
fn word(n: u32) -> &'static str {
    WORDS[n as usize % WORDS.len()]
}

impl Plan {
    /// The stream's content type.
    pub fn content_type(&self) -> &'static str {
        if self.shape == Shape::Ollama { "application/x-ndjson" } else { "text/event-stream" }
    }

    /// The n-th token as it is sent, what comes before the first included.
    pub fn token(&self, n: u32) -> Bytes {
        let text = word(n);
        let out = match self.shape {
            Shape::Ollama => {
                let line =
                    json!({"model": self.model, "created_at": self.wall.to_string(), "response": text, "done": false});
                format!("{line}\n")
            }
            Shape::OpenAi => {
                let delta =
                    if n == 0 { json!({"role": "assistant", "content": text}) } else { json!({"content": text}) };
                self.chunk(&json!([{"index": 0, "delta": delta, "finish_reason": null}]), &Value::Null)
            }
            Shape::Anthropic => {
                let delta = json!({"type": "text_delta", "text": text});
                let block = json!({"type": "content_block_delta", "index": 0, "delta": delta});
                format!("{}{}", if n == 0 { self.anthropic_start() } else { String::new() }, event(&block))
            }
        };
        Bytes::from(out)
    }

    /// What comes after the last token: how much was sent and how long it took.
    pub fn end(&self, sent: u32, first: Option<Duration>, total: Duration) -> String {
        match self.shape {
            Shape::Ollama => {
                let first = first.unwrap_or(total).min(total);
                let mut line = self.ollama_end(sent);
                line["total_duration"] = (total.as_nanos() as u64).into();
                line["load_duration"] = 0.into();
                line["prompt_eval_duration"] = (first.as_nanos() as u64).into();
                line["eval_duration"] = (total.saturating_sub(first).as_nanos() as u64).into();
                format!("{line}\n")
            }
            Shape::OpenAi => {
                let last = self.chunk(&json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), &Value::Null);
                format!("{last}{}data: [DONE]\n\n", self.chunk(&json!([]), &self.openai_usage(sent)))
            }
            Shape::Anthropic => {
                let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
                [
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": sent}}),
                    json!({"type": "message_stop"}),
                ]
                .iter()
                .map(event)
                .collect()
            }
        }
    }

    /// Ollama's last object, which is also the whole answer where nothing is streamed.
    pub fn ollama_end(&self, sent: u32) -> Value {
        json!({
            "model": self.model,
            "created_at": self.wall.to_string(),
            "response": "",
            "done": true,
            "done_reason": "stop",
            "prompt_eval_count": self.prompt_tokens,
            "eval_count": sent,
        })
    }

    /// OpenAI's counts.
    pub fn openai_usage(&self, sent: u32) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": sent,
            "total_tokens": self.prompt_tokens + sent as usize,
        })
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> String {
        let chunk = json!({
            "id": format!("chatcmpl-{}", self.id),
            "object": "chat.completion.chunk",
            "created": self.wall.as_second(),
            "model": self.model,
            "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    }

    fn anthropic_start(&self) -> String {
        let message = json!({
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "usage": {"input_tokens": self.prompt_tokens, "output_tokens": 0},
        });
        let block = json!({"type": "text", "text": ""});
        event(&json!({"type": "message_start", "message": message}))
            + &event(&json!({"type": "content_block_start", "index": 0, "content_block": block}))
    }
}

/// A server-sent event that is named after its type.
fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("ping"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(shape: Shape) -> String {
        let plan = Plan {
            shape,
            model: "llama2".to_owned(),
            id: "7".to_owned(),
            wall: jiff::Timestamp::UNIX_EPOCH,
            prompt_tokens: 4,
            tokens: 2,
        };
        let tokens: Vec<u8> = (0..2).flat_map(|n| plan.token(n)).collect();
        let ms = Duration::from_millis;
        String::from_utf8(tokens).expect("text") + &plan.end(2, Some(ms(3)), ms(10))
    }

    #[test]
    fn as_ollama_writes_it() {
        insta::assert_snapshot!(written(Shape::Ollama), @r#"
        {"model":"llama2","created_at":"1970-01-01T00:00:00Z","response":"Practice ","done":false}
        {"model":"llama2","created_at":"1970-01-01T00:00:00Z","response":"makes ","done":false}
        {"model":"llama2","created_at":"1970-01-01T00:00:00Z","response":"","done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":2,"total_duration":10000000,"load_duration":0,"prompt_eval_duration":3000000,"eval_duration":7000000}
        "#);
    }

    #[test]
    fn as_openai_writes_it() {
        insta::assert_snapshot!(written(Shape::OpenAi), @r#"
        data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":0,"model":"llama2","choices":[{"index":0,"delta":{"role":"assistant","content":"Practice "},"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":0,"model":"llama2","choices":[{"index":0,"delta":{"content":"makes "},"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":0,"model":"llama2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

        data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":0,"model":"llama2","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}

        data: [DONE]
        "#);
    }

    #[test]
    fn as_anthropic_writes_it() {
        insta::assert_snapshot!(written(Shape::Anthropic), @r#"
        event: message_start
        data: {"type":"message_start","message":{"id":"msg_7","type":"message","role":"assistant","model":"llama2","content":[],"stop_reason":null,"usage":{"input_tokens":4,"output_tokens":0}}}

        event: content_block_start
        data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Practice "}}

        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"makes "}}

        event: content_block_stop
        data: {"type":"content_block_stop","index":0}

        event: message_delta
        data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}

        event: message_stop
        data: {"type":"message_stop"}
        "#);
    }
}
