//! Alert state, notices, mails and their delivery: said once, and never lost.
//!
//! Runs go into [`Alerts`], which decides what fires, what is over and who is to be told when. It reads no clock and
//! draws no number: the same runs at the same times give the same mails, byte for byte. [`Alerts::turn`] gives one
//! [`Batch`](crate::store::rows::Batch) of changed rows and new mails for one commit; the delivery takes the mails
//! from there, because only what is durable is sent.

pub mod backoff;
pub mod deliver;
mod desk;
pub mod evidence;
mod facts;
pub mod group;
mod mail;
mod mime;
pub mod smtp;
pub mod state;
pub mod text;

#[cfg(test)]
mod tests;

pub use desk::Alerts;
pub use facts::{AlertView, House, ScenarioFacts, Transition, Turn};
pub use group::MailKind;
pub use state::{AlertState, Cause, MISSED, VERDICT};
