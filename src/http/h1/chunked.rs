//! A body in chunks (RFC 9112, section 7.1; pure). Extensions and trailers are read and thrown away, within a bound.

use super::head::Fault;

/// Longest sum of the extensions and trailers of one body, in bytes: they say nothing to us.
pub const MAX_EXTRAS: u32 = 16 * 1024;

/// How far the reading of a body in chunks has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// Of the current chunk: its size while it is read, then what is left of it.
    size: u64,
    extras: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The first digit of a size.
    Size,
    /// Another digit, or what follows; so many have been read.
    Digits(u8),
    /// Blanks after the size.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The start of a trailer line, or of the empty line at the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
}

/// What the bytes at hand come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// A piece of the body; never empty.
    Data(&'a [u8]),
    /// More is needed.
    More,
    /// The body is complete.
    End,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::Size, size: 0, extras: 0 }
    }
}

impl Chunked {
    /// Takes the next piece of the body off `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Chunk<'a>, Fault> {
        loop {
            if self.at == At::Data && !input.is_empty() {
                let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len());
                let data;
                (data, *input) = input.split_at(length);
                self.size -= length as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Chunk::Data(data));
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(Chunk::More) };
            *input = rest;
            if self.at == At::EndLf && *byte == b'\n' {
                return Ok(Chunk::End);
            }
            self.at = self.after(*byte)?;
        }
    }

    fn after(&mut self, byte: u8) -> Result<At, Fault> {
        Ok(match (self.at, byte) {
            (At::Size, _) => {
                self.size = digit(byte).ok_or(Fault("a chunk's size is no number"))?;
                At::Digits(1)
            }
            (At::Digits(count), byte) => match digit(byte) {
                // Sixteen digits fill 64 bits.
                Some(_) if count == 16 => return Err(Fault("a chunk's size is no number")),
                Some(digit) => {
                    self.size = self.size << 4 | digit;
                    At::Digits(count + 1)
                }
                None => self.after_size(byte)?,
            },
            (At::Blank, _) => self.after_size(byte)?,
            (At::Extension, b'\r') => At::SizeLf,
            (At::SizeLf, b'\n') if self.size == 0 => At::Line,
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::DataCr | At::DataLf, _) => return Err(Fault("a chunk is longer than it says")),
            (At::Line, b'\r') => At::EndLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::Line,
            (At::Extension, 0x20.. | b'\t') => self.extra(At::Extension)?,
            (At::Line | At::Trailer, 0x20.. | b'\t') => self.extra(At::Trailer)?,
            _ => return Err(Fault("a chunk's line does not end as it must")),
        })
    }

    fn after_size(&mut self, byte: u8) -> Result<At, Fault> {
        match byte {
            b'\r' => Ok(At::SizeLf),
            b' ' | b'\t' => self.extra(At::Blank),
            b';' => self.extra(At::Extension),
            _ => Err(Fault("a chunk's size is no number")),
        }
    }

    fn extra(&mut self, next: At) -> Result<At, Fault> {
        self.extras += 1;
        if self.extras > MAX_EXTRAS {
            Err(Fault("its chunks' extensions and trailers exceed 16 KiB"))
        } else {
            Ok(next)
        }
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and what follows it; `None` if it does not end.
    fn read(mut input: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), &'static str> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        loop {
            match chunked.next(&mut input).map_err(|fault| fault.0)? {
                Chunk::Data(data) => body.extend_from_slice(data),
                Chunk::More => return Ok((body, None)),
                Chunk::End => return Ok((body, Some(input.to_vec()))),
            }
        }
    }

    #[test]
    fn chunks_make_a_body() {
        let check = |text: &str, body: &str, rest: Option<&str>| {
            let expected = (body.as_bytes().to_vec(), rest.map(|rest| rest.as_bytes().to_vec()));
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text:?}");
        };
        check("0\r\n\r\n", "", Some(""));
        check("3\r\nabc\r\n0\r\n\r\nHTTP", "abc", Some("HTTP"));
        check("3\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\n", "abc0123456789", Some(""));
        check("3;name=\"va;lue\";x\r\nabc\r\n0 ; x\r\n\r\n", "abc", Some(""));
        check("1\r\na\r\n0\r\nDigest: x\r\nB: y\r\n\r\n", "a", Some(""));
        check("3\r\nab", "ab", None);
        check("1\r\na\r\n0\r\n", "a", None);
        check("", "", None);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let check = |text: &str, expected| assert_eq!(read(text.as_bytes()), Err(expected), "{text:?}");
        for size in ["zz\r\n", "\r\n", ";x\r\n", "-1\r\n", "+1\r\n", " 1\r\n", "0x1\r\n", "11112222333344445\r\n"] {
            check(size, "a chunk's size is no number");
        }
        for line in ["1\rx", "1;x\n", "0\r\n\n", "0\r\nx: y\n", "0\r\nx: y\r\r", "0\r\n\rx"] {
            check(line, "a chunk's line does not end as it must");
        }
        check("1\r\nab\r\n", "a chunk is longer than it says");
        check("1\r\na\rb", "a chunk is longer than it says");
        let extras = "x".repeat(MAX_EXTRAS as usize + 1);
        check(&format!("1;{extras}"), "its chunks' extensions and trailers exceed 16 KiB");
        check(&format!("0\r\n{extras}"), "its chunks' extensions and trailers exceed 16 KiB");
    }

    #[test]
    fn the_largest_size_is_no_overflow() {
        assert_eq!(read(b"ffffffffffffffff\r\nabc"), Ok((b"abc".to_vec(), None)));
    }
}
