//! The gate that every request of every load passes, below every executor: caps on rate and concurrency, and the kill
//! switch. No fault of a scenario or an executor can lead around it. Hooks and readings of a run are one at a time and go
//! beside it, for what puts the target back in order must not be held up; a run that finds the switch thrown sends neither,
//! and one that it stops has a few seconds for its `after:`. So has a `limit` for its releases, which go many at once and
//! keep to the caps also then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::model::{clock, settings::Policy};

/// How far requests may run ahead of an even spacing at the cap: a hundred milliseconds' worth, and at least ten.
const BURST: f64 = 0.1;
const BURST_MIN: f64 = 10.0;

/// Why a request may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The kill switch is on.
    Paused,
    /// `policy.max_rate`; the time until there is room.
    Rate(Duration),
    /// `policy.max_concurrency`.
    Concurrency,
}

/// Shared by all runs of a process.
#[derive(Debug)]
pub struct Gate {
    paused: AtomicBool,
    in_flight: AtomicU32,
    max_in_flight: u32,
    /// Nanoseconds since `epoch` at which an evenly spaced sender at the cap would be (the generic cell rate algorithm).
    ahead_ns: AtomicU64,
    step_ns: u64,
    burst_ns: u64,
    epoch: Instant,
}

impl Gate {
    /// A gate with the policy's caps.
    pub fn new(policy: &Policy) -> Arc<Self> {
        let step = 1.0 / policy.max_rate;
        Arc::new(Self {
            paused: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            max_in_flight: policy.max_concurrency,
            ahead_ns: AtomicU64::new(0),
            step_ns: (step * 1e9) as u64,
            burst_ns: (BURST.max(step * BURST_MIN) * 1e9) as u64,
            epoch: clock::mono(),
        })
    }

    /// Throws or releases the kill switch; from here on nothing, or everything again, is admitted.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Whether the kill switch is on.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Unanswered requests of all runs.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Lets one request out; it counts as in flight until the permit is dropped.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Permit, Refusal> {
        if self.is_paused() { Err(Refusal::Paused) } else { self.admit_release(now) }
    }

    /// The same for what gives back what the load took, also while the kill switch is on: within the caps.
    pub fn admit_release(self: &Arc<Self>, now: Instant) -> Result<Permit, Refusal> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Concurrency);
        }
        let permit = Permit(self.clone());
        let now_ns = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        let mut ahead = self.ahead_ns.load(Ordering::Relaxed);
        loop {
            let lead = ahead.saturating_sub(now_ns);
            if lead > self.burst_ns {
                return Err(Refusal::Rate(Duration::from_nanos(lead - self.burst_ns)));
            }
            let next = ahead.max(now_ns) + self.step_ns;
            match self.ahead_ns.compare_exchange_weak(ahead, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(permit),
                Err(current) => ahead = current,
            }
        }
    }
}

/// One request in flight.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(max_rate: f64, max_concurrency: u32) -> Arc<Gate> {
        Gate::new(&Policy { max_rate, max_concurrency, ..Policy::default() })
    }

    #[test]
    fn concurrency_is_capped_and_given_back() {
        let gate = gate(1e6, 2);
        let now = clock::mono();
        let first = gate.admit(now).expect("room");
        let _second = gate.admit(now).expect("room");
        assert_eq!(gate.admit(now).err(), Some(Refusal::Concurrency));
        drop(first);
        assert!(gate.admit(now).is_ok());
    }

    #[test]
    fn the_rate_is_capped_over_any_second() {
        let gate = gate(1000.0, 1_000_000);
        let start = clock::mono();
        let mut admitted = 0;
        for tick in 0..20_000u32 {
            let now = start + Duration::from_micros(u64::from(tick) * 100);
            admitted += u32::from(gate.admit(now).is_ok());
        }
        assert!((2000..=2102).contains(&admitted), "2 s at 1000/s and a burst of 100: {admitted}");
    }

    #[test]
    fn the_kill_switch_refuses_everything() {
        let gate = gate(1000.0, 10);
        gate.set_paused(true);
        assert_eq!(gate.admit(clock::mono()).err(), Some(Refusal::Paused));
        let released = (0..100).filter_map(|_| gate.admit_release(clock::mono()).ok()).collect::<Vec<_>>();
        assert_eq!(released.len(), 10, "what was taken is given back, within the caps");
        drop(released);
        gate.set_paused(false);
        assert!(gate.admit(clock::mono()).is_ok());
    }
}
