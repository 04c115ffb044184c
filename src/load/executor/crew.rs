//! What the users of one executor have in common: who is in flight, who does which task, how long they rest.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::sync::Notify;

use crate::{
    load::{
        flow::TICK,
        pacer::Pacer,
        perform::Transport,
        plan::{tasks::Urn, think},
        stop::Stop,
        user::{Shared, User},
    },
    model::{clock, scenario::Think},
};

/// The users of one executor, or of one level of it.
pub(super) struct Crew {
    pub(super) shared: Rc<Shared>,
    /// When its plan begins.
    pub(super) begun: Instant,
    /// How long iterations may go on after the plan is over.
    pub(super) grace: Duration,
    /// Tasks in flight, and the bell for when the last has ended.
    count: Cell<u64>,
    landed: Notify,
    chance: Rc<Chance>,
}

/// Everything random; the levels of one executor have it in common.
struct Chance {
    urn: RefCell<Urn>,
    rng: RefCell<SmallRng>,
}

/// A user's next iteration.
pub(super) struct Rested {
    /// From when the next one but one is paced.
    pub(super) anchor: Instant,
    /// When it is intended to start.
    pub(super) intended: Instant,
}

impl Crew {
    pub(super) fn new(shared: Rc<Shared>, begun: Instant, grace: Duration) -> Rc<Self> {
        let weights: Vec<u32> = shared.group.tasks.iter().map(|task| task.weight).collect();
        let seed = shared.scenario.seed;
        let chance = Chance {
            urn: RefCell::new(Urn::new(&weights, seed)),
            rng: RefCell::new(SmallRng::seed_from_u64(seed.wrapping_add(1))),
        };
        Rc::new(Self { shared, begun, grace, count: Cell::new(0), landed: Notify::new(), chance: Rc::new(chance) })
    }

    /// A part of it that begins now and ends by itself: a level.
    pub(super) fn part(&self) -> Rc<Self> {
        let shared = self.shared.part(self.shared.stop.part(), self.shared.group.clone());
        Rc::new(Self {
            shared,
            begun: clock::mono(),
            grace: self.grace,
            count: Cell::new(0),
            landed: Notify::new(),
            chance: self.chance.clone(),
        })
    }

    /// A timer; in a simulation one that follows the simulated clock.
    pub(super) fn pacer(&self) -> io::Result<Pacer> {
        match self.shared.transport {
            Transport::Fake(_) => Ok(Pacer::simulated()),
            Transport::Net(_) => Pacer::new(),
        }
    }

    /// One more task in flight, until what is returned is dropped.
    pub(super) fn board(crew: &Rc<Self>) -> Aboard {
        crew.count.set(crew.count.get() + 1);
        Aboard { crew: crew.clone() }
    }

    /// Until no task is in flight.
    pub(super) async fn all_landed(&self) {
        loop {
            let landed = self.landed.notified();
            if self.count.get() == 0 {
                return;
            }
            landed.await;
        }
    }

    /// Until the last task has ended: from `end` on no iteration starts any more, and what is unanswered after the grace
    /// is cut.
    pub(super) async fn land(&self, end: Instant) {
        let stop = &self.shared.stop;
        let over = async {
            tokio::select! {
                () = tokio::time::sleep_until(end.into()) => stop.end_of_plan(),
                () = stop.wait_over() => {}
            }
            cut_after(stop, self.grace).await;
        };
        race(over, self.all_landed()).await;
    }

    /// The task that a user does next. One that no task is open to does the first, which then fails for what it lacks.
    pub(super) fn task(&self, user: &User) -> usize {
        let tasks = &self.shared.group.tasks;
        if tasks.len() < 2 {
            return 0;
        }
        let inherited = self.shared.inherited.borrow();
        let open = |task: usize| {
            let needs = &tasks[task].needs;
            user.has(needs) || needs.iter().all(|need| user.kept.contains_key(need) || inherited.contains_key(need))
        };
        self.chance.urn.borrow_mut().draw(open).unwrap_or(0)
    }

    /// Rests between two iterations, of which one was paced from `anchor` and ended at `ended`; `None` once no iteration
    /// may start any more, or not before `until`.
    pub(super) async fn rest(
        &self,
        stop: &Stop,
        think: Think,
        (anchor, ended): (Instant, Instant),
        until: Option<Instant>,
    ) -> Option<Rested> {
        let since = |at: Instant| at.saturating_duration_since(self.begun);
        let next = think::next(think, since(anchor), since(ended), &mut self.chance.rng.borrow_mut());
        let at = self.begun.checked_add(next.at)?;
        if until.is_some_and(|until| at >= until) {
            return None;
        }
        if at > clock::mono() {
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = stop.wait_over() => return None,
            }
        }
        let woken = clock::mono();
        Some(Rested { anchor: at, intended: if woken.saturating_duration_since(at) > TICK { at } else { woken } })
    }
}

/// A task in flight. It lands however it ends: a panic in one user must not keep the run from its end, nor go unsaid.
pub(super) struct Aboard {
    pub(super) crew: Rc<Crew>,
}

impl Drop for Aboard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.crew.shared.recorder.crash();
        }
        self.crew.count.set(self.crew.count.get() - 1);
        if self.crew.count.get() == 0 {
            self.crew.landed.notify_waiters();
        }
    }
}

/// Polls `watch` beside `work` and returns with `work`.
pub(super) async fn race<T>(watch: impl Future, work: impl Future<Output = T>) -> T {
    let forever = async {
        watch.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = forever => unreachable!("it never ends"),
    }
}

/// Cuts what is unanswered `grace` after the plan is over, however it came to be over.
pub(super) async fn cut_after(stop: &Stop, grace: Duration) {
    stop.wait_over().await;
    tokio::select! {
        () = tokio::time::sleep(grace) => stop.cut(),
        () = stop.wait_cut() => {}
    }
}
