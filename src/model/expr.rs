//! The trees of the one expression grammar: what `expect`, thresholds and rules are once parsed. The parser and the
//! evaluation are in `judge/`.

use std::time::Duration;

use ::http::HeaderName;
use regex::bytes::Regex;
use serde_json_path::JsonPath;

use super::{Name, outcome::Outcome, run::Severity, units::Quantity};

/// A condition on one response; true = good.
#[derive(Debug, Clone)]
pub struct Expect {
    /// As written.
    pub source: Name,
    /// What it says.
    pub tree: Condition,
}

impl Expect {
    /// Whether it asks for exactly this status (`status == 404`, `status in [200, 404]`): then it, and not the default,
    /// decides what the status means. `status != 404` asks for none: a target that answers 500 only is not well.
    pub fn asks_for(&self, status: u16) -> bool {
        fn within(condition: &Condition, wanted: &dyn Fn(&Operand) -> bool) -> bool {
            match condition {
                Condition::And(all) | Condition::Or(all) => all.iter().any(|inner| within(inner, wanted)),
                Condition::Compare { left: Operand::Status, op: Compare::Eq, right: other }
                | Condition::Compare { left: other, op: Compare::Eq, right: Operand::Status } => wanted(other),
                Condition::In { left: Operand::Status, any, negated: false } => any.iter().any(wanted),
                _ => false,
            }
        }
        within(&self.tree, &|operand| match operand {
            Operand::Number(number) => (number.value - f64::from(status)).abs() < 0.5,
            Operand::Class(class) => *class == status / 100,
            _ => false,
        })
    }
}

/// A condition on one response, as a tree.
#[derive(Debug, Clone)]
pub enum Condition {
    /// All of them hold.
    And(Vec<Condition>),
    /// At least one of them holds.
    Or(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// `left op right`.
    Compare {
        /// What is looked at.
        left: Operand,
        /// How.
        op: Compare,
        /// What it is held against.
        right: Operand,
    },
    /// `left in [a, b]`: equal to one of them.
    In {
        /// What is looked at.
        left: Operand,
        /// What it may be.
        any: Vec<Operand>,
        /// `not in`.
        negated: bool,
    },
    /// `left contains text`.
    Contains {
        /// What is looked at.
        left: Operand,
        /// What must be in it.
        text: Operand,
        /// `not contains`.
        negated: bool,
    },
    /// `left =~ /re/`.
    Matches {
        /// What is looked at.
        left: Operand,
        /// What must match somewhere in it.
        regex: Regex,
        /// `!~`.
        negated: bool,
    },
    /// `exists($.path)`: at least one node, null counts; a header or a variable that is there.
    Exists(Operand),
    /// `all(body =~ /re/, condition)`: the condition holds for each match, its groups being `$1`, `$2`, …; it holds where
    /// there is no match.
    All {
        /// What is looked for in the body.
        regex: Regex,
        /// What must hold of each match.
        each: Box<Condition>,
    },
}

/// Something with a value in an `expect`.
#[derive(Debug, Clone)]
pub enum Operand {
    /// The status code.
    Status,
    /// Intended instant to last byte, seconds.
    Latency,
    /// First byte written to last byte read, seconds.
    ServiceTime,
    /// The body.
    Body,
    /// The first value of a header.
    Header(HeaderName),
    /// A JSONPath (RFC 9535) query on the body; as a value it must find exactly one node.
    Path(JsonPath),
    /// A group of the match in `all(…)`.
    Group(usize),
    /// A captured value, `vu`, `iteration` or `n`.
    Variable(Name),
    /// Text as written.
    Text(Name),
    /// A number, with its unit.
    Number(Quantity),
    /// `2xx` and the like: the first digit of a status.
    Class(u16),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Compare {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }

    /// The same comparison with its sides exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
}

/// A condition on a whole run; true = good. Made by `judge::parse_threshold`; the options are then set on it.
#[derive(Debug, Clone)]
pub struct Threshold {
    /// As written; metrics, mails and reports quote it.
    pub source: Name,
    /// The user's name, or the slug of aggregation, metric and selectors (`p95_latency_level_last`).
    pub name: Name,
    /// How loud a breach is.
    pub severity: Severity,
    /// A breach during the run ends it.
    pub abort_on_fail: bool,
    /// Not judged during the run before this much of it has passed.
    pub delay_abort_eval: Duration,
    /// Runs in a row that must breach before the alert fires; gates the alert, never the verdict.
    pub for_runs: u32,
    /// Fewer samples than this are no data.
    pub min_samples: u64,
    /// Added by default rather than written by the user.
    pub implicit: bool,
    /// A page to open when it is breached.
    pub runbook: Option<Name>,
    /// What is measured.
    pub left: Measure,
    /// How it is compared.
    pub op: Compare,
    /// The limit.
    pub right: Measure,
    /// `over W`: judged each second over this long, instead of once over the run.
    pub over: Option<Duration>,
    /// `for H`: breached only when breached for this long without a break.
    pub hold: Duration,
}

impl Threshold {
    /// Every aggregation in it, from left to right.
    pub fn aggregates(&self) -> Vec<&Aggregate> {
        let mut found = Vec::new();
        self.left.collect(&mut found);
        self.right.collect(&mut found);
        found
    }

    /// The target's figures and the custom metrics that it names; the configuration checks that they exist.
    pub fn stats(&self) -> impl Iterator<Item = &str> {
        self.aggregates().into_iter().filter_map(|aggregate| match &aggregate.metric {
            Metric::Stat(name) => Some(&**name),
            _ => None,
        })
    }

    /// The dimensions it selects by that are not built in (a request's `tags:`); the configuration checks that they exist.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let selectors = self.aggregates().into_iter().flat_map(|aggregate| &aggregate.selectors);
        selectors.filter_map(|selector| match &selector.by {
            Dimension::Group(name) if !GROUPS.contains(&&**name) => Some(&**name),
            _ => None,
        })
    }

    /// Whether it names ok, rejected or failed: then the implicit thresholds on shares are lifted.
    pub fn names_outcome(&self) -> bool {
        let by_outcome = |selector: &Selector| matches!(selector.by, Dimension::Outcome);
        self.aggregates().iter().any(|aggregate| match aggregate.metric {
            Metric::Outcome(outcome) => outcome != Outcome::Interrupted,
            Metric::Requests => aggregate.selectors.iter().any(by_outcome),
            _ => false,
        })
    }

    /// Whether our own lateness could have caused a breach: it measures times, throughput or drops. An `invalid` run
    /// voids these, and only these.
    pub fn is_about_time(&self) -> bool {
        let about_time = |aggregate: &&Aggregate| match aggregate.metric {
            Metric::Latency
            | Metric::ServiceTime
            | Metric::SendLag
            | Metric::Iteration
            | Metric::Iterations
            | Metric::Timing
            | Metric::Dropped
            | Metric::Sent
            | Metric::Planned => true,
            Metric::Outcome(_) | Metric::Requests => aggregate.by == Aggregation::PerSecond,
            Metric::SamplesLost | Metric::ClockSteps | Metric::Stat(_) => false,
        };
        self.aggregates().iter().any(about_time)
    }
}

/// One side of a threshold.
#[derive(Debug, Clone)]
pub enum Measure {
    /// A number with its unit.
    Number(Quantity),
    /// `agg(metric{selectors})`.
    Of(Aggregate),
    /// `drift(x)`: the trend of x over the run, end / start − 1.
    Drift(Box<Measure>),
    /// `baseline(x)`: the median of x over the last good runs.
    Baseline(Box<Measure>),
    /// `a op b`.
    Math(Box<Measure>, Operator, Box<Measure>),
}

impl Measure {
    /// Adds its aggregations, from left to right.
    fn collect<'a>(&'a self, found: &mut Vec<&'a Aggregate>) {
        match self {
            Self::Number(_) => {}
            Self::Of(aggregate) => found.push(aggregate),
            Self::Drift(inner) | Self::Baseline(inner) => inner.collect(found),
            Self::Math(left, _, right) => {
                left.collect(found);
                right.collect(found);
            }
        }
    }

    /// Whether `test` holds for it or for a part of it.
    pub fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::Number(_) | Self::Of(_) => false,
                Self::Drift(inner) | Self::Baseline(inner) => inner.any(test),
                Self::Math(left, _, right) => left.any(test) || right.any(test),
            }
    }
}

/// Arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
}

impl Operator {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
        }
    }
}

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
    /// Completed iterations.
    Iterations,
    /// Length of completed iterations, think time included.
    Iteration,
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
    /// A figure of the target, or a custom metric.
    Stat(Name),
}

/// The dimensions within a run that loads bring along.
pub const GROUPS: [&str; 6] = ["level", "part", "phase", "user", "burst", "resource"];

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
}
