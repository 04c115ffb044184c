//! Where the users of one run leave what they measured: plain values behind a `RefCell`, one thread, no locks.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use crate::{
    measure::data::{RunData, Sample, SeriesKey, StatPoint},
    model::{
        Name,
        outcome::{DropReason, Outcome},
        run::FailureSample,
    },
};

/// The counts of one run since they were last taken.
#[derive(Debug, Default)]
pub struct Recorder {
    data: RefCell<RunData>,
    first_failure: RefCell<Option<FailureSample>>,
    active: Cell<u64>,
    throttled: Cell<u64>,
    crashes: Cell<u64>,
}

/// How an iteration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IterationEnd {
    /// All steps reached.
    Completed,
    /// A step ended it.
    Failed,
    /// A person, a signal or an abort did.
    Interrupted,
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight<'a>(&'a Cell<u64>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Recorder {
    /// Takes what was recorded since the last call.
    pub fn take(&self) -> RunData {
        self.data.take()
    }

    /// One finished request.
    pub fn sample(&self, key: &SeriesKey, sample: &Sample, send_lag: Duration) {
        let mut data = self.data.borrow_mut();
        data.record(key, sample);
        data.send_lag.record(send_lag);
    }

    /// One planned request that was never sent.
    pub fn drop_one(&self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    /// Planned requests that were never sent.
    pub fn drop_many(&self, reason: DropReason, count: u64) {
        self.data.borrow_mut().dropped[reason as usize] += count;
    }

    /// One arrival that we noticed too late to send it.
    pub fn drop_late(&self, send_lag: Duration) {
        let mut data = self.data.borrow_mut();
        data.dropped[DropReason::Generator as usize] += 1;
        data.send_lag.record(send_lag);
    }

    /// One finished iteration.
    pub fn iteration(&self, end: IterationEnd, length: Duration) {
        let mut data = self.data.borrow_mut();
        match end {
            IterationEnd::Completed => {
                data.iterations.completed += 1;
                data.iteration_time.record(length);
            }
            IterationEnd::Failed => data.iterations.failed += 1,
            IterationEnd::Interrupted => data.iterations.interrupted += 1,
        }
    }

    /// One hook request.
    pub fn hook(&self, ok: bool) {
        let mut data = self.data.borrow_mut();
        if ok { data.hooks.ok += 1 } else { data.hooks.failed += 1 }
    }

    /// A reading of one of the target's figures; `None` = it failed.
    pub fn stat(&self, name: &Name, point: Option<StatPoint>) {
        let mut data = self.data.borrow_mut();
        let series = data.stats.entry(name.clone()).or_default();
        match point {
            Some(point) => series.push(point),
            None => series.failed += 1,
        }
    }

    /// Keeps the first failed request, or the first rejected one until something fails.
    pub fn failure(&self, outcome: Outcome, make: impl FnOnce() -> FailureSample) {
        let mut first = self.first_failure.borrow_mut();
        let better = match (&*first, outcome) {
            (None, Outcome::Rejected | Outcome::Failed) => true,
            (Some(kept), Outcome::Failed) => kept.outcome == Outcome::Rejected.as_str(),
            _ => false,
        };
        if better {
            *first = Some(make());
        }
    }

    /// The first request that did not go well.
    pub fn first_failure(&self) -> Option<FailureSample> {
        self.first_failure.borrow().clone()
    }

    /// Requests in flight, those included that wait for a connection.
    pub fn active(&self) -> u64 {
        self.active.get()
    }

    /// One more request in flight, until what is returned is dropped.
    pub fn enter(&self) -> InFlight<'_> {
        self.active.set(self.active.get() + 1);
        InFlight(&self.active)
    }

    /// A user's task panicked: what it was about to record is lost.
    pub fn crash(&self) {
        self.crashes.set(self.crashes.get() + 1);
        if let Ok(mut data) = self.data.try_borrow_mut() {
            data.samples_lost += 1;
        }
    }

    /// How many tasks panicked.
    pub fn crash_count(&self) -> u64 {
        self.crashes.get()
    }

    /// A closed load had to wait for `policy.max_rate` or `policy.max_concurrency`.
    pub fn throttled(&self) {
        self.throttled.set(self.throttled.get() + 1);
    }

    /// How often that was.
    pub fn throttle_count(&self) -> u64 {
        self.throttled.get()
    }
}
