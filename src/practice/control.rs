//! `/practice`: how a test or a person drives the target. Never counted, never faulted.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use super::{
    backend::{Backend, reply},
    knobs::{KnobError, Knobs},
    log::MAX_REQUESTS,
    respond::Shared,
};
use crate::model::clock::mono;

/// Answers a request to `/practice…`.
pub(super) fn answer(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &Bytes,
) -> Response<Bytes> {
    match (method.as_str(), path) {
        ("GET", "/practice") => knobs_reply(&shared.live.load().knobs),
        ("POST", "/practice") => match serde_json::from_slice::<Value>(body) {
            Err(error) => reply(400, &json!({"error": format!("the body is not JSON: {error}")})),
            Ok(change) => match patch(shared, &change) {
                Ok(knobs) => knobs_reply(&knobs),
                Err(error) => reply(400, &json!({"error": error.to_string()})),
            },
        },
        ("GET", "/practice/log") => {
            let last = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("last=")));
            match last.map_or(Ok(MAX_REQUESTS), str::parse) {
                Err(_) => reply(400, &json!({"error": "last is a number of requests, such as ?last=100"})),
                Ok(last) => {
                    let log = shared.board().log.snapshot(last);
                    reply(200, &serde_json::to_value(&log).expect("a log is plain values"))
                }
            }
        }
        ("POST", "/practice/reset") => {
            reset(shared);
            reply(200, &json!({"status": "reset"}))
        }
        _ => reply(
            404,
            &json!({"error": "there are GET and POST /practice, GET /practice/log?last=N and POST /practice/reset"}),
        ),
    }
}

/// Lays changes over the knobs in force.
pub(super) fn patch(shared: &Arc<Shared>, change: &Value) -> Result<Knobs, KnobError> {
    let live = shared.live.load_full();
    let knobs = live.knobs.patched(change)?;
    shared.live.store(Arc::new(live.patched(change, knobs.clone(), mono())));
    shared.limits_changed();
    Ok(knobs)
}

/// Forgets counts, sessions, conversations, the cache, the leak and limits of single models; knobs stay.
pub(super) fn reset(shared: &Shared) {
    let mut board = shared.board();
    board.log.clear();
    board.gate.reset();
    board.backend = Backend::default();
}

fn knobs_reply(knobs: &Knobs) -> Response<Bytes> {
    reply(200, &serde_json::to_value(knobs).expect("knobs are plain values"))
}
