//! When a scenario is due, as written: the laws are in `schedule/`.

use std::time::Duration;

use super::Name;

/// What makes a scenario due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Only when a person says so.
    Manual,
    /// Each `period`, spread by a deterministic splay (hash of the name within the period).
    Every(Duration),
    /// A cron expression of 5 or 6 fields or a nickname (`@daily`), in an IANA zone.
    Cron {
        /// As written.
        expr: Name,
        /// IANA name.
        zone: Name,
    },
}

/// What happens when a run is due while one of the same scenario is still going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// The new one does not start, and is counted.
    #[default]
    Skip,
    /// Both go on.
    Allow,
    /// The old one is stopped, then the new one starts.
    Replace,
    /// The new one waits for the old one; at most one waits.
    Queue,
}

/// What happens to instants that passed while nobody was there to start them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misfire {
    /// They are counted as missed.
    #[default]
    Skip,
    /// One run stands for all of them.
    RunOnce,
}

/// The schedule of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// What makes it due.
    pub due: Due,
    /// While one is still going.
    pub overlap: Overlap,
    /// After a gap.
    pub misfire: Misfire,
    /// Upper bound of a random delay after the due instant.
    pub jitter: Duration,
    /// A run is stopped after this long.
    pub timeout: Option<Duration>,
}

impl ScheduleSpec {
    /// Only when a person says so.
    pub fn manual() -> Self {
        Self { due: Due::Manual, overlap: Overlap::Skip, misfire: Misfire::Skip, jitter: Duration::ZERO, timeout: None }
    }
}
