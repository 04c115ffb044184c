//! What goes into the alert desk besides runs, and what comes out of it.

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    model::{
        Name,
        run::Severity,
        scenario::{Intent, Scenario},
    },
    store::rows::Batch,
};

use super::state::AlertState;

/// What a mail says about the place it comes from.
#[derive(Debug, Clone)]
pub struct House {
    /// Base URL of the page, without a trailing slash; links are left out when it is empty.
    pub page_url: String,
    /// Times are shown in UTC and in this zone.
    pub zone: TimeZone,
    /// Name of the machine, for "measured from".
    pub host: String,
}

/// What a mail says about a scenario; the thresholds tell what still exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: Name,
    /// Name of its target.
    pub target: Name,
    /// Where the target is, without user information.
    pub target_url: String,
    /// `intent: overload`.
    pub overload: bool,
    /// Whom to ask.
    pub owner: Option<Name>,
    /// What it is for.
    pub description: Option<String>,
    /// Its schedule, in words (`every 30s`).
    pub schedule: String,
    /// When it runs next.
    pub next_run: Option<Timestamp>,
    /// Names of its thresholds, implicit ones too.
    pub thresholds: Vec<Name>,
}

impl ScenarioFacts {
    /// The facts of `scenario`.
    pub fn of(scenario: &Scenario, schedule: String, next_run: Option<Timestamp>) -> Self {
        let base = &scenario.target.base;
        let scheme = if base.https { "https" } else { "http" };
        Self {
            name: scenario.name.clone(),
            target: scenario.target.name.clone(),
            target_url: format!("{scheme}://{}{}", base.authority(), base.prefix),
            overload: scenario.intent == Intent::Overload,
            owner: scenario.owner.clone(),
            description: scenario.description.clone(),
            schedule,
            next_run,
            thresholds: scenario.thresholds.iter().map(|threshold| threshold.name.clone()).collect(),
        }
    }
}

/// An alert that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The scenario.
    pub scenario: Name,
    /// Name of the threshold, `verdict` or `missed`.
    pub alert: Name,
    /// How loud.
    pub severity: Severity,
    /// What it is now.
    pub state: AlertState,
}

/// What the desk wants done.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Changed rows and new mails: one commit.
    pub batch: Batch,
    /// What changed since the last turn.
    pub transitions: Vec<Transition>,
    /// Call again then, at the latest.
    pub next: Option<Timestamp>,
    /// What could not be told, in words; to be logged and counted.
    pub problems: Vec<String>,
}

/// An alert, for pages, the API and metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    /// The scenario.
    pub scenario: Name,
    /// Name of the threshold, `verdict` or `missed`.
    pub alert: Name,
    /// The target.
    pub target: Name,
    /// Where it is in its life.
    pub state: AlertState,
    /// How loud.
    pub severity: Severity,
    /// The first failing request where it is about outcomes, else the start of the first run that breached.
    pub since: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// Runs in a row that breached.
    pub runs: u32,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// Ids of the open incidents in which it was told.
    pub incidents: Vec<String>,
    /// A page to open.
    pub runbook: Option<String>,
}
