//! The alert desk: runs go in; rows, mails and the time of the next look come out.

mod rows;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    model::{
        Name,
        run::{RunSummary, Verdict},
        settings::AlertSettings,
    },
    store::rows::Batch,
};

use self::rows::Row;
use super::{
    evidence::{Baseline, Dossier, Evidence},
    facts::{AlertView, House, ScenarioFacts, Transition, Turn},
    group::{Group, GroupKey, receivers},
    mail,
    state::{self, Alert, AlertKey, AlertState, Breach, Cause, MISSED, Signal},
    text::clean,
};

/// All alerts, and who was told what.
#[derive(Debug)]
pub struct Alerts {
    settings: AlertSettings,
    house: House,
    facts: BTreeMap<Name, ScenarioFacts>,
    book: BTreeMap<AlertKey, Alert>,
    dossiers: BTreeMap<Name, Dossier>,
    groups: BTreeMap<GroupKey, Group>,
    dirty: BTreeSet<Row>,
    paused: Option<String>,
    transitions: Vec<Transition>,
    problems: Vec<String>,
}

impl Alerts {
    /// The desk as `rows` (key and value, as written by earlier turns) left it, for what is configured now.
    pub fn new(
        settings: &AlertSettings,
        house: House,
        rows: Vec<(String, String)>,
        scenarios: &[ScenarioFacts],
        now: Timestamp,
    ) -> Self {
        let mut desk = Self {
            settings: settings.clone(),
            house,
            facts: BTreeMap::new(),
            book: BTreeMap::new(),
            dossiers: BTreeMap::new(),
            groups: BTreeMap::new(),
            dirty: BTreeSet::new(),
            paused: None,
            transitions: Vec::new(),
            problems: Vec::new(),
        };
        for (key, value) in rows {
            if desk.restore(&key, &value).is_none() {
                desk.problems
                    .push(format!("the stored alert row {} is not understood and was dropped", clean(&key, 100)));
                desk.dirty.insert(Row::Unknown(key));
            }
        }
        desk.reconfigure(settings, scenarios, now);
        desk
    }

    /// Takes over a new configuration: what is no longer watched is closed, and whoever was told that it fires is told
    /// so at the next turns.
    pub fn reconfigure(&mut self, settings: &AlertSettings, scenarios: &[ScenarioFacts], now: Timestamp) {
        self.settings = settings.clone();
        self.facts = scenarios.iter().map(|facts| (facts.name.clone(), facts.clone())).collect();
        for (name, dossier) in &mut self.dossiers {
            // Nobody runs it any more, so nobody would ever count this back to nothing.
            if dossier.invalid_runs > 0 && !self.facts.contains_key(name) {
                dossier.invalid_runs = 0;
                self.dirty.insert(Row::Dossier(name.clone()));
            }
        }
        for key in self.book.keys().cloned().collect::<Vec<_>>() {
            let alert = &self.book[&key];
            let facts = self.facts.get(&key.scenario);
            let watched = facts.is_some_and(|facts| match alert.breach.cause {
                Cause::Threshold => facts.thresholds.contains(&key.alert),
                _ => true,
            });
            if !watched {
                let was = alert.state;
                let after = state::closed(alert.clone(), now);
                if was == AlertState::Firing {
                    self.say(&key, AlertState::Closed);
                }
                self.put(&key, after);
            } else if let Some(facts) = facts
                && (alert.target != facts.target || alert.overload != facts.overload)
            {
                let (target, overload) = (facts.target.clone(), facts.overload);
                let mut alert = alert.clone();
                alert.target = target;
                alert.overload = overload;
                self.put(&key, Some(alert));
            }
        }
    }

    /// All load is paused for this reason, or runs again (`None`); mails written from now on say so. It is not stored:
    /// whoever starts the desk says it anew.
    pub fn set_paused(&mut self, paused: Option<String>) {
        self.paused = paused;
    }

    /// Takes in a finished run; `last_good` is the scenario's latest run with verdict pass before it.
    pub fn observe_run(
        &mut self,
        facts: &ScenarioFacts,
        run: &RunSummary,
        last_good: Option<&RunSummary>,
        now: Timestamp,
    ) {
        self.facts.insert(facts.name.clone(), facts.clone());
        let invalid_before = self.dossiers.get(&facts.name).map_or(0, |dossier| dossier.invalid_runs);
        let invalid_runs = match run.verdict {
            Verdict::Invalid => invalid_before.saturating_add(1),
            Verdict::Interrupted => invalid_before,
            Verdict::Pass | Verdict::Fail | Verdict::NoData => 0,
        };
        let found = state::findings(run, &self.settings.on, invalid_runs);
        let mut bad = false;
        let mut named = BTreeSet::new();
        for (alert, signal) in found.signals {
            let key = AlertKey { scenario: facts.name.clone(), alert };
            match signal {
                Signal::Breach(breach) => {
                    bad = true;
                    self.breach(facts, &key, *breach, now);
                }
                Signal::Holds => self.hold(&key, run.ended_at),
            }
            named.insert(key);
        }
        if found.all_clear {
            for key in self.of_scenario(&facts.name) {
                if !named.contains(&key) {
                    self.hold(&key, run.ended_at);
                }
            }
        }
        self.file(&facts.name, run, last_good, invalid_runs, bad);
    }

    /// Takes in a due instant at which nothing ran; only `overlap`, `downtime` and `capacity` alert.
    pub fn observe_missed(&mut self, facts: &ScenarioFacts, due: Timestamp, reason: &str, now: Timestamp) {
        self.facts.insert(facts.name.clone(), facts.clone());
        if !self.settings.on.missed {
            return;
        }
        if let Some(breach) = state::missed(due, reason) {
            let key = AlertKey { scenario: facts.name.clone(), alert: MISSED.into() };
            self.breach(facts, &key, breach, now);
        }
    }

    /// Keeps of the run what a mail will need, while there is something to tell.
    fn file(
        &mut self,
        scenario: &Name,
        run: &RunSummary,
        last_good: Option<&RunSummary>,
        invalid_runs: u32,
        bad: bool,
    ) {
        if self.of_scenario(scenario).is_empty() && invalid_runs == 0 && !self.dossiers.contains_key(scenario) {
            return;
        }
        let dossier = self.dossiers.entry(scenario.clone()).or_default();
        let evidence = Evidence::of(run);
        dossier.invalid_runs = invalid_runs;
        if bad {
            dossier.bad = Some(evidence.clone());
        }
        if let Some(good) = last_good.filter(|good| good.run_id != run.run_id)
            && dossier.good.as_ref().is_none_or(|known| known.run_id != good.run_id)
        {
            dossier.good = Some(Baseline::of(good));
        }
        dossier.latest = Some(evidence);
        self.dirty.insert(Row::Dossier(scenario.clone()));
    }

    fn breach(&mut self, facts: &ScenarioFacts, key: &AlertKey, breach: Breach, now: Timestamp) {
        let current = self.book.remove(key);
        let (alert, fires) = state::breached(current, key, &facts.target, facts.overload, breach, now);
        // Whoever configured receivers expects to be told.
        if fires && !self.settings.receivers.is_empty() && receivers(&self.settings, &alert).is_none() {
            let AlertKey { scenario, alert } = key;
            self.problems.push(format!(
                "alert {alert} of {scenario} fires and nobody is told: no route under alerts.routes matches it; end \
                 the list with a route without conditions"
            ));
        }
        self.put(key, Some(alert));
        if fires {
            self.say(key, AlertState::Firing);
        }
    }

    fn hold(&mut self, key: &AlertKey, at: Timestamp) {
        if let Some(alert) = self.book.get(key).cloned() {
            let was = alert.state;
            let after = state::held(alert, at);
            if was == AlertState::Firing {
                self.say(key, AlertState::Resolved);
            }
            self.put(key, after);
        }
    }

    /// Stores an alert, or removes it.
    fn put(&mut self, key: &AlertKey, alert: Option<Alert>) {
        match alert {
            Some(alert) => self.book.insert(key.clone(), alert),
            None => self.book.remove(key),
        };
        self.dirty.insert(Row::Alert(key.clone()));
    }

    /// Notes that an alert became `state`.
    fn say(&mut self, key: &AlertKey, state: AlertState) {
        if let Some(alert) = self.book.get(key) {
            self.transitions.push(Transition {
                scenario: key.scenario.clone(),
                alert: key.alert.clone(),
                severity: alert.breach.severity,
                state,
            });
        }
    }

    fn of_scenario(&self, scenario: &Name) -> Vec<AlertKey> {
        let first = AlertKey { scenario: scenario.clone(), alert: "".into() };
        self.book.range(first..).map(|(key, _)| key).take_while(|key| key.scenario == *scenario).cloned().collect()
    }

    /// Decides what is told now; call it after every observation, after [`Alerts::reconfigure`] and at [`Turn::next`].
    pub fn turn(&mut self, now: Timestamp) -> Turn {
        let mut mails = Vec::new();
        let mut next: Option<Timestamp> = None;
        let mut members = self.members();
        for key in members.keys() {
            if !self.groups.contains_key(key) {
                self.groups.insert(key.clone(), Group::new(key.clone()));
            }
        }
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            let firing = members.remove(&key).unwrap_or_default();
            if let Some(at) = self.turn_group(&key, &firing, now, &mut mails) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.forget();
        Turn {
            batch: Batch { alerts: self.rows(), mails, ..Batch::default() },
            transitions: std::mem::take(&mut self.transitions),
            next,
            problems: std::mem::take(&mut self.problems),
        }
    }

    /// Firing alerts by the group in which they are told.
    fn members(&self) -> BTreeMap<GroupKey, BTreeSet<AlertKey>> {
        let mut members: BTreeMap<GroupKey, BTreeSet<AlertKey>> = BTreeMap::new();
        for alert in self.book.values().filter(|alert| alert.state == AlertState::Firing) {
            for receiver in receivers(&self.settings, alert).unwrap_or_default() {
                let key = GroupKey { receiver: receiver.clone(), target: alert.target.clone() };
                members.entry(key).or_default().insert(alert.key.clone());
            }
        }
        members
    }

    /// Drops what nobody waits for any more.
    fn forget(&mut self) {
        let awaited: BTreeSet<&AlertKey> = self.groups.values().flat_map(|group| &group.told).collect();
        let over = |alert: &Alert| matches!(alert.state, AlertState::Resolved | AlertState::Closed);
        let done: Vec<AlertKey> =
            self.book.values().filter(|a| over(a) && !awaited.contains(&a.key)).map(|a| a.key.clone()).collect();
        for key in done {
            self.book.remove(&key);
            self.dirty.insert(Row::Alert(key));
        }
        let idle: Vec<Name> = self
            .dossiers
            .iter()
            .filter(|(name, dossier)| dossier.invalid_runs == 0 && self.of_scenario(name).is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in idle {
            self.dossiers.remove(&name);
            self.dirty.insert(Row::Dossier(name));
        }
    }

    /// Every alert that is pending or firing, or whose end is still to be told.
    pub fn views(&self) -> Vec<AlertView> {
        let incidents = |key: &AlertKey| {
            let told = self.groups.values().filter(|group| group.told.contains(key));
            told.filter_map(|group| group.incident.as_ref()).map(|incident| incident.id.clone()).collect()
        };
        let view = |alert: &Alert| AlertView {
            scenario: alert.key.scenario.clone(),
            alert: alert.key.alert.clone(),
            target: alert.target.clone(),
            state: alert.state,
            severity: alert.breach.severity,
            since: alert.since,
            fired_at: alert.fired_at,
            runs: alert.runs,
            summary: mail::summary(alert),
            incidents: incidents(&alert.key),
            runbook: alert.breach.runbook.clone(),
        };
        self.book.values().map(view).collect()
    }
}
