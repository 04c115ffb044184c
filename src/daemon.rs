//! The long-running process: a pure control loop and the tasks that carry out its effects.
//!
//! [`control`] decides and touches nothing: an event and the time go in, effects come out. Everything else here is the
//! shell: threads that wait for something and turn it into an event, or that carry an effect out.

pub mod boot;
pub mod chores;
pub mod committer;
pub mod control;
mod crew;
pub mod event;
pub mod idle;
pub mod mailer;
pub mod pause;
pub mod push;
pub mod shell;
pub mod view;
