//! Sleeping until an instant, precisely. tokio's own timer ticks in milliseconds and is late by one or two; a timerfd
//! wakes within tens of microseconds.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::model::clock;

/// A timer of one task.
#[derive(Debug)]
pub struct Pacer {
    /// `None` in a simulation, where the clock is tokio's.
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Pacer {
    /// A timer on the current runtime; fails if no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe to call, and an owned descriptor meets its conditions"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd: Some(fd) })
    }

    /// A timer that follows tokio's clock, which a simulation may pause; it rings up to a millisecond late.
    pub fn simulated() -> Self {
        Self { fd: None }
    }

    /// Returns at `at` or at once if it has passed; never before. Cancelling it is safe.
    pub async fn wait_until(&self, at: Instant) -> io::Result<()> {
        let Some(fd) = &self.fd else {
            tokio::time::sleep_until(at.into()).await;
            return Ok(());
        };
        loop {
            let now = clock::mono();
            let Some(wait) = at.checked_duration_since(now).filter(|wait| !wait.is_zero()) else { return Ok(()) };
            let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(fd.as_fd(), TimerfdTimerFlags::empty(), &once)?;
            // The kernel tells of each ring once, and setting the timer takes back what was not read: so nothing is read.
            fd.readable().await?.clear_ready();
        }
    }
}

/// From this many arrivals a second on, they are sent in batches: the kernel's timers cost more than they are worth.
const DENSE: f64 = 10_000.0;

/// The grid of batches.
const GRID: Duration = Duration::from_micros(250);

/// When to wake for an arrival at `offset`: then, or where arrivals are dense (so many a second) at the next line of the
/// grid. Pure.
pub fn wake(offset: Duration, per_second: f64) -> Duration {
    if per_second <= DENSE {
        return offset;
    }
    let lines = offset.as_nanos().div_ceil(GRID.as_nanos());
    Duration::from_nanos(u64::try_from(lines * GRID.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_arrivals_wait_for_the_grid() {
        let check = |us, per_second, expected| {
            assert_eq!(wake(Duration::from_micros(us), per_second), Duration::from_micros(expected), "{us}");
        };
        check(333, 10_000.0, 333);
        check(333, 20_000.0, 500);
        check(500, 20_000.0, 500);
        check(0, 20_000.0, 0);
    }

    #[tokio::test]
    async fn never_early_and_at_once_when_late() {
        let pacer = Pacer::new().expect("a timer");
        for _ in 0..20 {
            let at = clock::mono() + Duration::from_micros(700);
            pacer.wait_until(at).await.expect("waits");
            assert!(clock::mono() >= at);
        }
        let begun = clock::mono();
        pacer.wait_until(begun).await.expect("does not wait");
    }
}
