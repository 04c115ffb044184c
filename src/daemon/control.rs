//! The control loop's law: `handle(event, now) -> effects` (pure). It owns the agenda, the alerts, the metrics and what
//! is known of each scenario; there is no other copy of any of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    event::{Effect, Event, NamedReading},
    view::Outbox,
};
use crate::{
    alert::{self, AlertState, Alerts, Turn},
    judge::History,
    load::{report, run::RunEvent},
    measure::data::RunData,
    model::{
        Name,
        clock::Now,
        run::{GeneratorReport, RunSummary, Trigger, Verdict},
        scenario::{CERT_EXPIRES_IN, Executor, Scenario},
        units::Unit,
    },
    schedule::{
        Plan,
        agenda::{Agenda, Entry as AgendaEntry, SkipReason},
    },
    store::rows::Batch,
    telemetry::metrics::Metrics,
};

/// Runs at once; what is due beyond it waits for room. Each run is a thread.
pub const MAX_RUNS: usize = 128;

/// Of them, so many are left to probes: a load never takes a probe's slot.
pub const FOR_PROBES: usize = 32;

/// Good runs kept of each scenario, for `baseline(…)` and for comparison in mails.
pub const GOOD_RUNS: usize = 5;

/// Why a run has no result when it died with the process.
const KILLED: &str = "the process ended while it ran";

/// Runs kept for the page.
const RECENT: usize = 10;

/// What is known of a scenario.
#[derive(Debug)]
pub struct Known {
    /// As configured.
    pub scenario: Arc<Scenario>,
    /// Its schedule in words.
    pub schedule: String,
    /// Earlier runs.
    pub history: Arc<History>,
    /// Iterations in flight.
    pub in_flight: u64,
}

#[derive(Debug)]
struct Running {
    scenario: Name,
    trigger: Trigger,
    due: Timestamp,
    started: Now,
}

/// A start that waits for its jitter, or for room.
#[derive(Debug)]
struct Pending {
    at: Timestamp,
    run_id: Name,
    scenario: Name,
    due: Timestamp,
}

/// Gives ids to runs.
pub type Ids = Box<dyn FnMut(Now) -> Name + Send>;

/// The daemon's mind.
pub struct Control {
    pub(super) known: BTreeMap<Name, Known>,
    pub(super) order: Vec<Name>,
    pub(super) agenda: Agenda,
    pub(super) alerts: Alerts,
    pub(super) metrics: Metrics,
    pub(super) paused: Option<String>,
    pub(super) stopping: bool,
    pub(super) degraded: bool,
    pub(super) outbox: Outbox,
    pub(super) recent: Vec<RunSummary>,
    runs: BTreeMap<Name, Running>,
    /// Oldest first; at most one per scenario, or as many as `overlap: allow` starts.
    pending: VecDeque<Pending>,
    /// The alerts have seen something new since their last turn.
    observed: bool,
    alert_next: Option<Timestamp>,
    ids: Ids,
    batch: Batch,
    effects: Vec<Effect>,
}

/// What a control loop starts from.
pub struct Beginnings {
    /// Checked scenarios with their plans, in the order of the configuration.
    pub scenarios: Vec<(Arc<Scenario>, Plan)>,
    /// The latest ledger instant of each scenario.
    pub last_due: BTreeMap<Name, Timestamp>,
    /// Earlier runs of each scenario.
    pub history: BTreeMap<Name, Arc<History>>,
    /// The latest runs of all scenarios, newest first.
    pub recent: Vec<RunSummary>,
    /// Alert state as it was left.
    pub alerts: Alerts,
    /// All metrics at 0.
    pub metrics: Metrics,
    /// Whether the kill switch is on, and why.
    pub paused: Option<String>,
    /// Runs in the ledger that left no document: the process was killed while they ran.
    pub unfinished: Vec<Unfinished>,
    /// Gives ids to runs.
    pub ids: Ids,
}

/// A run that the process did not survive.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// Its id.
    pub run_id: Name,
    /// The scenario.
    pub scenario: Name,
    /// The instant it was due.
    pub due: Timestamp,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("runs", &self.runs).field("stopping", &self.stopping).finish_non_exhaustive()
    }
}

impl Control {
    /// A control loop, and what is to be done first: accounting for what was missed.
    pub fn new(begin: Beginnings, now: Now) -> (Self, Vec<Effect>) {
        let entries = begin.scenarios.iter().map(|(scenario, plan)| AgendaEntry {
            name: scenario.name.clone(),
            plan: plan.clone(),
            spec: scenario.schedule.clone(),
            last_due: begin.last_due.get(&scenario.name).copied(),
        });
        let (mut agenda, missed) = Agenda::new(entries.collect(), now.wall);
        agenda.set_paused(begin.paused.is_some());
        let mut history = begin.history;
        let known = begin.scenarios.iter().map(|(scenario, plan)| {
            let history = history.remove(&scenario.name).unwrap_or_default();
            let known = Known { scenario: scenario.clone(), schedule: plan.describe(), history, in_flight: 0 };
            (scenario.name.clone(), known)
        });
        let mut control = Self {
            known: known.collect(),
            order: begin.scenarios.iter().map(|(scenario, _)| scenario.name.clone()).collect(),
            agenda,
            alerts: begin.alerts,
            metrics: begin.metrics,
            paused: begin.paused,
            stopping: false,
            degraded: false,
            outbox: Outbox::default(),
            recent: begin.recent,
            runs: BTreeMap::new(),
            pending: VecDeque::new(),
            observed: true,
            alert_next: None,
            ids: begin.ids,
            batch: Batch::default(),
            effects: Vec::new(),
        };
        control.metrics.paused(control.paused.is_some());
        control.alerts.set_paused(control.paused.clone());
        for alert in control.alerts.views() {
            control.metrics.alert_state(&alert.scenario, &alert.alert, alert.state.as_str());
        }
        for run in begin.unfinished {
            control.killed(&run, now);
        }
        for skip in &missed {
            control.skip(skip, now);
        }
        control.announce(now.wall);
        control.after(now);
        let effects = control.done();
        (control, effects)
    }

    /// What a person who reads the log wants to know at the start.
    fn announce(&mut self, now: Timestamp) {
        if let Some(reason) = &self.paused {
            self.effects.push(Effect::Warn(format!("all load is paused: {reason}; `plimsoll resume` releases it")));
        }
        let next = self.agenda.upcoming().min_by_key(|(_, at)| *at);
        let next = next.map_or("none is due".to_owned(), |(name, at)| match at {
            // Its time came while nobody was there, and it may still start.
            at if at <= now => format!("next: {name} at once"),
            at => format!("next: {name} at {at:.0}"),
        });
        let scenarios = if self.known.len() == 1 { "scenario" } else { "scenarios" };
        self.effects.push(Effect::Log(format!("{} {scenarios}, {next}", self.known.len())));
    }

    /// Takes in what happened; the effects are carried out in order, the commit first.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Wake => {}
            Event::Run(RunEvent::Second { scenario, data, active, .. }) => {
                self.metrics.record_second(&scenario, &data);
                self.metrics.in_flight(&scenario, active);
                if let Some(known) = self.known.get_mut(&scenario) {
                    known.in_flight = active;
                }
            }
            Event::Run(RunEvent::Ended(run)) => self.ended(*run, now),
            Event::Lost { run_id, error } => self.lost(&run_id, &error, now),
            Event::Trigger { ticket, scenario } => {
                let result = self.trigger(&scenario, now);
                self.effects.push(Effect::Reply { ticket, result });
            }
            Event::Pause { reason } => self.pause(reason, now),
            Event::Resume => self.resume(),
            Event::Stop => self.stop(now),
            Event::Readings { target, readings } => self.readings(&target, readings),
            Event::Delivered { channel, result } => match result {
                Ok(latency) => self.metrics.notified(&channel, latency, now.wall),
                Err(reason) => self.metrics.notify_failed(&channel, reason),
            },
            Event::Outbox(outbox) => {
                self.metrics.queue("email", outbox.view.queued);
                self.outbox = outbox;
            }
            Event::StoreDegraded(on) => {
                self.degraded = on;
                self.metrics.store_degraded(on);
            }
        }
        self.after(now);
        self.done()
    }

    /// When [`Event::Wake`] is wanted next; at most a second away is always right.
    pub fn next_wake(&self) -> Option<Timestamp> {
        // One that waits for room is asked about when a run ends.
        let pending = self.pending.iter().filter(|pending| self.has_room(&pending.scenario)).map(|p| p.at).min();
        [self.agenda.next_wake(), self.alert_next, pending].into_iter().flatten().min()
    }

    /// What is done after every event: what is due, what alerts want said, and whether all is over.
    fn after(&mut self, now: Now) {
        if !self.stopping {
            for decision in self.agenda.due(now.wall) {
                self.decide(decision, now);
            }
            self.launch_pending(now);
        }
        if std::mem::take(&mut self.observed) || self.alert_next.is_some_and(|next| next <= now.wall) {
            let turn = self.alerts.turn(now.wall);
            self.alert_turn(turn);
        }
        if self.stopping && self.runs.is_empty() {
            self.effects.push(Effect::Exit);
        }
    }

    fn done(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            effects.insert(0, Effect::Commit(Box::new(batch)));
        }
        effects
    }

    fn alert_turn(&mut self, turn: Turn) {
        for change in &turn.transitions {
            self.metrics.transition(&change.scenario, &change.alert, change.state.as_str());
            let (state, severity) = (change.state.as_str(), change.severity.as_str());
            let line = format!("alert {} of {} is {state} ({severity})", change.alert, change.scenario);
            let firing = change.state == AlertState::Firing;
            self.effects.push(if firing { Effect::Warn(line) } else { Effect::Log(line) });
        }
        self.effects.extend(turn.problems.into_iter().map(Effect::Warn));
        self.alert_next = turn.next;
        self.batch.append(turn.batch);
    }

    fn pause(&mut self, reason: String, now: Now) {
        if self.paused.is_none() {
            self.effects.push(Effect::Warn(format!("all load is paused: {reason}")));
        }
        self.agenda.set_paused(true);
        self.metrics.paused(true);
        self.alerts.set_paused(Some(reason.clone()));
        self.paused = Some(reason);
        while !self.pending.is_empty() {
            self.give_up(0, SkipReason::Paused, now);
        }
        self.effects.extend(self.runs.keys().cloned().map(Effect::Drain));
    }

    fn resume(&mut self) {
        if self.paused.take().is_some() {
            self.effects.push(Effect::Log("load is released again".to_owned()));
        }
        self.alerts.set_paused(None);
        self.agenda.set_paused(false);
        self.metrics.paused(false);
    }

    fn stop(&mut self, now: Now) {
        let order = if self.stopping { Effect::Cut } else { Effect::Drain };
        self.effects.extend(self.runs.keys().cloned().map(order));
        if self.stopping {
            return;
        }
        self.stopping = true;
        for skip in self.agenda.shutdown() {
            self.skip(&skip, now);
        }
        while !self.pending.is_empty() {
            self.give_up(0, SkipReason::Shutdown, now);
        }
    }

    fn readings(&mut self, target: &Name, readings: Vec<NamedReading>) {
        let fault = readings.iter().find_map(|(_, reading)| reading.as_ref().err().copied());
        self.metrics.target_poll(target, fault.map_or(Ok(()), Err));
        for (stat, reading) in readings {
            if let Ok((value, unit)) = reading {
                self.metrics.target_stat(target, &stat, unit, value);
            }
        }
    }

    fn ended(&mut self, run: RunSummary, now: Now) {
        let (scenario, run_id): (Name, Name) = (run.scenario.as_str().into(), run.run_id.as_str().into());
        self.runs.remove(&run_id);
        self.effects.push(Effect::Reap(run_id.clone()));
        let next = self.agenda.ended(&scenario, &run_id);
        self.metrics.run_finished(&run);
        self.metrics.running(&scenario, self.agenda.running(&scenario).len() as u64);
        self.metrics.in_flight(&scenario, 0);
        for (stat, summary) in &run.stats {
            let Some(value) = summary.last else { continue };
            if stat == CERT_EXPIRES_IN {
                self.metrics.certificate(&run.target, run.ended_at, value);
            } else {
                self.metrics.target_stat(&run.target, stat, Unit::named(&summary.unit), value);
            }
        }
        if let Some(facts) = self.facts(&scenario) {
            let good = self.known.get(&scenario).and_then(|known| known.history.good.first());
            self.alerts.observe_run(&facts, &run, good, now.wall);
            self.observed = true;
        }
        if let Some(known) = self.known.get_mut(&scenario) {
            known.in_flight = 0;
            let history = Arc::make_mut(&mut known.history);
            if run.verdict == Verdict::Pass {
                history.good.insert(0, run.clone());
                history.good.truncate(GOOD_RUNS);
            }
            history.previous = Some(run.clone());
        }
        let reason = run.reasons.first().map_or(String::new(), |reason| format!(": {reason}"));
        let line = format!("run {run_id} of {scenario} ended: {}{reason}", run.verdict);
        self.effects.push(if run.verdict == Verdict::Pass { Effect::Log(line) } else { Effect::Warn(line) });
        self.recent.insert(0, run.clone());
        self.recent.truncate(RECENT);
        self.batch.runs.push(run);
        if let Some(decision) = next
            && !self.stopping
        {
            self.decide(decision, now);
        }
    }

    /// A run that left no result is a run without data, never nothing at all.
    fn lost(&mut self, run_id: &Name, error: &str, now: Now) {
        let Some(running) = self.runs.get(run_id) else { return };
        let (due, trigger, started) = (running.due, running.trigger, running.started.wall);
        let Some(mut run) = self.without_result(run_id, &running.scenario, (due, started, now.wall), trigger) else {
            return;
        };
        run.reasons.push(format!("the run ended without a result: {error}"));
        self.ended(run, now);
    }

    /// A run that went down with the process: interrupted, so that it is seen and alerts nobody. Twice in a row it may be
    /// the run that brings the process down, and is no data.
    fn killed(&mut self, unfinished: &Unfinished, now: Now) {
        let Unfinished { run_id, scenario, due } = unfinished;
        let Some(mut run) = self.without_result(run_id, scenario, (*due, *due, now.wall), self.cause(scenario)) else {
            return;
        };
        let before = self.known.get(scenario).and_then(|known| known.history.previous.as_ref());
        let again = before.is_some_and(|before| before.reasons.iter().any(|reason| reason == KILLED));
        run.verdict = if again { Verdict::NoData } else { Verdict::Interrupted };
        run.reasons.push(KILLED.to_owned());
        run.reasons.extend(self.known.get(scenario).and_then(|known| not_put_back(&known.scenario)));
        self.ended(run, now);
    }

    fn without_result(
        &self,
        run_id: &Name,
        scenario: &Name,
        (due, started, ended): (Timestamp, Timestamp, Timestamp),
        trigger: Trigger,
    ) -> Option<RunSummary> {
        let known = self.known.get(scenario)?;
        let (generator, first_failure) = (GeneratorReport::default(), None);
        let facts = report::Facts { run_id: run_id.clone(), trigger, due, started, ended, generator, first_failure };
        Some(report::summarise(&known.scenario, &RunData::default(), facts))
    }

    fn facts(&self, scenario: &Name) -> Option<alert::ScenarioFacts> {
        let known = self.known.get(scenario)?;
        let next = self.agenda.upcoming().find(|(name, _)| *name == scenario).map(|(_, at)| at);
        let next = next.filter(|_| self.paused.is_none());
        Some(alert::ScenarioFacts::of(&known.scenario, known.schedule.clone(), next))
    }
}

/// What a run that was killed owes the target.
fn not_put_back(scenario: &Scenario) -> Option<String> {
    let limit = scenario.groups.iter().any(|group| matches!(group.load.executor, Executor::Limit(_)));
    let owed = [
        (!scenario.after.is_empty(), "`after:`"),
        (scenario.events.iter().any(|event| event.undo.is_some()), "`undo`"),
        (limit, "`release`"),
    ];
    let owed: Vec<&str> = owed.into_iter().filter_map(|(has, what)| has.then_some(what)).collect();
    let words = format!("{} did not happen: the target may not be as it was", owed.join(", "));
    (!owed.is_empty()).then_some(words)
}

mod starting;

#[cfg(test)]
mod tests;
