//! The expression grammar, thresholds and verdicts (pure).
//!
//! One grammar serves `expect`, thresholds, rules and `valid_if`; everything is parsed, and every regular expression
//! compiled, when the configuration is loaded, so that a run only evaluates. `docs/expressions.md` has the grammar.

mod check;
mod check_units;
mod evaluate;
mod expect;
mod gauges;
mod history;
mod lex;
mod names;
mod needs;
mod parse;
mod parse_aggregate;
mod parse_calls;
mod parse_expect;
mod parse_threshold;
mod recovery;
mod select;
mod slug;
pub mod trend;
mod values;
mod verdict;
mod window;

pub use check::check_custom;
pub use check_units::{check_held, check_units};
pub use evaluate::{Evidence, History, MIN_BASELINE, evaluate, sentence};
pub use expect::ResponseView;
pub use lex::ExprError;
pub use names::{AGGREGATIONS, METRICS, SELECTORS, STREAM_FIGURES, alias, suggest};
pub use parse_expect::{parse_expect, parse_formula};
pub use parse_threshold::{GradePart, parse_graded, parse_held, parse_threshold};
pub use recovery::{Recovery, recovery_threshold};
pub use trend::stat_summary;
pub use verdict::{Nature, default_valid_if, exit_code, implicit_thresholds, invalid_reasons, verdict};
pub use window::{Abort, Breach, WindowJudge};

#[cfg(test)]
mod evaluate_tests;
#[cfg(test)]
mod expect_tests;
#[cfg(test)]
mod measure_tests;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod window_tests;
