//! What the page and the API are shown of the control loop's state (pure).

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::control::Control;
use crate::{
    alert::AlertState,
    model::{Name, clock::Now},
    telemetry::{own::OwnStats, process::ProcessStats, series::Snapshot},
    web::view::{AlertView, MailView, OutboxView, RunView, ScenarioView, StatusView},
};

/// The outbox as last read.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    /// Mails by where they are.
    pub view: OutboxView,
    /// The last ones, newest first.
    pub mails: Vec<MailView>,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When the daemon started.
    pub started_at: Timestamp,
    /// IANA zone of the times shown to people.
    pub timezone: Name,
}

impl Control {
    /// All metrics at `now`.
    pub fn snapshot(&mut self, now: Now) -> Arc<Snapshot> {
        for name in &self.order {
            self.metrics.next_run(name, None);
        }
        for (name, at) in self.agenda.upcoming() {
            self.metrics.next_run(name, Some(at));
        }
        self.metrics.snapshot(now.wall)
    }

    /// Takes in what the process says of itself.
    pub fn process(&mut self, stats: &ProcessStats, own: &OwnStats) {
        self.metrics.process(stats);
        self.metrics.own(own);
    }

    /// The state at `now`.
    pub fn view(&self, frame: &Frame, now: Now) -> StatusView {
        let mut troubles = Vec::new();
        if self.degraded {
            troubles.push(
                "the database cannot be written (disk full?): rows are kept in memory until it can, and mails go out unstored"
                    .to_owned(),
            );
        }
        if self.outbox.view.dead > 0 {
            troubles.push(format!("{} mails were given up: see the outbox", self.outbox.view.dead));
        }
        let stuck: Vec<_> =
            self.outbox.mails.iter().filter(|mail| mail.state == "queued" && mail.attempts > 0).collect();
        if let Some(oldest) = stuck.last() {
            let why = oldest.last_error.as_deref().unwrap_or("no answer yet");
            troubles.push(format!(
                "mails do not leave: {} waiting, the oldest shown since {:.0}; the last try to {} failed: {why}",
                self.outbox.view.queued, oldest.created, oldest.recipient
            ));
        }
        let upcoming: HashMap<&Name, Timestamp> = self.agenda.upcoming().collect();
        StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: frame.started_at,
            at: now.wall,
            beat: now.mono,
            ready: !self.stopping,
            timezone: frame.timezone.clone(),
            paused: self.paused.clone(),
            troubles,
            scenarios: self
                .order
                .iter()
                .filter_map(|name| self.scenario_view(name, upcoming.get(name).copied()))
                .collect(),
            firing: self.firing(),
            outbox: self.outbox.view,
            mails: self.outbox.mails.clone(),
            runs: self.recent.iter().map(RunView::from).collect(),
        }
    }

    fn scenario_view(&self, name: &Name, next_run: Option<Timestamp>) -> Option<ScenarioView> {
        let known = self.known.get(name)?;
        Some(ScenarioView {
            name: name.clone(),
            description: known.scenario.description.clone(),
            target: known.scenario.target.name.clone(),
            url: known.scenario.target.base.to_string(),
            executor: known.scenario.executor().into(),
            schedule: known.schedule.clone(),
            last: known.history.previous.as_ref().map(RunView::from),
            next_run: next_run.filter(|_| self.paused.is_none()),
            running: u32::try_from(self.agenda.running(name).len()).unwrap_or(u32::MAX),
            in_flight: known.in_flight,
        })
    }

    fn firing(&self) -> Vec<AlertView> {
        let mut firing: Vec<_> =
            self.alerts.views().into_iter().filter(|alert| alert.state == AlertState::Firing).collect();
        firing.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.since));
        let view = |alert: crate::alert::AlertView| {
            let last = self.known.get(&alert.scenario).and_then(|known| known.history.previous.as_ref());
            let report = last.and_then(|run| run.thresholds.iter().find(|report| *report.name == *alert.alert));
            AlertView {
                scenario: alert.scenario.to_string(),
                target: alert.target.to_string(),
                alert: alert.alert.to_string(),
                severity: alert.severity,
                what: alert.summary,
                since: alert.since,
                value: report.and_then(|report| report.value),
                limit: report.and_then(|report| report.limit),
                unit: report.map_or(String::new(), |report| report.unit.clone()),
                runbook: alert.runbook,
            }
        };
        firing.into_iter().map(view).collect()
    }
}
