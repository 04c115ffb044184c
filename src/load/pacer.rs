//! Sleeping until an instant, precisely. tokio's own timer ticks in milliseconds and is late by one or two; a timerfd
//! wakes within tens of microseconds.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use tokio::io::unix::AsyncFd;

use crate::model::clock;

/// Where instants lie closer together than this, one ring serves several: a wake costs as much as a request.
const CLOSE: Duration = Duration::from_micros(100);

/// Then rings are at least so far apart.
const GRID: Duration = Duration::from_micros(250);

/// A timer of one task.
#[derive(Debug)]
pub struct Pacer {
    fd: AsyncFd<OwnedFd>,
    /// When it rang last, and the running mean of what lies between a ring and the instant that is waited for next.
    rang: Cell<Instant>,
    apart: Cell<Duration>,
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
        Ok(Self { fd, rang: Cell::new(clock::mono()), apart: Cell::new(GRID) })
    }

    /// Returns at `at` or at once if it has passed; never before, and later by [`GRID`] at most where it is called for one
    /// instant after the other in close succession. Cancelling it is safe.
    pub async fn wait_until(&self, at: Instant) -> io::Result<()> {
        let at = self.on_grid(at);
        loop {
            let now = clock::mono();
            let Some(wait) = at.checked_duration_since(now).filter(|wait| !wait.is_zero()) else {
                self.rang.set(now);
                return Ok(());
            };
            let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(self.fd.as_fd(), TimerfdTimerFlags::empty(), &once)?;
            // The kernel tells of each ring once, and setting the timer takes back what was not read: so nothing is read.
            self.fd.readable().await?.clear_ready();
        }
    }

    /// `at`, or the next ring that serves it as well.
    fn on_grid(&self, at: Instant) -> Instant {
        let apart = at.saturating_duration_since(self.rang.get()).min(GRID);
        self.apart.set((self.apart.get() * 15 + apart) / 16);
        if self.apart.get() < CLOSE { at.max(self.rang.get() + GRID) } else { at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn in_close_succession_one_ring_serves_many() {
        let pacer = Pacer::new().expect("a timer");
        let start = clock::mono();
        let mut waits = 0;
        for index in 0..2000 {
            let at = start + Duration::from_micros(20) * index;
            if clock::mono() < at {
                pacer.wait_until(at).await.expect("waits");
                assert!(clock::mono() >= at);
                waits += 1;
            }
        }
        // The mean needs a few to get there: 40 ms hold 160 rings.
        assert!(waits <= 200, "{waits}");
        let far = clock::mono() + Duration::from_millis(5);
        assert!(pacer.on_grid(far) == far, "what lies far off is not moved");
    }
}
