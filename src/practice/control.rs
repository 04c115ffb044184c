//! `/practice`: how a test or a person drives the target. Never counted, never faulted.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    backend::{reply, with_type},
    knobs::{KnobError, Knobs},
    log::MAX_REQUESTS,
    respond::Shared,
    stream::MAX_STREAMS,
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
        ("GET", "/practice/log") => last(query, MAX_REQUESTS, |last| shared.board().log.snapshot(last)),
        ("GET", "/practice/streams") => last(query, MAX_STREAMS, |last| shared.board().streams.snapshot(last)),
        ("POST", "/practice/reset") => {
            reset(shared);
            reply(200, &json!({"status": "reset"}))
        }
        _ => reply(
            404,
            &json!({"error": "there are GET and POST /practice, GET /practice/log?last=N, GET /practice/streams?last=N and POST /practice/reset"}),
        ),
    }
}

/// A log with its latest entries, as many as `?last=` says.
fn last<T: Serialize>(query: Option<&str>, all: usize, snapshot: impl FnOnce(usize) -> T) -> Response<Bytes> {
    let last = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("last=")));
    match last.map_or(Ok(all), str::parse) {
        Err(_) => reply(400, &json!({"error": "last is a number of entries, such as ?last=100"})),
        Ok(last) => {
            let text = serde_json::to_vec(&snapshot(last)).expect("a log is plain values");
            with_type(Response::new(Bytes::from(text)), "application/json")
        }
    }
}

/// Lays changes over the knobs in force.
pub(super) fn patch(shared: &Arc<Shared>, change: &Value) -> Result<Knobs, KnobError> {
    let live = shared.live.load_full();
    let knobs = live.knobs.patched(change)?;
    // What has leaked so far leaked at the old rate.
    shared.board().backend.settle(&live.knobs, mono());
    shared.live.store(Arc::new(live.patched(change, knobs.clone(), mono())));
    shared.limits_changed();
    Ok(knobs)
}

/// Forgets counts, sessions, conversations, the cache, the leak and limits of single models; knobs stay.
pub(super) fn reset(shared: &Shared) {
    let mut board = shared.board();
    board.log.clear();
    board.gate.reset();
    board.streams.clear();
    board.backend.reset();
    board.backend.settle(&shared.live.load().knobs, mono());
}

fn knobs_reply(knobs: &Knobs) -> Response<Bytes> {
    reply(200, &serde_json::to_value(knobs).expect("knobs are plain values"))
}
