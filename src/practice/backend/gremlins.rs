//! A chat API under `/api` and `/api/v1`, for users who do many things with weights: conversations with a history,
//! messages in them, agents, retrieval, and pages about itself.

use std::collections::VecDeque;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{Call, Remembered, ok, reply};

/// Messages kept of a conversation; the oldest is forgotten first.
const MAX_MESSAGES: usize = 20;
/// Characters kept of a message.
const MAX_TEXT: usize = 200;

/// The conversations. Many, so that a user of thousands still finds the one begun a minute ago.
#[derive(Debug, Default)]
pub struct Gremlins {
    conversations: Remembered<Conversation, 100_000>,
}

#[derive(Debug, Default)]
struct Conversation {
    count: u32,
    messages: VecDeque<String>,
}

impl Gremlins {
    /// Everything under `/api` that is not Ollama's.
    pub(super) fn answer(&mut self, call: &Call<'_>, method: &str, path: [&str; 3]) -> Response<Bytes> {
        match (method, path) {
            ("POST", ["conversations", "", ""]) => {
                let id = (call.id)();
                self.conversations.add(id, Conversation::default());
                reply(201, &json!({"id": id, "created_at": call.now.wall.to_string(), "title": call.json["title"]}))
            }
            ("GET", ["conversations", "", ""]) => reply(200, &json!({"total": self.conversations.len()})),
            ("POST", ["conversations", id, "messages"]) => self.message(call, id),
            ("GET", ["conversations", id, "" | "messages"]) => self.history(id),
            ("POST", ["agents" | "multi-agent", "", ""]) => agents(call),
            ("POST", ["rag", "", ""] | ["documents", "search", ""]) => rag(call),
            ("GET", ["health", "" | "health", ""]) => {
                reply(200, &json!({"status": "healthy", "conversations": self.conversations.len()}))
            }
            ("GET", ["capabilities", "", ""]) => {
                reply(200, &json!({"capabilities": ["chat", "agents", "rag", "history"]}))
            }
            ("GET", ["info", "", ""]) => reply(200, &json!({"name": "practice", "api": "v1"})),
            (_, ["conversations" | "agents" | "rag" | "health" | "capabilities" | "info", ..]) => {
                reply(405, &json!({"detail": "method not allowed"}))
            }
            _ => ok(),
        }
    }

    /// Conversations remembered.
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    fn message(&mut self, call: &Call<'_>, id: &str) -> Response<Bytes> {
        let Some((id, conversation)) = self.conversations.get(id) else { return unknown() };
        let text = question(call.json);
        if conversation.messages.len() == MAX_MESSAGES {
            conversation.messages.pop_front();
        }
        conversation.messages.push_back(text.chars().take(MAX_TEXT).collect());
        conversation.count += 1;
        let (turn, message) = (conversation.count, (call.id)());
        let answer = format!("You said: {text}");
        reply(200, &json!({"id": message, "conversation_id": id, "turn": turn, "answer": answer}))
    }

    fn history(&mut self, id: &str) -> Response<Bytes> {
        let Some((id, conversation)) = self.conversations.get(id) else { return unknown() };
        reply(200, &json!({"id": id, "turns": conversation.count, "messages": conversation.messages}))
    }
}

fn unknown() -> Response<Bytes> {
    reply(404, &json!({"detail": "no such conversation"}))
}

fn question(json: &Value) -> &str {
    ["q", "query", "message", "input"].iter().find_map(|key| json[key].as_str()).unwrap_or_default()
}

fn agents(call: &Call<'_>) -> Response<Bytes> {
    let steps: Vec<_> = ["researcher", "writer", "critic"].map(|agent| json!({"agent": agent, "done": true})).into();
    reply(200, &json!({"id": (call.id)(), "steps": steps, "answer": format!("You said: {}", question(call.json))}))
}

fn rag(call: &Call<'_>) -> Response<Bytes> {
    let found: Vec<_> = (1..=3).map(|n| json!({"id": n, "score": 1.0 / f64::from(n)})).collect();
    reply(200, &json!({"documents": found, "answer": format!("You said: {}", question(call.json))}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::backend::testing::Client;

    #[test]
    fn a_conversation_keeps_its_context() {
        let mut client = Client::new();
        for prefix in ["/api", "/api/v1"] {
            let (status, begun) = client.post(&format!("{prefix}/conversations"), &json!({"title": "t"}));
            assert_eq!((status, &begun["title"]), (201, &json!("t")));
            let one = format!("{prefix}/conversations/{}", begun["id"].as_str().expect("an id"));
            for n in 1..=MAX_MESSAGES + 1 {
                let (_, said) = client.post(&format!("{one}/messages"), &json!({"q": format!("Number {n}")}));
                assert_eq!((&said["turn"], &said["answer"]), (&json!(n), &json!(format!("You said: Number {n}"))));
            }
            let (_, history) = client.get(&one);
            assert_eq!((&history["turns"], &history["messages"][0]), (&json!(MAX_MESSAGES + 1), &json!("Number 2")));
            assert_eq!(client.get(&format!("{one}/messages")).1, history);
        }
        assert_eq!(client.get("/api/conversations").1, json!({"total": 2}));
    }

    #[test]
    fn every_page_is_there() {
        let mut client = Client::new();
        let answers = |client: &mut Client, path: &str, key: &str| !client.get(path).1[key].is_null();
        assert!(answers(&mut client, "/api/health", "status"));
        assert!(answers(&mut client, "/api/v1/health/health", "status"));
        assert!(answers(&mut client, "/api/v1/capabilities", "capabilities"));
        assert!(answers(&mut client, "/api/info", "name"));
        let asked = json!({"query": "Why?"});
        assert_eq!(client.post("/api/agents", &asked).1["steps"].as_array().map(Vec::len), Some(3));
        assert_eq!(client.post("/api/rag", &asked).1["answer"], "You said: Why?");
        assert_eq!(client.post("/api/v1/documents/search", &asked).1["documents"][0]["score"], 1.0);
        assert_eq!(client.get("/api/agents").0, 405);
        assert_eq!(client.get("/api/conversations/0").0, 404);
        assert_eq!(client.post("/api/conversations/0/messages", &asked).0, 404);
    }
}
