//! The executors: each turns a plan into iterations, and returns when the last of them has ended or was cut.

use std::{
    cell::{Cell, RefCell},
    collections::BinaryHeap,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{LocalSet, spawn_local},
};

use super::{
    pacer::Pacer,
    plan::Uniform,
    recorder::{IterationEnd, Recorder},
    stop::{Cause, Stop},
    user::{Model, Shared, Turn, User},
};
use crate::model::{clock, outcome::DropReason, scenario::Executor};

/// An arrival noticed later than this is dropped rather than sent in a burst after a stall of our own.
const TOO_LATE: Duration = Duration::from_secs(1);

/// Runs the scenario's load to its end. `grace` bounds what follows the planned duration.
/// Fails only if the machine has no timer left.
pub async fn execute(shared: &Rc<Shared>, grace: Duration) -> io::Result<()> {
    let tasks = LocalSet::new();
    match shared.group.load.executor.clone() {
        Executor::Probe { .. } => {
            tasks.run_until(probe(shared, grace)).await;
            Ok(())
        }
        Executor::PerVuIterations { vus, iterations, together, max_duration } => {
            tasks.run_until(per_vu(shared, u64::from(vus), iterations, together, (max_duration, grace))).await;
            Ok(())
        }
        Executor::ConstantArrivalRate { rate, duration, .. } => {
            tasks.run_until(arrivals(shared, Uniform::new(rate, duration), duration, grace)).await
        }
        other => unreachable!("{} is refused by the configuration", other.as_str()),
    }
}

/// One iteration.
async fn probe(shared: &Rc<Shared>, grace: Duration) {
    let flight = Rc::new(Flight::default());
    let aboard = Flight::board(&flight, shared);
    spawn_local(async move {
        let shared = &aboard.shared;
        shared.iterate(&Turn::of(1, 1), clock::mono(), &mut User::default(), Model::Probe).await;
    });
    race(cut_after(&shared.stop, grace), flight.all_landed()).await;
}

/// Polls `watch` beside `work` and returns with `work`.
async fn race(watch: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    let forever = async {
        watch.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = work => {}
        () = forever => {}
    }
}

/// Cuts what is unanswered `grace` after the plan is over, however it came to be over.
async fn cut_after(stop: &Stop, grace: Duration) {
    stop.wait_over().await;
    tokio::select! {
        () = tokio::time::sleep(grace) => stop.cut(),
        () = stop.wait_cut() => {}
    }
}

/// Tasks in flight, and when the last has ended.
#[derive(Debug, Default)]
struct Flight {
    count: Cell<u64>,
    landed: Notify,
}

impl Flight {
    /// One more task in flight, until what is returned is dropped.
    fn board(flight: &Rc<Self>, shared: &Rc<Shared>) -> Aboard {
        flight.count.set(flight.count.get() + 1);
        Aboard { flight: flight.clone(), shared: shared.clone() }
    }

    async fn all_landed(&self) {
        loop {
            let landed = self.landed.notified();
            if self.count.get() == 0 {
                return;
            }
            landed.await;
        }
    }
}

/// A task in flight. It lands however it ends: a panic in one user must not keep the run from its end, nor go unsaid.
struct Aboard {
    flight: Rc<Flight>,
    shared: Rc<Shared>,
}

impl Drop for Aboard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.recorder.crash();
        }
        self.flight.count.set(self.flight.count.get() - 1);
        if self.flight.count.get() == 0 {
            self.flight.landed.notify_waiters();
        }
    }
}

async fn per_vu(
    shared: &Rc<Shared>,
    vus: u64,
    iterations: u64,
    together: bool,
    (max_duration, grace): (Duration, Duration),
) {
    let flight = Rc::new(Flight::default());
    let (barrier, standing) = (Rc::new(Notify::new()), Rc::new(Cell::new(0u64)));
    let begun = Rc::new(Cell::new(0u64));
    shared.started.set(clock::mono());
    for vu in 1..=vus {
        let (aboard, begun) = (Flight::board(&flight, shared), begun.clone());
        let (barrier, standing) = (barrier.clone(), standing.clone());
        spawn_local(async move {
            if together {
                let open = barrier.notified();
                standing.set(standing.get() + 1);
                open.await;
            }
            one_user(&aboard.shared, vu, iterations, &begun).await;
        });
    }
    while together && standing.get() < vus {
        tokio::task::yield_now().await;
    }
    if together {
        shared.started.set(clock::mono());
        barrier.notify_waiters();
    }
    let over = async {
        tokio::select! {
            () = tokio::time::sleep(max_duration) => shared.stop.end_of_plan(),
            () = shared.stop.wait_over() => {}
        }
        cut_after(&shared.stop, grace).await;
    };
    race(over, flight.all_landed()).await;
    if !shared.stop.interrupts() {
        // Users leave iterations undone when the time is up, or when one of them has crashed.
        let why = if shared.stop.is_over() { DropReason::Deadline } else { DropReason::Generator };
        shared.recorder.drop_many(why, vus * iterations - begun.get());
    }
}

async fn one_user(shared: &Shared, vu: u64, iterations: u64, begun: &Cell<u64>) {
    let mut user = User::default();
    for iteration in 1..=iterations {
        if shared.stop.is_over() {
            return;
        }
        begun.set(begun.get() + 1);
        let intended = if iteration == 1 { shared.started.get() } else { clock::mono() };
        if shared.iterate(&Turn::of(vu, iteration), intended, &mut user, Model::Closed).await
            == IterationEnd::Interrupted
        {
            return;
        }
    }
}

/// The slots of an open load: the lowest free one takes the next arrival, so that connections stay few and warm.
#[derive(Debug)]
struct Slots {
    free: RefCell<BinaryHeap<std::cmp::Reverse<u64>>>,
    kept: RefCell<Vec<Option<User>>>,
    iterations: RefCell<Vec<u64>>,
    max: u64,
}

impl Slots {
    fn new(max: u32) -> Rc<Self> {
        Rc::new(Self {
            free: RefCell::default(),
            kept: RefCell::default(),
            iterations: RefCell::default(),
            max: u64::from(max),
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

async fn arrivals(shared: &Rc<Shared>, plan: Uniform, duration: Duration, grace: Duration) -> io::Result<()> {
    let pacer = Pacer::new()?;
    let flight = Rc::new(Flight::default());
    let slots = Slots::new(shared.group.load.max_in_flight);
    let start = clock::mono();
    shared.started.set(start);
    for index in 0..plan.total() {
        let due = start + plan.offset(index);
        if clock::mono() < due {
            tokio::select! {
                biased;
                () = shared.stop.wait_over() => {}
                waited = pacer.wait_until(due) => waited?,
            }
        } else if index % 64 == 63 {
            // Late: let the users have their turn before the next batch.
            tokio::task::yield_now().await;
        }
        if shared.stop.is_over() {
            if shared.stop.cause() == Some(Cause::Timeout) {
                shared.recorder.drop_many(DropReason::Deadline, plan.total() - index);
            }
            break;
        }
        arrive(shared, &flight, &slots, due);
    }
    let end = start + duration;
    let over = async {
        tokio::select! {
            _ = pacer.wait_until(end) => shared.stop.end_of_plan(),
            () = shared.stop.wait_over() => {}
        }
        cut_after(&shared.stop, grace).await;
    };
    let landed = async {
        shared.stop.wait_over().await;
        flight.all_landed().await;
    };
    race(over, landed).await;
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

fn arrive(shared: &Rc<Shared>, flight: &Rc<Flight>, slots: &Rc<Slots>, due: Instant) {
    if late(clock::mono(), due, &shared.recorder) {
        return;
    }
    let Some(mut slot) = Slots::take(slots) else {
        shared.recorder.drop_one(DropReason::MaxInFlight, due);
        return;
    };
    let aboard = Flight::board(flight, shared);
    spawn_local(async move {
        let shared = &aboard.shared;
        let turn = Turn::of(slot.number, slot.iteration);
        shared.iterate(&turn, due, &mut slot.user, Model::Open).await;
    });
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
