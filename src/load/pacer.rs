//! Sleeping until an instant, precisely. tokio's own timer ticks in milliseconds and is late by one or two; a timerfd
//! wakes within tens of microseconds, and since most of them are the same each time, it is set that much earlier.

use std::{
    cell::Cell,
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
    /// How much earlier than the instant it is set.
    lead: Cell<Duration>,
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
        Ok(Self { fd: Some(fd), lead: Cell::default() })
    }

    /// A timer that follows tokio's clock, which a simulation may pause; it rings up to a millisecond late.
    pub fn simulated() -> Self {
        Self { fd: None, lead: Cell::default() }
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
            let lead = self.lead.get();
            let Some(wait) = wait.checked_sub(lead).filter(|wait| !wait.is_zero()) else {
                // Too near to sleep: what has come in meanwhile is looked at instead.
                tokio::task::yield_now().await;
                continue;
            };
            let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(fd.as_fd(), TimerfdTimerFlags::empty(), &once)?;
            // The kernel tells of each ring once, and setting the timer takes back what was not read: so nothing is read.
            fd.readable().await?.clear_ready();
            self.lead.set(learn(lead, clock::mono().saturating_duration_since(now + wait)));
        }
    }
}

/// What a timer may be set early at most.
const MAX_LEAD: Duration = Duration::from_micros(80);

/// The steps by which the lead follows what is seen: at rest one ring in ten is less late than the lead.
const MORE: Duration = Duration::from_nanos(200);
const LESS: Duration = Duration::from_nanos(1800);

/// How much earlier the next ring is set, after one that was `late` by so much (pure).
fn learn(lead: Duration, late: Duration) -> Duration {
    if late > lead { (lead + MORE).min(MAX_LEAD) } else { lead.saturating_sub(LESS) }
}

/// Above this many arrivals a second they are sent in batches: each sleep costs as much as a request.
const DENSE: f64 = 10_000.0;

/// The grid of batches. Its lateness is in the latency, like all of ours, so it is kept well below a millisecond.
const GRID: Duration = Duration::from_micros(500);

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
        check(501, 20_000.0, 1000);
        check(0, 20_000.0, 0);
    }

    #[test]
    fn the_lead_follows_what_rings_are_late_by() {
        let us = Duration::from_micros;
        let check = |late: fn(u64) -> u64, rings, least, most| {
            let lead = (0..rings).fold(Duration::ZERO, |lead, ring| learn(lead, us(late(ring))));
            assert!((us(least)..=us(most)).contains(&lead), "{lead:?}");
        };
        check(|_| 40, 2000, 38, 41);
        check(|_| 0, 2000, 0, 0);
        // Most are late by 30 µs at least; a few are not, and some are by far more.
        check(|ring| if ring % 50 == 0 { 5 } else { 30 + ring % 7 * 100 }, 20_000, 25, 35);
        check(|_| 10_000, 2000, 80, 80);
        // A machine that has become quicker.
        check(|ring| if ring < 1000 { 60 } else { 10 }, 1100, 0, 11);
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
