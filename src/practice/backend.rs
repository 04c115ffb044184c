//! The back ends that people test: an LLM queue, a workflow with sessions, a cache, a pool of conversations. Each is a
//! few lines of state; only their shapes are real.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::knobs::Knobs;
use crate::model::units::Rate;

/// Sessions, conversations and cache entries remembered; the oldest is forgotten first.
const MAX_REMEMBERED: usize = 10_000;
/// Status polls after which a session is done.
const POLLS_UNTIL_DONE: u32 = 3;

/// What is remembered between requests.
#[derive(Debug, Default)]
pub struct Backend {
    sessions: VecDeque<Session>,
    conversations: Vec<String>,
    cached: HashSet<String>,
    cached_order: VecDeque<String>,
    leaked: u64,
    decided: u64,
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Session {
    id: String,
    polls: u32,
    validated: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

/// A request as the back ends see it.
pub struct Call<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path without the query.
    pub path: &'a str,
    /// Its body as JSON, `Null` where it is none.
    pub json: &'a Value,
    /// The wall-clock time, for `created_at`.
    pub wall: jiff::Timestamp,
    /// A fresh identifier, should one be needed.
    pub id: &'a dyn Fn() -> String,
}

impl Backend {
    /// Does the work of one request and leaks.
    pub fn work(&mut self, call: &Call<'_>, knobs: &Knobs) -> Response<Bytes> {
        self.leaked = self.leaked.saturating_add(knobs.leak_per_request);
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["api", "generate"]) => generate(call),
            ("POST", ["process"]) => self.process(call),
            ("POST", ["validate"]) => self.validate(call),
            ("GET", ["session", id, "status"]) => self.session_status(id),
            ("GET", ["fir", id]) => self.fir(id),
            ("POST", ["conversations"]) => self.open_conversation(call, knobs.pool_limit),
            ("GET", ["conversations"]) => {
                reply(200, &json!({"active": self.conversations.len(), "limit": knobs.pool_limit}))
            }
            ("DELETE", ["conversations", id]) => self.close_conversation(id),
            ("POST", ["v1", "messages"]) => self.message(call),
            ("POST", ["api", "conversations"]) => reply(201, &json!({"id": (call.id)()})),
            _ => ok(),
        }
    }

    /// What the memory gauges show, in bytes.
    pub fn memory(&self, knobs: &Knobs) -> u64 {
        knobs.memory.saturating_add(self.leaked)
    }

    /// Conversations open now.
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Is this one of the requests that are to fail? Evenly spread: of n requests exactly ⌊n·share⌋.
    pub fn fails(&mut self, share: f64) -> bool {
        let due = |count: u64| (count as f64 * share + 1e-9).floor();
        self.decided += 1;
        due(self.decided) > due(self.decided - 1)
    }

    /// Is this one above the rate? A bucket that holds one second's worth, at least one, and starts full.
    pub fn above_rate(&mut self, rate: Rate, now: Instant) -> bool {
        let size = rate.per_second().max(1.0);
        let bucket = match &mut self.bucket {
            Some(bucket) if bucket.rate == rate => bucket,
            other => other.insert(Bucket { rate, tokens: size, at: now }),
        };
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * rate.per_second()).min(size);
        bucket.at = now;
        let above = bucket.tokens < 1.0;
        if !above {
            bucket.tokens -= 1.0;
        }
        above
    }

    fn process(&mut self, call: &Call<'_>) -> Response<Bytes> {
        let id = (call.id)();
        if self.sessions.len() == MAX_REMEMBERED {
            self.sessions.pop_front();
        }
        self.sessions.push_back(Session { id: id.clone(), polls: 0, validated: Vec::new() });
        reply(200, &json!({"session_id": id, "status": "processing", "current_step": "transcript"}))
    }

    fn validate(&mut self, call: &Call<'_>) -> Response<Bytes> {
        const STAGES: [&str; 4] = ["transcript", "summary", "violations", "narrative"];
        let stage = call.json["stage"].as_str().unwrap_or_default();
        let Some(session) = self.session(call.json["session_id"].as_str().unwrap_or_default()) else {
            return no_session();
        };
        if !STAGES.contains(&stage) {
            return reply(422, &json!({"detail": format!("stage must be one of {}", STAGES.join(", "))}));
        }
        if !session.validated.iter().any(|done| done == stage) {
            session.validated.push(stage.to_owned());
        }
        reply(200, &json!({"session_id": session.id, "stage": stage, "valid": true, "validated": session.validated}))
    }

    fn session_status(&mut self, id: &str) -> Response<Bytes> {
        let Some(session) = self.session(id) else { return no_session() };
        session.polls += 1;
        let status = if session.polls >= POLLS_UNTIL_DONE { "done" } else { "processing" };
        reply(200, &json!({"session_id": session.id, "status": status, "validated": session.validated}))
    }

    fn fir(&mut self, id: &str) -> Response<Bytes> {
        let Some(session) = self.session(id) else { return no_session() };
        let short: String = session.id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
        let number = format!("FIR-{short}");
        reply(
            200,
            &json!({"session_id": session.id, "fir_number": number, "content": format!("First report {number}")}),
        )
    }

    fn session(&mut self, id: &str) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|session| session.id == id)
    }

    fn open_conversation(&mut self, call: &Call<'_>, limit: u32) -> Response<Bytes> {
        if self.conversations.len() >= (limit as usize).min(MAX_REMEMBERED) {
            return refuse(StatusCode::TOO_MANY_REQUESTS, "pool_full");
        }
        let id = (call.id)();
        self.conversations.push(id.clone());
        reply(201, &json!({"id": id, "active": self.conversations.len(), "limit": limit}))
    }

    fn close_conversation(&mut self, id: &str) -> Response<Bytes> {
        let Some(at) = self.conversations.iter().position(|open| open == id) else {
            return reply(404, &json!({"error": "no such conversation"}));
        };
        self.conversations.swap_remove(at);
        reply(200, &json!({"deleted": id, "active": self.conversations.len()}))
    }

    /// A conversation is known by its first two words (`Agent 7`): its first message misses the cache, the rest hit.
    fn message(&mut self, call: &Call<'_>) -> Response<Bytes> {
        let content = call.json["messages"].get(0).map_or("", |first| first["content"].as_str().unwrap_or_default());
        let key = content.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let hit = !self.cached.insert(key.clone());
        if !hit {
            self.cached_order.push_back(key);
            if self.cached_order.len() > MAX_REMEMBERED {
                self.cached_order.pop_front().map(|oldest| self.cached.remove(&oldest));
            }
        }
        let mut response = reply(
            200,
            &json!({
                "id": format!("msg_{}", (call.id)()),
                "type": "message",
                "role": "assistant",
                "model": model(call.json),
                "content": [{"type": "text", "text": format!("You said: {content}")}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": content.split_whitespace().count(), "output_tokens": 5}
            }),
        );
        let value = http::HeaderValue::from_static(if hit { "HIT" } else { "MISS" });
        response.headers_mut().insert("x-cache", value);
        response
    }
}

/// The model a request asks for; what has none is queued as `default`.
pub fn model(json: &Value) -> &str {
    json["model"].as_str().filter(|name| !name.is_empty() && name.len() <= 100).unwrap_or("default")
}

/// Ollama's answer: one JSON object, or one per line when `stream` is true.
fn generate(call: &Call<'_>) -> Response<Bytes> {
    let prompt = call.json["prompt"].as_str().unwrap_or_default();
    let line = |text: &str, done: bool| json!({"model": model(call.json), "created_at": call.wall.to_string(), "response": text, "done": done});
    if call.json["stream"] == true {
        let words = [("Practice ", false), ("makes ", false), ("perfect.", false), ("", true)];
        let lines: Vec<String> = words.iter().map(|(word, done)| line(word, *done).to_string()).collect();
        let body = lines.join("\n") + "\n";
        return with_type(Response::new(Bytes::from(body)), "application/x-ndjson");
    }
    let mut answer = line(&format!("Practice makes perfect: {prompt}"), true);
    answer["done_reason"] = "stop".into();
    answer["prompt_eval_count"] = prompt.split_whitespace().count().into();
    answer["eval_count"] = 3.into();
    reply(200, &answer)
}

/// `{"ok":true}`.
pub fn ok() -> Response<Bytes> {
    with_type(Response::new(Bytes::from_static(br#"{"ok":true}"#)), "application/json")
}

/// A JSON answer.
pub fn reply(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = with_type(Response::new(Bytes::from(body.to_string())), "application/json");
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses are checked when they are set");
    response
}

/// A refusal that says why in `x-reject-reason`.
pub fn refuse(status: StatusCode, reason: &'static str) -> Response<Bytes> {
    let mut response = reply(status.as_u16(), &json!({"error": reason}));
    response.headers_mut().insert("x-reject-reason", http::HeaderValue::from_static(reason));
    response
}

/// The same answer with a content type.
pub fn with_type(mut response: Response<Bytes>, kind: &'static str) -> Response<Bytes> {
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn no_session() -> Response<Bytes> {
    reply(404, &json!({"detail": "no such session"}))
}

/// Whole seconds for `Retry-After`, rounded up.
pub fn retry_after_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::{clock::mono, units::parse_rate};

    struct Client {
        backend: Backend,
        knobs: Knobs,
        ids: Cell<u32>,
    }

    impl Client {
        fn new() -> Self {
            Self { backend: Backend::default(), knobs: Knobs::default(), ids: Cell::new(0) }
        }

        fn send(&mut self, method: &Method, path: &str, json: &Value) -> (u16, Value, Option<String>) {
            let id = || {
                self.ids.set(self.ids.get() + 1);
                format!("{:08x}-id", self.ids.get())
            };
            let call = Call { method, path, json, wall: jiff::Timestamp::UNIX_EPOCH, id: &id };
            let response = self.backend.work(&call, &self.knobs);
            let cache = response.headers().get("x-cache").map(|value| value.to_str().expect("text").to_owned());
            let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
            (response.status().as_u16(), body, cache)
        }
    }

    #[test]
    fn the_pool_refuses_the_eleventh_until_one_is_freed() {
        let mut client = Client::new();
        let ids: Vec<Value> =
            (0..10).map(|_| client.send(&Method::POST, "/conversations", &Value::Null).1["id"].clone()).collect();
        assert_eq!(client.send(&Method::POST, "/conversations", &Value::Null).0, 429);
        let first = format!("/conversations/{}", ids[0].as_str().expect("an id"));
        assert_eq!(client.send(&Method::DELETE, &first, &Value::Null).0, 200);
        assert_eq!(client.send(&Method::DELETE, &first, &Value::Null).0, 404);
        assert_eq!(client.send(&Method::POST, "/conversations", &Value::Null).0, 201);
        assert_eq!(client.send(&Method::GET, "/conversations", &Value::Null).1["active"], 10);
    }

    #[test]
    fn a_session_from_process_to_report() {
        let mut client = Client::new();
        let id = client.send(&Method::POST, "/process", &Value::Null).1["session_id"].clone();
        let text = id.as_str().expect("an id");
        let mut stage =
            |stage: &str| client.send(&Method::POST, "/validate", &json!({"session_id": id, "stage": stage})).0;
        assert_eq!((stage("summary"), stage("nonsense")), (200, 422));
        let path = format!("/session/{text}/status");
        let polls: Vec<Value> =
            (0..3).map(|_| client.send(&Method::GET, &path, &Value::Null).1["status"].clone()).collect();
        assert_eq!(polls, ["processing", "processing", "done"]);
        let report = client.send(&Method::GET, &format!("/fir/{text}"), &Value::Null).1;
        assert_eq!(report["fir_number"], "FIR-00000001d");
        assert_eq!(client.send(&Method::GET, "/fir/unknown", &Value::Null).0, 404);
    }

    #[test]
    fn messages_are_cached_by_conversation_and_say_whose_they_are() {
        let mut client = Client::new();
        let mut say = |text: &str| {
            let (status, body, cache) =
                client.send(&Method::POST, "/v1/messages", &json!({"messages": [{"content": text}]}));
            (status, body["content"][0]["text"].as_str().expect("text").to_owned(), cache.expect("x-cache"))
        };
        assert_eq!(say("Agent 1 request 1"), (200, "You said: Agent 1 request 1".to_owned(), "MISS".to_owned()));
        assert_eq!(say("Agent 1 request 2").2, "HIT");
        assert_eq!(say("Agent 2 request 1").2, "MISS");
    }

    #[test]
    fn generate_answers_as_ollama_does() {
        let mut client = Client::new();
        let (_, body, _) =
            client.send(&Method::POST, "/api/generate", &json!({"model": "llama2", "prompt": "Hi", "stream": false}));
        insta::assert_json_snapshot!(body, @r#"
        {
          "model": "llama2",
          "created_at": "1970-01-01T00:00:00Z",
          "response": "Practice makes perfect: Hi",
          "done": true,
          "done_reason": "stop",
          "prompt_eval_count": 1,
          "eval_count": 3
        }
        "#);
        assert_eq!(client.send(&Method::GET, "/anything/else", &Value::Null).1, json!({"ok": true}));
    }

    #[test]
    fn failing_shares_are_exact() {
        let check = |share: f64, of: u64, expected: u64| {
            let mut backend = Backend::default();
            assert_eq!((0..of).filter(|_| backend.fails(share)).count() as u64, expected, "{share} of {of}");
        };
        check(0.0, 100, 0);
        check(0.2, 100, 20);
        check(0.29, 100, 29);
        check(0.5, 5, 2);
        check(1.0, 100, 100);
    }

    #[test]
    fn the_rate_limit_is_a_full_bucket_of_one_second() {
        let mut backend = Backend::default();
        let start = mono();
        let rate = parse_rate("5/s").expect("a rate");
        let mut above = |ms: u64| backend.above_rate(rate, start + Duration::from_millis(ms));
        assert_eq!((0..7).map(|_| above(0)).collect::<Vec<_>>(), [false, false, false, false, false, true, true]);
        assert!(!above(201));
        assert!(above(202));
    }

    #[test]
    fn memory_leaks_with_each_request_served() {
        let mut client = Client::new();
        client.knobs.memory = 1000;
        client.knobs.leak_per_request = 7;
        client.send(&Method::GET, "/", &Value::Null);
        client.send(&Method::GET, "/", &Value::Null);
        assert_eq!(client.backend.memory(&client.knobs), 1014);
    }
}
