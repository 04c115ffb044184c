//! How a run is told to end: first no new work, then the cut.

use std::{cell::Cell, rc::Rc};

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
    /// No hooks either.
    abandoned: Cell<bool>,
    cause: Cell<Option<Cause>>,
    changed: Notify,
}

impl Stop {
    /// The planned duration is over: no new iteration; the ones in flight go on to their end.
    pub fn end_of_plan(&self) {
        self.0.over.set(true);
        self.0.changed.notify_waiters();
    }

    /// No new iteration and no new step from now on. The first cause stays.
    pub fn drain(&self, cause: Cause) {
        self.0.over.set(true);
        self.0.draining.set(true);
        if self.0.cause.get().is_none() {
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
    }

    /// What is unanswered is given up now, hooks included: a person asked twice.
    pub fn abandon(&self) {
        self.0.abandoned.set(true);
        self.drain(Cause::Person);
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

    /// Whether hooks are given up too.
    pub fn is_abandoned(&self) -> bool {
        self.0.abandoned.get()
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

    /// Until hooks are given up too.
    pub async fn wait_abandoned(&self) {
        self.wait(|state| state.abandoned.get()).await;
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
                Order::Cut => self.abandon(),
            }
            if orders.changed().await.is_err() {
                return;
            }
        }
    }
}
