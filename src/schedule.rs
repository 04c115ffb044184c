//! When a scenario is due: cron, zones, DST, overlap, misfire (pure).
//!
//! A [`Plan`] answers one question, "what is the first due instant after this one?", and always answers it alike: after
//! a restart, on another day, with another version. Everything else follows from that: the [`agenda::Agenda`] keeps the
//! plans of all scenarios in one heap and makes of each due instant exactly one start or one skip.

pub mod agenda;
mod cron;
mod missed;
mod plan;

pub use plan::{Plan, compile, warnings};
