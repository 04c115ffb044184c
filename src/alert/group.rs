//! When a group of alerts is told: what breaks together is told together, and a fix is told at once.
//!
//! A group is what one receiver hears about one target. Its incident lives from the first firing mail to the mail that
//! says that all is over. The waits are Alertmanager's with one difference: where Alertmanager holds a *fully* resolved
//! group back for `group_interval`, we wait for `group_wait` only, because people wait for that mail. So that a
//! flapping target cannot use this up, an incident that opens within `group_interval` of the last one's end resolves
//! no sooner than `group_interval` after its latest mail. An alert that fires and resolves before anyone was told of
//! it is not told at all (Alertmanager's way).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Name,
    settings::{AlertSettings, Route},
};

use super::state::{Alert, AlertKey};

/// What a group is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupKey {
    /// Name of the receiver.
    pub receiver: Name,
    /// Name of the target.
    pub target: Name,
}

/// What one receiver hears about one target, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What it is known by.
    #[serde(flatten)]
    pub key: GroupKey,
    /// Open from the first firing mail to the last one.
    pub incident: Option<Incident>,
    /// Since when there is something to tell that nobody was told.
    pub changed_at: Option<Timestamp>,
    /// The latest mail.
    pub last_mail: Option<Timestamp>,
    /// When the incident before this one ended.
    pub ended_at: Option<Timestamp>,
    /// Alerts that the latest mail called firing.
    pub told: BTreeSet<AlertKey>,
}

/// One story: a thread of mails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// UUIDv7, made of the group and the time.
    pub id: String,
    /// When it opened.
    pub opened_at: Timestamp,
    /// Mails so far.
    pub seq: u32,
    /// The subject without its bracket, the same in every mail.
    pub base: String,
    /// Each recipient's first mail in the thread.
    pub recipients: BTreeMap<String, u32>,
    /// Opened soon after the one before it ended.
    pub flapping: bool,
    /// What its mails told of, for the last one; bounded by [`Incident::HISTORY`].
    #[serde(default)]
    pub history: Vec<Past>,
}

/// An alert as a mail told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When it began for the first time in this incident.
    pub first: Timestamp,
    /// How it was told last.
    pub alert: Alert,
}

impl Incident {
    /// Alerts remembered at most.
    pub const HISTORY: usize = 100;

    /// Remembers that a mail told of `alert`.
    pub fn record(&mut self, alert: &Alert) {
        if let Some(past) = self.history.iter_mut().find(|past| past.alert.key == alert.key) {
            *past = Past { first: past.first.min(alert.since), alert: alert.clone() };
        } else if self.history.len() < Self::HISTORY {
            self.history.push(Past { first: alert.since, alert: alert.clone() });
        }
    }

    /// Since when the alert was broken in this incident, with pauses.
    pub fn first(&self, alert: &Alert) -> Timestamp {
        let past = self.history.iter().find(|past| past.alert.key == alert.key);
        past.map_or(alert.since, |past| past.first.min(alert.since))
    }
}

/// What kind of mail is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// The first of an incident.
    Firing,
    /// Others fire too, or some are over.
    Update,
    /// Nothing changed for `repeat_interval`.
    Repeat,
    /// All is over.
    Resolved,
    /// What fired is no longer watched.
    Closed,
}

impl MailKind {
    /// The word in the `X-Plimsoll-Kind` field and the outbox.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Update => "update",
            Self::Repeat => "repeat",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
}

/// How a group stands against what it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Firing now.
    pub firing: usize,
    /// Firing now, not told.
    pub fresh: usize,
    /// Told as firing, and held since.
    pub resolved: usize,
    /// Told as firing, and no longer watched or no longer this receiver's.
    pub closed: usize,
}

/// What to do about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Idle,
    /// Look again then.
    Wait(Timestamp),
    /// Send this, now.
    Mail(MailKind),
    /// All is over, and the receiver does not want to know.
    End,
}

impl Group {
    /// Nothing told yet.
    pub fn new(key: GroupKey) -> Self {
        Self { key, incident: None, changed_at: None, last_mail: None, ended_at: None, told: BTreeSet::new() }
    }

    /// Notes since when there is news; news that went away before it was told is none.
    pub fn note(&mut self, standing: Standing, settings: &AlertSettings, now: Timestamp) {
        let over = standing.resolved + standing.closed;
        let news = standing.fresh > 0 || (self.incident.is_some() && over > 0 && settings.send_resolved);
        self.changed_at = news.then(|| self.changed_at.map_or(now, |at| at.min(now)));
        // The wall clock may have stepped back: no wait is longer than it would be from now.
        self.last_mail = self.last_mail.map(|at| at.min(now));
    }

    /// What is due.
    pub fn plan(&self, standing: Standing, settings: &AlertSettings, now: Timestamp) -> Plan {
        let news = self.changed_at.map(|at| after(at, settings.group_wait));
        let spaced = self.last_mail.map(|at| after(at, settings.group_interval));
        let Some(incident) = &self.incident else {
            return match news {
                Some(due) if standing.fresh > 0 => due_or(due, now, MailKind::Firing),
                _ => Plan::Idle,
            };
        };
        if standing.firing == 0 {
            let kind =
                if standing.resolved == 0 && standing.closed > 0 { MailKind::Closed } else { MailKind::Resolved };
            return match news {
                None if !settings.send_resolved => Plan::End,
                None => Plan::Mail(kind),
                Some(due) if incident.flapping => due_or(due.max(spaced.unwrap_or(due)), now, kind),
                Some(due) => due_or(due, now, kind),
            };
        }
        match news {
            Some(due) => due_or(due.max(spaced.unwrap_or(due)), now, MailKind::Update),
            None => self
                .last_mail
                .map_or(Plan::Idle, |at| due_or(after(at, settings.repeat_interval), now, MailKind::Repeat)),
        }
    }

    /// Nothing is left to remember.
    pub fn is_done(&self, settings: &AlertSettings, now: Timestamp) -> bool {
        self.incident.is_none()
            && self.changed_at.is_none()
            && self.ended_at.is_none_or(|at| after(at, settings.group_interval) <= now || at > now)
    }

    /// An incident that opens now opens soon after the last one's end.
    pub fn reopens(&self, settings: &AlertSettings, now: Timestamp) -> bool {
        self.ended_at.is_some_and(|at| after(at, settings.group_interval) > now)
    }
}

/// `at` plus a wait; the end of time if that is beyond it.
pub fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn due_or(due: Timestamp, now: Timestamp, kind: MailKind) -> Plan {
    if due <= now { Plan::Mail(kind) } else { Plan::Wait(due) }
}

/// Names of the receivers of an alert: those of the first route that matches, or the only receiver when there are no
/// routes. `None` when nothing says who they are; a route may name nobody on purpose.
pub fn receivers<'a>(settings: &'a AlertSettings, alert: &Alert) -> Option<&'a [Name]> {
    if settings.routes.is_empty() {
        return match settings.receivers.as_slice() {
            [only] => Some(std::slice::from_ref(&only.name)),
            _ => None,
        };
    }
    settings.routes.iter().find(|route| matches(route, alert)).map(|route| &*route.to)
}

fn matches(route: &Route, alert: &Alert) -> bool {
    route.severity.is_none_or(|severity| severity == alert.breach.severity)
        && route.scenario.as_ref().is_none_or(|scenario| *scenario == alert.key.scenario)
        && route.target.as_ref().is_none_or(|target| *target == alert.target)
        && route.overload.is_none_or(|overload| overload == alert.overload)
}
