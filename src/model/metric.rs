//! Metrics of the user's own: what is recorded of each request, or of each iteration.

use super::{
    Name,
    expr::{Expect, Formula},
    units::Unit,
};

/// One entry of a scenario's `metrics:`.
#[derive(Debug, Clone)]
pub struct CustomMetric {
    /// Unique in its scenario, and no stat of its target.
    pub name: Name,
    /// What is recorded.
    pub kind: MetricKind,
}

/// What a custom metric records.
#[derive(Debug, Clone)]
pub enum MetricKind {
    /// Whether this held: `rate(name)` is the share.
    Rate(Expect),
    /// A number.
    Trend {
        /// What is recorded.
        formula: Formula,
        /// Unit of what is kept.
        unit: Unit,
        /// Multiplier from the number to the unit: 0.001 for milliseconds, which are kept as seconds.
        scale: f64,
    },
}
