//! A streamed answer, measured as it comes (pure): Server-Sent Events and NDJSON, fed in pieces with the instant of each.
//!
//! An answer that ends without its done marker, holds an event that is not JSON where JSON is looked into, or passes a
//! bound is `failed{protocol}`: it looks like 200 and is not what was asked for.

mod events;
mod probe;

use std::time::Duration;

pub use self::events::EventFault;
use self::{
    events::{Decoder, Event},
    probe::Probe,
};
use crate::{
    measure::stream::StreamSample,
    model::stream::{StreamDone, StreamSpec},
};

/// Events of one answer; more are a fault.
const MAX_EVENTS: u64 = 1_000_000;

/// Kept of an event in a message, bytes.
const SHOWN: usize = 200;

/// Why a streamed answer is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// A line or an event is too long.
    #[error("{0}")]
    Event(#[from] EventFault),
    /// There is no end to it.
    #[error("the stream holds more than {MAX_EVENTS} events")]
    Endless,
    /// An event is not what the configured paths look into.
    #[error("event {number} of the stream is not JSON: {text}")]
    NotJson {
        /// Counted from 1.
        number: u64,
        /// Its start.
        text: String,
    },
    /// The body ended, and nothing had said that the answer did.
    #[error("the stream ended after {events} events, without {marker}{last}")]
    Unfinished {
        /// Events before the end.
        events: u64,
        /// What was waited for.
        marker: String,
        /// The start of the last event that held no token, where an error may be told; empty without one.
        last: String,
    },
}

/// Measures one streamed answer.
#[derive(Debug)]
pub struct StreamMeter {
    decoder: Decoder,
    state: State,
}

/// What is known so far.
#[derive(Debug)]
struct State {
    probe: Probe,
    done: Option<StreamDone>,
    stall: Duration,
    sample: StreamSample,
    /// The end of the answer was told.
    over: bool,
    fault: Option<StreamFault>,
    /// The last event that held nothing that was looked for.
    other: Vec<u8>,
}

impl StreamMeter {
    /// A meter for one answer.
    pub fn new(spec: &StreamSpec) -> Self {
        let path = match &spec.done {
            Some(StreamDone::Path(path)) => Some(path),
            _ => None,
        };
        let state = State {
            probe: Probe::new(&spec.token, spec.usage.as_ref(), path),
            done: spec.done.clone(),
            stall: spec.stall,
            sample: StreamSample::default(),
            over: false,
            fault: None,
            other: Vec::new(),
        };
        Self { decoder: Decoder::new(spec.format), state }
    }

    /// Takes the next piece of the decoded body, which came at `at` (from an origin of the caller's choice, never
    /// going back). What follows the done marker or a fault is not looked at.
    pub fn feed(&mut self, piece: &[u8], at: Duration) {
        if self.state.ended() {
            return;
        }
        let state = &mut self.state;
        if let Err(fault) = self.decoder.feed(piece, &mut |event| state.event(&event, at)) {
            state.fault.get_or_insert(fault.into());
        }
    }

    /// Whether anything more could change what is known: a caller may stop reading when nothing could.
    pub fn ended(&self) -> bool {
        self.state.ended()
    }

    /// The answer ended at `at`, in full or not: what was measured, and why it is not whole.
    pub fn finish(mut self, at: Duration) -> (StreamSample, Result<(), StreamFault>) {
        let state = &mut self.state;
        if !state.ended()
            && let Some(data) = self.decoder.finish(&mut |event| state.event(&event, at))
        {
            state.trailing(data);
        }
        self.state.finish(at)
    }
}

impl State {
    fn ended(&self) -> bool {
        self.over || self.fault.is_some()
    }

    fn event(&mut self, event: &Event<'_>, at: Duration) {
        if self.ended() {
            return;
        }
        self.sample.events += 1;
        if self.sample.events > MAX_EVENTS {
            self.fault = Some(StreamFault::Endless);
        } else if self.is_marker(event.data) {
            self.over = true;
        } else if let Some(found) = self.probe.look(event.data) {
            if found.token {
                self.token(at);
            }
            if let Some(usage) = found.usage {
                self.sample.usage = Some(usage);
            }
            self.over =
                found.done || matches!(&self.done, Some(StreamDone::Event(name)) if name.as_bytes() == event.kind);
            if !found.token && found.usage.is_none() && !self.over {
                self.other.clear();
                self.other.extend_from_slice(&event.data[..event.data.len().min(SHOWN)]);
            }
        } else {
            let text = shown(event.data);
            self.fault = Some(StreamFault::NotJson { number: self.sample.events, text });
        }
    }

    /// Data without the blank line that ends an event: nothing by the rules, but many a server ends so.
    fn trailing(&mut self, data: &[u8]) {
        self.over |= self.is_marker(data);
    }

    fn is_marker(&self, data: &[u8]) -> bool {
        matches!(&self.done, Some(StreamDone::Text(text)) if text.as_bytes() == data)
    }

    fn token(&mut self, at: Duration) {
        self.sample.chunks += 1;
        match self.sample.last_token {
            None => self.sample.first_token = Some(at),
            Some(before) => {
                let gap = at.saturating_sub(before);
                self.sample.gaps.record(gap.as_secs_f64());
                self.sample.stalls += u64::from(gap > self.stall);
            }
        }
        self.sample.last_token = Some(at);
    }

    fn finish(mut self, at: Duration) -> (StreamSample, Result<(), StreamFault>) {
        let silence = self.sample.last_token.map(|last| at.saturating_sub(last));
        self.sample.stalls += u64::from(silence.is_some_and(|silence| silence > self.stall));
        self.sample.ended = at;
        let whole = match (self.fault, &self.done) {
            (Some(fault), _) => Err(fault),
            (None, Some(done)) if !self.over => {
                let marker = match done {
                    StreamDone::Text(text) => format!("`{text}`"),
                    StreamDone::Event(name) => format!("an event `{name}`"),
                    StreamDone::Path(path) => format!("a true {}", crate::model::jsonpath::shown(path)),
                };
                let last = match shown(&self.other) {
                    text if text.is_empty() => text,
                    text => format!("; its last event without a token: {text}"),
                };
                Err(StreamFault::Unfinished { events: self.sample.events, marker, last })
            }
            _ => Ok(()),
        };
        (self.sample, whole)
    }
}

/// The start of an event for a message, in one line.
fn shown(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(&data[..data.len().min(SHOWN)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
