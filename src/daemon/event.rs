//! What goes into the control loop and what comes out of it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::view::Outbox;
use crate::{
    judge::History,
    load::run::RunEvent,
    model::{Name, run::Trigger, scenario::Scenario, units::Unit},
    store::rows::Batch,
};

/// A target's figure: its name, and its value with its unit or why there is none.
pub type NamedReading = (Name, Result<(f64, Unit), &'static str>);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Wake,
    /// A run tells.
    Run(RunEvent),
    /// A run's thread could not be started, or ended without a result.
    Lost {
        /// Its id.
        run_id: Name,
        /// Why.
        error: String,
    },
    /// A person wants a run now.
    Trigger {
        /// Which answer is waited for.
        ticket: u64,
        /// The scenario.
        scenario: Name,
    },
    /// The kill switch is on.
    Pause {
        /// Why, for pages.
        reason: String,
    },
    /// The kill switch is off again.
    Resume,
    /// A signal to stop: the first drains, the second cuts.
    Stop,
    /// A target's figures were read between runs.
    Readings {
        /// The target.
        target: Name,
        /// By name: value and unit, or why there is none.
        readings: Vec<NamedReading>,
    },
    /// An attempt to deliver a mail ended.
    Delivered {
        /// The receiver's name.
        channel: Name,
        /// Time from decision to acceptance, or why it failed.
        result: Result<Duration, &'static str>,
    },
    /// The outbox changed.
    Outbox(Outbox),
    /// The store can, or cannot, be written.
    StoreDegraded(bool),
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Make durable before anything that follows it in the list.
    Commit(Box<Batch>),
    /// Start a run.
    Start(Box<Start>),
    /// Start nothing new in this run.
    Drain(Name),
    /// Give up what is in flight in this run.
    Cut(Name),
    /// Answer a person who waits: the run's id, or why not.
    Reply {
        /// Of the question.
        ticket: u64,
        /// The answer.
        result: Result<Name, String>,
    },
    /// A run has ended: let go of its handle.
    Reap(Name),
    /// A person may read this in the log.
    Log(String),
    /// A person should read this in the log.
    Warn(String),
    /// Everything has come to its end.
    Exit,
}

/// A run to be started.
#[derive(Debug)]
pub struct Start {
    /// Its id.
    pub run_id: Name,
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// What started it.
    pub trigger: Trigger,
    /// The instant it was due.
    pub due: Timestamp,
    /// Earlier runs.
    pub history: Arc<History>,
}
