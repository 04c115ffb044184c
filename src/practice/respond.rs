//! One request of the practice target, from its head to its answer. The order of faults is fixed: what needs no answer
//! (hang, resets), forced status, rate limit, queue, work; and whatever the answer is, a stall holds it back, and then it
//! may be spoilt.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    request,
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

use super::{
    backend::{self, Backend, Call, Content, refuse, reply, retry_after_seconds},
    body::{Answer, Broken},
    control,
    fault::{Fault, Instead, announce_end},
    gate::{Admission, Gate},
    knobs::{Knobs, Live},
    log::Recorder,
    stats,
    stream::{Streams, Tokens},
    wire::Line,
};
use crate::model::clock::{Clock as _, SystemClock, mono};

mod place;

use self::place::{Blocks, Ticket};
pub(super) use self::place::{Place, Slot};

/// Larger request bodies are refused with 413.
const MAX_BODY: usize = 8 << 20;

/// What all connections share. A mutex rather than an owning task: the order in which requests are received, admitted
/// and answered must be one order, exact to the request, and two channel hops per request would cost more than the
/// work; the lock is held for a few microseconds at most and never across an await.
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
    pub(super) streams: Streams,
}

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

/// The connection a request came over.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// How to cut it.
    pub(super) line: Arc<Line>,
    /// Whether it comes from this machine.
    pub(super) local: bool,
}

/// An answer made by a back end, and the place it holds until it is sent.
enum Made {
    /// At once.
    Whole(Response<Bytes>, Place),
    /// As a stream.
    Tokens(Response<Answer>),
}

/// Answers one request.
pub(super) async fn respond(
    shared: Arc<Shared>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Broken> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let control = path == "/practice" || path.starts_with("/practice/");
    if (control || path.starts_with("/admin/")) && !peer.local && !shared.live.load().knobs.open_control {
        let error = "answered to this machine only, unless the target is started with --open-control";
        return Ok(reply(403, &json!({"error": error})).map(Answer::Whole));
    }
    if control {
        let body = read(body).await.unwrap_or_default();
        return Ok(control::answer(&shared, &head.method, path, head.uri.query(), &body).map(Answer::Whole));
    }
    let mut ticket = Ticket::new(&shared, path);
    let live = shared.live.load_full();
    let about_itself =
        matches!(path, "/queue/stats" | "/queue/memory" | "/pool/stats" | "/metrics") || path.starts_with("/admin/");
    let fault = match fault(&shared, &live.knobs, &head, about_itself) {
        Ok(fault) => fault,
        Err(problem) => {
            ticket.answered(400);
            return Ok(reply(400, &json!({"error": problem})).map(Answer::Whole));
        }
    };
    if let Some(fault) = fault {
        ticket.faulted(fault);
        match fault.instead(head.version) {
            Some(Instead::Nothing) => return never().await,
            Some(Instead::Reset) => return Err(Broken),
            Some(Instead::Cut(cut)) => {
                drop(ticket);
                peer.line.cut(cut);
                return never().await;
            }
            None => {}
        }
    }
    let body = if body.is_end_stream() { Some(Bytes::new()) } else { read(body).await };
    let made = match body {
        None => Made::Whole(reply(413, &json!({"error": "the body is too large"})), Place::new(ticket)),
        Some(body) => make(&shared, &live, &head, &body, about_itself, ticket, &peer).await,
    };
    let (response, place) = match made {
        Made::Whole(response, place) => (response, place),
        Made::Tokens(response) => return Ok(response),
    };
    finish(&shared, &live.knobs, response, place, head.version, &peer).await
}

/// Holds an answer back while a stall lasts, counts it and sends it, spoilt if it is to be.
async fn finish(
    shared: &Shared,
    knobs: &Knobs,
    mut response: Response<Bytes>,
    mut place: Place,
    version: Version,
    peer: &Peer,
) -> Result<Response<Answer>, Broken> {
    let refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status());
    if let Some(after) = knobs.retry_after.filter(|_| refused) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_seconds(after)));
    }
    hold_back(shared).await;
    place.answered(response.status().as_u16());
    let fault = place.fault();
    drop(place);
    if let Some(fault) = fault {
        if let Some(cut) = fault.bare(response.body(), version) {
            peer.line.cut(cut);
            return never().await;
        }
        return Ok(fault.spoil(response, version, knobs.drip, &peer.line));
    }
    if let Some(every) = knobs.drip {
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        return Ok(response.map(|bytes| Answer::dripping(&bytes, every, &peer.line)));
    }
    Ok(response.map(Answer::Whole))
}

/// The fault this request meets: its own, or the knobs', which spare the pages about the target itself.
fn fault(shared: &Shared, knobs: &Knobs, head: &request::Parts, about_itself: bool) -> Result<Option<Fault>, String> {
    let asked = head.uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("fault=")));
    if let Some(name) = asked.or_else(|| text(&head.headers, "x-fault")) {
        return Fault::named(name).map(Some);
    }
    if knobs.hang || knobs.reset {
        return Ok(Some(if knobs.hang { Fault::Hang } else { Fault::ResetRequestHead }));
    }
    let Some(fault) = knobs.fault.filter(|_| !about_itself) else { return Ok(None) };
    let meets = knobs.fault_share.is_none_or(|share| shared.board().backend.chance.faulty(share));
    Ok(meets.then_some(fault))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Waits until the connection ends and drops the request.
async fn never() -> Result<Response<Answer>, Broken> {
    std::future::pending().await
}

/// Waits while a stall lasts; one that begins meanwhile counts too.
async fn hold_back(shared: &Shared) {
    loop {
        let end = shared.live.load().stalled_until(mono());
        let Some(end) = end else { return };
        tokio::time::sleep_until(end.into()).await;
    }
}

async fn make(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    head: &request::Parts,
    body: &Bytes,
    about_itself: bool,
    ticket: Ticket,
    peer: &Peer,
) -> Made {
    let knobs = &live.knobs;
    let path = head.uri.path();
    let whole = |response, ticket| Made::Whole(response, Place::new(ticket));
    if let Some(status) = forced(shared, knobs, about_itself) {
        return whole(reply(status, &json!({"error": "the practice target was told to answer so"})), ticket);
    }
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() };
    if about_itself {
        return whole(stats::answer(shared, knobs, head, &json), ticket);
    }
    if let Some(rate) = knobs.rate_limit
        && shared.board().backend.chance.above_rate(rate, mono())
    {
        return whole(refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limit"), ticket);
    }
    if path == "/health" {
        work_for(knobs, &ticket).await;
        return whole(stats::health(&mut shared.board(), knobs), ticket);
    }
    serve(shared, live, head, (body, &json), ticket, peer).await
}

/// The status this request is to be answered with whatever it asks. A share spares the pages about the target itself,
/// whose polls would disturb the exact spread.
fn forced(shared: &Shared, knobs: &Knobs, about_itself: bool) -> Option<u16> {
    if let Some(share) = knobs.fail_share {
        let fails = !about_itself && shared.board().backend.chance.fails(share);
        return fails.then_some(knobs.status.unwrap_or(500));
    }
    if !about_itself && !knobs.errors.0.is_empty() {
        let error = shared.board().backend.chance.error(&knobs.errors.0);
        return error.or(knobs.status);
    }
    knobs.status
}

/// Queue, work, answer.
async fn serve(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    head: &request::Parts,
    (body, json): (&Bytes, &Value),
    ticket: Ticket,
    peer: &Peer,
) -> Made {
    let knobs = &live.knobs;
    let arrived = mono();
    let admission =
        shared.board().gate.admit(backend::model(json), stats::limits(knobs), &|name| Slot::new(shared, name));
    let refusal = |reason| refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
    let (slot, waits) = match admission {
        Admission::Full => return Made::Whole(refusal("queue_full"), Place::new(ticket)),
        Admission::Served(slot) => (slot, false),
        Admission::Waits(turn) => match turn.await {
            Ok(slot) => (slot, true),
            Err(_) => return Made::Whole(refusal("stopped"), Place::new(ticket)),
        },
    };
    let now = SystemClock.now();
    let content_type = text(&head.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let work = {
        let (method, path) = (head.method.as_str(), head.uri.path());
        let call = Call { method, path, content_type, body, json, now, id: &uuid::Uuid::new_v4 };
        shared.board().backend.work(&call, knobs)
    };
    let blocks = Blocks::new(shared, work.blocks);
    let mut response = work.response;
    let wait = if waits { wait_ms(now.mono - arrived) } else { HeaderValue::from_static("0") };
    response.headers_mut().insert("x-wait-ms", wait);
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        work_for(knobs, &ticket).await;
    }
    let place = Place::held(ticket, slot, blocks, arrived, now.mono);
    let (mut parts, content) = response.into_parts();
    match content {
        Content::Whole(bytes) => Made::Whole(Response::from_parts(parts, bytes), place),
        Content::Tokens(plan) => {
            hold_back(shared).await;
            if place.fault() == Some(Fault::Goaway) {
                announce_end(&mut parts.headers, head.version, &peer.line);
            }
            let tokens = Tokens::new(*plan, live.clone(), place);
            Made::Tokens(Response::from_parts(parts, Answer::stepwise(tokens, &peer.line)))
        }
    }
}

/// `x-wait-ms`: the time in the queue, in milliseconds.
fn wait_ms(waited: std::time::Duration) -> HeaderValue {
    let text = format!("{:.3}", waited.as_secs_f64() * 1000.0);
    HeaderValue::try_from(text).expect("a number is text")
}

async fn work_for(knobs: &Knobs, ticket: &Ticket) {
    let latency = knobs.path_latency.0.get(ticket.name()).unwrap_or(&knobs.latency).sample();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

async fn read(body: Incoming) -> Option<Bytes> {
    let limited = pin!(Limited::new(body, MAX_BODY));
    limited.collect().await.ok().map(http_body_util::Collected::to_bytes)
}
