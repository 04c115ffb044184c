//! The practice target and the SMTP sink behind `plimsoll demo` and `plimsoll target`.
//!
//! A load tester is believed only if it can be shown against a back end whose truth is known: this one refuses, queues,
//! stalls, hangs and leaks on demand, and keeps a log of its own to count against ours. It is a fake on purpose: its
//! memory is a number, its work is a sleep.

pub mod backend;
mod body;
pub mod command;
mod control;
pub mod fault;
pub mod gate;
pub mod knobs;
pub mod log;
mod respond;
pub mod smtp_sink;
mod stats;
pub mod stream;
pub mod target;
mod wire;
