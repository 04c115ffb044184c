//! Closed loads: each user starts its next iteration when its last has ended and it has rested.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::spawn_local};

use super::crew::Crew;
use crate::{
    load::{
        recorder::IterationEnd,
        user::{Model, Shared, Turn, User},
    },
    model::{clock, labels::Labels, outcome::DropReason},
};

/// Whether a user may begin its n-th iteration (from 1); asked once for each.
pub(super) type More = Rc<dyn Fn(u64) -> bool>;

/// Users that begin together and end together.
pub(super) struct Closed {
    vus: u64,
    /// No new iteration after this long.
    length: Duration,
    /// Whether all leave a barrier at the same instant.
    together: bool,
    labels: Labels,
}

impl Closed {
    pub(super) fn new(vus: u32, length: Duration) -> Self {
        Self { vus: u64::from(vus), length, together: false, labels: Labels::default() }
    }

    pub(super) fn together(self, together: bool) -> Self {
        Self { together, ..self }
    }

    pub(super) fn labelled(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }
}

/// One user's part in it.
pub(super) struct Life {
    pub(super) vu: u64,
    /// When its first iteration is intended.
    pub(super) first: Instant,
    /// No iteration starts then or later.
    pub(super) until: Option<Instant>,
    pub(super) labels: Labels,
    pub(super) more: More,
}

/// Each user has so many iterations.
pub(super) async fn per_vu(crew: &Rc<Crew>, plan: Closed, iterations: u64) {
    let total = plan.vus.saturating_mul(iterations);
    let begun = Rc::new(Cell::new(0u64));
    let counted = begun.clone();
    let more = move |iteration| {
        let more = iteration <= iterations;
        counted.set(counted.get() + u64::from(more));
        more
    };
    all(crew, plan, Rc::new(more)).await;
    drop_rest(&crew.shared, total - begun.get());
}

/// All users together have so many.
pub(super) async fn shared(crew: &Rc<Crew>, plan: Closed, iterations: u64) {
    let begun = Rc::new(Cell::new(0u64));
    let counted = begun.clone();
    let more = move |_| {
        let more = counted.get() < iterations;
        counted.set(counted.get() + u64::from(more));
        more
    };
    all(crew, plan, Rc::new(more)).await;
    drop_rest(&crew.shared, iterations - begun.get());
}

/// As many as they can.
pub(super) async fn constant(crew: &Rc<Crew>, plan: Closed) {
    all(crew, plan, Rc::new(|_| true)).await;
}

/// Users leave iterations undone when the time is up, when their `on_start` did not go well, or when one has crashed. What
/// there is no data for was not planned.
fn drop_rest(shared: &Shared, undone: u64) {
    if !shared.stop.interrupts() && !shared.stop.is_out_of_data() {
        let known = shared.stop.is_over() || shared.recorder.lost_users().is_some();
        let why = if known { DropReason::Deadline } else { DropReason::Generator };
        shared.recorder.drop_many(why, undone);
    }
}

/// A place at the barrier; it is taken, or given up, when this is dropped.
struct Place {
    missing: Rc<Cell<u64>>,
    complete: Rc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.complete.notify_one();
        }
    }
}

async fn all(crew: &Rc<Crew>, plan: Closed, more: More) {
    let Closed { vus, length, together, labels } = plan;
    let barrier = Rc::new(Notify::new());
    let (missing, complete) = (Rc::new(Cell::new(vus)), Rc::new(Notify::new()));
    let go = Rc::new(Cell::new(crew.begun));
    for vu in 1..=vus {
        let aboard = Crew::board(crew);
        let (barrier, go) = (barrier.clone(), go.clone());
        let place = Place { missing: missing.clone(), complete: complete.clone() };
        let (labels, more) = (labels.clone(), more.clone());
        spawn_local(async move {
            let mut user = User::default();
            if together {
                // What a user does before its first iteration, it does before the barrier.
                let turn = Turn::of(vu, 0);
                let _ready = aboard.crew.shared.begin(&turn, &mut user, Model::Closed, go.get()).await;
                let open = barrier.notified();
                drop(place);
                open.await;
            }
            let life = Life { vu, first: go.get(), until: None, labels, more };
            go_on(&aboard.crew, &aboard.crew.shared, life, user).await;
        });
    }
    if together && vus > 0 {
        complete.notified().await;
        go.set(clock::mono());
        barrier.notify_waiters();
    }
    crew.land(go.get() + length).await;
}

/// One user, until its time or the load is over. `shared` is the crew's, or one with a stop of this user's own.
pub(super) async fn live(crew: &Crew, shared: &Shared, life: Life) {
    go_on(crew, shared, life, User::default()).await;
}

async fn go_on(crew: &Crew, shared: &Shared, life: Life, mut user: User) {
    let turn = Turn { vu: life.vu, iteration: 0, task: 0, labels: Labels::default() };
    iterations(crew, shared, life, &mut user).await;
    if !shared.group.on_stop.is_empty() {
        // A user who was cut out of its iteration leaves as properly as any other: the load of all goes on.
        Box::pin(crew.shared.end(&turn, &mut user)).await;
    }
}

async fn iterations(crew: &Crew, shared: &Shared, life: Life, user: &mut User) {
    let (mut anchor, mut intended) = (life.first, life.first);
    for iteration in 1.. {
        let late = life.until.is_some_and(|until| intended >= until);
        if late || shared.stop.is_over() || !(life.more)(iteration) {
            return;
        }
        let turn = Turn { vu: life.vu, iteration, task: crew.task(user), labels: life.labels.clone() };
        if shared.iterate(&turn, intended, user, Model::Closed).await == IterationEnd::Interrupted {
            return;
        }
        let ended = clock::mono();
        (anchor, intended) = match shared.group.think {
            None => (ended, ended),
            Some(think) => match crew.rest(&shared.stop, think, (anchor, ended), life.until).await {
                Some(rested) => (rested.anchor, rested.intended),
                None => return,
            },
        };
        // An iteration that never had to wait must not keep the others from their turn.
        tokio::task::coop::consume_budget().await;
    }
}
