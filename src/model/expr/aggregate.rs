//! What a threshold measures: an aggregation of a metric, of a selected part of the run.

use super::Compare;
use crate::model::{Name, outcome::Outcome};

/// `agg(metric{selectors})`.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// How many values become one.
    pub by: Aggregation,
    /// Of what.
    pub metric: Metric,
    /// Of which part of it; all must hold.
    pub selectors: Vec<Selector>,
    /// `since last_run`: an increase reaches back to the last reading of the run before.
    pub since_last_run: bool,
}

impl Aggregate {
    /// The same of one part of the run.
    #[must_use]
    pub fn selecting(mut self, by: &Dimension, value: &str) -> Self {
        self.selectors.push(Selector { by: by.clone(), value: Pattern::Is(value.into()), negated: false });
        self
    }
}

/// How many values become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// How many.
    Count,
    /// `rate` as a share of what was answered (of `dropped`: of what was planned).
    Share,
    /// `rps`, or `rate` held against a limit per second: how many per second of the measured window.
    PerSecond,
    /// Arithmetic mean.
    Mean,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// The value at or below which this share (0 to 1) of the values lie.
    Quantile(f64),
    /// First reading of the run.
    First,
    /// Last reading of the run.
    Last,
    /// Median of the last tenth of the readings against the first tenth.
    Growth {
        /// The difference in the stat's unit, rather than the ratio minus one.
        absolute: bool,
    },
    /// Theil–Sen slope, per second.
    Slope,
    /// Rise of a counter, resets taken into account.
    Increase,
    /// How often a counter began again from a lower value.
    Restarts,
    /// None: the metric is one value (`elapsed`), or a gauge is read at one moment.
    Plain,
}

/// What can be aggregated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// Answered requests: ok + rejected + failed.
    Requests,
    /// Requests sent.
    Sent,
    /// Requests planned: sent + dropped.
    Planned,
    /// Requests planned but never sent.
    Dropped,
    /// Requests that ended so.
    Outcome(Outcome),
    /// Completed iterations, unless an outcome is selected.
    Iterations,
    /// Length of completed iterations, pauses between steps included.
    Iteration,
    /// Intended instant to the first token of a streamed answer.
    Ttft,
    /// Gaps between tokens.
    Itl,
    /// Time per token after the first one, answer by answer.
    Tpot,
    /// Tokens: as a count all of them, else those of an answer.
    Tokens,
    /// Tokens per second of service time, answer by answer.
    TokensPerS,
    /// Waits for a token that were too long.
    Stalls,
    /// Wall time from the first intended instant to the last end.
    Elapsed,
    /// The highest load that a search found sustained.
    SafeRate,
    /// Time until the target had recovered.
    Recovery,
    /// Intended instant to last byte; over `ok` unless an outcome is selected.
    Latency,
    /// First byte written to last byte read; over `ok` unless an outcome is selected.
    ServiceTime,
    /// Our own lateness.
    SendLag,
    /// A part of the requests' time, selected by `timing`.
    Timing,
    /// Samples that could not be recorded.
    SamplesLost,
    /// Steps of the wall clock beyond 2 s.
    ClockSteps,
    /// A figure of the target, or a custom metric; of `restarts` also `target`: all counters.
    Stat(Name),
}

impl Metric {
    /// As written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Requests => "requests",
            Self::Sent => "sent",
            Self::Planned => "planned",
            Self::Dropped => "dropped",
            Self::Outcome(outcome) => outcome.as_str(),
            Self::Iterations => "iterations",
            Self::Iteration => "iteration",
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Tpot => "tpot",
            Self::Tokens => "tokens",
            Self::TokensPerS => "tokens_per_s",
            Self::Stalls => "stalls",
            Self::Elapsed => "elapsed",
            Self::SafeRate => "safe_rate",
            Self::Recovery => "recovery",
            Self::Latency => "latency",
            Self::ServiceTime => "service_time",
            Self::SendLag => "send_lag",
            Self::Timing => "timing",
            Self::SamplesLost => "samples_lost",
            Self::ClockSteps => "clock_steps",
            Self::Stat(name) => name,
        }
    }
}

/// The dimensions within a run that loads bring along.
pub const GROUPS: [&str; 8] = ["level", "part", "phase", "user", "burst", "resource", "repeat", "turn"];

/// `key=value` between braces.
#[derive(Debug, Clone)]
pub struct Selector {
    /// The key.
    pub by: Dimension,
    /// `=` or `=~`; with `negated` `!=` or `!~`.
    pub value: Pattern,
    /// Selects what does not match.
    pub negated: bool,
}

/// What a selector selects by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// The request's name.
    Step,
    /// The status of the answer.
    Status,
    /// ok, rejected, failed or interrupted.
    Outcome,
    /// Why it was rejected, failed or dropped.
    Reason,
    /// blocked, dns, connect, tls, ttfb or transfer.
    Timing,
    /// One of [`GROUPS`], or a tag.
    Group(Name),
}

impl Dimension {
    /// As written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Step => "step",
            Self::Status => "status",
            Self::Outcome => "outcome",
            Self::Reason => "reason",
            Self::Timing => "timing",
            Self::Group(name) => name,
        }
    }
}

/// The value of a selector.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Exactly this text; of numbered dimensions also `first` and `last`.
    Is(Name),
    /// A status class: its first digit.
    Class(u16),
    /// The whole value matches.
    Matches(regex::Regex),
    /// The value is a number that compares so: `turn>1`.
    Number(Compare, f64),
}

impl Pattern {
    /// Whether it means this value, `!=` aside; what `first` and `last` stand for is not known here.
    pub fn takes(&self, value: &str) -> bool {
        match self {
            Self::Is(word) => **word == *value,
            Self::Class(class) => value.len() == 3 && value.parse().is_ok_and(|status: u16| status / 100 == *class),
            Self::Matches(regex) => regex.is_match(value),
            Self::Number(op, limit) => value.parse().is_ok_and(|value: f64| op.compares(value, *limit)),
        }
    }
}
