//! What the exporters count about themselves. They live on other threads than the metrics, so these are atomics, which
//! the owner of the metrics reads once a second.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{catalogue::Family, series::Distribution};

/// Why an OTLP export failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFailure {
    /// No connection, or it broke.
    Connect,
    /// No answer in time.
    Timeout,
    /// The collector answered anything but 2xx.
    Status,
}

impl ExportFailure {
    /// All, in the order in which tables show them.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Timeout, Self::Status];

    /// The word used as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

/// Counts of the exporters; shared by reference, never reset.
#[derive(Debug)]
pub struct OwnStats {
    exports: AtomicU64,
    failures: [AtomicU64; 3],
    /// Renderings of `/metrics` that fell between two bounds (not cumulative).
    rendered: [AtomicU64; 16],
    rendered_nanos: AtomicU64,
}

impl Default for OwnStats {
    fn default() -> Self {
        Self {
            exports: AtomicU64::new(0),
            failures: array::from_fn(|_| AtomicU64::new(0)),
            rendered: array::from_fn(|_| AtomicU64::new(0)),
            rendered_nanos: AtomicU64::new(0),
        }
    }
}

impl OwnStats {
    /// An export was accepted.
    pub fn exported(&self) {
        self.exports.fetch_add(1, Ordering::Relaxed);
    }

    /// An export failed.
    pub fn export_failed(&self, why: ExportFailure) {
        self.failures[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// `/metrics` was rendered in this time.
    pub fn rendered(&self, took: Duration) {
        let bounds = Family::ExpositionDuration.spec().bounds;
        let bucket = bounds.partition_point(|bound| *bound < took.as_secs_f64());
        self.rendered[bucket].fetch_add(1, Ordering::Relaxed);
        self.rendered_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Accepted exports.
    pub fn exports(&self) -> u64 {
        self.exports.load(Ordering::Relaxed)
    }

    /// Failed exports.
    pub fn failures(&self, why: ExportFailure) -> u64 {
        self.failures[why as usize].load(Ordering::Relaxed)
    }

    /// All renderings of `/metrics`.
    pub fn renderings(&self) -> Distribution {
        let bounds = Family::ExpositionDuration.spec().bounds.len();
        let mut seen = 0;
        let mut cumulative: Vec<u64> = self.rendered[..=bounds]
            .iter()
            .map(|bucket| {
                seen += bucket.load(Ordering::Relaxed);
                seen
            })
            .collect();
        let count = cumulative.pop().expect("there is a bucket beyond the last bound");
        let sum = self.rendered_nanos.load(Ordering::Relaxed) as f64 / 1e9;
        Distribution { cumulative: cumulative.into(), sum, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renderings_are_a_distribution() {
        let own = OwnStats::default();
        for micros in [50, 100, 2_000, 5_000_000] {
            own.rendered(Duration::from_micros(micros));
        }
        let all = own.renderings();
        assert_eq!((all.count, all.cumulative[0], all.cumulative.last().copied()), (4, 2, Some(3)));
        assert!((all.sum - 5.00215).abs() < 1e-9);
    }
}
