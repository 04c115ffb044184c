//! Answers token by token, as LLM servers stream them, and a log of when each token was really handed over: what a
//! client measured can be held against it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    body::Step,
    fault::{BEFORE_CUT, Fault},
    knobs::Live,
    respond::Place,
};
use crate::model::{Name, clock::mono};

mod shape;

pub use self::shape::{Plan, Shape};

/// Streams kept in the log; the oldest goes first.
pub const MAX_STREAMS: usize = 1000;
/// Gaps kept of each stream.
pub const MAX_GAPS: usize = 1000;

/// One streamed answer as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamEntry {
    /// The request's number in `GET /practice/log`.
    pub seq: u64,
    /// The path it is counted under.
    pub path: Name,
    /// Milliseconds since the target started, when the request's head was read.
    pub received_ms: f64,
    /// From then to the first token, in milliseconds; null when none was sent.
    pub first_token_ms: Option<f64>,
    /// Between tokens, in milliseconds, the first 1,000.
    pub gaps_ms: Vec<f64>,
    /// Tokens sent.
    pub tokens: u32,
    /// Tokens there were to send.
    pub planned: u32,
    /// From the request's head to the end, in milliseconds.
    pub total_ms: f64,
    /// Whether the end was sent, rather than that the client left.
    pub complete: bool,
}

/// The latest streams.
#[derive(Debug, Default)]
pub struct Streams {
    ended: VecDeque<StreamEntry>,
    dropped: u64,
}

/// The log as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamLog {
    /// Streams that are no longer listed.
    pub dropped: u64,
    /// Those that ended, in the order of their ends.
    pub streams: Vec<StreamEntry>,
}

impl Streams {
    fn push(&mut self, entry: StreamEntry) {
        if self.ended.len() == MAX_STREAMS {
            self.ended.pop_front();
            self.dropped += 1;
        }
        self.ended.push_back(entry);
    }

    /// A copy, with the latest `last`.
    pub fn snapshot(&self, last: usize) -> StreamLog {
        let skipped = self.ended.len().saturating_sub(last);
        let streams = self.ended.iter().skip(skipped).cloned().collect();
        StreamLog { dropped: self.dropped + skipped as u64, streams }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The steps of one streamed answer. Holds the request's place in the queue until it has ended.
pub(super) struct Tokens {
    plan: Plan,
    live: Arc<Live>,
    place: Place,
    received: Instant,
    sent: u32,
    rested: bool,
    first: Option<Instant>,
    last: Instant,
    gaps: Vec<Duration>,
    complete: bool,
    /// After how many tokens it breaks, and how.
    breaks: Option<(u32, Step)>,
    braced: bool,
}

impl Tokens {
    /// The answer to a request; it goes wrong if the request meets a fault that a stream can show.
    pub(super) fn new(mut plan: Plan, live: Arc<Live>, place: Place) -> Self {
        let received = place.received();
        let breaks = place.fault().and_then(|fault| fault.in_stream(plan.tokens));
        if place.fault() == Some(Fault::EndlessBody) {
            plan.tokens = u32::MAX;
        }
        Self {
            plan,
            live,
            place,
            received,
            sent: 0,
            rested: false,
            first: None,
            last: received,
            gaps: Vec::new(),
            complete: false,
            breaks,
            braced: false,
        }
    }

    /// The pause before the next token.
    fn rest(&self) -> Duration {
        let knobs = &self.live.knobs;
        if self.sent == 0 {
            return knobs.first_token.sample();
        }
        let midway = self.sent == self.plan.tokens.div_ceil(2);
        let stall = knobs.token_stall.filter(|_| midway).unwrap_or_default();
        knobs.token_gap.sample() + stall
    }

    fn token(&mut self) -> Step {
        let now = mono();
        match self.first {
            None => self.first = Some(now),
            Some(_) if self.gaps.len() < MAX_GAPS => self.gaps.push(now - self.last),
            Some(_) => {}
        }
        self.last = now;
        self.sent += 1;
        let token = self.plan.token(self.sent - 1);
        if self.place.fault() == Some(Fault::BadJson) && self.sent == self.plan.tokens.div_ceil(2) {
            return Step::Data(Bytes::from([&token[..token.len() / 2], b"\n\n"].concat()));
        }
        Step::Data(token)
    }
}

impl Iterator for Tokens {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.complete {
            return None;
        }
        if self.breaks.as_ref().is_some_and(|(after, _)| self.sent >= *after) {
            if !std::mem::replace(&mut self.braced, true) {
                return Some(Step::Pause(BEFORE_CUT));
            }
            return self.breaks.take().map(|(_, step)| step);
        }
        if self.sent < self.plan.tokens && !self.rested {
            self.rested = true;
            return Some(Step::Pause(self.rest()));
        }
        // No token leaves while the target stands still.
        let now = mono();
        if let Some(end) = self.place.stalled_until(now) {
            return Some(Step::Pause(end.saturating_duration_since(now).max(Duration::from_millis(1))));
        }
        if self.sent < self.plan.tokens {
            self.rested = false;
            return Some(self.token());
        }
        self.complete = true;
        self.place.answered(200);
        let worked = now.saturating_duration_since(self.received);
        Some(Step::Data(Bytes::from(self.plan.end(self.sent, self.first.map(|first| first - self.received), worked))))
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        let ms = |duration: Duration| duration.as_micros() as f64 / 1000.0;
        let entry = StreamEntry {
            seq: self.place.seq(),
            path: self.place.path(),
            received_ms: ms(self.place.received_at()),
            first_token_ms: self.first.map(|first| ms(first - self.received)),
            gaps_ms: self.gaps.iter().copied().map(ms).collect(),
            tokens: self.sent,
            planned: self.plan.tokens,
            total_ms: ms(mono() - self.received),
            complete: self.complete,
        };
        self.place.log_stream(|streams| streams.push(entry));
    }
}
