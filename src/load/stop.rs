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

/// The state within the run's thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Rc<State>);

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
    changed: Notify,
    /// Those who watch for the cut through request after request, and the places that are free among them.
    watching: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

/// A place among those who watch for the cut: asking again costs a comparison.
#[derive(Debug)]
pub struct CutWatch {
    stop: Stop,
    place: usize,
}

impl CutWatch {
    /// Whether it watches for the cut of that run.
    pub fn is_of(&self, stop: &Stop) -> bool {
        Rc::ptr_eq(&self.stop.0, &stop.0)
    }

    /// Ready once what is unanswered is given up.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.stop.0.cut.get() {
            return Poll::Ready(());
        }
        let waker = &mut self.stop.0.watching.borrow_mut()[self.place];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for CutWatch {
    fn drop(&mut self) {
        self.stop.0.watching.borrow_mut()[self.place] = None;
        self.stop.0.free.borrow_mut().push(self.place);
    }
}

impl Stop {
    /// The planned duration is over: no new iteration; the ones in flight go on to their end.
    pub fn end_of_plan(&self) {
        self.0.over.set(true);
        self.0.changed.notify_waiters();
    }

    /// No new iteration and no new step from now on. The first cause stays, but a person outranks the schedule's timeout:
    /// what they cut is no longer the target's to answer for.
    pub fn drain(&self, cause: Cause) {
        self.0.over.set(true);
        self.0.draining.set(true);
        if matches!((self.0.cause.get(), cause), (None, _) | (Some(Cause::Timeout), Cause::Person)) {
            self.0.cause.set(Some(cause));
        }
        if cause != Cause::Timeout {
            self.0.hurried.set(true);
        }
        self.0.changed.notify_waiters();
    }

    /// What is unanswered is given up now.
    pub fn cut(&self) {
        self.0.over.set(true);
        self.0.draining.set(true);
        self.0.cut.set(true);
        self.0.changed.notify_waiters();
        let watching: Vec<Waker> = self.0.watching.borrow_mut().iter_mut().filter_map(Option::take).collect();
        watching.into_iter().for_each(Waker::wake);
    }

    /// A place among those who watch for the cut.
    pub fn watch_cut(&self) -> CutWatch {
        let mut watching = self.0.watching.borrow_mut();
        let place = self.0.free.borrow_mut().pop().unwrap_or_else(|| {
            watching.push(None);
            watching.len() - 1
        });
        CutWatch { stop: self.clone(), place }
    }

    /// The cut that does not even leave time for hooks.
    pub fn cut_at_once(&self) {
        self.0.at_once.set(true);
        self.cut();
    }

    /// Whether no new iteration may start.
    pub fn is_over(&self) -> bool {
        self.0.over.get()
    }

    /// Whether no new step may start.
    pub fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// Whether nothing may follow the load.
    pub fn is_at_once(&self) -> bool {
        self.0.at_once.get()
    }

    /// Who ended the run early.
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause.get()
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
        loop {
            let changed = self.0.changed.notified();
            if reached(&self.0) {
                return;
            }
            changed.await;
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

#[cfg(test)]
impl Stop {
    /// How many would be woken by the cut.
    pub(super) fn watching(&self) -> usize {
        self.0.watching.borrow().iter().flatten().count()
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
}
