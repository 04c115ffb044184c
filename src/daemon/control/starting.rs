//! From a due instant to a run, or to the reason why there is none.

use std::time::Duration;

use jiff::Timestamp;

use super::{Control, FOR_PROBES, Known, MAX_RUNS, Pending, Running};
use crate::{
    daemon::event::{Effect, Start},
    load::forecast::forecast,
    model::{Name, clock::Now, run::Trigger, scenario::Scenario, schedule::Due, settings::Policy},
    schedule::agenda::{Decision, LATE, Skip, SkipReason},
    store::rows::{Fate, LedgerRow},
};

impl Control {
    pub(super) fn decide(&mut self, decision: Decision, now: Now) {
        match decision {
            Decision::Skip(skip) => self.skip(&skip, now),
            Decision::Stop { runs, .. } => {
                for run in runs {
                    match self.pending.iter().position(|pending| pending.run_id == run) {
                        Some(at) => self.give_up(at, SkipReason::Overlap, now),
                        None => self.effects.push(Effect::Drain(run)),
                    }
                }
            }
            Decision::Start { scenario, due, delay } => {
                let run_id = (self.ids)(now);
                self.agenda.started(&scenario, run_id.clone());
                self.pending.push_back(Pending { at: now.wall + delay, run_id, scenario, due });
            }
        }
    }

    /// Starts what has waited long enough and finds room; what finds none for [`LATE`] is given up.
    pub(super) fn launch_pending(&mut self, now: Now) {
        let mut at = 0;
        while let Some(pending) = self.pending.get(at) {
            let ready = pending.at <= now.wall;
            if ready && self.has_room(&pending.scenario) {
                let Pending { run_id, scenario, due, .. } = self.pending.remove(at).expect("it is there");
                let fate = Fate::Ran(run_id.to_string());
                self.batch.ledger.push(LedgerRow { scenario: scenario.clone(), due, fate });
                self.launch(run_id, &scenario, self.cause(&scenario), due, now);
            } else if ready && now.wall.duration_since(pending.at) > LATE {
                self.give_up(at, SkipReason::Capacity, now);
            } else {
                at += 1;
            }
        }
    }

    /// Loads leave some room to probes.
    pub(super) fn has_room(&self, scenario: &Name) -> bool {
        let probe = |known: &Known| known.scenario.is_probe();
        let probe = self.known.get(scenario).is_some_and(probe);
        self.runs.len() < if probe { MAX_RUNS } else { MAX_RUNS - FOR_PROBES }
    }

    /// A start that waited comes to nothing.
    pub(super) fn give_up(&mut self, at: usize, reason: SkipReason, now: Now) {
        let Some(Pending { run_id, scenario, due, .. }) = self.pending.remove(at) else { return };
        let next = self.agenda.ended(&scenario, &run_id);
        self.skip(&Skip { scenario, due, reason, more: 0 }, now);
        if let Some(decision) = next
            && !self.stopping
        {
            self.decide(decision, now);
        }
    }

    pub(super) fn skip(&mut self, skip: &Skip, now: Now) {
        let reason = skip.reason.as_str();
        let fate = Fate::Skipped(skip.ledger_text());
        self.batch.ledger.push(LedgerRow { scenario: skip.scenario.clone(), due: skip.due, fate });
        self.metrics.missed(&skip.scenario, reason);
        // A run that a person started stands for the one it kept from starting, and so does one that is as long as planned:
        // nothing went wrong, and what is told at each such start and taken back at each end is read by nobody.
        let planned = self.known.get(&skip.scenario).and_then(|known| lasts(&known.scenario));
        let on_time = |run: &Running| {
            let end = planned.and_then(|length| run.started.wall.checked_add(length).ok());
            run.trigger == Trigger::Manual || end.is_some_and(|end| skip.due <= end)
        };
        let expected = skip.reason == SkipReason::Overlap
            && self.runs.values().any(|run| run.scenario == skip.scenario && on_time(run));
        if matches!(skip.reason, SkipReason::Overlap | SkipReason::Capacity) {
            let line = format!("{} was due at {:.0} and is skipped: {reason}", skip.scenario, skip.due);
            self.effects.push(if expected { Effect::Log(line) } else { Effect::Warn(line) });
        }
        if expected {
            return;
        }
        if let Some(facts) = self.facts(&skip.scenario) {
            self.alerts.observe_missed(&facts, skip.due, reason, now.wall);
            self.observed = true;
        }
    }

    pub(super) fn cause(&self, scenario: &Name) -> Trigger {
        match self.known.get(scenario).map(|known| &known.scenario.schedule.due) {
            Some(Due::Cron { .. }) => Trigger::Cron,
            Some(Due::Every(_)) => Trigger::Every,
            _ => Trigger::Manual,
        }
    }

    fn launch(&mut self, run_id: Name, scenario: &Name, trigger: Trigger, due: Timestamp, now: Now) {
        let Some(known) = self.known.get(scenario) else { return };
        self.runs.insert(run_id.clone(), Running { scenario: scenario.clone(), trigger, due, started: now });
        let delay = Duration::try_from(now.wall.duration_since(due)).unwrap_or_default();
        self.metrics.run_started(scenario, delay);
        self.metrics.running(scenario, self.agenda.running(scenario).len() as u64);
        let (scenario, history) = (known.scenario.clone(), known.history.clone());
        self.effects.push(Effect::Start(Box::new(Start { run_id, scenario, trigger, due, history })));
    }

    pub(super) fn trigger(&mut self, scenario: &Name, now: Now) -> Result<Name, String> {
        if self.stopping {
            return Err("the daemon is stopping".to_owned());
        }
        if let Some(reason) = &self.paused {
            return Err(format!("all load is paused ({reason}); `plimsoll resume` releases it"));
        }
        if !self.known.contains_key(scenario) {
            let names: Vec<&str> = self.order.iter().map(|name| &**name).collect();
            return Err(format!("there is no scenario `{scenario}`; there are: {}", names.join(", ")));
        }
        if let [running, ..] = self.agenda.running(scenario) {
            return Err(format!("a run of `{scenario}` is going on already: {running}"));
        }
        if !self.has_room(scenario) {
            return Err(format!("{} runs are going on already", self.runs.len()));
        }
        let run_id = (self.ids)(now);
        self.agenda.started(scenario, run_id.clone());
        // Should the process be killed, the next one finds it.
        let fate = Fate::Ran(run_id.to_string());
        self.batch.ledger.push(LedgerRow { scenario: scenario.clone(), due: now.wall, fate });
        self.launch(run_id.clone(), scenario, Trigger::Manual, now.wall, now);
        Ok(run_id)
    }
}

/// How long a run takes that goes as planned; `None` where that is up to the target.
fn lasts(scenario: &Scenario) -> Option<Duration> {
    let forecast = forecast(scenario, &Policy::default());
    forecast.duration.filter(|_| !forecast.sooner)
}
