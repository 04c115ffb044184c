//! One request over one connection: sent, answered, drained, timed.

use std::time::{Duration, Instant};

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;

use super::{
    body::Room,
    conn::Conn,
    h2::{CALM, REFUSED},
    request::Outgoing,
    stream::Meter,
};
use crate::model::outcome::Outcome;

/// How much of an answer's body is kept; all of it is always read and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The whole body, for checks and captures.
    All,
    /// The start of it, for the report of a failure.
    Start,
}

/// Kept of a body that nothing but a failure report needs: twice what is quoted, so that a secret is not cut in two
/// before it is looked for.
pub(super) const START_BYTES: usize = 2048;

/// Sees each piece of a body, decoded, as it comes, and the instant at which it was read.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8], Instant);

/// What of an answer is wanted.
pub struct Want<'a> {
    /// Of its body.
    pub body: Keep,
    /// The headers of a 2xx are looked at; those of every other answer are kept anyhow.
    pub headers: bool,
    /// A longer body is a failure.
    pub max_body: u64,
    /// What is kept of long bodies has to find room here; `None`: it is bounded by `max_body` alone.
    pub room: Option<Room>,
    /// Sees the body as it comes.
    pub sink: Option<Sink<'a>>,
}

impl Want<'_> {
    /// The same, for another try.
    pub fn again(&mut self) -> Want<'_> {
        let sink = self.sink.as_mut().map(|sink| &mut **sink as Sink<'_>);
        Want { body: self.body, headers: self.headers, max_body: self.max_body, room: self.room.clone(), sink }
    }
}

impl std::fmt::Debug for Want<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Want").field("body", &self.body).field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers; none if nobody wanted them.
    pub headers: HeaderMap,
    /// What was kept of the body.
    pub body: Bytes,
    /// Length of the whole body in bytes.
    pub length: u64,
    /// When the last byte was read.
    pub ended: Instant,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeError {
    /// A name of [`fail`](crate::model::outcome::fail), or of a rejection that HTTP/2 has words for.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
    /// The status, if the head of an answer came.
    pub status: Option<StatusCode>,
    /// How far the request came, where nothing of an answer did.
    pub unanswered: Option<Unanswered>,
}

/// How a connection ended before any byte of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Nothing of the request had left.
    Unsent,
    /// The target says that it did nothing with it.
    Undone,
    /// In good order, without a reset.
    Closed,
}

impl ExchangeError {
    /// Whether a request of this kind may be sent once more over a new connection; `reused`: this one had carried others
    /// before. Then what looks like a fault may be the target's time-out of an idle connection that crossed our request. Whoever
    /// closes an idle connection says goodbye and does not reset; and a request that may have been read is repeated only
    /// if doing it twice is doing it once.
    pub fn may_repeat(&self, method: &Method, reused: bool) -> bool {
        match self.unanswered.filter(|how| reused || *how == Unanswered::Undone) {
            None => false,
            Some(Unanswered::Unsent | Unanswered::Undone) => true,
            Some(Unanswered::Closed) => method.is_idempotent(),
        }
    }
}

impl ExchangeError {
    /// One before anything of an answer was known.
    pub(super) fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, detail, status: None, unanswered: None }
    }

    /// Failed, or rejected in the words of HTTP/2.
    pub fn outcome(&self) -> Outcome {
        if [REFUSED, CALM].contains(&self.reason) { Outcome::Rejected } else { Outcome::Failed }
    }
}

/// The times of one exchange; what did not happen is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExchangeTimes {
    /// First byte written to last byte read (or to the failure).
    pub service: Option<Duration>,
    /// First byte written to first byte read.
    pub ttfb: Option<Duration>,
    /// First to last byte read.
    pub transfer: Option<Duration>,
    /// Bytes written and read.
    pub bytes: (u64, u64),
}

/// Sends `request` and reads the whole answer. The caller bounds the time; a connection that was cut must be dropped.
pub fn exchange<'a>(
    conn: &'a mut Conn,
    request: &'a Outgoing,
    want: Want<'a>,
) -> impl Future<Output = Result<Answer, ExchangeError>> + 'a {
    conn.exchange(request, want)
}

/// The times of the exchange that `meter` saw, which ended at `end`.
pub fn times(meter: &Meter, end: Instant) -> ExchangeTimes {
    let (first_write, first_read) = (meter.first_write(), meter.first_read());
    ExchangeTimes {
        service: first_write.map(|at| end.saturating_duration_since(at)),
        ttfb: first_write.zip(first_read).map(|(write, read)| read.saturating_duration_since(write)),
        transfer: first_read.map(|at| end.saturating_duration_since(at)),
        bytes: meter.bytes(),
    }
}
