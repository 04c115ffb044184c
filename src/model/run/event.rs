//! What was sent beside the load, and what became of it.

use serde::{Deserialize, Serialize};

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// When it was planned, seconds after the start of the load.
    pub at_s: f64,
    /// When it began; absent where it was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_s: Option<f64>,
    /// Name of what was done.
    pub step: String,
    /// How it ended.
    pub result: EventResult,
    /// Why it did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What put it back in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoReport>,
}

/// What became of the undoing of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoReport {
    /// Name of what was done.
    pub step: String,
    /// How it ended.
    pub result: EventResult,
    /// Why it did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventResult {
    /// As it was meant to.
    Ok,
    /// Otherwise.
    Failed,
    /// The load was over before.
    NotReached,
}

/// Hook requests; they are in no rate and no count of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCounts {
    /// Answered 2xx.
    pub ok: u64,
    /// Anything else.
    pub failed: u64,
}
