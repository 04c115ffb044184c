//! A caching LLM server: `/v1/messages` as Anthropic answers it, a pool of blocks that refuses above 95 %, and a cache
//! that knows a conversation by how it begins.

use std::collections::{HashSet, VecDeque};

use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Call, Work, model, reply, text_of, tokens_of, tokens_to_send, with_reason};
use crate::practice::{
    knobs::Knobs,
    stream::{Plan, Shape},
};

/// Prefixes remembered; the oldest is forgotten first.
const MAX_PREFIXES: usize = 10_000;
/// Tokens of a block.
const BLOCK_TOKENS: u64 = 16;
/// The share of the pool that may be used.
const HIGH_WATER: f64 = 0.95;

/// The cache and its pool.
#[derive(Debug, Default)]
pub struct Cache {
    prefixes: HashSet<String>,
    order: VecDeque<String>,
    used: u32,
    hits: u64,
    misses: u64,
    rejected: u64,
}

/// `GET /pool/stats`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolStats {
    /// Blocks there are.
    pub blocks_total: u32,
    /// Blocks taken now.
    pub blocks_used: u32,
    /// The same as a percentage.
    pub utilization_percent: f64,
    /// Prefixes the cache knows.
    pub cache_entries: usize,
    /// Requests it knew.
    pub cache_hits: u64,
    /// Requests it did not know.
    pub cache_misses: u64,
    /// Requests refused because the pool was full.
    pub total_rejected: u64,
}

impl Cache {
    /// `POST /v1/messages`. A conversation is known by the first two words of its first message (`Agent 7`): that one
    /// misses the cache, the rest hit.
    pub(super) fn message(&mut self, call: &Call<'_>, knobs: &Knobs) -> Work {
        let messages = call.json["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let input: usize = messages.iter().map(|message| tokens_of(text_of(&message["content"]))).sum();
        let room = input as u64 + call.json["max_tokens"].as_u64().unwrap_or_default();
        let blocks = u32::try_from(room.div_ceil(BLOCK_TOKENS).max(1)).unwrap_or(u32::MAX);
        if f64::from(self.used) + f64::from(blocks) > f64::from(knobs.blocks) * HIGH_WATER {
            self.rejected += 1;
            let error = json!({"type": "rate_limit_error", "message": "the block pool is above 95 %"});
            let refusal = reply(StatusCode::TOO_MANY_REQUESTS.as_u16(), &json!({"type": "error", "error": error}));
            return with_reason(refusal, "block_pool").into();
        }
        self.used += blocks;
        let first = messages.first().map_or("", |message| text_of(&message["content"]));
        let hit = self.look_up(first);
        let plan = Plan {
            shape: Shape::Anthropic,
            model: model(call.json).to_owned(),
            id: (call.id)().simple().to_string(),
            wall: call.now.wall,
            prompt_tokens: input,
            tokens: tokens_to_send(knobs, &call.json["max_tokens"]),
        };
        let mut work = if call.json["stream"] == true {
            Work::streaming(plan)
        } else {
            let said = messages.last().map_or("", |message| text_of(&message["content"]));
            reply(200, &answer(&plan, said, hit)).into()
        };
        work.blocks = blocks;
        let value = HeaderValue::from_static(if hit { "HIT" } else { "MISS" });
        work.response.headers_mut().insert("x-cache", value);
        work
    }

    /// Gives back what an answer held.
    pub fn release(&mut self, blocks: u32) {
        self.used = self.used.saturating_sub(blocks);
    }

    /// Forgets all but the blocks of answers under way.
    pub fn clear(&mut self) {
        *self = Self { used: self.used, ..Self::default() };
    }

    /// The pool now.
    pub fn stats(&self, knobs: &Knobs) -> PoolStats {
        let percent = f64::from(self.used) * 100.0 / f64::from(knobs.blocks.max(1));
        PoolStats {
            blocks_total: knobs.blocks,
            blocks_used: self.used,
            utilization_percent: (percent * 1000.0).round() / 1000.0,
            cache_entries: self.prefixes.len(),
            cache_hits: self.hits,
            cache_misses: self.misses,
            total_rejected: self.rejected,
        }
    }

    fn look_up(&mut self, text: &str) -> bool {
        let prefix = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let hit = self.prefixes.contains(&prefix);
        if hit {
            self.hits += 1;
        } else {
            self.misses += 1;
            self.prefixes.insert(prefix.clone());
            self.order.push_back(prefix);
            if self.order.len() > MAX_PREFIXES {
                self.order.pop_front().map(|oldest| self.prefixes.remove(&oldest));
            }
        }
        hit
    }
}

fn answer(plan: &Plan, said: &str, hit: bool) -> Value {
    let cached = |when: bool| if when { plan.prompt_tokens } else { 0 };
    json!({
        "id": format!("msg_{}", plan.id),
        "type": "message",
        "role": "assistant",
        "model": plan.model,
        "content": [{"type": "text", "text": format!("You said: {said}")}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {
            "input_tokens": plan.prompt_tokens,
            "cache_read_input_tokens": cached(hit),
            "cache_creation_input_tokens": cached(!hit),
            "output_tokens": plan.tokens,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::backend::testing::Client;

    #[test]
    fn messages_are_cached_by_conversation_and_say_whose_they_are() {
        let mut client = Client::new();
        let mut say = |texts: &[&str]| {
            let messages: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
            let body = json!({"messages": messages, "max_tokens": 50}).to_string();
            let (response, body) = client.send("POST", "/v1/messages", "application/json", body.as_bytes());
            let cache = response.headers()["x-cache"].to_str().expect("text").to_owned();
            (body["content"][0]["text"].as_str().expect("text").to_owned(), cache)
        };
        assert_eq!(say(&["Agent 1 request 1"]), ("You said: Agent 1 request 1".to_owned(), "MISS".to_owned()));
        assert_eq!(say(&["Agent 1 request 2"]).1, "HIT");
        assert_eq!(say(&["Agent 2 request 1"]).1, "MISS");
        // A conversation grows, and is known by how it began.
        assert_eq!(say(&["Agent 2 request 1", "Hm.", "More"]), ("You said: More".to_owned(), "HIT".to_owned()));
        let stats = client.backend.cache.stats(&client.knobs);
        assert_eq!((stats.cache_entries, stats.cache_hits, stats.cache_misses), (2, 2, 2));
    }

    #[test]
    fn the_pool_refuses_above_95_percent_until_blocks_come_back() {
        let mut client = Client::new();
        client.knobs.blocks = 20;
        // 30 + 2 tokens are two blocks.
        let body = json!({"messages": [{"content": "Agent 1"}], "max_tokens": 30});
        let statuses: Vec<u16> = (0..10).map(|_| client.post("/v1/messages", &body).0).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 429]);
        insta::assert_json_snapshot!(client.backend.cache.stats(&client.knobs), @r#"
        {
          "blocks_total": 20,
          "blocks_used": 18,
          "utilization_percent": 90.0,
          "cache_entries": 1,
          "cache_hits": 8,
          "cache_misses": 1,
          "total_rejected": 1
        }
        "#);
        client.backend.cache.release(2);
        assert_eq!(client.post("/v1/messages", &body).0, 200);
        client.backend.cache.clear();
        assert_eq!(client.post("/v1/messages", &body).0, 429, "blocks of answers under way stay taken");
    }
}
