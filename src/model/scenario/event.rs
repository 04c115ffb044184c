//! `events`: what is done at a moment of the load, beside it.

use std::time::Duration;

use super::Step;

/// Something that is done once, beside the load.
#[derive(Debug, Clone)]
pub struct TimedEvent {
    /// After the start of the load.
    pub at: Duration,
    /// What is done: a hook, in no rate.
    pub act: Step,
    /// What puts it back in order when the load is over, however it ended.
    pub undo: Option<Step>,
}
