//! One request over one connection: sent, answered, drained, timed.

use std::time::{Duration, Instant};

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;

use super::{
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
    /// Sees the body as it comes.
    pub sink: Option<Sink<'a>>,
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
    /// Nothing of an answer came, and the connection was closed in good order (not reset), or nothing of the request
    /// had left: on a kept connection that may be no fault at all, but the peer's time-out crossing our request.
    pub closed: bool,
}

impl ExchangeError {
    /// One before anything of an answer was known.
    pub(super) fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, detail, status: None, closed: false }
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
pub async fn exchange(conn: &mut Conn, request: &Outgoing, want: Want<'_>) -> Result<Answer, ExchangeError> {
    conn.exchange(request, want).await
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
