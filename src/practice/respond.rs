//! One request of the practice target, from its head to its answer. The order of faults is fixed: hang, reset, forced
//! status, rate limit, queue, work; and whatever the answer is, a stall holds it back.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::RETRY_AFTER, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::Value;

use super::{
    backend::{self, Backend, Call, refuse, reply, retry_after_seconds},
    control,
    gate::{Admission, Gate},
    knobs::{Knobs, Live},
    log::Recorder,
    stats,
};
use crate::model::{
    Name,
    clock::{Clock as _, SystemClock, mono},
};

/// Larger request bodies are refused with 413.
const MAX_BODY: usize = 8 << 20;

/// What all connections share. A mutex rather than an owning task: the order in which requests are received, admitted
/// and answered must be one order, exact to the request, and two channel hops per request would cost more than the
/// work; the lock is held for well under a microsecond and never across an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) started: Instant,
    pub(super) live: ArcSwap<Live>,
    board: Mutex<Board>,
}

/// What is counted and remembered.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) log: Recorder,
    pub(super) gate: Gate<Slot>,
    pub(super) backend: Backend,
}

/// The connection is to be reset instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the practice target resets this connection")]
pub(super) struct Reset;

impl Shared {
    pub(super) fn new(knobs: Knobs, now: Instant) -> Self {
        Self { started: now, live: ArcSwap::from_pointee(Live::new(knobs, now)), board: Mutex::default() }
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("no holder of the board panics")
    }

    /// Lets waiting requests in after limits were changed.
    pub(super) fn limits_changed(self: &Arc<Self>) {
        let limits = stats::limits(&self.live.load().knobs);
        self.board().gate.limits_changed(limits, &|name| Slot::new(self, name), Slot::discard);
    }
}

/// A place among those served; the next in line gets it when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<(Arc<Shared>, Name)>);

impl Slot {
    fn new(shared: &Arc<Shared>, name: &Name) -> Self {
        Self(Some((shared.clone(), name.clone())))
    }

    /// Drops a slot that counts for nothing, under the lock of the board.
    fn discard(mut self) {
        self.0 = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((shared, name)) = self.0.take() {
            let limits = stats::limits(&shared.live.load().knobs);
            shared.board().gate.release(&name, limits, &|name| Slot::new(&shared, name), Slot::discard);
        }
    }
}

/// A request in the log; dropped without an answer it is counted as gone.
struct Ticket {
    shared: Arc<Shared>,
    seq: u64,
    name: Name,
    open: bool,
}

impl Ticket {
    fn new(shared: &Arc<Shared>, path: &str) -> Self {
        let mut board = shared.board();
        let (seq, name) = board.log.received(path, mono() - shared.started);
        drop(board);
        Self { shared: shared.clone(), seq, name, open: true }
    }

    fn answered(mut self, status: StatusCode) {
        self.open = false;
        let mut board = self.shared.board();
        board.log.answered(self.seq, &self.name, status.as_u16(), mono() - self.shared.started);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.shared.board().log.gone(self.seq);
        }
    }
}

/// Answers one request.
pub(super) async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Bytes>, Reset> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/practice" || path.starts_with("/practice/") {
        let body = read(body).await.unwrap_or_default();
        return Ok(control::answer(&shared, &head.method, path, head.uri.query(), &body));
    }
    let ticket = Ticket::new(&shared, path);
    let live = shared.live.load_full();
    if live.knobs.hang {
        std::future::pending::<()>().await;
    }
    if live.knobs.reset {
        return Err(Reset);
    }
    let body = if body.is_end_stream() { Some(Bytes::new()) } else { read(body).await };
    let mut response = match body {
        None => reply(413, &serde_json::json!({"error": "the body is too large"})),
        Some(body) => answer(&shared, &live.knobs, &head, &body).await,
    };
    let refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status());
    if let Some(after) = live.knobs.retry_after.filter(|_| refused) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_seconds(after)));
    }
    hold_back(&shared).await;
    ticket.answered(response.status());
    Ok(response)
}

/// Waits while a stall lasts; one that begins meanwhile counts too.
async fn hold_back(shared: &Shared) {
    loop {
        let end = shared.live.load().stalled_until(mono());
        let Some(end) = end else { return };
        tokio::time::sleep_until(end.into()).await;
    }
}

async fn answer(shared: &Arc<Shared>, knobs: &Knobs, head: &request::Parts, body: &Bytes) -> Response<Bytes> {
    let path = head.uri.path();
    let about_itself = matches!(path, "/queue/stats" | "/queue/memory" | "/metrics" | "/admin/queue/update");
    if let Some(status) = forced(shared, knobs, about_itself) {
        return reply(status, &serde_json::json!({"error": "the practice target was told to answer so"}));
    }
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() };
    match (head.method.as_str(), path) {
        ("GET", "/queue/stats") => stats::queue(&shared.board(), knobs, head.uri.query()),
        ("GET", "/queue/memory") => stats::memory(&shared.board(), knobs),
        ("GET", "/metrics") => stats::metrics(&shared.board(), knobs),
        ("POST", "/admin/queue/update") => {
            let response = stats::update_queue(&mut shared.board(), knobs, &json);
            shared.limits_changed();
            response
        }
        _ if about_itself => reply(405, &serde_json::json!({"error": "method not allowed"})),
        _ => {
            if let Some(rate) = knobs.rate_limit
                && shared.board().backend.above_rate(rate, mono())
            {
                return refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limit");
            }
            if path == "/health" {
                work_for(knobs).await;
                return stats::health(&shared.board(), knobs);
            }
            serve(shared, knobs, &head.method, path, &json).await
        }
    }
}

/// The status this request is to be answered with whatever it asks. A share spares the pages about the target itself,
/// whose polls would disturb the exact spread.
fn forced(shared: &Shared, knobs: &Knobs, about_itself: bool) -> Option<u16> {
    match knobs.fail_share {
        None => knobs.status,
        Some(share) => {
            let fails = !about_itself && shared.board().backend.fails(share);
            fails.then_some(knobs.status.unwrap_or(500))
        }
    }
}

/// Queue, work, answer.
async fn serve(shared: &Arc<Shared>, knobs: &Knobs, method: &Method, path: &str, json: &Value) -> Response<Bytes> {
    let arrived = mono();
    let admission =
        shared.board().gate.admit(backend::model(json), stats::limits(knobs), &|name| Slot::new(shared, name));
    let slot = match admission {
        Admission::Full => return refuse(StatusCode::SERVICE_UNAVAILABLE, "queue_full"),
        Admission::Served(slot) => slot,
        Admission::Waits(turn) => match turn.await {
            Ok(slot) => slot,
            Err(_) => return refuse(StatusCode::SERVICE_UNAVAILABLE, "stopped"),
        },
    };
    let begun = mono();
    let wall = SystemClock.now().wall;
    let id = || uuid::Uuid::new_v4().to_string();
    let response = shared.board().backend.work(&Call { method, path, json, wall, id: &id }, knobs);
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        work_for(knobs).await;
    }
    if let Some((_, name)) = &slot.0 {
        shared.board().gate.processed(name, begun - arrived, mono() - begun);
    }
    drop(slot);
    response
}

async fn work_for(knobs: &Knobs) {
    if !knobs.latency.is_zero() {
        tokio::time::sleep(knobs.latency).await;
    }
}

async fn read(body: Incoming) -> Option<Bytes> {
    let limited = pin!(Limited::new(body, MAX_BODY));
    limited.collect().await.ok().map(http_body_util::Collected::to_bytes)
}
