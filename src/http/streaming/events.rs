//! Bytes to events, however they are cut: WHATWG's event stream, and one JSON value per line.

use crate::model::stream::StreamFormat;

/// Longest line, and longest data of an event, in bytes; a line that is complete in a piece is not copied.
const MAX_BYTES: usize = 256 * 1024;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The `event:` field; empty where there is none.
    pub(super) kind: &'a [u8],
    /// Its data, several `data:` lines joined by a line feed.
    pub(super) data: &'a [u8],
}

/// Why bytes are not events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// One line is too long.
    #[error("a line of the stream is longer than {MAX_BYTES} bytes")]
    Line,
    /// The lines of one event are too long together.
    #[error("an event of the stream is longer than {MAX_BYTES} bytes")]
    Event,
}

/// Cuts a stream into events.
#[derive(Debug)]
pub(super) struct Decoder {
    format: StreamFormat,
    lines: Lines,
    open: Open,
}

impl Decoder {
    pub(super) fn new(format: StreamFormat) -> Self {
        Self { format, lines: Lines::new(format), open: Open::default() }
    }

    /// Takes a piece, and hands on each event that it completes.
    pub(super) fn feed(&mut self, piece: &[u8], each: &mut dyn FnMut(Event<'_>)) -> Result<(), EventFault> {
        let Self { format, lines, open } = self;
        lines.feed(piece, &mut |line| open.line(*format, line, each))
    }

    /// The end of the body. A last line of NDJSON needs no line end; an event of SSE that no blank line ends is none: its
    /// data is returned.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(Event<'_>)) -> Option<&[u8]> {
        let Self { format, lines, open } = self;
        // What is left fits into the bounds: it was held against them when it came.
        let _ = lines.finish(&mut |line| open.line(*format, line, each));
        open.has_data.then_some(&open.data)
    }
}

/// The event that is being read.
#[derive(Debug, Default)]
struct Open {
    kind: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Open {
    fn line(&mut self, format: StreamFormat, line: &[u8], each: &mut dyn FnMut(Event<'_>)) -> Result<(), EventFault> {
        if format == StreamFormat::Ndjson {
            let line = line.trim_ascii();
            if !line.is_empty() {
                each(Event { kind: b"", data: line });
            }
            return Ok(());
        }
        if line.is_empty() {
            if self.has_data {
                each(Event { kind: &self.kind, data: &self.data });
            }
            self.kind.clear();
            self.data.clear();
            self.has_data = false;
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() >= MAX_BYTES {
                    return Err(EventFault::Event);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => value.clone_into(&mut self.kind),
            // A comment, `id`, `retry`, and what nobody knows.
            _ => {}
        }
        Ok(())
    }
}

/// Cuts bytes into lines; keeps what is not yet a line.
#[derive(Debug)]
struct Lines {
    /// A carriage return alone ends a line too.
    returns: bool,
    partial: Vec<u8>,
    /// The byte before was a carriage return that ended a line: a line feed right after it belongs to it.
    after_return: bool,
    /// No line was read yet: a byte order mark may come.
    first: bool,
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Lines {
    fn new(format: StreamFormat) -> Self {
        Self { returns: format == StreamFormat::Sse, partial: Vec::new(), after_return: false, first: true }
    }

    fn feed(
        &mut self,
        mut piece: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), EventFault>,
    ) -> Result<(), EventFault> {
        if self.after_return && !piece.is_empty() {
            self.after_return = false;
            piece = piece.strip_prefix(b"\n").unwrap_or(piece);
        }
        let returns = self.returns;
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n' || (*byte == b'\r' && returns)) {
            self.line(&piece[..end], each)?;
            let returned = piece[end] == b'\r';
            piece = &piece[end + 1..];
            if returned {
                self.after_return = piece.is_empty();
                piece = piece.strip_prefix(b"\n").unwrap_or(piece);
            }
        }
        if self.partial.len() + piece.len() > MAX_BYTES {
            return Err(EventFault::Line);
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    /// What stands at the end without a line end.
    fn finish(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), EventFault>) -> Result<(), EventFault> {
        if self.partial.is_empty() { Ok(()) } else { self.line(b"", each) }
    }

    fn line(&mut self, end: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), EventFault>) -> Result<(), EventFault> {
        if self.partial.len() + end.len() > MAX_BYTES {
            return Err(EventFault::Line);
        }
        let whole = if self.partial.is_empty() {
            end
        } else {
            self.partial.extend_from_slice(end);
            &self.partial
        };
        let whole = whole.strip_prefix(MARK).filter(|_| self.first).unwrap_or(whole);
        self.first = false;
        let result = each(whole);
        self.partial.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = (Vec<(String, String)>, String, Option<EventFault>);

    fn events<'a>(format: StreamFormat, pieces: impl IntoIterator<Item = &'a [u8]>) -> Found {
        let (mut found, mut left, mut fault) = (Vec::new(), String::new(), None);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut decoder = Decoder::new(format);
        for piece in pieces {
            let result = decoder.feed(piece, &mut |event| found.push((text(event.kind), text(event.data))));
            if let Err(error) = result {
                fault = Some(error);
                break;
            }
        }
        if fault.is_none() {
            left = decoder
                .finish(&mut |event| found.push((text(event.kind), text(event.data))))
                .map(text)
                .unwrap_or_default();
        }
        (found, left, fault)
    }

    fn check(format: StreamFormat, body: &str, expected: &[(&str, &str)], trailing: &str) {
        let (found, left, fault) = events(format, [body.as_bytes()]);
        let found: Vec<(&str, &str)> = found.iter().map(|(kind, data)| (kind.as_str(), data.as_str())).collect();
        assert_eq!((found.as_slice(), left.as_str(), fault), (expected, trailing, None), "{body:?}");
    }

    #[test]
    fn server_sent_events_as_whatwg_has_them() {
        let sse = |body: &str, expected: &[(&str, &str)], left: &str| check(StreamFormat::Sse, body, expected, left);
        sse("", &[], "");
        sse("data: a\n\n", &[("", "a")], "");
        sse("data:a\r\rdata:  b\r\n\r\n", &[("", "a"), ("", " b")], "");
        sse("data: YHOO\ndata: +2\ndata: 10\n\n", &[("", "YHOO\n+2\n10")], "");
        sse(": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\n", &[("", "first"), ("", "second")], "");
        sse("data\n\ndata\ndata\n\ndata:", &[("", ""), ("", "\n")], "");
        sse("event: add\ndata: 1\n\ndata: 2\n\n", &[("add", "1"), ("", "2")], "");
        sse("event: lost\n\ndata: 2\n\n", &[("", "2")], "");
        sse("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[("", "a")], "");
        sse("data: a\n\ndata: unfinished\n", &[("", "a")], "unfinished");
        sse("data: a\n\ndata: cut", &[("", "a")], "cut");
        sse("database: no\nDATA: no\n data: no\n\n", &[], "");
    }

    #[test]
    fn lines_of_json() {
        let lines = |body: &str, expected: &[(&str, &str)]| check(StreamFormat::Ndjson, body, expected, "");
        lines("", &[]);
        lines("{}\n[1]\r\n\n  \n2", &[("", "{}"), ("", "[1]"), ("", "2")]);
        lines("\u{feff}1\n", &[("", "1")]);
        lines("{\"a\":\r1}\n", &[("", "{\"a\":\r1}")]);
    }

    #[test]
    fn what_is_too_long_is_a_fault() {
        let fault = |format, body: &str| events(format, body.as_bytes().chunks(1000)).2;
        let long = "x".repeat(MAX_BYTES + 1);
        assert_eq!(fault(StreamFormat::Ndjson, &long), Some(EventFault::Line));
        assert_eq!(fault(StreamFormat::Ndjson, &format!("{long}\n")), Some(EventFault::Line));
        assert_eq!(
            fault(StreamFormat::Sse, &format!("data: {}\n", "x".repeat(1000)).repeat(300)),
            Some(EventFault::Event)
        );
        assert_eq!(fault(StreamFormat::Sse, &format!(": {}\n", "x".repeat(1000)).repeat(300)), None);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "data", "data:", "data: ", "event: e", ":", " ", "\n", "\r", "\r\n", "\n\n", "x", "{}", "\u{feff}", "ü",
                ]),
                0..40,
            ),
            cuts in proptest::collection::vec(0_usize..200, 0..12),
            sse in any::<bool>(),
        ) {
            let format = if sse { StreamFormat::Sse } else { StreamFormat::Ndjson };
            let body = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let whole = events(format, [body.as_slice()]);
            prop_assert_eq!(&events(format, pieces), &whole);
            prop_assert_eq!(&events(format, body.chunks(1)), &whole);
        }
    }
}
