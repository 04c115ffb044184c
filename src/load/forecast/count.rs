//! Numbers that are known to the unit, or within bounds.

use std::fmt;

/// At least so many, and at most so many where something bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// At least.
    pub least: u64,
    /// At most; `None` = nothing in the plan says so.
    pub most: Option<u64>,
}

impl Count {
    /// None at all.
    pub const ZERO: Self = Self::exactly(0);

    /// Exactly so many.
    pub const fn exactly(count: u64) -> Self {
        Self { least: count, most: Some(count) }
    }

    /// Perhaps none, and at most so many.
    pub const fn at_most(most: u64) -> Self {
        Self { least: 0, most: Some(most) }
    }

    /// Whether it is known to the unit.
    pub fn is_exact(self) -> bool {
        self.most == Some(self.least)
    }

    /// Whether `count` is within.
    pub fn covers(self, count: u64) -> bool {
        count >= self.least && self.most.is_none_or(|most| count <= most)
    }

    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.saturating_add(b));
        Self { least: self.least.saturating_add(other.least), most }
    }

    /// So many, each so often. Nothing that is done without bound is still nothing.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let most = match (self.most, other.most) {
            (Some(0), _) | (_, Some(0)) => Some(0),
            (a, b) => a.zip(b).map(|(a, b)| a.saturating_mul(b)),
        };
        Self { least: self.least.saturating_mul(other.least), most }
    }

    /// One or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.max(b));
        Self { least: self.least.min(other.least), most }
    }

    /// The same, or less of it.
    #[must_use]
    pub fn or_none(self) -> Self {
        Self { least: 0, ..self }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::ZERO
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            Some(most) if most == self.least => write!(f, "{most}"),
            Some(most) if self.least == 0 => write!(f, "at most {most}"),
            Some(most) => write!(f, "{} to {most}", self.least),
            None if self.least == 0 => f.write_str("any number of"),
            None => write!(f, "at least {}", self.least),
        }
    }
}
