//! Where the users of one run leave what they measured: plain values behind a `RefCell`, one thread, no locks.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    measure::{
        data::{Iterations, RunData, Sample, Series, SeriesKey, StatPoint},
        stats::StatFault,
    },
    model::{
        Name,
        labels::Labels,
        metric::{CustomMetric, MetricKind},
        outcome::{DropReason, Outcome},
        run::FailureSample,
    },
};

/// Series of one run; what comes after that many is counted under the step alone, labelled `overflow`.
pub const MAX_SERIES: usize = 1000;

/// Look-ups that are remembered.
const RECENT: usize = 16;

/// The counts of one run since they were last taken.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What is judged: intended within the measured window.
    judged: RefCell<Side>,
    /// What is intended outside of it: in the ledger only.
    outside: RefCell<Side>,
    /// First instant of the measured window, and the first after it.
    window: Cell<(Option<Instant>, Option<Instant>)>,
    keys: RefCell<Vec<SeriesKey>>,
    ids: RefCell<HashMap<SeriesKey, SeriesId>>,
    /// The latest look-ups, found by the places of name and labels without reading either.
    recent: RefCell<Vec<(SeriesKey, SeriesId)>>,
    first_failure: RefCell<Option<FailureSample>>,
    active: Cell<u64>,
    /// Requests that waited for `policy.max_rate`, and for `policy.max_concurrency`.
    held_back: Cell<[u64; 2]>,
    crashes: Cell<u64>,
    trims: Cell<u64>,
    /// Users whose `on_start` did not go well, and why the first of them.
    lost_users: RefCell<Option<(u64, String)>>,
}

/// What was counted on one side of the window.
#[derive(Debug, Default)]
struct Side {
    data: RunData,
    /// By [`SeriesId`].
    series: Vec<Series>,
}

impl Side {
    fn take(&mut self, keys: &[SeriesKey]) -> RunData {
        let mut data = std::mem::take(&mut self.data);
        for (series, key) in self.series.iter_mut().zip(keys) {
            if series.sent() > 0 {
                data.series.insert(key.clone(), std::mem::take(series));
            }
        }
        data
    }
}

/// A series of this run, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesId(u32);

/// What was recorded since the last time.
#[derive(Debug, Default)]
pub struct Taken {
    /// Intended within the measured window.
    pub judged: RunData,
    /// Intended outside of it.
    pub outside: RunData,
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
    /// The client was gone before it was answered; its user goes on.
    Gone,
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
    pub fn take(&self) -> Taken {
        let keys = self.keys.borrow();
        Taken { judged: self.judged.borrow_mut().take(&keys), outside: self.outside.borrow_mut().take(&keys) }
    }

    /// From now on, what is intended before `from` or not before `to` is counted as outside of the measured window.
    pub fn set_window(&self, from: Option<Instant>, to: Option<Instant>) {
        self.window.set((from, to));
    }

    fn side(&self, intended: Instant) -> RefMut<'_, Side> {
        let (from, to) = self.window.get();
        let outside = from.is_some_and(|from| intended < from) || to.is_some_and(|to| intended >= to);
        if outside { self.outside.borrow_mut() } else { self.judged.borrow_mut() }
    }

    /// The series of a step with these labels.
    pub fn series(&self, step: &Name, labels: &Labels) -> SeriesId {
        let same = |key: &SeriesKey| Arc::ptr_eq(&key.step, step) && key.labels.is_same(labels);
        if let Some((_, id)) = self.recent.borrow().iter().find(|(key, _)| same(key)) {
            return *id;
        }
        let id = self.look_up(step, labels);
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push((SeriesKey { step: step.clone(), labels: labels.clone() }, id));
        id
    }

    fn look_up(&self, step: &Name, labels: &Labels) -> SeriesId {
        let key = SeriesKey { step: step.clone(), labels: labels.clone() };
        let mut ids = self.ids.borrow_mut();
        if let Some(id) = ids.get(&key) {
            return *id;
        }
        let mut keys = self.keys.borrow_mut();
        let key = if keys.len() < MAX_SERIES {
            key
        } else {
            SeriesKey { step: step.clone(), labels: Labels::one("overflow", "true") }
        };
        *ids.entry(key.clone()).or_insert_with(|| {
            keys.push(key);
            SeriesId(keys.len() as u32 - 1)
        })
    }

    /// One finished request.
    pub fn sample(&self, series: SeriesId, sample: &Sample, intended: Instant, send_lag: Duration) {
        let mut side = self.side(intended);
        let index = series.0 as usize;
        if side.series.len() <= index {
            side.series.resize_with(index + 1, Series::default);
        }
        side.series[index].record(sample);
        side.data.send_lag.record(send_lag);
    }

    /// What the custom metrics record of a request of this step with these labels, each by its place among them.
    pub fn custom(
        &self,
        metrics: &[CustomMetric],
        values: &[(usize, f64)],
        (step, labels): (&Name, &Labels),
        intended: Instant,
    ) {
        let key = SeriesKey { step: step.clone(), labels: labels.clone() };
        let custom = &mut self.side(intended).data.custom;
        for (metric, value) in values.iter().filter_map(|(index, value)| Some((metrics.get(*index)?, *value))) {
            match metric.kind {
                MetricKind::Rate(_) => custom.rate(&metric.name, &key, value > 0.5),
                MetricKind::Trend { .. } => custom.trend(&metric.name, &key, value),
            }
        }
    }

    /// One planned request that was never sent.
    pub fn drop_one(&self, reason: DropReason, intended: Instant) {
        self.side(intended).data.dropped[reason as usize] += 1;
    }

    /// Planned requests that were never sent, at the end of the plan.
    pub fn drop_many(&self, reason: DropReason, count: u64) {
        self.judged.borrow_mut().data.dropped[reason as usize] += count;
    }

    /// One arrival that we noticed too late to send it.
    pub fn drop_late(&self, intended: Instant, send_lag: Duration) {
        let mut side = self.side(intended);
        side.data.dropped[DropReason::Generator as usize] += 1;
        side.data.send_lag.record(send_lag);
    }

    /// One finished iteration of a load that began at `began`.
    pub fn iteration(&self, labels: &Labels, end: IterationEnd, (began, intended, ended): (Instant, Instant, Instant)) {
        let mut side = self.side(intended);
        if !side.data.iterations.contains_key(labels) {
            side.data.iterations.insert(labels.clone(), Iterations::default());
        }
        let iterations = side.data.iterations.get_mut(labels).expect("just inserted");
        match end {
            IterationEnd::Completed => {
                iterations.counts.completed += 1;
                iterations.time.record(ended.saturating_duration_since(intended));
            }
            IterationEnd::Failed => iterations.counts.failed += 1,
            IterationEnd::Interrupted | IterationEnd::Gone => iterations.counts.interrupted += 1,
        }
        let at = |instant: Instant| instant.saturating_duration_since(began).as_secs_f64();
        let (first, last) = iterations.span.unwrap_or((at(intended), at(ended)));
        iterations.span = Some((first.min(at(intended)), last.max(at(ended))));
    }

    /// A plan of arrivals went from `from` to `to`, in a load that began at `began`; what lies outside of the measured window
    /// is not of it.
    pub fn plan(&self, labels: &Labels, began: Instant, (from, to): (Instant, Instant)) {
        let (open, close) = self.window.get();
        let from = open.map_or(from, |open| from.max(open));
        let to = close.map_or(to, |close| to.min(close));
        if from < to {
            let at = |instant: Instant| instant.saturating_duration_since(began).as_secs_f64();
            let part = Iterations { plan: Some((at(from), at(to))), ..Iterations::default() };
            self.judged.borrow_mut().data.iterations.entry(labels.clone()).or_default().merge_counts(&part);
        }
    }

    /// One more poll of a step that counts with its final answer.
    pub fn poll(&self, intended: Instant) {
        self.side(intended).data.polls += 1;
    }

    /// One hook request.
    pub fn hook(&self, ok: bool) {
        let hooks = &mut self.judged.borrow_mut().data.hooks;
        if ok { hooks.ok += 1 } else { hooks.failed += 1 }
    }

    /// A reading of one of the target's figures, or why there is none.
    pub fn stat(&self, name: &Name, reading: Result<StatPoint, StatFault>) {
        let mut side = self.judged.borrow_mut();
        let series = side.data.stats.entry(name.clone()).or_default();
        match reading {
            Ok(point) => series.push(point),
            Err(fault) => series.fail(fault == StatFault::MissingField),
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
        if let Ok(mut side) = self.judged.try_borrow_mut() {
            side.data.samples_lost += 1;
        }
    }

    /// A user ended before its first iteration.
    pub fn lose_user(&self, why: String) {
        let mut lost = self.lost_users.borrow_mut();
        let (count, first) = lost.take().unwrap_or((0, why));
        *lost = Some((count + 1, first));
    }

    /// How many users ended before their first iteration, and why the first of them.
    pub fn lost_users(&self) -> Option<(u64, String)> {
        self.lost_users.borrow().clone()
    }

    /// How many tasks panicked.
    pub fn crash_count(&self) -> u64 {
        self.crashes.get()
    }

    /// A list of the scenario's state had grown too long, and lost its oldest values.
    pub fn trim(&self) {
        self.trims.set(self.trims.get() + 1);
    }

    /// How often that was.
    pub fn trim_count(&self) -> u64 {
        self.trims.get()
    }

    /// A request of a closed load had to wait for `policy.max_rate`, `policy.max_concurrency`, or both.
    pub fn held_back(&self, by_rate: bool, by_concurrency: bool) {
        let [rate, concurrency] = self.held_back.get();
        self.held_back.set([rate + u64::from(by_rate), concurrency + u64::from(by_concurrency)]);
    }

    /// How many requests had to, in words; `None` if none had.
    pub fn held_back_by(&self) -> Option<String> {
        let [rate, concurrency] = self.held_back.get();
        let caps = [(rate, "policy.max_rate"), (concurrency, "policy.max_concurrency")];
        let said = caps.into_iter().filter(|(count, _)| *count > 0).map(|(count, cap)| {
            let requests = if count == 1 { "request was" } else { "requests were" };
            format!("{count} {requests} held back by {cap}")
        });
        Some(said.collect::<Vec<_>>().join(", ")).filter(|said| !said.is_empty())
    }
}
