//! What the daemon itself uses, from `/proc`: the standard `process_*` figures.

use procfs::{WithCurrentSystemInfo, process::LimitValue, process::Process};

/// What the daemon uses at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessStats {
    /// User and system CPU time, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most file descriptors allowed; `None` = no limit.
    pub max_fds: Option<u64>,
    /// Start of the process, Unix time in seconds.
    pub start_seconds: f64,
}

/// Reads `/proc/self`.
#[derive(Debug)]
pub struct ProcessReader {
    process: Process,
    start_seconds: f64,
    ticks: f64,
}

impl ProcessReader {
    /// `None` where there is no readable `/proc`: the figures are then absent.
    pub fn new() -> Option<Self> {
        let process = Process::myself().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let start_seconds = procfs::boot_time_secs().ok()? as f64 + process.stat().ok()?.starttime as f64 / ticks;
        Some(Self { process, start_seconds, ticks })
    }

    /// The figures now.
    pub fn read(&self) -> Option<ProcessStats> {
        let stat = self.process.stat().ok()?;
        let max_fds = match self.process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        };
        Some(ProcessStats {
            cpu_seconds: (stat.utime + stat.stime) as f64 / self.ticks,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            open_fds: self.process.fd_count().ok()? as u64,
            max_fds,
            start_seconds: self.start_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let stats = ProcessReader::new().and_then(|reader| reader.read()).expect("Linux has /proc");
        assert!(stats.resident_bytes > 100_000 && stats.virtual_bytes >= stats.resident_bytes, "{stats:?}");
        assert!(stats.open_fds >= 3 && stats.start_seconds > 1.6e9, "{stats:?}");
    }
}
