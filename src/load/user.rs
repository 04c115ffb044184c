//! What a virtual user does: one iteration after the other, or one per arrival.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    flow::Left,
    gate::Gate,
    perform::Transport,
    probing::Probers,
    recorder::{IterationEnd, Recorder},
    stop::Stop,
};
use crate::{
    http::{
        conn::Conn,
        scope::{Prepared, Scope},
    },
    model::{
        Name,
        clock::{self, Clock},
        labels::Labels,
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
    /// What does the steps that are no HTTP requests.
    pub probers: Rc<Probers>,
    /// Below which nothing leaves.
    pub gate: Arc<Gate>,
    /// Where measurements go.
    pub recorder: Rc<Recorder>,
    /// When to end.
    pub stop: Stop,
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
    /// What it was given that tasks of its group `need`.
    pub kept: BTreeMap<Name, serde_json::Value>,
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
    /// The same users' things with a stop and a group of their own.
    pub fn part(&self, stop: Stop, group: Arc<Group>) -> Rc<Self> {
        Rc::new(Self {
            scenario: self.scenario.clone(),
            group,
            constants: self.constants.clone(),
            transport: self.transport.clone(),
            probers: self.probers.clone(),
            gate: self.gate.clone(),
            recorder: self.recorder.clone(),
            stop,
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            run_id: self.run_id.clone(),
            inherited: self.inherited.clone(),
            started: self.started.clone(),
            count: self.count.clone(),
        })
    }

    /// A scope for the next iteration.
    pub fn scope(&self, turn: &Turn) -> Scope {
        self.count.set(self.count.get() + 1);
        let n = self.count.get();
        Scope {
            constants: self.constants.clone(),
            run_id: self.run_id.clone(),
            vu: turn.vu,
            iteration: turn.iteration,
            identity: self.group.load.identities.map_or(turn.vu, |among| (n - 1) % u64::from(among) + 1),
            n,
            captures: self.inherited.borrow().clone(),
            seed: self.scenario.seed,
            clock: self.clock.clone(),
        }
    }

    /// One iteration, intended to start at `intended`.
    pub async fn iterate(&self, turn: &Turn, intended: Instant, user: &mut User, model: Model) -> IterationEnd {
        let mut scope = self.scope(turn);
        scope.captures.extend(user.kept.clone());
        let mut scope = Arc::new(scope);
        let end = self.walk(&self.group.tasks[turn.task].steps, &mut scope, turn, intended, user, model).await;
        for need in self.group.tasks.iter().flat_map(|task| &task.needs) {
            if let Some(value) = scope.captures.get(need) {
                user.kept.insert(need.clone(), value.clone());
            }
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
        let mut end = IterationEnd::Completed;
        let mut due = intended;
        for step in steps {
            let (left, ended) = self.step(step, &labels, scope, due, user, model).await;
            match left {
                Left::GoOn => {}
                Left::Over if self.stop.interrupts() => {
                    end = IterationEnd::Interrupted;
                    break;
                }
                Left::Ended | Left::Over => {
                    end = IterationEnd::Failed;
                    break;
                }
            }
            due = match step.think {
                Some(think) => self.think(think, ended).await,
                None => ended,
            };
        }
        self.recorder.iteration(&labels, end, (self.started.get(), intended, clock::mono()));
        end
    }
}
