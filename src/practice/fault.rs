//! What can be wrong with an answer, by name: as a knob for a share of all requests, or for one request that asks for it
//! with `?fault=NAME` or `x-fault: NAME`, so that a client can walk through all of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, Version,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize};

use super::{
    body::{Answer, Step, pieces},
    wire::{Cut, Line},
};

mod bomb;

/// Between the last bytes and the cut, so that they are on their way before it.
pub(super) const BEFORE_CUT: Duration = Duration::from_millis(20);
/// Between the bytes of [`Fault::SlowDrip`], unless the knob `drip` says otherwise.
const DRIP: Duration = Duration::from_millis(100);
/// [`Fault::HeaderFlood`]: so many headers…
const FLOOD_HEADERS: usize = 1000;
/// …of so many bytes each.
const FLOOD_BYTES: usize = 1000;
/// What an endless body is made of.
const ENDLESS: Bytes = Bytes::from_static(&[b'x'; 64 << 10]);

/// A way to answer that no client hopes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Fault {
    /// No answer, ever.
    Hang,
    /// A reset as soon as the request's head is read.
    ResetRequestHead,
    /// A close instead of an answer.
    CloseUnanswered,
    /// A reset after the response's head.
    ResetResponseHead,
    /// A reset after half of the body.
    ResetMidBody,
    /// A close after half of the body.
    CloseMidBody,
    /// The body, one byte per 100 ms or per `drip`.
    SlowDrip,
    /// A body that never ends, as fast as it is read.
    EndlessBody,
    /// JSON that is none.
    BadJson,
    /// A Content-Length that is 100 above the body, then a close.
    LengthTooLong,
    /// A Content-Length that is half of the body.
    LengthTooShort,
    /// A chunk that is cut short by a close (HTTP/2: a stream broken in its body).
    TruncatedChunk,
    /// 256 KiB of gzip that are 270 MB of zeros.
    GzipBomb,
    /// A megabyte of headers.
    HeaderFlood,
    /// Bytes that are no HTTP at all.
    NotHttp,
    /// The answer, and the connection's end announced with it (HTTP/1.1: `connection: close`).
    Goaway,
    /// GOAWAY with an error instead of an answer (HTTP/1.1: a close).
    GoawayError,
    /// RST_STREAM instead of an answer (HTTP/1.1: a close).
    RstStream,
}

impl Fault {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Hang,
        Self::ResetRequestHead,
        Self::CloseUnanswered,
        Self::ResetResponseHead,
        Self::ResetMidBody,
        Self::CloseMidBody,
        Self::SlowDrip,
        Self::EndlessBody,
        Self::BadJson,
        Self::LengthTooLong,
        Self::LengthTooShort,
        Self::TruncatedChunk,
        Self::GzipBomb,
        Self::HeaderFlood,
        Self::NotHttp,
        Self::Goaway,
        Self::GoawayError,
        Self::RstStream,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::ResetRequestHead => "reset_request_head",
            Self::CloseUnanswered => "close_unanswered",
            Self::ResetResponseHead => "reset_response_head",
            Self::ResetMidBody => "reset_mid_body",
            Self::CloseMidBody => "close_mid_body",
            Self::SlowDrip => "slow_drip",
            Self::EndlessBody => "endless_body",
            Self::BadJson => "bad_json",
            Self::LengthTooLong => "length_too_long",
            Self::LengthTooShort => "length_too_short",
            Self::TruncatedChunk => "truncated_chunk",
            Self::GzipBomb => "gzip_bomb",
            Self::HeaderFlood => "header_flood",
            Self::NotHttp => "not_http",
            Self::Goaway => "goaway",
            Self::GoawayError => "goaway_error",
            Self::RstStream => "rst_stream",
        }
    }

    /// By its name; the error lists them.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("there is no fault `{name}`; write one of {}", all.join(", "))
        })
    }
}

/// What happens instead of an answer.
pub(super) enum Instead {
    /// Nothing, for ever.
    Nothing,
    /// The connection is cut.
    Cut(Cut),
    /// This stream alone is reset.
    Reset,
}

impl Fault {
    /// For faults that need no answer: what happens as soon as the request's head is read.
    pub(super) fn instead(self, version: Version) -> Option<Instead> {
        let http2 = version == Version::HTTP_2;
        Some(match self {
            Self::Hang => Instead::Nothing,
            Self::ResetRequestHead => Instead::Cut(Cut::reset()),
            Self::NotHttp => Instead::Cut(Cut::closing("SSH-2.0-practice\r\n\r\nthis is no HTTP server\r\n")),
            Self::GoawayError if http2 => Instead::Cut(Cut::closing(GOAWAY)),
            Self::GoawayError | Self::CloseUnanswered => Instead::Cut(Cut::default()),
            Self::RstStream => Instead::Reset,
            _ => return None,
        })
    }

    /// For faults that hyper would not send: the whole answer, past hyper.
    pub(super) fn bare(self, body: &Bytes, version: Version) -> Option<Cut> {
        (self == Self::LengthTooShort && version != Version::HTTP_2).then(|| Cut::closing(with_more_body(body)))
    }

    /// For a stream of so many tokens: after how many it breaks, and how.
    pub(super) fn in_stream(self, tokens: u32) -> Option<(u32, Step)> {
        let half = tokens.div_ceil(2);
        match self {
            Self::ResetResponseHead => Some((0, Step::Cut(Cut::reset()))),
            Self::ResetMidBody => Some((half, Step::Cut(Cut::reset()))),
            Self::CloseMidBody | Self::LengthTooLong => Some((half, Step::Cut(Cut::default()))),
            Self::TruncatedChunk => Some((half, Step::Break)),
            _ => None,
        }
    }

    /// Makes the answer go wrong.
    pub(super) fn spoil(
        self,
        response: Response<Bytes>,
        version: Version,
        drip: Option<Duration>,
        line: &Arc<Line>,
    ) -> Response<Answer> {
        let (mut head, body) = response.into_parts();
        let half = body.slice(..body.len().div_ceil(2));
        let cut = |cut: Cut| [Step::Pause(BEFORE_CUT), Step::Cut(cut)];
        let steps = |steps: Vec<Step>| Answer::stepwise(steps.into_iter(), line);
        let length = |headers: &mut HeaderMap, length: usize| {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        };
        let answer = match self {
            Self::ResetResponseHead => {
                length(&mut head.headers, body.len());
                steps(cut(Cut::reset()).into())
            }
            Self::ResetMidBody | Self::CloseMidBody => {
                length(&mut head.headers, body.len());
                let end = Cut { reset: self == Self::ResetMidBody, ..Cut::default() };
                steps([Step::Data(half)].into_iter().chain(cut(end)).collect())
            }
            Self::SlowDrip => {
                length(&mut head.headers, body.len());
                Answer::stepwise(pieces(body, 1, drip.unwrap_or(DRIP)), line)
            }
            Self::EndlessBody => Answer::stepwise(std::iter::repeat_with(|| Step::Data(ENDLESS)), line),
            Self::BadJson => {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Answer::Whole(Bytes::from_static(br#"{"ok":tru"#))
            }
            Self::LengthTooLong => {
                length(&mut head.headers, body.len() + 100);
                let end = if version == Version::HTTP_2 { vec![] } else { cut(Cut::default()).into() };
                steps([Step::Data(body)].into_iter().chain(end).collect())
            }
            Self::LengthTooShort => {
                length(&mut head.headers, body.len() / 2);
                steps(vec![Step::Data(body)])
            }
            Self::TruncatedChunk if version == Version::HTTP_2 => {
                steps(vec![Step::Data(half), Step::Pause(BEFORE_CUT), Step::Break])
            }
            Self::TruncatedChunk => {
                let chunk = [b"1000\r\n".as_slice(), &half].concat();
                steps(cut(Cut::closing(chunk)).into())
            }
            Self::GzipBomb => {
                head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                length(&mut head.headers, bomb::LENGTH);
                Answer::stepwise(bomb::steps(), line)
            }
            Self::HeaderFlood => {
                flood(&mut head.headers);
                Answer::Whole(body)
            }
            Self::Goaway => {
                announce_end(&mut head.headers, version, line);
                Answer::Whole(body)
            }
            _ => Answer::Whole(body),
        };
        Response::from_parts(head, answer)
    }
}

/// [`Fault::Goaway`]: this is the connection's last answer. Who reads its head knows, also where the head is sent before
/// the connection hears of it.
pub(super) fn announce_end(headers: &mut HeaderMap, version: Version, line: &Line) {
    if version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    line.retire();
}

/// A GOAWAY frame: no stream was worked on, ENHANCE_YOUR_CALM.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// A whole answer in bytes whose Content-Length covers half of its body.
fn with_more_body(body: &Bytes) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len() / 2);
    [head.as_bytes(), body].concat()
}

fn flood(headers: &mut HeaderMap) {
    let value = HeaderValue::from_bytes(&[b'x'; FLOOD_BYTES]).expect("it is text");
    for n in 0..FLOOD_HEADERS {
        let name = HeaderName::try_from(format!("x-flood-{n}")).expect("it is a header's name");
        headers.insert(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        use clap::ValueEnum;
        assert_eq!(Fault::value_variants(), Fault::ALL);
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).expect("a name"), fault.name());
            assert_eq!(fault.to_possible_value().expect("a value").get_name(), fault.name());
            assert_eq!(Fault::named(fault.name()), Ok(*fault));
        }
        assert!(Fault::named("gzip").expect_err("no such name").contains("gzip_bomb, header_flood"));
    }
}
