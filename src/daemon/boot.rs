//! From a checked configuration to a control loop: what the store remembers meets what is configured.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use jiff::tz::TimeZone;

use super::{
    control::{Beginnings, Control, GOOD_RUNS, Unfinished},
    event::Effect,
};
use crate::{
    alert::{self, Alerts, House},
    judge::History,
    load::report,
    model::{
        Name,
        clock::Now,
        scenario::{Intent, Scenario},
        settings::Settings,
    },
    schedule,
    store::{
        Store,
        rows::{Fate, LedgerRow},
    },
    telemetry::metrics::{Build, Metrics, ScenarioFacts},
};

/// Runs shown on the page.
const RECENT: u32 = 10;

/// A control loop for `settings`, and what it wants done first.
pub async fn control(
    settings: &Settings,
    store: &Store,
    paused: Option<String>,
    now: Now,
) -> anyhow::Result<(Control, Vec<Effect>)> {
    let mut scenarios = Vec::new();
    let mut history = BTreeMap::new();
    for scenario in &settings.scenarios {
        let plan = schedule::compile(&scenario.schedule, &scenario.name)
            .map_err(|why| anyhow::anyhow!("the schedule of {} cannot be used: {why}", scenario.name))?;
        history.insert(scenario.name.clone(), Arc::new(history_of(store, scenario).await?));
        scenarios.push((scenario.clone(), plan));
    }
    let facts: Vec<_> = scenarios
        .iter()
        .map(|(scenario, plan)| alert::ScenarioFacts::of(scenario, plan.describe(), plan.next(now.wall)))
        .collect();
    let rows = store.alert_states().await.context("failed to read the alert state")?;
    let house = House {
        page_url: page_url(settings),
        zone: TimeZone::get(&settings.daemon.timezone).unwrap_or(TimeZone::UTC),
        host: hostname(),
    };
    let metric_facts: Vec<_> =
        scenarios.iter().map(|(scenario, plan)| metric_facts(scenario, &plan.describe())).collect();
    let begin = Beginnings {
        last_due: store.last_due().await.context("failed to read the ledger")?,
        history,
        unfinished: unfinished(store, settings).await?,
        recent: store.recent_runs(None, RECENT).await.context("failed to read the runs")?,
        alerts: Alerts::new(&settings.alerts, house, rows, &facts, now.wall),
        metrics: Metrics::new(&metric_facts, &["email".into()], Build::THIS, now.wall),
        paused,
        ids: Box::new(|_| uuid::Uuid::now_v7().to_string().into()),
        scenarios,
    };
    Ok(Control::new(begin, now))
}

/// Instants of the ledger among which the latest run is looked for: what came due while it ran was skipped.
const LATEST: u32 = 1000;

/// Runs that the ledger says ran and that left no document.
async fn unfinished(store: &Store, settings: &Settings) -> anyhow::Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    for scenario in &settings.scenarios {
        let last = store.ledger(scenario.name.clone(), LATEST).await.context("failed to read the ledger")?;
        let ran = last.into_iter().find(|row| matches!(row.fate, Fate::Ran(_)));
        if let Some(LedgerRow { scenario, due, fate: Fate::Ran(run_id) }) = ran
            && store.run(&run_id).await.context("failed to read the runs")?.is_none()
        {
            found.push(Unfinished { run_id: run_id.into(), scenario, due });
        }
    }
    Ok(found)
}

async fn history_of(store: &Store, scenario: &Scenario) -> anyhow::Result<History> {
    let name = &scenario.name;
    let previous =
        store.recent_runs(Some(name.clone()), 1).await.context("failed to read the runs")?.into_iter().next();
    let good = store.last_good(name.clone(), GOOD_RUNS as u32).await.context("failed to read the runs")?;
    Ok(History { previous, good, ..report::history(scenario) })
}

/// What `/metrics` shows of a scenario.
pub fn metric_facts(scenario: &Scenario, schedule: &str) -> ScenarioFacts {
    ScenarioFacts {
        name: scenario.name.clone(),
        target: scenario.target.name.clone(),
        steps: scenario.steps().map(|step| step.name.clone()).collect(),
        thresholds: scenario.thresholds.iter().map(|threshold| threshold.name.clone()).collect(),
        executor: scenario.executor().into(),
        intent: if scenario.intent == Intent::Overload { "overload" } else { "normal" }.into(),
        owner: scenario.owner.clone().unwrap_or_else(|| Name::from("")),
        schedule: schedule.into(),
    }
}

/// What mails link to; nothing where the page is not served (off loopback).
fn page_url(settings: &Settings) -> String {
    let listen = settings.daemon.listen;
    if listen.ip().is_loopback() { format!("http://{listen}") } else { String::new() }
}

/// Name of this machine, for mails.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
