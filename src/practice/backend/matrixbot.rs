//! Conversations with a global and a per-user limit: begun, continued and ended, with counters that must agree with
//! whoever did it.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, refuse, reply};
use crate::practice::knobs::Knobs;

/// No limit is above this one.
const MAX_OPEN: usize = 100_000;

/// The conversations that are open.
#[derive(Debug, Default)]
pub struct Matrixbot {
    open: HashMap<Uuid, Conversation>,
    by_user: HashMap<String, u32>,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    started: u64,
    ended: u64,
    rejected: u64,
    expired: u64,
}

#[derive(Debug)]
struct Conversation {
    user: Option<String>,
    since: Instant,
    last: Instant,
    turns: u32,
}

impl Matrixbot {
    /// Everything under `/conversations`.
    pub(super) fn answer(&mut self, call: &Call<'_>, knobs: &Knobs, method: &str, path: [&str; 2]) -> Response<Bytes> {
        self.expire(call, knobs);
        match (method, path) {
            ("POST", ["", ""]) => self.open(call, knobs),
            ("GET", ["", ""]) => reply(200, &self.stats(knobs)),
            ("POST", [id, "turns"]) => self.turn(call, id),
            ("GET", [id, ""]) => match self.find(id) {
                Some((id, one)) => reply(200, &json!({"id": id, "user": one.user, "turns": one.turns})),
                None => unknown(),
            },
            ("DELETE", [id, ""]) => self.close(call, id),
            _ => reply(
                405,
                &json!({"error": "there are POST and GET /conversations, GET and DELETE /conversations/ID, POST /conversations/ID/turns"}),
            ),
        }
    }

    /// Conversations open now.
    pub fn active(&self) -> usize {
        self.open.len()
    }

    /// Counters, as `GET /conversations` shows them: `active` = `started` − `ended`.
    pub fn stats(&self, knobs: &Knobs) -> Value {
        let Counts { started, ended, rejected, expired } = self.counts;
        json!({
            "active": self.open.len(),
            "limit": knobs.pool_limit,
            "user_limit": knobs.user_limit,
            "users": self.by_user.len(),
            "started": started,
            "ended": ended,
            "expired": expired,
            "rejected": rejected,
        })
    }

    fn open(&mut self, call: &Call<'_>, knobs: &Knobs) -> Response<Bytes> {
        let user = user(call.json);
        let of_user = user.as_ref().and_then(|user| self.by_user.get(user)).copied().unwrap_or_default();
        let reason = if self.open.len() >= (knobs.pool_limit as usize).min(MAX_OPEN) {
            "pool_full"
        } else if user.is_some() && of_user >= knobs.user_limit {
            "user_limit"
        } else {
            let (id, now) = ((call.id)(), call.now.mono);
            if let Some(user) = &user {
                *self.by_user.entry(user.clone()).or_default() += 1;
            }
            self.counts.started += 1;
            self.open.insert(id, Conversation { user: user.clone(), since: now, last: now, turns: 0 });
            let active = self.open.len();
            return reply(201, &json!({"id": id, "user": user, "active": active, "limit": knobs.pool_limit}));
        };
        self.counts.rejected += 1;
        refuse(StatusCode::TOO_MANY_REQUESTS, reason)
    }

    fn turn(&mut self, call: &Call<'_>, id: &str) -> Response<Bytes> {
        let Some((id, one)) = self.find(id) else { return unknown() };
        one.turns += 1;
        one.last = call.now.mono;
        let said = ["message", "text", "q"].iter().find_map(|key| call.json[key].as_str()).unwrap_or_default();
        let answer = json!({"id": id, "user": one.user, "turn": one.turns, "reply": format!("You said: {said}")});
        let since = one.since;
        with_duration(reply(200, &answer), call.now.mono - since)
    }

    fn close(&mut self, call: &Call<'_>, id: &str) -> Response<Bytes> {
        let known = Uuid::parse_str(id).ok().and_then(|id| self.remove(id).map(|one| (id, one)));
        let Some((id, one)) = known else { return unknown() };
        let answer = json!({"deleted": id, "turns": one.turns, "active": self.open.len()});
        with_duration(reply(200, &answer), call.now.mono - one.since)
    }

    fn find(&mut self, id: &str) -> Option<(Uuid, &mut Conversation)> {
        let id = Uuid::parse_str(id).ok()?;
        self.open.get_mut(&id).map(|one| (id, one))
    }

    fn remove(&mut self, id: Uuid) -> Option<Conversation> {
        let one = self.open.remove(&id)?;
        self.counts.ended += 1;
        if let Some(user) = &one.user
            && let Some(count) = self.by_user.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(user);
            }
        }
        Some(one)
    }

    /// Ends what was idle for too long, before anyone looks.
    fn expire(&mut self, call: &Call<'_>, knobs: &Knobs) {
        let Some(idle) = knobs.conversation_idle else { return };
        let now = call.now.mono;
        let over: Vec<Uuid> = self
            .open
            .iter()
            .filter(|(_, one)| now.saturating_duration_since(one.last) >= idle)
            .map(|(id, _)| *id)
            .collect();
        self.counts.expired += over.len() as u64;
        for id in over {
            self.remove(id);
        }
    }
}

fn unknown() -> Response<Bytes> {
    reply(404, &json!({"error": "no such conversation"}))
}

/// Who asks; conversations of nobody are under the global limit alone.
fn user(json: &Value) -> Option<String> {
    let name = match &json["user"] {
        Value::String(name) => name.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(name.chars().take(100).collect())
}

/// `x-duration-ms`: how old the conversation is.
fn with_duration(mut response: Response<Bytes>, age: std::time::Duration) -> Response<Bytes> {
    let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert("x-duration-ms", HeaderValue::from(ms));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::practice::backend::testing::Client;

    #[test]
    fn the_pool_refuses_the_eleventh_until_one_is_freed() {
        let mut client = Client::new();
        let ids: Vec<Value> = (0..10).map(|_| client.post("/conversations", &Value::Null).1["id"].clone()).collect();
        assert_eq!(client.post("/conversations", &Value::Null), (429, json!({"error": "pool_full"})));
        let first = format!("/conversations/{}", ids[0].as_str().expect("an id"));
        assert_eq!(client.delete(&first).0, 200);
        assert_eq!(client.delete(&first).0, 404);
        assert_eq!(client.post("/conversations", &Value::Null).0, 201);
        insta::assert_json_snapshot!(client.get("/conversations").1, @r#"
        {
          "active": 10,
          "limit": 10,
          "user_limit": 3,
          "users": 0,
          "started": 11,
          "ended": 1,
          "expired": 0,
          "rejected": 1
        }
        "#);
    }

    #[test]
    fn a_user_has_three_and_the_others_do_not_notice() {
        let mut client = Client::new();
        let mut start = |user: &Value| client.post("/conversations", &json!({"user": user}));
        let (anna, bert) = (json!("anna"), json!(7));
        let first = start(&anna).1["id"].clone();
        assert_eq!([start(&anna).0, start(&anna).0, start(&anna).0, start(&bert).0], [201, 201, 429, 201]);
        assert_eq!(start(&anna).1, json!({"error": "user_limit"}));
        let first = format!("/conversations/{}", first.as_str().expect("an id"));
        assert_eq!(client.delete(&first).0, 200);
        assert_eq!(client.post("/conversations", &json!({"user": anna})).0, 201);
    }

    #[test]
    fn turns_are_counted_and_idle_ones_end() {
        let mut client = Client::new();
        client.knobs.conversation_idle = Some(Duration::from_mins(2));
        let id = client.post("/conversations", &json!({"user": "anna"})).1["id"].clone();
        let turns = format!("/conversations/{}/turns", id.as_str().expect("an id"));
        client.pass(Duration::from_secs(119));
        let (response, body) = client.send("POST", &turns, "application/json", br#"{"message": "Hi"}"#);
        assert_eq!(response.headers()["x-duration-ms"], "119000");
        assert_eq!((&body["turn"], &body["reply"]), (&json!(1), &json!("You said: Hi")));
        client.pass(Duration::from_secs(119));
        assert_eq!(client.post(&turns, &Value::Null).1["turn"], 2);
        client.pass(Duration::from_mins(2));
        assert_eq!(client.post(&turns, &Value::Null).0, 404);
        let (_, stats) = client.get("/conversations");
        assert_eq!((&stats["active"], &stats["ended"], &stats["expired"]), (&json!(0), &json!(1), &json!(1)));
    }
}
