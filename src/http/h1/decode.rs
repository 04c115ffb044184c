//! An answer from the bytes it comes in, however they are cut (pure).

use super::{
    chunked::{Chunk, Chunked},
    head::{Asked, Fault, Framing, Head, MAX_HEAD, parse},
};

/// Interim answers (1xx) that may come before one answer.
const MAX_INTERIM: u8 = 32;

const BAD_LINE: Fault = Fault("a line does not end as it must");

/// Reads one answer.
#[derive(Debug)]
pub struct Decoder {
    asked: Asked,
    state: State,
    /// The start of a head whose end has not come yet.
    held: Vec<u8>,
    /// Length of `held` from which on it is worth another look.
    look_at: usize,
    /// Length of the interim heads so far, and their number.
    before: usize,
    interim: u8,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Body),
    Over,
}

#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Its head; interim answers are skipped.
    Head(Head),
    /// A piece of its body; never empty.
    Body(&'a [u8]),
    /// It is complete.
    End,
}

impl Decoder {
    /// A decoder for one answer.
    pub fn new(asked: Asked) -> Self {
        Self { asked, state: State::Head, held: Vec::new(), look_at: 0, before: 0, interim: 0 }
    }

    /// Takes the next part of the answer off `input`; `None` when all of it is taken and more is needed. What is left
    /// after [`Part::End`] does not belong to the answer.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Fault> {
        match &mut self.state {
            State::Head => self.head(input),
            State::Body(body) => {
                let part = body.next(input)?;
                if part == Some(Part::End) {
                    self.state = State::Over;
                }
                Ok(part)
            }
            State::Over => Ok(Some(Part::End)),
        }
    }

    /// The connection has ended: whether the answer is complete, or was cut short.
    pub fn eof(&mut self) -> Result<bool, Fault> {
        match self.state {
            // What was held back may have been no answer at all.
            State::Head => parse(&self.held, self.asked).map(|_| false),
            State::Body(Body::UntilClose) | State::Over => Ok(true),
            State::Body(_) => Ok(false),
        }
    }

    fn head<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Fault> {
        while let Some(head) = self.one_head(input)? {
            if head.status.is_informational() && head.status != ::http::StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(Fault("more than 32 interim answers come before it"));
                }
                continue;
            }
            self.state = match head.framing {
                Framing::Empty => State::Over,
                Framing::Length(length) => State::Body(Body::Length(length)),
                Framing::Chunked => State::Body(Body::Chunked(Chunked::default())),
                Framing::UntilClose => State::Body(Body::UntilClose),
            };
            return Ok(Some(Part::Head(head)));
        }
        Ok(None)
    }

    /// The next head, interim or not. Mostly it comes in one piece and is read where it lies. What comes in many pieces is
    /// held, and looked at again only when its end is there or it has doubled: a target that sends byte by byte makes us
    /// no work.
    fn one_head(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Fault> {
        if input.is_empty() {
            return Ok(None);
        }
        let room = MAX_HEAD - self.before;
        let (start, length, head) = if self.held.is_empty() {
            match parse(input, self.asked)? {
                Some((length, head)) => (0, length, head),
                None => return self.hold(input, room),
            }
        } else {
            let start = self.held.len();
            let taken = input.len().min(room + 1 - start);
            self.held.extend_from_slice(&input[..taken]);
            if self.held.len() < self.look_at.min(room + 1) && !ends(&self.held[start.saturating_sub(2)..]) {
                *input = &input[taken..];
                return Ok(None);
            }
            self.look_at = self.held.len() * 2;
            match parse(&self.held, self.asked)? {
                Some((length, head)) => {
                    self.held.clear();
                    (start, length, head)
                }
                None if self.held.len() > room => return Err(Fault("its head is longer than 64 KiB")),
                None => {
                    *input = &input[taken..];
                    return Ok(None);
                }
            }
        };
        self.before += length;
        if self.before > MAX_HEAD {
            return Err(Fault("its head is longer than 64 KiB"));
        }
        // Its end lies in what was just added, for it is looked for in all that comes.
        *input = length.checked_sub(start).and_then(|added| input.get(added..)).ok_or(BAD_LINE)?;
        Ok(Some(head))
    }

    fn hold(&mut self, input: &mut &[u8], room: usize) -> Result<Option<Head>, Fault> {
        if input.len() > room {
            return Err(Fault("its head is longer than 64 KiB"));
        }
        self.held.extend_from_slice(input);
        self.look_at = self.held.len() * 2;
        *input = &[];
        Ok(None)
    }
}

/// Whether an empty line stands somewhere in it.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

impl Body {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Fault> {
        match self {
            Self::Length(0) => return Ok(Some(Part::End)),
            Self::Chunked(chunked) => {
                return Ok(match chunked.next(input)? {
                    Chunk::Data(data) => Some(Part::Body(data)),
                    Chunk::More => None,
                    Chunk::End => Some(Part::End),
                });
            }
            Self::Length(_) | Self::UntilClose => {}
        }
        if input.is_empty() {
            return Ok(None);
        }
        let taken = match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                taken
            }
            Self::Chunked(_) | Self::UntilClose => input.len(),
        };
        let (piece, rest) = input.split_at(taken);
        *input = rest;
        Ok(Some(Part::Body(piece)))
    }
}

#[cfg(test)]
mod tests;
