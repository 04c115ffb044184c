//! Plimsoll: a continuous synthetic load daemon.
//!
//! The schedule says when, the plan says how much, samples say what happened, thresholds say whether it
//! matters, alerts say it once. The folders below are the rooms of the house, in the order in which data flows;
//! `ARCHITECTURE.md` draws the whole, `tests/it/tidy.rs` holds the walls.

pub mod alert;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod input;
pub mod judge;
pub mod load;
pub mod measure;
pub mod model;
pub mod practice;
pub mod probe;
pub mod schedule;
pub mod store;
pub mod telemetry;
pub mod web;
