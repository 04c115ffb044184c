//! Where the load came from, and how that fared.

use serde::{Deserialize, Serialize};

/// The machine that the load came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Processors that this process may use.
    pub cpus: u64,
    /// Memory of the machine, bytes.
    pub memory_bytes: u64,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Architecture: `x86_64`.
    pub arch: String,
    /// Version of Plimsoll.
    pub version: String,
}

/// How the generator itself fared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// `valid_if` held.
    pub valid: bool,
    /// CPU seconds used per second of the run.
    pub cpu_ratio: f64,
    /// Resident memory at the end, bytes.
    pub rss_bytes: u64,
    /// Open file descriptors at the end.
    pub open_fds: u64,
    /// Samples that could not be recorded.
    pub samples_lost: u64,
    /// Steps of the wall clock beyond 2 s.
    pub clock_steps: u64,
    /// Why it is not valid, in words.
    pub reasons: Vec<String>,
}
