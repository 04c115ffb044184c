//! The head of an answer: the status line, the headers, and what they say of the body (RFC 9112; pure).
//!
//! Where two headers disagree on where the body ends, two readers may take different bytes for the next answer. Such an
//! answer is refused rather than guessed at.

use std::mem::MaybeUninit;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use httparse::{Header, ParserConfig, Response, Status};

/// Longest head of one answer, those of interim answers before it included, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;

/// Most headers of one answer.
pub const MAX_HEADERS: usize = 128;

/// Why what came back is not an answer, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid HTTP/1.1 answer: {0}")]
pub struct Fault(pub &'static str);

/// What of an answer depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// It was a HEAD request: its answer has no body, whatever its headers say.
    pub head: bool,
    /// The headers of a 2xx are wanted; those of every other answer are kept anyhow.
    pub headers: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes, at least one.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// Where the connection ends.
    UntilClose,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status.
    pub status: StatusCode,
    /// Headers; empty if nobody asked for them.
    pub headers: HeaderMap,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection may carry another request after this answer.
    pub keep_alive: bool,
}

/// The head at the start of `bytes` and its length; `None` if its end is not there yet.
pub fn parse(bytes: &[u8], asked: Asked) -> Result<Option<(usize, Head)>, Fault> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut space);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    if length > MAX_HEAD {
        return Err(Fault("its head is longer than 64 KiB"));
    }
    let code = response.code.expect("a complete head has a status");
    let status = StatusCode::from_u16(code).map_err(|_| Fault("its status is not between 100 and 999"))?;
    let old = response.version == Some(0);
    let words = Words::read(response.headers);
    let framing = words.framing(status, asked.head, old)?;
    // After 101 the connection speaks another protocol.
    let http = status != StatusCode::SWITCHING_PROTOCOLS;
    let keep_alive = http && !words.close && (!old || words.keep_alive) && framing != Framing::UntilClose;
    let headers = if asked.headers || !status.is_success() {
        collect(&bytes[..length], response.headers)?
    } else {
        HeaderMap::new()
    };
    Ok(Some((length, Head { status, headers, framing, keep_alive })))
}

fn fault(error: httparse::Error) -> Fault {
    Fault(match error {
        httparse::Error::HeaderName => "a header's name holds a byte it cannot",
        httparse::Error::HeaderValue => "a header's value holds a byte it cannot",
        httparse::Error::NewLine => "a line does not end as it must",
        httparse::Error::Status => "its status is not a number of three digits",
        httparse::Error::Token => "a byte stands where none of its kind may",
        httparse::Error::TooManyHeaders => "it has more than 128 headers",
        httparse::Error::Version => "it does not start with HTTP/1.0 or HTTP/1.1",
    })
}

/// The headers' values share one copy of the head.
fn collect(head: &[u8], headers: &[Header<'_>]) -> Result<HeaderMap, Fault> {
    let shared = Bytes::copy_from_slice(head);
    let start = head.as_ptr().addr();
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| Fault("a header's name holds a byte it cannot"))?;
        let at = header.value.as_ptr().addr().saturating_sub(start);
        let value = shared.get(at..at + header.value.len()).map_or_else(Bytes::new, |value| shared.slice_ref(value));
        let value =
            HeaderValue::from_maybe_shared(value).map_err(|_| Fault("a header's value holds a byte it cannot"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// What the headers say of the connection and of the body's end.
#[derive(Default)]
struct Words {
    close: bool,
    keep_alive: bool,
    length: Option<Result<u64, Fault>>,
    encoded: bool,
    chunked: bool,
    chunked_twice: bool,
}

impl Words {
    fn read(headers: &[Header<'_>]) -> Self {
        let mut words = Self::default();
        for Header { name, value } in headers {
            // Most headers differ from these in their length already.
            match name.len() {
                10 if name.eq_ignore_ascii_case("connection") => {
                    for token in tokens(value) {
                        words.close |= token.eq_ignore_ascii_case(b"close");
                        words.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    for token in value.split(|byte| *byte == b',') {
                        words.add_length(token.trim_ascii());
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    for token in tokens(value) {
                        words.chunked_twice |= words.chunked;
                        words.chunked = token.eq_ignore_ascii_case(b"chunked");
                        words.encoded = true;
                    }
                }
                _ => {}
            }
        }
        words
    }

    /// The same length twice is one length.
    fn add_length(&mut self, text: &[u8]) {
        let length = number(text).ok_or(Fault("its Content-Length is no number"));
        self.length = Some(match (self.length, length) {
            (Some(Ok(first)), Ok(second)) if first != second => Err(Fault("it has two different Content-Lengths")),
            (Some(Err(fault)), _) => Err(fault),
            (_, length) => length,
        });
    }

    /// RFC 9112, section 6.3.
    fn framing(&self, status: StatusCode, head: bool, old: bool) -> Result<Framing, Fault> {
        if head || status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(Framing::Empty);
        }
        if self.encoded {
            return match () {
                () if old => Err(Fault("HTTP/1.0 knows no Transfer-Encoding")),
                () if self.length.is_some() => Err(Fault("it has both Transfer-Encoding and Content-Length")),
                () if self.chunked_twice => Err(Fault("its Transfer-Encoding goes on after `chunked`")),
                () if self.chunked => Ok(Framing::Chunked),
                () => Ok(Framing::UntilClose),
            };
        }
        match self.length {
            None => Ok(Framing::UntilClose),
            Some(Ok(0)) => Ok(Framing::Empty),
            Some(Ok(length)) => Ok(Framing::Length(length)),
            Some(Err(fault)) => Err(fault),
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Digits alone: no sign, no blank.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { head: false, headers: true };

    fn framing(head: &str) -> Result<(Framing, bool), &'static str> {
        let text = format!("{head}\r\n\r\n");
        let (length, head) = parse(text.as_bytes(), GET).map_err(|fault| fault.0)?.expect("it is complete");
        assert_eq!(length, text.len());
        Ok((head.framing, head.keep_alive))
    }

    #[test]
    fn the_headers_say_where_the_body_ends_and_whether_the_connection_stays() {
        use Framing::{Chunked, Empty, Length, UntilClose};
        let check = |head: &str, expected| assert_eq!(framing(head), Ok(expected), "{head}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 5", (Length(5), true));
        check("HTTP/1.1 200 OK\r\ncontent-length: 0", (Empty, true));
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5", (Length(5), true));
        check("HTTP/1.1 200 OK\r\ncontent-length: 5, 5", (Length(5), true));
        check("HTTP/1.1 200\r\nTransfer-Encoding: Chunked", (Chunked, true));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked", (Chunked, true));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked", (Chunked, true));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip", (UntilClose, false));
        check("HTTP/1.1 200 OK", (UntilClose, false));
        check("HTTP/1.1 204 No Content\r\ncontent-length: 5", (Empty, true));
        check("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\ncontent-length: 5", (Empty, true));
        check("HTTP/1.1 103 Early Hints", (Empty, true));
        check("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1", (Length(1), false));
        check(
            "HTTP/1.1 200 OK\r\nconnection: foo, Close\r\nconnection: keep-alive\r\ncontent-length: 1",
            (Length(1), false),
        );
        check("HTTP/1.0 200 OK\r\ncontent-length: 1", (Length(1), false));
        check("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1", (Length(1), true));
        check("HTTP/1.0 200 OK\r\nconnection: keep-alive", (UntilClose, false));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let check = |head: &str, expected| assert_eq!(framing(head), Err(expected), "{head}");
        check("220 mail.example.com ESMTP", "it does not start with HTTP/1.0 or HTTP/1.1");
        check("HTTP/2.0 200 OK", "it does not start with HTTP/1.0 or HTTP/1.1");
        check("HTTP/1.1 99 x", "its status is not a number of three digits");
        check("HTTP/1.1 099 x", "its status is not between 100 and 999");
        check("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2", "it has two different Content-Lengths");
        check("HTTP/1.1 200 OK\r\ncontent-length: 1, 2, 1", "it has two different Content-Lengths");
        for length in ["", "+5", "-1", "5x", "0x5", "5 5", "18446744073709551616"] {
            check(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}"), "its Content-Length is no number");
        }
        let both = "it has both Transfer-Encoding and Content-Length";
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked", both);
        let after = "its Transfer-Encoding goes on after `chunked`";
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip", after);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked", after);
        check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked", "HTTP/1.0 knows no Transfer-Encoding");
        check("HTTP/1.1 200 OK\r\nname : x", "a header's name holds a byte it cannot");
        check("HTTP/1.1 200 OK\r\nname: a\r\n folded", "a header's name holds a byte it cannot");
        check(&format!("HTTP/1.1 200 OK{}", "\r\nx: y".repeat(129)), "it has more than 128 headers");
        check(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD)), "its head is longer than 64 KiB");
    }

    #[test]
    fn headers_are_kept_where_somebody_looks_at_them() {
        let check = |status: u16, headers: bool, expected: usize| {
            let text =
                format!("HTTP/1.1 {status} x\r\nRetry-After: 5\r\nset-cookie: a=1\r\nset-cookie: b=\u{e9}\r\n\r\n");
            let asked = Asked { head: false, headers };
            let (_, head) = parse(text.as_bytes(), asked).expect("valid").expect("complete");
            assert_eq!(head.headers.len(), expected);
            if expected > 0 {
                assert_eq!(head.headers["retry-after"], "5");
                let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
                assert_eq!(cookies, ["a=1".as_bytes(), "b=\u{e9}".as_bytes()]);
            }
        };
        check(200, true, 3);
        check(200, false, 0);
        check(503, false, 3);
    }
}
