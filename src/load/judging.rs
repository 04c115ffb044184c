//! From a run's counts to its verdict: collects the evidence and asks the judge.

use crate::{
    load::shim::WindowJudge,
    measure::data::RunData,
    model::{
        run::{RunSummary, Verdict},
        scenario::Scenario,
    },
};

/// Earlier runs of a scenario.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The run before, whatever it came to.
    pub previous: Option<RunSummary>,
    /// The latest runs that passed, newest first.
    pub good: Vec<RunSummary>,
}

/// What the verdict rests on.
#[derive(Debug)]
pub struct Conclusion<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// What is judged: of a probe, its last attempt.
    pub data: &'a RunData,
    /// Earlier runs.
    pub history: &'a History,
    /// What was judged second by second.
    pub windows: &'a WindowJudge,
    /// A person or a signal ended it.
    pub interrupted: bool,
    /// What kept the load from being run at all.
    pub trouble: Option<String>,
}

/// CPU time of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let ticks = procfs::ticks_per_second() as f64;
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    stat.map_or(0.0, |stat| (stat.utime + stat.stime) as f64 / ticks)
}

/// Resident memory in bytes and open file descriptors of this process.
pub fn process_figures() -> (u64, u64) {
    let Ok(process) = procfs::process::Process::myself() else { return (0, 0) };
    let rss = process.statm().map_or(0, |memory| memory.resident * procfs::page_size());
    (rss, process.fd_count().map_or(0, |count| count as u64))
}

/// Judges the run and writes into `summary` what it came to.
pub fn conclude(summary: &mut RunSummary, conclusion: &Conclusion<'_>) {
    let _ = conclusion;
    summary.verdict = Verdict::NoData;
}
