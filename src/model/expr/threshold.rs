//! Conditions on a whole run.

use std::time::Duration;

use super::{Aggregate, Aggregation, Compare, Dimension, GROUPS, Metric, Operator, Selector};
use crate::model::{Name, outcome::Outcome, run::Severity, units::Quantity};

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
    /// What a breach means, or what to do about it; in reports and mails.
    pub hint: Option<Name>,
    /// `while:` only the seconds in which this holds count.
    pub only_while: Option<Held>,
    /// What is between a pass and a failure.
    pub grades: Option<Grades>,
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

/// A condition on the target's gauges at one moment: `pool_used < 95%`.
#[derive(Debug, Clone)]
pub struct Held {
    /// As written.
    pub source: Name,
    /// What is looked at; its aggregations are [`Aggregation::Plain`] readings of stats.
    pub left: Measure,
    /// How it is compared.
    pub op: Compare,
    /// What it is held against.
    pub right: Measure,
}

impl Held {
    fn collect<'a>(&'a self, found: &mut Vec<&'a Aggregate>) {
        self.left.collect(found);
        self.right.collect(found);
    }
}

/// What is between a pass and a failure. Without `fail`, what is not a warning is a failure; with it, what is not a
/// failure is a warning.
#[derive(Debug, Clone)]
pub struct Grades {
    /// Where this holds it is no worse than a warning.
    pub warn: Option<Limit>,
    /// Where this holds it is a failure.
    pub fail: Option<Limit>,
}

/// A comparison with a limit: `< 35s`.
#[derive(Debug, Clone)]
pub struct Limit {
    /// How it is compared.
    pub op: Compare,
    /// The limit.
    pub right: Measure,
}

impl Threshold {
    /// Every aggregation in it, from left to right.
    pub fn aggregates(&self) -> Vec<&Aggregate> {
        let mut found = Vec::new();
        self.left.collect(&mut found);
        self.right.collect(&mut found);
        let grades = self.grades.iter().flat_map(|grades| [&grades.warn, &grades.fail]);
        grades.flatten().for_each(|limit| limit.right.collect(&mut found));
        self.only_while.iter().for_each(|held| held.collect(&mut found));
        found
    }

    /// What the dimensions of `variation` and `fairness` are called.
    pub fn spreads(&self) -> Vec<&Dimension> {
        let mut found = Vec::new();
        for side in [&self.left, &self.right] {
            side.visit(&mut |part| {
                if let Measure::Spread { by, .. } = part {
                    found.push(by);
                }
            });
        }
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
        let dimensions = selectors.map(|selector| &selector.by).chain(self.spreads());
        dimensions.filter_map(|dimension| match dimension {
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
            | Metric::Timing
            | Metric::Ttft
            | Metric::Itl
            | Metric::Tpot
            | Metric::TokensPerS
            | Metric::Stalls
            | Metric::Elapsed
            | Metric::SafeRate
            | Metric::Recovery
            | Metric::Dropped
            | Metric::Sent
            | Metric::Planned => true,
            // A share of iterations is of those that were begun.
            Metric::Iterations => aggregate.by != Aggregation::Share,
            Metric::Outcome(_) | Metric::Requests | Metric::Tokens => aggregate.by == Aggregation::PerSecond,
            Metric::SamplesLost | Metric::ClockSteps | Metric::Stat(_) => false,
        };
        self.aggregates().iter().any(about_time)
    }
}

/// How much a value differs between the parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// (largest − smallest) / mean.
    Variation,
    /// Jain's index: 1 where all are equal, 1/n where one has all.
    Fairness,
}

impl Spread {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Variation => "variation",
            Self::Fairness => "fairness",
        }
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
    /// `share(queued >= 90%)`: the share of the readings in which it holds.
    Share(Box<Held>),
    /// `variation(x, by=d)`, `fairness(x, by=d)`: how much x differs between the values of a dimension.
    Spread {
        /// Which of the two.
        how: Spread,
        /// What differs.
        of: Box<Measure>,
        /// Between what.
        by: Dimension,
    },
    /// `a op b`.
    Math(Box<Measure>, Operator, Box<Measure>),
}

impl Measure {
    /// Calls `see` with it and with each of its parts, from left to right. The gauges of a `share` are no parts of it.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Number(_) | Self::Of(_) | Self::Share(_) => {}
            Self::Drift(inner) | Self::Baseline(inner) | Self::Spread { of: inner, .. } => inner.visit(see),
            Self::Math(left, _, right) => {
                left.visit(see);
                right.visit(see);
            }
        }
    }

    /// Adds its aggregations, from left to right.
    fn collect<'a>(&'a self, found: &mut Vec<&'a Aggregate>) {
        self.visit(&mut |part| match part {
            Self::Of(aggregate) => found.push(aggregate),
            Self::Share(held) => held.collect(found),
            _ => {}
        });
    }

    /// Whether `test` holds for it or for a part of it.
    pub fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        let mut found = false;
        self.visit(&mut |part| found |= test(part));
        found
    }
}
