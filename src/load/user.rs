//! What a virtual user does: one iteration after the other, or one per arrival.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    feeds::Takes,
    flow::{Left, Tally, Walk},
    gate::Gate,
    metrics::Metrics,
    network::Network,
    patience::Patience,
    perform::Transport,
    probing::Probers,
    recorder::{IterationEnd, Recorder},
    samples::Samples,
    stop::Stop,
};
use crate::{
    http::{
        conn::Conn,
        cookies::Jar,
        request::Literals,
        scope::{Draws, Prepared, Scope},
    },
    model::{
        Name,
        clock::{self, Clock},
        labels::Labels,
        outcome::DropReason,
        scenario::{Group, Scenario, Step},
        settings::Redactor,
    },
};

/// Everything the users of one group share.
#[derive(Debug)]
pub struct Shared {
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// Which part of it these users do.
    pub group: Arc<Group>,
    /// Its constants.
    pub constants: Prepared,
    /// How requests leave.
    pub transport: Transport,
    /// Those that are the same every time.
    pub literals: Literals,
    /// What does the steps that are no HTTP requests.
    pub probers: Rc<Probers>,
    /// Below which nothing leaves.
    pub gate: Arc<Gate>,
    /// Where measurements go.
    pub recorder: Rc<Recorder>,
    /// When to end.
    pub stop: Stop,
    /// That of the whole load of the group, where `stop` is of a part of it: a level, a user who may be taken away.
    pub plan: Stop,
    /// Reads `now` for templates.
    pub clock: Arc<dyn Clock>,
    /// For what is quoted.
    pub redactor: Redactor,
    /// Of the run.
    pub run_id: Name,
    /// Kept of the answers to `before:`.
    pub inherited: RefCell<BTreeMap<Name, serde_json::Value>>,
    /// When the load started.
    pub started: Cell<Instant>,
    /// Iterations so far, of the whole run.
    pub count: Rc<Cell<u64>>,
    /// What is recorded beside the outcomes.
    pub metrics: Metrics,
    /// The rows of data that its tasks take.
    pub takes: Takes,
    /// What is drawn for clients that are far away or soon gone.
    pub network: Option<Rc<Network>>,
    /// Who wants to know of each request.
    pub samples: Option<Samples>,
}

/// Whether arrivals wait for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// The next iteration waits for the last: a refusal of the gate makes it wait.
    Closed,
    /// The same, but no longer than one request may take: a probe tells soon how things stand.
    Probe,
    /// A refusal of the gate drops the request.
    Open,
}

/// What a user keeps from one iteration to the next; that of an arrival is kept by its slot.
#[derive(Debug, Default)]
pub struct User {
    /// The user's connection, where each has one of its own.
    pub conn: Option<Conn>,
    /// For its requests.
    pub patience: Patience,
    /// What earlier iterations captured, where the group has several tasks, and what `on_start` did. The latest value of
    /// a name is the one that counts.
    pub kept: BTreeMap<Name, serde_json::Value>,
    /// What the last iteration captured, where `on_stop` may use it.
    pub(super) last: BTreeMap<Name, serde_json::Value>,
    /// Its cookies, where the group keeps them.
    pub(super) jar: Jar,
    /// What its state has grown to, where it lasts as long as the user.
    pub(super) state: BTreeMap<Name, serde_json::Value>,
    /// How far its life has come.
    pub(super) life: Life,
}

/// How far the life of a user has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Life {
    /// Before `on_start`.
    #[default]
    New,
    /// `on_start` went well.
    Started,
    /// `on_start` did not, or `on_stop` was done.
    Gone,
}

impl User {
    /// Whether it holds everything that a task needs.
    pub fn has(&self, needs: &[Name]) -> bool {
        needs.iter().all(|name| self.kept.contains_key(name))
    }
}

/// One iteration to be done.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The user, or the slot of an arrival; from 1.
    pub vu: u64,
    /// Of this user; from 1.
    pub iteration: u64,
    /// Which task of the group is done.
    pub task: usize,
    /// Beside the group's own: `level=2`, `burst=3`.
    pub labels: Labels,
}

impl Turn {
    /// The only task, without labels.
    pub fn of(vu: u64, iteration: u64) -> Self {
        Self { vu, iteration, task: 0, labels: Labels::default() }
    }
}

impl Shared {
    /// The same for a load of its own: a group of a run of several, a repetition.
    pub fn of_load(&self, stop: Stop, group: Arc<Group>) -> Rc<Self> {
        let plan = stop.clone();
        Rc::new(Self { plan, ..self.with(stop, group) })
    }

    /// The same for a part of the load, with a stop and a group of its own.
    pub fn part(&self, stop: Stop, group: Arc<Group>) -> Rc<Self> {
        Rc::new(self.with(stop, group))
    }

    fn with(&self, stop: Stop, group: Arc<Group>) -> Self {
        Self {
            metrics: self.metrics.clone(),
            takes: if Arc::ptr_eq(&group, &self.group) {
                self.takes.clone()
            } else {
                Takes::of(&self.takes.feeds, &group)
            },
            scenario: self.scenario.clone(),
            network: self.network.clone(),
            samples: self.samples.clone(),
            group,
            constants: self.constants.clone(),
            transport: self.transport.clone(),
            // A part may have steps of its own.
            literals: Literals::default(),
            probers: self.probers.clone(),
            gate: self.gate.clone(),
            recorder: self.recorder.clone(),
            stop,
            plan: self.plan.clone(),
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            run_id: self.run_id.clone(),
            inherited: self.inherited.clone(),
            started: self.started.clone(),
            count: self.count.clone(),
        }
    }

    /// A scope for the next iteration.
    pub fn scope(&self, turn: &Turn) -> Scope {
        self.count.set(self.count.get() + 1);
        self.scope_of(turn, self.count.get())
    }

    /// Takes a row of each feed that the task uses. The last row of a feed that ends the load ends it for all users of
    /// the group.
    pub fn take_rows(&self, scope: &mut Scope, task: usize) {
        scope.rows = self.takes.take(task);
        if !scope.rows.is_empty() && self.takes.is_over(task) {
            self.plan.end_of_data();
        }
    }

    /// A scope for what is no iteration of the load: the hooks of a user.
    pub(super) fn scope_of(&self, turn: &Turn, n: u64) -> Scope {
        let number = if n == 0 { turn.vu } else { n };
        Scope {
            constants: self.constants.clone(),
            run_id: self.run_id.clone(),
            vu: turn.vu,
            iteration: turn.iteration,
            identity: self.group.load.identities.map_or(turn.vu, |among| (number.max(1) - 1) % u64::from(among) + 1),
            n,
            captures: self.inherited.borrow().clone(),
            seed: self.scenario.seed,
            clock: self.clock.clone(),
            rows: Vec::new(),
            draws: Draws::default(),
        }
    }

    /// One iteration, intended to start at `intended`. `Interrupted` tells the user to end: the run was stopped, or its
    /// `on_start` did not go well.
    pub async fn iterate(&self, turn: &Turn, intended: Instant, user: &mut User, model: Model) -> IterationEnd {
        let mut intended = intended;
        if !self.group.on_start.is_empty() {
            let Some(begun) = Box::pin(self.begin(turn, user, model, intended)).await else {
                // It was planned, and does not take place.
                if !self.stop.interrupts() {
                    self.recorder.drop_one(DropReason::Deadline, intended);
                }
                return IterationEnd::Interrupted;
            };
            intended = begun;
        }
        if self.takes.is_over(turn.task) {
            // Its last row was taken while this one was about to begin: it is not planned any more.
            self.plan.end_of_data();
            return IterationEnd::Interrupted;
        }
        let mut scope = self.scope(turn);
        self.take_rows(&mut scope, turn.task);
        if !user.kept.is_empty() {
            scope.captures.extend(user.kept.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self.begin_state(&mut scope, user);
        let mut scope = Arc::new(scope);
        let end = self.walk(&self.group.tasks[turn.task].steps, &mut scope, turn, intended, user, model).await;
        if self.scenario.state.per_vu {
            self.keep_state(&scope, user);
        }
        let (several, on_stop) = (self.group.tasks.len() > 1, !self.group.on_stop.is_empty());
        if several || on_stop {
            let captures = Arc::unwrap_or_clone(scope).captures;
            *(if several { &mut user.kept } else { &mut user.last }) = captures;
        }
        end
    }

    /// One iteration through these steps; what they capture is left in `scope`.
    pub async fn walk(
        &self,
        steps: &[Step],
        scope: &mut Arc<Scope>,
        turn: &Turn,
        intended: Instant,
        user: &mut User,
        model: Model,
    ) -> IterationEnd {
        let labels = self.group.labels.and(&turn.labels);
        let mut walk = Walk { labels: &labels, scope, user, model, tally: Tally::Load, why: None };
        let mut end = IterationEnd::Completed;
        let mut due = intended;
        for step in steps {
            let (left, next) = self.step(step, &mut walk, due).await;
            match left {
                Left::GoOn => due = next,
                Left::Over if self.stop.interrupts() => {
                    end = IterationEnd::Interrupted;
                    break;
                }
                Left::Gone => {
                    end = IterationEnd::Gone;
                    break;
                }
                Left::Again(_) | Left::Ended | Left::Over => {
                    end = IterationEnd::Failed;
                    break;
                }
            }
        }
        if !self.metrics.is_empty() {
            let values = self.metrics.of_iteration(walk.scope);
            self.recorder.custom(&self.scenario.metrics, &values, (&"".into(), &labels), intended);
        }
        self.recorder.iteration(&labels, end, (self.started.get(), intended, clock::mono()));
        end
    }

    /// Sends hooks through the steps, in order; the first that does not end ok ends them, unless it may go on.
    /// Fails with its words, or with none if the run was stopped.
    pub(super) async fn hooks(
        &self,
        steps: &[Step],
        scope: &mut Arc<Scope>,
        user: &mut User,
        tally: Tally,
    ) -> Result<(), Option<String>> {
        let labels = Labels::default();
        let mut walk = Walk { labels: &labels, scope, user, model: Model::Closed, tally, why: None };
        for step in steps {
            walk.why = None;
            if self.step(step, &mut walk, clock::mono()).await.0 != Left::GoOn {
                return Err(walk.why);
            }
        }
        Ok(())
    }
}
