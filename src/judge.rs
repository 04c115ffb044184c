//! The expression grammar, thresholds and verdicts (pure).
//!
//! One grammar serves `expect`, thresholds, rules and `valid_if`; everything is parsed, and every regular expression
//! compiled, when the configuration is loaded, so that a run only evaluates. `docs/expressions.md` has the grammar.

mod check;
mod expect;
mod lex;
mod names;
mod parse;
mod parse_expect;
mod parse_threshold;

pub use check::check_units;
pub use expect::ResponseView;
pub use lex::ExprError;
pub use names::{AGGREGATIONS, METRICS, SELECTORS, suggest};
pub use parse_expect::parse_expect;
pub use parse_threshold::parse_threshold;

#[cfg(test)]
mod parse_tests;
