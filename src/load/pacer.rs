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

/// Up to about 5,000 arrivals a second each is woken for. A sleep costs more than a request, so where they are nearer to each
/// other than the one, those between two lines of a grid, the other, leave together.
const GRIDS: [(Duration, Duration); 2] =
    [(Duration::from_micros(99), Duration::from_micros(500)), (Duration::from_micros(199), Duration::from_micros(250))];

/// Over so many arrivals, more or less, the mean gap is taken: a ramp changes it, a few that come close together do not.
const WEIGHT: f64 = 512.0;

/// When to wake for the arrivals of a plan (pure). What a grid makes them late is in the latency like all that is ours, so it
/// is kept well below a millisecond.
#[derive(Debug)]
pub struct Batches {
    last: Duration,
    mean_gap_s: f64,
}

impl Batches {
    /// For a plan of so many arrivals over so long.
    pub fn new(total: u64, length: Duration) -> Self {
        Self { last: Duration::ZERO, mean_gap_s: length.as_secs_f64() / (total.max(1) as f64) }
    }

    /// When to wake for the next arrival, at `offset`: then, or at the next line of the grid.
    pub fn wake(&mut self, offset: Duration) -> Duration {
        let gap = offset.saturating_sub(self.last).as_secs_f64();
        self.mean_gap_s += (gap - self.mean_gap_s) / WEIGHT;
        self.last = offset;
        let Some((_, grid)) = GRIDS.iter().find(|(gap, _)| self.mean_gap_s < gap.as_secs_f64()) else { return offset };
        let lines = offset.as_nanos().div_ceil(grid.as_nanos());
        Duration::from_nanos(u64::try_from(lines * grid.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::plan::{arrivals::Arrivals, ramp::Ramp},
        model::units::Rate,
    };

    fn at(count: f64) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }

    /// How often a plan is woken for, and by how much an arrival is late at most.
    fn wakes(plan: Arrivals, length: Duration) -> (usize, Duration) {
        let mut batches = Batches::new(plan.total(), length);
        let (mut wakes, mut latest) = (std::collections::BTreeSet::new(), Duration::ZERO);
        for offset in plan {
            let wake = batches.wake(offset);
            assert!(wake >= offset, "never early");
            latest = latest.max(wake.saturating_sub(offset));
            wakes.insert(wake);
        }
        (wakes.len(), latest)
    }

    #[test]
    fn dense_arrivals_leave_together() {
        let second = Duration::from_secs(1);
        let check = |rate, most_wakes, latest_us| {
            let (wakes, latest) = wakes(Arrivals::constant(at(rate), second), second);
            assert!(wakes <= most_wakes && latest <= Duration::from_micros(latest_us), "{rate}: {wakes} {latest:?}");
        };
        check(100.0, 100, 0);
        check(5_000.0, 5_000, 0);
        check(6_000.0, 4_001, 250);
        check(10_000.0, 4_001, 250);
        check(20_000.0, 2_001, 500);
        check(100_000.0, 2_001, 500);
    }

    #[test]
    fn a_ramp_is_batched_where_it_is_dense_and_chance_is_not() {
        let length = Duration::from_secs(20);
        let (wakes_of_ramp, _) = wakes(Arrivals::ramping(Ramp::new(at(0.0), &[(length, at(20_000.0))])), length);
        // 5 s at 2,500/s on average, 5 s at 4,000 and 10 s at 2,000; the mean follows a little behind.
        assert!((52_000..54_000).contains(&wakes_of_ramp), "{wakes_of_ramp}");
        let (wakes_of_chance, latest) = wakes(Arrivals::constant(at(4_000.0), length).poisson(7), length);
        assert!(wakes_of_chance > 79_900 && latest < Duration::from_micros(250), "{wakes_of_chance} {latest:?}");
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
