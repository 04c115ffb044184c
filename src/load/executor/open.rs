//! Open loads: iterations start when the plan says, whatever became of the others.

use std::{
    cell::RefCell,
    collections::BinaryHeap,
    io,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::{
    crew::{Aboard, Crew, cut_after, race},
    hands::Hands,
};
use crate::{
    load::{
        pacer::Batches,
        plan::arrivals::Arrivals,
        recorder::Recorder,
        stop::Cause,
        user::{Model, Turn, User},
    },
    model::{clock, labels::Labels, outcome::DropReason},
};

/// An arrival noticed later than this is dropped rather than sent in a burst after a stall of our own.
const TOO_LATE: Duration = Duration::from_secs(1);

/// The slots of an open load: the lowest free one takes the next arrival, so that connections stay few and warm.
pub(super) struct Slots {
    free: RefCell<BinaryHeap<std::cmp::Reverse<u64>>>,
    kept: RefCell<Vec<Option<User>>>,
    iterations: RefCell<Vec<u64>>,
    max: u64,
    hands: Hands<Arrival>,
}

impl Slots {
    pub(super) fn new(max: u32) -> Rc<Self> {
        Rc::new(Self {
            free: RefCell::default(),
            kept: RefCell::default(),
            iterations: RefCell::default(),
            max: u64::from(max),
            hands: Hands::default(),
        })
    }

    /// The lowest free slot; `None` when all are taken.
    fn take(slots: &Rc<Self>) -> Option<Slot> {
        let (mut kept, mut iterations) = (slots.kept.borrow_mut(), slots.iterations.borrow_mut());
        let number = match slots.free.borrow_mut().pop() {
            Some(std::cmp::Reverse(number)) => number,
            None if (kept.len() as u64) < slots.max => {
                kept.push(Some(User::default()));
                iterations.push(0);
                kept.len() as u64
            }
            None => return None,
        };
        let index = number as usize - 1;
        iterations[index] += 1;
        Some(Slot {
            number,
            iteration: iterations[index],
            user: kept[index].take().unwrap_or_default(),
            slots: slots.clone(),
        })
    }
}

/// The users of the slots end: what each does after its last iteration, it does within the grace.
pub(super) async fn leave(crew: &Rc<Crew>, slots: &Slots) {
    slots.hands.dismiss();
    if crew.shared.group.on_stop.is_empty() {
        return;
    }
    for (vu, user) in (1..).zip(slots.kept.take()) {
        let Some(mut user) = user else { continue };
        let aboard = Crew::board(crew);
        spawn_local(async move { aboard.crew.shared.end(&Turn::of(vu, 0), &mut user).await });
    }
    race(cut_after(&crew.shared.stop, crew.grace), crew.all_landed()).await;
}

/// An arrival on its way to the task that does it.
struct Arrival {
    slot: Slot,
    due: Instant,
    labels: Labels,
    aboard: Aboard,
}

impl Arrival {
    async fn go(self) {
        let Self { mut slot, due, labels, aboard } = self;
        let crew = &aboard.crew;
        let task = crew.task(&slot.user);
        let turn = Turn { vu: slot.number, iteration: slot.iteration, task, labels };
        crew.shared.iterate(&turn, due, &mut slot.user, Model::Open).await;
    }
}

/// A slot that is taken; dropping it gives it back.
struct Slot {
    /// From 1.
    number: u64,
    /// Of this slot.
    iteration: u64,
    /// What it keeps.
    user: User,
    slots: Rc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.kept.borrow_mut()[self.number as usize - 1] = Some(std::mem::take(&mut self.user));
        self.slots.free.borrow_mut().push(std::cmp::Reverse(self.number));
    }
}

/// Arrivals along `plan`, which is `length` long.
pub(super) async fn arrivals(crew: &Rc<Crew>, mut plan: Arrivals, length: Duration) -> io::Result<()> {
    let pacer = crew.pacer()?;
    let shared = &crew.shared;
    let slots = Slots::new(shared.group.load.max_in_flight);
    let (begun, labels) = (crew.begun, Labels::default());
    let mut batches = Batches::new(plan.total(), length);
    // Asked for once: an arrival costs little more than a comparison here.
    let mut over = pin!(shared.stop.wait_over());
    while let Some(offset) = plan.next() {
        let (due, wake) = (begun + offset, begun + batches.wake(offset));
        let mut now = clock::mono();
        if now < due {
            tokio::select! {
                biased;
                () = &mut over => {}
                waited = pacer.wait_until(wake) => waited?,
            }
            now = clock::mono();
        } else if plan.left() % 64 == 63 {
            // Late: let the users have their turn before the next batch.
            tokio::task::yield_now().await;
            now = clock::mono();
        }
        if shared.stop.is_over() {
            if shared.stop.cause() == Some(Cause::Timeout) {
                shared.recorder.drop_many(DropReason::Deadline, plan.left() + 1);
            }
            break;
        }
        arrive(crew, &slots, (due, now), &labels);
    }
    let end = begun + length;
    let over = async {
        tokio::select! {
            _ = pacer.wait_until(end) => shared.stop.end_of_plan(),
            () = shared.stop.wait_over() => {}
        }
        cut_after(&shared.stop, crew.grace).await;
    };
    let landed = async {
        shared.stop.wait_over().await;
        crew.all_landed().await;
    };
    race(over, landed).await;
    if clock::mono() >= end && shared.stop.cause().is_none() && !shared.stop.is_out_of_data() {
        shared.recorder.plan(&shared.group.labels, shared.started.get(), (begun, end));
    }
    leave(crew, &slots).await;
    Ok(())
}

/// Whether an arrival is noticed too late; it is dropped then, and its lateness is as much ours as that of one sent.
fn late(now: Instant, due: Instant, recorder: &Recorder) -> bool {
    let lag = now.saturating_duration_since(due);
    if lag > TOO_LATE {
        recorder.drop_late(due, lag);
    }
    lag > TOO_LATE
}

/// One arrival that is due, noticed `now`: it takes a slot, or is dropped.
pub(super) fn arrive(crew: &Rc<Crew>, slots: &Rc<Slots>, (due, now): (Instant, Instant), labels: &Labels) {
    let recorder = &crew.shared.recorder;
    if late(now, due, recorder) {
        return;
    }
    let Some(slot) = Slots::take(slots) else {
        recorder.drop_one(DropReason::MaxInFlight, due);
        return;
    };
    let arrival = Arrival { slot, due, labels: labels.clone(), aboard: Crew::board(crew) };
    if let Err(first) = slots.hands.give(arrival) {
        let slots = slots.clone();
        spawn_local(async move { slots.hands.work(first, Arrival::go).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_that_comes_too_late_is_dropped_and_its_lag_counts() {
        let (recorder, due) = (Recorder::default(), clock::mono());
        assert!(!late(due + TOO_LATE, due, &recorder));
        let data = recorder.take().judged;
        assert_eq!((data.send_lag.count(), data.dropped()), (0, 0));
        assert!(late(due + Duration::from_millis(1500), due, &recorder));
        let data = recorder.take().judged;
        assert_eq!((data.dropped[DropReason::Generator as usize], data.send_lag.count()), (1, 1));
        assert!(data.send_lag.stats().max >= 1.49, "{:?}", data.send_lag.stats());
    }
}
