//! A limit from all sides: what was acquired is held, exceeded, freed, taken again, and always released in the end.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::crew::{Crew, cut_after, race};
use crate::{
    http::scope::Scope,
    load::{
        gate::{Permit, Refusal},
        plan::limit::{Act, Limit, Part, RELEASES_AT_ONCE},
        recorder::IterationEnd,
        stop::{Cause, Stop},
        user::{Model, Shared, Turn, User},
    },
    model::{
        clock,
        labels::Labels,
        outcome::{DropReason, Outcome},
        scenario::LimitSpec,
    },
};

/// A release that does not go well is tried so often.
const TRIES: u32 = 3;

/// Releases after an abort take no longer than this.
const AFTER_STOP: Duration = Duration::from_secs(5);

/// What is held, and by whom.
struct Held {
    user: u32,
    scope: Arc<Scope>,
    /// Whose connection it came over.
    conn: User,
}

/// The desk where places are taken and given back.
struct Desk {
    spec: LimitSpec,
    /// Releases leave also when the run is stopped: their stop is their own.
    releasing: Rc<Shared>,
    held: RefCell<Vec<Held>>,
    begun: Cell<u64>,
    most: Cell<usize>,
    released: Cell<u64>,
    kept: Cell<u64>,
    /// Why the first of them was kept.
    why: RefCell<Option<String>>,
}

/// Tries the limit; what it found.
pub(super) async fn limit(crew: &Rc<Crew>, spec: &LimitSpec) -> Value {
    let plan = Limit::from(spec);
    let desk = Rc::new(Desk {
        spec: spec.clone(),
        releasing: crew.shared.part(Stop::default(), crew.shared.group.clone()),
        held: RefCell::default(),
        begun: Cell::new(0),
        most: Cell::new(0),
        released: Cell::new(0),
        kept: Cell::new(0),
        why: RefCell::default(),
    });
    let stop = &crew.shared.stop;
    let mut cycles = 0;
    while cycles < plan.cycles && !stop.is_over() {
        race(cut_after(stop, crew.grace), desk.cycle(crew, &plan)).await;
        cycles += 1;
    }
    desk.release(crew, usize::MAX, None).await;
    if stop.cause() == Some(Cause::Timeout) {
        crew.shared.recorder.drop_many(DropReason::Deadline, plan.total() - desk.begun.get());
    }
    let mut found = json!({
        "cycles": cycles,
        "held_at_once": desk.most.get(),
        "released": desk.released.get(),
        "not_released": desk.kept.get(),
    });
    if desk.kept.get() > 0 {
        let why = desk.why.take().unwrap_or_else(|| "the run was stopped before they were".to_owned());
        found["why_not_released"] = why.into();
    }
    found
}

impl Desk {
    async fn cycle(self: &Rc<Self>, crew: &Rc<Crew>, plan: &Limit) {
        // Who holds place i is vu i; all others take fresh numbers.
        let fresh = Rc::new(Cell::new(u64::from(plan.users.max(1)) * u64::from(plan.hold)));
        for act in plan.acts() {
            if crew.shared.stop.is_over() {
                return;
            }
            match act {
                Act::Acquire { part, first_user, users, each, together } => {
                    let at = clock::mono();
                    for user in first_user..first_user + users {
                        let vus = (0..each).map(|place| match part {
                            Part::Hold => u64::from(user - 1) * u64::from(each) + u64::from(place) + 1,
                            _ => fresh.replace(fresh.get() + 1) + 1,
                        });
                        let tries: Vec<u64> = vus.collect();
                        if together {
                            for vu in tries {
                                self.begin(crew, part, user, vec![vu], at);
                            }
                        } else {
                            self.begin(crew, part, user, tries, at);
                        }
                    }
                    crew.all_landed().await;
                }
                Act::Release { each } => {
                    for user in 1..=plan.users.max(1) {
                        self.release(crew, each as usize, Some(user)).await;
                    }
                }
                Act::ReleaseAll => self.release(crew, usize::MAX, None).await,
            }
        }
    }

    /// A user acquires places one after the other.
    fn begin(self: &Rc<Self>, crew: &Rc<Crew>, part: Part, user: u32, vus: Vec<u64>, at: Instant) {
        let (desk, aboard) = (self.clone(), Crew::board(crew));
        spawn_local(async move {
            let mut intended = at;
            for vu in vus {
                if aboard.crew.shared.stop.is_over() {
                    return;
                }
                desk.acquire(&aboard.crew.shared, part, user, vu, intended).await;
                intended = clock::mono();
            }
        });
    }

    async fn acquire(&self, shared: &Shared, part: Part, user: u32, vu: u64, intended: Instant) {
        self.begun.set(self.begun.get() + 1);
        let turn = Turn { vu, iteration: 1, task: 0, labels: Labels::one("part", part.as_str()) };
        let mut scope = shared.scope(&turn);
        scope.captures.insert("user".into(), user.into());
        shared.take_rows(&mut scope, 0);
        let (before, mut scope) = (scope.captures.len(), Arc::new(scope));
        let mut conn = User::default();
        let end = shared.walk(&self.spec.acquire, &mut scope, &turn, intended, &mut conn, Model::Closed).await;
        // Something that was given out may have to be taken back even where a later step did not go well.
        if end == IterationEnd::Completed || scope.captures.len() > before {
            let mut held = self.held.borrow_mut();
            held.push(Held { user, scope, conn });
            self.most.set(self.most.get().max(held.len()));
        }
    }

    /// Releases up to `count` of what `user`, or everybody, holds, the oldest first.
    async fn release(self: &Rc<Self>, crew: &Rc<Crew>, count: usize, user: Option<u32>) {
        let (mut due, mut kept) = (Vec::new(), Vec::new());
        for held in self.held.take() {
            let ours = due.len() < count && user.is_none_or(|user| held.user == user);
            if ours { due.push(held) } else { kept.push(held) }
        }
        self.held.replace(kept);
        due.reverse();
        let owed = due.len() as u64;
        let (done, due) = (Rc::new(Cell::new(0u64)), Rc::new(RefCell::new(due)));
        let crew_of_releases = Crew::new(self.releasing.clone(), crew.begun, crew.grace);
        for _ in 0..owed.min(u64::from(RELEASES_AT_ONCE)) {
            let (desk, aboard) = (self.clone(), Crew::board(&crew_of_releases));
            let (done, due) = (done.clone(), due.clone());
            spawn_local(async move {
                loop {
                    let Some(held) = due.borrow_mut().pop() else { return };
                    let given_back = desk.give_back(&aboard.crew.shared, held).await;
                    let ok = given_back.is_ok();
                    if let Err(why) = given_back {
                        desk.why.borrow_mut().get_or_insert(why);
                    }
                    aboard.crew.shared.recorder.hook(ok);
                    done.set(done.get() + u64::from(ok));
                }
            });
        }
        let stop = &crew.shared.stop;
        let out_of_time = async {
            stop.wait_hurried().await;
            tokio::select! {
                () = tokio::time::sleep(AFTER_STOP) => {}
                () = stop.wait_at_once() => {}
            }
            due.borrow_mut().clear();
            self.releasing.stop.cut();
        };
        race(out_of_time, crew_of_releases.all_landed()).await;
        self.released.set(self.released.get() + done.get());
        self.kept.set(self.kept.get() + owed - done.get());
    }

    /// Fails with the words of the first step that did not end ok; the others are done all the same.
    async fn give_back(&self, shared: &Shared, mut held: Held) -> Result<(), String> {
        let mut all = Ok(());
        for step in &self.spec.release {
            let mut done = Ok(());
            for _ in 0..TRIES {
                let Some(permit) = admitted(shared).await else {
                    return Err(format!("`{}` was not sent: the run was cut before its turn", step.name));
                };
                let landing = shared.perform(step, &held.scope, clock::mono(), &mut held.conn, None).await.landing;
                drop(permit);
                done = if landing.class.outcome == Outcome::Ok {
                    Ok(())
                } else {
                    let why = format!("`{}` did not end ok ({}): {}", step.name, landing.class.reason, landing.detail);
                    Err(shared.redactor.redact(&why))
                };
                if done.is_ok() || shared.stop.is_draining() {
                    break;
                }
            }
            all = all.and(done);
        }
        all
    }
}

/// Waits for the turn of a release at the caps of the gate; `None` once there is no time left.
async fn admitted(shared: &Shared) -> Option<Permit> {
    loop {
        let wait = match shared.gate.admit_release(clock::mono()) {
            Ok(permit) => return Some(permit),
            Err(Refusal::Rate(wait)) => wait.max(Duration::from_millis(1)),
            Err(_) => Duration::from_millis(5),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.stop.wait_cut() => return None,
        }
    }
}
