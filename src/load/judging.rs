//! From a run's counts to its verdict: collects the evidence and asks the judge.

use crate::{
    judge::{self, Evidence, History, WindowJudge},
    measure::data::RunData,
    model::{
        run::{Environment, RunSummary, Verdict},
        scenario::Scenario,
    },
};

/// So much of what leaves the target changed is said.
const SAID: usize = 5;

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
    /// What leaves the target other than it was: a failure even of a run that somebody stopped.
    pub left_changed: Vec<String>,
}

/// CPU time of the calling thread so far, in seconds. A run owns its thread; the process has other runs.
pub fn cpu_seconds() -> f64 {
    // Not from /proc: its ticks of 10 ms are longer than many a run.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory in bytes and open file descriptors of this process.
pub fn process_figures() -> (u64, u64) {
    let Ok(process) = procfs::process::Process::myself() else { return (0, 0) };
    let rss = process.statm().map_or(0, |memory| memory.resident * procfs::page_size());
    (rss, process.fd_count().map_or(0, |count| count as u64))
}

/// The machine that the load comes from.
pub fn environment() -> Environment {
    use procfs::Current as _;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Environment {
        cpus: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
        memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: format!("{} {}", std::env::consts::OS, release.trim()),
        arch: std::env::consts::ARCH.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Judges the run and writes into `summary` what it came to. A run that could not be begun is a failure, for whatever
/// kept it from beginning stands between the user and the target.
pub fn conclude(summary: &mut RunSummary, conclusion: &Conclusion<'_>) {
    let evidence = Evidence {
        data: conclusion.data,
        history: conclusion.history,
        windows: Some(conclusion.windows),
        clock_steps: summary.generator.clock_steps,
    };
    let scenario = conclusion.scenario;
    let judged: Vec<_> = scenario
        .thresholds
        .iter()
        .map(|threshold| (threshold.clone(), judge::evaluate(threshold, &evidence)))
        .collect();
    let invalid = judge::invalid_reasons(&scenario.valid_if, &evidence);
    let (verdict, mut reasons) = judge::verdict(conclusion.interrupted, &judged, &invalid, conclusion.data.sent());
    summary.verdict = verdict;
    if let Some(trouble) = &conclusion.trouble {
        reasons.insert(0, trouble.clone());
        if verdict != Verdict::Interrupted {
            summary.verdict = Verdict::Fail;
        }
    }
    let left = &conclusion.left_changed;
    if !left.is_empty() {
        let more = left.len().saturating_sub(SAID);
        let more = (more > 0).then(|| format!("and {more} more that leave the target changed: see the log"));
        // What failed before it comes first: it may be why.
        let at = if summary.verdict == Verdict::Fail { reasons.len() } else { 0 };
        reasons.splice(at..at, left.iter().take(SAID).cloned().chain(more));
        summary.verdict = Verdict::Fail;
    }
    summary.reasons = reasons;
    summary.thresholds = judged.into_iter().map(|(_, report)| report).collect();
    summary.generator.valid = invalid.is_empty();
    summary.generator.reasons = invalid;
}

#[cfg(test)]
mod tests {
    use super::cpu_seconds;

    #[test]
    fn what_other_threads_use_is_not_counted() {
        let before = cpu_seconds();
        let burnt = std::thread::spawn(|| {
            let before = cpu_seconds();
            while cpu_seconds() - before < 0.1 {}
            cpu_seconds() - before
        });
        assert!(burnt.join().expect("no panic") >= 0.1);
        assert!(cpu_seconds() - before < 0.05, "this thread waited");
    }
}
