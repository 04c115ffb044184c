//! One request over one connection: sent, answered, drained, timed.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Incoming};

use super::{conn::Conn, dial::with_sources, stream::Meter};
use crate::model::{clock, outcome::fail};

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
const START_BYTES: usize = 2048;

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// What was kept of the body.
    pub body: Bytes,
    /// When the last byte was read.
    pub ended: Instant,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeError {
    /// A name of [`fail`].
    pub reason: &'static str,
    /// In words.
    pub detail: String,
    /// The status, if the head of an answer came.
    pub status: Option<StatusCode>,
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

/// Sends `request` and reads the whole answer, up to `max_body` bytes of body.
/// The caller bounds the time; a connection that was cut must be dropped.
pub async fn exchange(
    conn: &mut Conn,
    request: Request<Full<Bytes>>,
    keep: Keep,
    max_body: u64,
) -> Result<Answer, ExchangeError> {
    conn.meter.reset();
    let result = conn
        .drive(|sender| async move {
            let response = sender.send_request(request).await.map_err(|error| failed(&error, None))?;
            let (head, body) = response.into_parts();
            let body = read_body(body, head.status, keep, max_body).await?;
            Ok(Answer { status: head.status, headers: head.headers, body, ended: clock::mono() })
        })
        .await;
    conn.carried += 1;
    result
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

async fn read_body(mut body: Incoming, status: StatusCode, keep: Keep, max: u64) -> Result<Bytes, ExchangeError> {
    let limit = if keep == Keep::All { usize::MAX } else { START_BYTES };
    let (mut kept, mut rest) = (Kept::Empty, 0u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error, Some(status)))?;
        let Ok(data) = frame.into_data() else { continue };
        rest += data.len() as u64;
        if rest > max {
            let detail = format!("the body is larger than {max} bytes");
            return Err(ExchangeError { reason: fail::BODY_LIMIT, detail, status: Some(status) });
        }
        kept.push(data, limit);
    }
    Ok(kept.into_bytes())
}

/// A body in one piece is kept without a copy.
enum Kept {
    Empty,
    One(Bytes),
    Many(BytesMut),
}

impl Kept {
    fn push(&mut self, mut data: Bytes, limit: usize) {
        let have = match self {
            Self::Empty => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        };
        data.truncate(limit.saturating_sub(have));
        if data.is_empty() {
            return;
        }
        match self {
            Self::Empty => *self = Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + data.len());
                all.extend_from_slice(first);
                all.extend_from_slice(&data);
                *self = Self::Many(all);
            }
            Self::Many(all) => all.extend_from_slice(&data),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

fn failed(error: &hyper::Error, status: Option<StatusCode>) -> ExchangeError {
    let malformed = error.is_parse() || error.is_parse_status() || error.is_parse_too_large() || bad_body(error);
    let reason = if malformed { fail::PROTOCOL } else { fail::RESET };
    ExchangeError { reason, detail: with_sources(error), status }
}

/// Whether a body was there but made no sense, as a chunk without a size: hyper tells it as an I/O error.
fn bad_body(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_its_limit() {
        let check = |pieces: &[&'static str], limit, expected: &str| {
            let mut kept = Kept::Empty;
            for piece in pieces {
                kept.push(Bytes::from_static(piece.as_bytes()), limit);
            }
            assert_eq!(kept.into_bytes(), expected);
        };
        check(&[], 10, "");
        check(&["abc"], 10, "abc");
        check(&["abc", "def"], 10, "abcdef");
        check(&["abc", "def", "ghi"], 7, "abcdefg");
        check(&["abcdef"], 2, "ab");
    }
}
