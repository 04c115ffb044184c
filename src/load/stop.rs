//! How a run is told to end: first no new work, then the cut.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::sync::{Notify, watch};

/// What the owner of a run asks of it, from outside its thread. Only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Go on.
    Run,
    /// Start nothing new; what is in flight may finish within the grace.
    Drain,
    /// Give up what is in flight.
    Cut,
}

/// Who ended the run early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A person, a signal or the kill switch.
    Person,
    /// A threshold with `abort_on_fail`.
    Abort,
    /// The schedule's `timeout`.
    Timeout,
}

/// The state within the run's thread. A part of the run (a phase, a user who is taken away) may have a stop of its own
/// below that of the whole: what ends the whole ends the part, and never the other way round.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    own: Rc<State>,
    /// Those above, the nearest first.
    above: Option<Rc<Above>>,
}

#[derive(Debug)]
struct Above {
    nearest: Rc<State>,
    /// The run's, where the nearest is not.
    run: Option<Rc<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// No new iteration.
    over: Cell<bool>,
    /// No new step either.
    draining: Cell<bool>,
    cut: Cell<bool>,
    /// A person, a signal or an abort asked for it: what follows the load gets little time.
    hurried: Cell<bool>,
    /// The second signal: nothing follows the load.
    at_once: Cell<bool>,
    cause: Cell<Option<Cause>>,
    /// The rows of data are used up: what the plan had beyond them is not planned any more.
    out_of_data: Cell<bool>,
    changed: Notify,
    /// Those who watch for the cut through request after request, and the places that are free among them.
    watching: RefCell<Vec<Option<Rc<Slot>>>>,
    free: RefCell<Vec<usize>>,
}

/// Whom the cut wakes.
#[derive(Debug, Default)]
struct Slot(RefCell<Option<Waker>>);

/// A place among those who watch for the cut: asking again costs a comparison.
#[derive(Debug)]
pub struct CutWatch {
    stop: Stop,
    slot: Rc<Slot>,
    /// In each state that can cut it.
    places: Vec<usize>,
}

impl CutWatch {
    /// Whether it watches for the cut of that part of the run.
    pub fn is_of(&self, stop: &Stop) -> bool {
        Rc::ptr_eq(&self.stop.own, &stop.own)
    }

    /// Ready once what is unanswered is given up.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.stop.any(|state| state.cut.get()) {
            return Poll::Ready(());
        }
        let mut waker = self.slot.0.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for CutWatch {
    fn drop(&mut self) {
        for (state, place) in self.stop.chain().zip(&self.places) {
            state.watching.borrow_mut()[*place] = None;
            state.free.borrow_mut().push(*place);
        }
    }
}

impl State {
    fn watch(&self, slot: &Rc<Slot>) -> usize {
        let mut watching = self.watching.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            watching.push(None);
            watching.len() - 1
        });
        watching[place] = Some(slot.clone());
        place
    }
}

impl Stop {
    /// A stop for a part. Parts have parts once: a user of a phase of the run.
    #[must_use]
    pub fn part(&self) -> Self {
        let run = self.above.as_ref().map(|above| above.run.clone().unwrap_or_else(|| above.nearest.clone()));
        Self { own: Rc::default(), above: Some(Rc::new(Above { nearest: self.own.clone(), run })) }
    }

    fn chain(&self) -> impl Iterator<Item = &Rc<State>> {
        let above = self.above.iter().flat_map(|above| std::iter::once(&above.nearest).chain(&above.run));
        std::iter::once(&self.own).chain(above)
    }

    fn any(&self, reached: impl Fn(&State) -> bool) -> bool {
        self.chain().any(|state| reached(state))
    }

    /// That of the whole run.
    fn run(&self) -> &State {
        self.chain().last().expect("its own at least")
    }

    /// The planned duration is over: no new iteration; the ones in flight go on to their end.
    pub fn end_of_plan(&self) {
        self.own.over.set(true);
        self.own.changed.notify_waiters();
    }

    /// The rows of data are used up: the plan ends here.
    pub fn end_of_data(&self) {
        self.own.out_of_data.set(true);
        self.end_of_plan();
    }

    /// Whether the plan ended because the rows of data were used up.
    pub fn is_out_of_data(&self) -> bool {
        self.any(|state| state.out_of_data.get())
    }

    /// No new iteration and no new step of the whole run from now on. The first cause stays, but a person outranks the
    /// schedule's timeout: what they cut is no longer the target's to answer for.
    pub fn drain(&self, cause: Cause) {
        let run = self.run();
        run.over.set(true);
        run.draining.set(true);
        if matches!((run.cause.get(), cause), (None, _) | (Some(Cause::Timeout), Cause::Person)) {
            run.cause.set(Some(cause));
        }
        if cause != Cause::Timeout {
            run.hurried.set(true);
        }
        run.changed.notify_waiters();
    }

    /// What is unanswered is given up now.
    pub fn cut(&self) {
        self.own.over.set(true);
        self.own.draining.set(true);
        self.own.cut.set(true);
        self.own.changed.notify_waiters();
        let watching = self.own.watching.borrow();
        let wakers: Vec<Waker> = watching.iter().flatten().filter_map(|slot| slot.0.take()).collect();
        drop(watching);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A place among those who watch for the cut.
    pub fn watch_cut(&self) -> CutWatch {
        let slot = Rc::default();
        let places = self.chain().map(|state| state.watch(&slot)).collect();
        CutWatch { stop: self.clone(), slot, places }
    }

    /// The cut that does not even leave time for hooks.
    pub fn cut_at_once(&self) {
        self.own.at_once.set(true);
        self.cut();
    }

    /// Whether no new iteration may start.
    pub fn is_over(&self) -> bool {
        self.any(|state| state.over.get())
    }

    /// Whether no new step may start.
    pub fn is_draining(&self) -> bool {
        self.any(|state| state.draining.get())
    }

    /// Whether nothing may follow the load.
    pub fn is_at_once(&self) -> bool {
        self.any(|state| state.at_once.get())
    }

    /// Who ended the run early.
    pub fn cause(&self) -> Option<Cause> {
        self.run().cause.get()
    }

    /// Whether requests that are cut count as interrupted rather than as unfinished.
    pub fn interrupts(&self) -> bool {
        matches!(self.cause(), Some(Cause::Person | Cause::Abort))
    }

    /// Until no new iteration may start.
    pub async fn wait_over(&self) {
        self.wait(|state| state.over.get()).await;
    }

    /// Until no new step may start.
    pub async fn wait_draining(&self) {
        self.wait(|state| state.draining.get()).await;
    }

    /// Until what is unanswered is given up.
    pub async fn wait_cut(&self) {
        self.wait(|state| state.cut.get()).await;
    }

    /// Until a person, a signal or an abort asks for the end.
    pub async fn wait_hurried(&self) {
        self.wait(|state| state.hurried.get()).await;
    }

    /// Until nothing may follow the load.
    pub async fn wait_at_once(&self) {
        self.wait(|state| state.at_once.get()).await;
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) {
        let Some(above) = &self.above else { return wait_for(&self.own, &reached).await };
        let run = async {
            match &above.run {
                Some(run) => wait_for(run, &reached).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait_for(&self.own, &reached) => {}
            () = wait_for(&above.nearest, &reached) => {}
            () = run => {}
        }
    }

    /// Carries the owner's orders in, until the owner is gone.
    pub async fn follow(&self, mut orders: watch::Receiver<Order>) {
        loop {
            match *orders.borrow_and_update() {
                Order::Run => {}
                Order::Drain => self.drain(Cause::Person),
                Order::Cut => {
                    self.drain(Cause::Person);
                    self.cut_at_once();
                }
            }
            if orders.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn wait_for(state: &State, reached: &impl Fn(&State) -> bool) {
    loop {
        let changed = state.changed.notified();
        if reached(state) {
            return;
        }
        changed.await;
    }
}

#[cfg(test)]
impl Stop {
    /// How many would be woken by the cut.
    pub(super) fn watching(&self) -> usize {
        self.own.watching.borrow().iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_stays_but_a_person_outranks_the_timeout() {
        use Cause::{Abort, Person, Timeout};
        let check = |causes: &[Cause], expected: Cause| {
            let stop = Stop::default();
            for cause in causes {
                stop.drain(*cause);
            }
            assert_eq!(stop.cause(), Some(expected), "{causes:?}");
        };
        check(&[Timeout], Timeout);
        check(&[Timeout, Person], Person);
        check(&[Timeout, Person, Timeout], Person);
        check(&[Timeout, Abort], Timeout);
        check(&[Person, Timeout], Person);
        check(&[Abort, Person], Abort);
    }

    #[tokio::test]
    async fn the_whole_ends_its_parts_and_not_the_other_way_round() {
        let run = Stop::default();
        let phase = run.part();
        let user = phase.part();
        user.cut();
        assert!(user.is_over() && user.is_draining() && !phase.is_over() && !run.is_over());
        let user = phase.part();
        phase.end_of_plan();
        user.wait_over().await;
        assert!(user.is_over() && !user.is_draining() && !run.is_over() && !run.part().is_over());
        assert_eq!((user.cause(), user.interrupts()), (None, false));
        let other = run.part().part();
        tokio::join!(other.wait_draining(), async { user.drain(Cause::Person) });
        assert!(run.is_draining() && phase.is_draining() && user.interrupts());
        tokio::join!(other.wait_cut(), async { run.cut() });
        assert!(phase.part().is_over());
    }
}
