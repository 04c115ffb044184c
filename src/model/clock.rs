//! The only door to the time: whatever decides on time takes a `Clock`, so that a test can set it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// One reading of both clocks: the monotonic one for durations, the wall clock for schedules and people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time; differences are true durations.
    pub mono: Instant,
    /// Wall-clock time; may step.
    pub wall: Timestamp,
}

impl Now {
    /// The wall-clock time of a monotonic instant, as this reading sees it.
    pub fn wall_at(&self, at: Instant) -> Timestamp {
        if at >= self.mono { self.wall + (at - self.mono) } else { self.wall - (self.mono - at) }
    }

    /// Both clocks moved on by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: self.wall + by }
    }
}

/// Reads the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Both clocks, read together.
    fn now(&self) -> Now;

    /// The monotonic clock alone; the hot path reads only this.
    fn mono(&self) -> Instant {
        self.now().mono
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's clocks are read")]
impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Timestamp::now() }
    }

    /// By way of tokio's `Instant`, so that a simulation that pauses tokio's clock stands still here too.
    fn mono(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// The monotonic time now, for the hot path of the shell, where a `Clock` handle would cost a virtual call per reading.
#[inline]
pub fn mono() -> Instant {
    SystemClock.mono()
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// A clock that stands at `wall`.
    pub fn at(wall: Timestamp) -> Self {
        Self(Mutex::new(Now { mono: mono(), wall }))
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().expect("no holder of the clock panics");
        *now = now.plus(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock().expect("no holder of the clock panics")
    }
}
