//! The two rooms that a configuration asks about words of theirs: expressions and schedules.

pub(crate) use crate::judge::{
    GradePart, Nature, check_custom, check_units, default_valid_if, implicit_thresholds, parse_expect, parse_formula,
    parse_graded, parse_held, parse_threshold, recovery_threshold,
};

use std::time::Duration;

use jiff::Timestamp;

use crate::{model::schedule::ScheduleSpec, schedule};

/// Checks a schedule; its warnings.
pub(crate) fn compile_schedule(spec: &ScheduleSpec, scenario: &str) -> Result<Vec<String>, String> {
    schedule::compile(spec, scenario).map(|_| schedule::warnings(spec))
}

/// The shortest time between two starts, the clock's changes of a year not looked for; `None` if a person starts it.
pub(crate) fn shortest_gap(spec: &ScheduleSpec, scenario: &str) -> Option<Duration> {
    schedule::compile(spec, scenario).ok()?.shortest_gap(Timestamp::UNIX_EPOCH)
}
