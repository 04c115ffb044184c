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

/// Users leave iterations undone when the time is up, or when one of them has crashed.
fn drop_rest(shared: &Shared, undone: u64) {
    if !shared.stop.interrupts() {
        let why = if shared.stop.is_over() { DropReason::Deadline } else { DropReason::Generator };
        shared.recorder.drop_many(why, undone);
    }
}

async fn all(crew: &Rc<Crew>, plan: Closed, more: More) {
    let Closed { vus, length, together, labels } = plan;
    let (barrier, standing) = (Rc::new(Notify::new()), Rc::new(Cell::new(0u64)));
    let go = Rc::new(Cell::new(crew.begun));
    for vu in 1..=vus {
        let aboard = Crew::board(crew);
        let (barrier, standing, go) = (barrier.clone(), standing.clone(), go.clone());
        let (labels, more) = (labels.clone(), more.clone());
        spawn_local(async move {
            if together {
                let open = barrier.notified();
                standing.set(standing.get() + 1);
                open.await;
            }
            let life = Life { vu, first: go.get(), until: None, labels, more };
            live(&aboard.crew, &aboard.crew.shared, life).await;
        });
    }
    while together && standing.get() < vus {
        tokio::task::yield_now().await;
    }
    if together {
        go.set(clock::mono());
        barrier.notify_waiters();
    }
    crew.land(go.get() + length).await;
}

/// One user, until its time or the load is over. `shared` is the crew's, or one with a stop of this user's own.
pub(super) async fn live(crew: &Crew, shared: &Shared, life: Life) {
    let mut user = User::default();
    let (mut anchor, mut intended) = (life.first, life.first);
    for iteration in 1.. {
        let late = life.until.is_some_and(|until| intended >= until);
        if late || shared.stop.is_over() || !(life.more)(iteration) {
            return;
        }
        let turn = Turn { vu: life.vu, iteration, task: crew.task(&user), labels: life.labels.clone() };
        if shared.iterate(&turn, intended, &mut user, Model::Closed).await == IterationEnd::Interrupted {
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
