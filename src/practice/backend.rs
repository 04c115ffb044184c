//! The back ends that people test, one file each: an LLM queue, a workflow with sessions, a cache, a pool of
//! conversations, a chat API. Each is a few lines of state; only their shapes are real.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    knobs::{Knobs, shares::Spread},
    stream::Plan,
};
use crate::model::{clock::Now, units::Rate};

mod afirgen;
mod cache;
mod gremlins;
mod matrixbot;
mod ollama;
#[cfg(test)]
mod testing;

pub use self::{cache::Cache, gremlins::Gremlins, matrixbot::Matrixbot};

/// What is remembered between requests.
#[derive(Debug, Default)]
pub struct Backend {
    /// The workflow with sessions.
    sessions: afirgen::Afirgen,
    /// The semantic cache and its block pool.
    pub cache: Cache,
    /// The limited conversations.
    pub matrixbot: Matrixbot,
    /// The chat API.
    pub gremlins: Gremlins,
    /// Which requests are to fail.
    pub chance: Chance,
    leak: Leak,
}

/// Which requests something befalls, each kind spread evenly.
#[derive(Debug, Default)]
pub struct Chance {
    fails: Spread,
    faults: Spread,
    errors: HashMap<u16, Spread>,
    bucket: Option<Bucket>,
}

#[derive(Debug, Default)]
struct Leak {
    bytes: f64,
    until: Option<Instant>,
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
    pub method: &'a str,
    /// Its path without the query.
    pub path: &'a str,
    /// Its content type; empty where it has none.
    pub content_type: &'a str,
    /// Its body.
    pub body: &'a Bytes,
    /// Its body as JSON, `Null` where it is none.
    pub json: &'a Value,
    /// Both clocks.
    pub now: Now,
    /// A fresh identifier, should one be needed.
    pub id: &'a dyn Fn() -> Uuid,
}

/// What a back end answers.
#[derive(Debug)]
pub struct Work {
    /// The answer.
    pub response: Response<Content>,
    /// Blocks of the pool that are taken until it is sent.
    pub blocks: u32,
}

/// A body, or how to make it.
#[derive(Debug)]
pub enum Content {
    /// At once.
    Whole(Bytes),
    /// Token by token.
    Tokens(Box<Plan>),
}

impl From<Response<Bytes>> for Work {
    fn from(response: Response<Bytes>) -> Self {
        Self { response: response.map(Content::Whole), blocks: 0 }
    }
}

impl Work {
    /// A stream of tokens.
    fn streaming(plan: Plan) -> Self {
        let kind = plan.content_type();
        Self { response: with_type(Response::new(Content::Tokens(Box::new(plan))), kind), blocks: 0 }
    }
}

impl Backend {
    /// Does the work of one request and leaks.
    pub fn work(&mut self, call: &Call<'_>, knobs: &Knobs) -> Work {
        self.leak.bytes += knobs.leak_per_request as f64;
        // Three are enough to know any of the paths; what is deeper is known to none.
        let mut parts = call.path.trim_matches('/').splitn(4, '/');
        let mut next = || parts.next().unwrap_or_default();
        match (call.method, [next(), next(), next(), next()]) {
            ("POST", ["api", "generate", "", ""]) => ollama::generate(call, knobs),
            ("POST", ["v1", "chat", "completions", ""]) => ollama::chat(call, knobs),
            ("POST", ["v1", "messages", "", ""]) => self.cache.message(call, knobs),
            ("POST", ["process", "", "", ""]) => self.sessions.process(call).into(),
            ("POST", ["validate", "", "", ""]) => self.sessions.validate(call, None).into(),
            ("POST", ["final_review", "", "", ""]) => self.sessions.validate(call, Some("final_review")).into(),
            ("GET", ["session", id, "status", ""]) => self.sessions.status(id, call, knobs).into(),
            ("GET", ["fir", id, "", ""]) => self.sessions.fir(id, call, knobs).into(),
            (method, ["conversations", id, action, ""]) => {
                self.matrixbot.answer(call, knobs, method, [id, action]).into()
            }
            (method, ["api", "v1", one, rest]) => {
                let (two, three) = rest.split_once('/').unwrap_or((rest, ""));
                self.gremlins.answer(call, method, [one, two, three]).into()
            }
            (method, ["api", one, two, three]) => self.gremlins.answer(call, method, [one, two, three]).into(),
            _ => ok().into(),
        }
    }

    /// Forgets everything but the blocks of answers under way.
    pub fn reset(&mut self) {
        self.cache.clear();
        let cache = std::mem::take(&mut self.cache);
        *self = Self { cache, ..Self::default() };
    }

    /// What the memory gauges show, in bytes.
    pub fn memory(&mut self, knobs: &Knobs, now: Instant) -> u64 {
        self.settle(knobs, now);
        knobs.memory.saturating_add(self.leak.bytes as u64)
    }

    /// Adds what has leaked with time since the last call.
    pub fn settle(&mut self, knobs: &Knobs, now: Instant) {
        let since = self.leak.until.replace(now).map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        self.leak.bytes += knobs.leak_per_minute as f64 * since.as_secs_f64() / 60.0;
    }
}

impl Chance {
    /// Is this one of the requests that are to fail?
    pub fn fails(&mut self, share: f64) -> bool {
        self.fails.takes(share)
    }

    /// Is this one of the requests with the fault?
    pub fn faulty(&mut self, share: f64) -> bool {
        self.faults.takes(share)
    }

    /// The status of `errors` that this request is answered with.
    pub fn error<'a>(&mut self, errors: impl IntoIterator<Item = (&'a u16, &'a f64)>) -> Option<u16> {
        let mut found = None;
        for (status, share) in errors {
            // Each kind counts all requests; where two are due at once, the second comes with the next request.
            let spread = self.errors.entry(*status).or_default();
            if spread.see(*share) && found.is_none() {
                spread.give();
                found = Some(*status);
            }
        }
        found
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
}

/// So many things by their ids; the oldest is forgotten first.
#[derive(Debug)]
struct Remembered<V, const MAX: usize> {
    all: HashMap<Uuid, V>,
    order: VecDeque<Uuid>,
}

impl<V, const MAX: usize> Default for Remembered<V, MAX> {
    fn default() -> Self {
        Self { all: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V, const MAX: usize> Remembered<V, MAX> {
    fn add(&mut self, id: Uuid, value: V) {
        if self.order.len() == MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        self.order.push_back(id);
        self.all.insert(id, value);
    }

    fn get(&mut self, id: &str) -> Option<(Uuid, &mut V)> {
        let id = Uuid::parse_str(id).ok()?;
        self.all.get_mut(&id).map(|value| (id, value))
    }

    fn len(&self) -> usize {
        self.all.len()
    }
}

/// The model a request asks for; what has none is queued as `default`.
pub fn model(json: &Value) -> &str {
    json["model"].as_str().filter(|name| !name.is_empty() && name.len() <= 100).unwrap_or("default")
}

/// Tokens of a text: its words.
fn tokens_of(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The text of a message, written as a string or as Anthropic's and OpenAI's list of parts.
fn text_of(content: &Value) -> &str {
    content.as_str().or_else(|| content[0]["text"].as_str()).unwrap_or_default()
}

/// Tokens to answer with: the knob's, or fewer where the request says so.
fn tokens_to_send(knobs: &Knobs, wanted: &Value) -> u32 {
    let most = wanted.as_u64().map_or(u32::MAX, |wanted| u32::try_from(wanted).unwrap_or(u32::MAX));
    knobs.tokens.min(most.max(1))
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
    with_reason(reply(status.as_u16(), &json!({"error": reason})), reason)
}

/// The same answer as a refusal that says why.
fn with_reason<T>(mut response: Response<T>, reason: &'static str) -> Response<T> {
    response.headers_mut().insert("x-reject-reason", http::HeaderValue::from_static(reason));
    response
}

/// The same answer with a content type.
pub fn with_type<T>(mut response: Response<T>, kind: &'static str) -> Response<T> {
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// Whole seconds for `Retry-After`, rounded up.
pub fn retry_after_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::{testing::Client, *};
    use crate::model::{clock::mono, units::parse_rate};

    #[test]
    fn error_shares_are_exact_and_do_not_hide_each_other() {
        let mut chance = Chance::default();
        let errors = [(500, 0.2), (503, 0.2), (404, 0.01)].into();
        let mut counts = HashMap::new();
        for _ in 0..1003 {
            *counts.entry(chance.error(&std::collections::BTreeMap::<u16, f64>::clone(&errors))).or_insert(0) += 1;
        }
        assert_eq!((counts[&Some(500)], counts[&Some(503)], counts[&Some(404)]), (200, 200, 10));
    }

    #[test]
    fn the_rate_limit_is_a_full_bucket_of_one_second() {
        let mut chance = Chance::default();
        let start = mono();
        let rate = parse_rate("5/s").expect("a rate");
        let mut above = |ms: u64| chance.above_rate(rate, start + Duration::from_millis(ms));
        assert_eq!((0..7).map(|_| above(0)).collect::<Vec<_>>(), [false, false, false, false, false, true, true]);
        assert!(!above(201));
        assert!(above(202));
    }

    #[test]
    fn memory_leaks_with_requests_and_with_time() {
        let mut client = Client::new();
        client.knobs.memory = 1000;
        client.knobs.leak_per_request = 7;
        client.knobs.leak_per_minute = 60;
        client.get("/");
        client.get("/");
        let start = mono();
        let mut at = |seconds| client.backend.memory(&client.knobs, start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(61)], [1014, 1015, 1075]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut few = Remembered::<u8, 2>::default();
        let ids = [1, 2, 3].map(Uuid::from_u128);
        for (n, id) in ids.iter().enumerate() {
            few.add(*id, n as u8);
        }
        assert!(few.get(&ids[0].to_string()).is_none());
        assert_eq!((few.get(&ids[2].to_string()).map(|(_, n)| *n), few.len()), (Some(2), 2));
    }

    #[test]
    fn what_is_known_to_none_is_ok() {
        let mut client = Client::new();
        assert_eq!(client.get("/anything/else"), (200, json!({"ok": true})));
        assert_eq!(client.get("/").0, 200);
    }
}
