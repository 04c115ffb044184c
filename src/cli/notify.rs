//! `plimsoll run --notify`: alert mails for runs by hand, with the memory that the store keeps, so that the run that is
//! good again sends the resolved mail.

use super::out::say;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use tokio::sync::watch;

use crate::{
    alert::{
        Alerts, House, ScenarioFacts, backoff,
        smtp::{self, Class, SmtpError},
    },
    config::Loaded,
    model::{
        clock::{Clock, SystemClock},
        run::RunSummary,
        settings::{AlertSettings, Receiver},
    },
    schedule,
    store::{
        Store,
        rows::{MailResult, OutboxMail},
    },
};

/// Tries each mail this often. Then it waits in the store for the next `--notify`, or for the daemon if the store is
/// the daemon's.
const ATTEMPTS: u32 = 3;
/// Mails looked at together.
const PAGE: u32 = 256;

/// Tells of `runs` what the daemon would tell, and sends what earlier calls could not.
pub(super) async fn tell(loaded: &Loaded, runs: &[RunSummary], store: Option<Store>) -> anyhow::Result<()> {
    // Without a memory of its own it still tells what is wrong now.
    let store = store.map_or_else(Store::in_memory, Ok)?;
    let now = now();
    let facts: Vec<_> = (loaded.settings.scenarios.iter())
        .map(|scenario| {
            let words = schedule::compile(&scenario.schedule, &scenario.name).map(|plan| plan.describe());
            ScenarioFacts::of(scenario, words.unwrap_or_default(), None)
        })
        .collect();
    let zone = TimeZone::get(&loaded.settings.daemon.timezone).unwrap_or(TimeZone::UTC);
    let house = House { page_url: String::new(), zone, host: crate::daemon::boot::hostname() };
    // Everything this command will ever say is known now: nothing is gained by waiting for the group.
    let settings =
        AlertSettings { group_wait: Duration::ZERO, group_interval: Duration::ZERO, ..loaded.settings.alerts.clone() };
    let mut alerts = Alerts::new(&settings, house, store.alert_states().await?, &facts, now);
    for run in runs {
        if let Some(facts) = facts.iter().find(|facts| *facts.name == *run.scenario) {
            alerts.observe_run(facts, run, None, now);
        }
    }
    let turn = alerts.turn(now);
    turn.problems.iter().for_each(|problem| say!("note: {problem}"));
    store.commit(turn.batch).await?;
    send_all(&loaded.settings.alerts.receivers, &store).await
}

/// Sends what is queued: the mails of now, and those that an earlier call could not send.
async fn send_all(receivers: &[Receiver], store: &Store) -> anyhow::Result<()> {
    let mut tried = BTreeSet::new();
    // Receivers whose relay did not take a mail, and why: their next mails are tried once each.
    let mut attempts: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let due = store.due_mails(now(), PAGE).await?;
        let fresh: Vec<_> = due.into_iter().filter(|mail| tried.insert(mail.id)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        for row in fresh {
            let receiver = receivers.iter().find(|receiver| receiver.name == row.mail.receiver);
            let left = attempts.entry(row.mail.receiver.to_string()).or_insert(ATTEMPTS);
            let result = send(receiver, &row, *left).await;
            if result.is_err() {
                *left = 1;
            }
            let (recipient, now) = (&row.mail.recipient, now());
            let result = match result {
                Ok(()) => {
                    say!("mailed {recipient}: {}", row.mail.subject);
                    MailResult::Sent { at: now }
                }
                Err((true, error)) => {
                    say!("note: the mail to {recipient} was not sent and is given up: {error}");
                    MailResult::Dead { error }
                }
                Err((false, error)) => {
                    say!("note: the mail to {recipient} was not sent; the next --notify tries again: {error}");
                    MailResult::Retry { not_before: now, error }
                }
            };
            store.mail_result(row.id, result, now).await?;
        }
    }
}

/// Sends one mail; an error says whether it is given up, and why.
async fn send(receiver: Option<&Receiver>, row: &OutboxMail, attempts: u32) -> Result<(), (bool, String)> {
    let old = now().duration_since(row.mail.created).unsigned_abs() >= backoff::MAX_AGE;
    let Some(receiver) = receiver else { return Err((old, "its receiver is not configured".to_owned())) };
    if old {
        return Err((true, "it is older than 72 hours".to_owned()));
    }
    let (_go_on, stop) = watch::channel(false);
    let mut why = String::new();
    for attempt in 0..attempts {
        tokio::time::sleep(Duration::from_secs(2) * attempt).await;
        match smtp::send(&receiver.email, &row.mail, smtp::Patience::of(&receiver.email), &stop).await {
            Ok(_) => return Ok(()),
            Err(SmtpError { class: Class::Dead, text, .. }) => return Err((true, text)),
            Err(error) => why = error.to_string(),
        }
    }
    Err((false, why))
}

fn now() -> Timestamp {
    SystemClock.now().wall
}
