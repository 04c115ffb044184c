//! The bounded queue of each model: so many are served at once, so many wait in line, the rest is refused at once.
//! Only the bookkeeping: who waits is told by a one-shot channel that carries the slot itself, so that a slot given
//! to someone who has just left comes back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::model::Name;

/// Models with a queue of their own; further ones share the queue `other`.
const MAX_LANES: usize = 50;

/// How many may be served and may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Served at once.
    pub parallel: u32,
    /// Waiting at once.
    pub queue: u32,
}

/// What became of a request at the gate. `S` is the slot that lets it in.
#[derive(Debug)]
pub enum Admission<S> {
    /// It is served now.
    Served(S),
    /// It is served when the slot arrives.
    Waits(oneshot::Receiver<S>),
    /// The queue is full.
    Full,
}

/// The queues of all models.
#[derive(Debug)]
pub struct Gate<S> {
    lanes: BTreeMap<Name, Lane<S>>,
}

#[derive(Debug)]
struct Lane<S> {
    own: Option<Limits>,
    active: u32,
    waiting: VecDeque<oneshot::Sender<S>>,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    rejected: u64,
    processed: u64,
    waited: Duration,
    worked: Duration,
}

/// One model in `/queue/stats`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneStats {
    /// Waiting now.
    pub queued_requests: u64,
    /// Served now.
    pub active_requests: u32,
    /// Mean wait of the processed ones, in milliseconds.
    pub avg_wait_time_ms: f64,
    /// Mean time of work of the processed ones, in milliseconds.
    pub avg_processing_time_ms: f64,
    /// Refused since the start or the last reset.
    pub total_rejected: u64,
    /// Finished since then.
    pub total_processed: u64,
    /// May wait at once.
    pub queue_limit: u32,
    /// Served at once.
    pub parallel_limit: u32,
}

/// Makes the slot for a lane; its drop must lead to [`Gate::release`].
pub type MakeSlot<'a, S> = &'a dyn Fn(&Name) -> S;
/// Takes a slot apart without releasing it, because nobody came for it.
pub type Discard<S> = fn(S);

impl<S> Default for Gate<S> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new() }
    }
}

impl<S> Gate<S> {
    /// Lets a request of `model` in, puts it in line or refuses it.
    pub fn admit(&mut self, model: &str, defaults: Limits, slot: MakeSlot<'_, S>) -> Admission<S> {
        let (name, lane) = self.lane(model);
        let limits = lane.own.unwrap_or(defaults);
        lane.waiting.retain(|waiter| !waiter.is_closed());
        if lane.active < limits.parallel && lane.waiting.is_empty() {
            lane.active += 1;
            Admission::Served(slot(&name))
        } else if lane.waiting.len() < limits.queue as usize {
            let (sender, receiver) = oneshot::channel();
            lane.waiting.push_back(sender);
            Admission::Waits(receiver)
        } else {
            lane.counts.rejected += 1;
            Admission::Full
        }
    }

    /// A slot of `model` is free again: the first in line gets it.
    pub fn release(&mut self, model: &Name, defaults: Limits, slot: MakeSlot<'_, S>, discard: Discard<S>) {
        if let Some(lane) = self.lanes.get_mut(model) {
            lane.active = lane.active.saturating_sub(1);
            lane.promote(model, defaults, slot, discard);
        }
    }

    /// Lets in who may be served under new limits.
    pub fn limits_changed(&mut self, defaults: Limits, slot: MakeSlot<'_, S>, discard: Discard<S>) {
        for (name, lane) in &mut self.lanes {
            lane.promote(name, defaults, slot, discard);
        }
    }

    /// Gives `model` limits of its own; what is `None` stays as it is. Returns the limits now in force.
    pub fn set_limits(&mut self, model: &str, parallel: Option<u32>, queue: Option<u32>, defaults: Limits) -> Limits {
        let (_, lane) = self.lane(model);
        let now = lane.own.unwrap_or(defaults);
        let new = Limits { parallel: parallel.unwrap_or(now.parallel).max(1), queue: queue.unwrap_or(now.queue) };
        lane.own = Some(new);
        new
    }

    /// Counts a request of `model` that was served.
    pub fn processed(&mut self, model: &Name, waited: Duration, worked: Duration) {
        if let Some(lane) = self.lanes.get_mut(model) {
            lane.counts.processed += 1;
            lane.counts.waited += waited;
            lane.counts.worked += worked;
        }
    }

    /// Starts counting anew and takes back the limits set by [`Gate::set_limits`]; who is served or waits stays.
    pub fn reset(&mut self) {
        self.lanes.retain(|_, lane| lane.active > 0 || !lane.waiting.is_empty());
        for lane in self.lanes.values_mut() {
            lane.counts = Counts::default();
            lane.own = None;
        }
    }

    /// All models, or the one named.
    pub fn stats(&self, defaults: Limits, only: Option<&str>) -> BTreeMap<Name, LaneStats> {
        let wanted = self.lanes.iter().filter(|(name, _)| only.is_none_or(|only| &***name == only));
        wanted.map(|(name, lane)| (name.clone(), lane.stats(lane.own.unwrap_or(defaults)))).collect()
    }

    fn lane(&mut self, model: &str) -> (Name, &mut Lane<S>) {
        let name: Name = match self.lanes.get_key_value(model) {
            Some((name, _)) => name.clone(),
            None if self.lanes.len() < MAX_LANES => Arc::from(model),
            None => Arc::from("other"),
        };
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane {
            own: None,
            active: 0,
            waiting: VecDeque::new(),
            counts: Counts::default(),
        });
        (name, lane)
    }
}

impl<S> Lane<S> {
    fn promote(&mut self, name: &Name, defaults: Limits, slot: MakeSlot<'_, S>, discard: Discard<S>) {
        let limits = self.own.unwrap_or(defaults);
        while self.active < limits.parallel {
            let Some(waiter) = self.waiting.pop_front() else { return };
            match waiter.send(slot(name)) {
                Ok(()) => self.active += 1,
                Err(unwanted) => discard(unwanted),
            }
        }
    }

    fn stats(&self, limits: Limits) -> LaneStats {
        let mean = |sum: Duration| {
            let ms = sum.as_secs_f64() * 1000.0 / self.counts.processed.max(1) as f64;
            (ms * 1000.0).round() / 1000.0
        };
        LaneStats {
            queued_requests: self.waiting.iter().filter(|waiter| !waiter.is_closed()).count() as u64,
            active_requests: self.active,
            avg_wait_time_ms: mean(self.counts.waited),
            avg_processing_time_ms: mean(self.counts.worked),
            total_rejected: self.counts.rejected,
            total_processed: self.counts.processed,
            queue_limit: limits.queue,
            parallel_limit: limits.parallel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { parallel: 4, queue: 2 };

    fn slot(_: &Name) {}

    fn discard(_: ()) {}

    fn arrive(gate: &mut Gate<()>) -> Admission<()> {
        gate.admit("m", LIMITS, &slot)
    }

    #[test]
    fn four_served_two_wait_four_refused() {
        let mut gate = Gate::default();
        let arrived: Vec<_> = (0..10).map(|_| arrive(&mut gate)).collect();
        let count = |matches: fn(&Admission<()>) -> bool| arrived.iter().filter(|one| matches(one)).count();
        assert_eq!(count(|one| matches!(one, Admission::Served(()))), 4);
        assert_eq!(count(|one| matches!(one, Admission::Waits(_))), 2);
        assert_eq!(count(|one| matches!(one, Admission::Full)), 4);
        let stats = &gate.stats(LIMITS, Some("m"))["m"];
        assert_eq!((stats.active_requests, stats.queued_requests, stats.total_rejected), (4, 2, 4));
        assert!(gate.stats(LIMITS, Some("n")).is_empty());
    }

    #[test]
    fn the_first_in_line_is_next_and_who_left_is_passed_over() {
        let mut gate = Gate::default();
        let served: Vec<_> = (0..4).map(|_| arrive(&mut gate)).collect();
        let Admission::Waits(left) = arrive(&mut gate) else { panic!("waits") };
        let Admission::Waits(mut next) = arrive(&mut gate) else { panic!("waits") };
        drop(left);
        let Admission::Waits(mut last) = arrive(&mut gate) else { panic!("the place of who left is free") };
        assert!(matches!(arrive(&mut gate), Admission::Full));
        let name: Name = Arc::from("m");
        gate.release(&name, LIMITS, &slot, discard);
        assert_eq!((next.try_recv().is_ok(), last.try_recv().is_ok()), (true, false));
        assert_eq!(gate.stats(LIMITS, None)["m"].active_requests, 4);
        drop(served);
    }

    #[test]
    fn raised_limits_let_the_line_in_and_lowered_ones_drain() {
        let mut gate = Gate::default();
        let arrived: Vec<_> = (0..6).map(|_| arrive(&mut gate)).collect();
        assert_eq!(gate.set_limits("m", Some(6), None, LIMITS), Limits { parallel: 6, queue: 2 });
        gate.limits_changed(LIMITS, &slot, discard);
        assert_eq!(gate.stats(LIMITS, None)["m"].active_requests, 6);
        gate.set_limits("m", Some(1), Some(0), LIMITS);
        let name: Name = Arc::from("m");
        for _ in 0..5 {
            gate.release(&name, LIMITS, &slot, discard);
        }
        assert!(matches!(arrive(&mut gate), Admission::Full));
        gate.release(&name, LIMITS, &slot, discard);
        assert!(matches!(arrive(&mut gate), Admission::Served(())));
        drop(arrived);
    }
}
