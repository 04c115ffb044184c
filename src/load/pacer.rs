//! Sleeping until an instant, precisely. tokio's own timer ticks in milliseconds and is late by one or two; a timerfd
//! wakes within tens of microseconds.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use rustix::{
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use tokio::io::unix::AsyncFd;

use crate::model::clock;

/// A timer of one task.
#[derive(Debug)]
pub struct Pacer {
    fd: AsyncFd<OwnedFd>,
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
        Ok(Self { fd })
    }

    /// Returns at `at` or at once if it has passed; never before. Cancelling it is safe.
    pub async fn wait_until(&self, at: Instant) -> io::Result<()> {
        loop {
            let now = clock::mono();
            let Some(wait) = at.checked_duration_since(now).filter(|wait| !wait.is_zero()) else { return Ok(()) };
            let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(self.fd.as_fd(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.fd.readable().await?;
                match rustix::io::read(self.fd.as_fd(), &mut [0u8; 8]) {
                    Ok(_) => break,
                    Err(Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
