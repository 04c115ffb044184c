//! Conditions on one response.

use std::collections::BTreeSet;

use ::http::HeaderName;
use regex::bytes::Regex;
use serde_json_path::JsonPath;

use super::{Compare, Operator};
use crate::model::{Name, units::Quantity};

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

impl Condition {
    /// What must be there for it to be asked at all: not what it only asks the presence of, nor groups of a match.
    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().flat_map(Self::operands).collect(),
            Self::Not(inner) => inner.operands(),
            Self::Compare { left, right, .. } | Self::Contains { left, text: right, .. } => vec![left, right],
            Self::In { left, any, .. } => std::iter::once(left).chain(any).collect(),
            Self::Matches { left, .. } => vec![left],
            Self::Exists(_) => Vec::new(),
            Self::All { each, .. } => each.operands(),
        }
    }
}

impl Condition {
    /// The variables in it, those included that it only asks the presence of.
    pub fn variables(&self) -> BTreeSet<&Name> {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().flat_map(Self::variables).collect(),
            Self::Not(inner) => inner.variables(),
            Self::All { each, .. } => each.variables(),
            Self::Exists(operand) => variables([operand]),
            Self::Compare { .. } | Self::In { .. } | Self::Contains { .. } | Self::Matches { .. } => {
                variables(self.operands())
            }
        }
    }
}

fn variables<'a>(operands: impl IntoIterator<Item = &'a Operand>) -> BTreeSet<&'a Name> {
    let name = |operand: &'a Operand| if let Operand::Variable(name) = operand { Some(name) } else { None };
    operands.into_iter().filter_map(name).collect()
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

/// A number made of one response: what a custom trend records.
#[derive(Debug, Clone)]
pub struct Formula {
    /// As written.
    pub source: Name,
    /// What it says.
    pub tree: Term,
}

/// A part of a [`Formula`].
#[derive(Debug, Clone)]
pub enum Term {
    /// Something with a value.
    Of(Operand),
    /// `a op b`.
    Math(Box<Term>, Operator, Box<Term>),
}

impl Term {
    /// What must be there for it to have a value.
    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Of(operand) => vec![operand],
            Self::Math(left, _, right) => [left.operands(), right.operands()].concat(),
        }
    }

    /// The variables in it.
    pub fn variables(&self) -> BTreeSet<&Name> {
        variables(self.operands())
    }
}
