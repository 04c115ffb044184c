//! `plimsoll run --notify`: alert mails for runs by hand, with the memory that the store keeps, so that the run that is
//! good again sends the resolved mail.

use std::{collections::VecDeque, time::Duration};

use jiff::tz::TimeZone;
use tokio::sync::watch;

use crate::{
    alert::{Alerts, House, ScenarioFacts, smtp},
    config::Loaded,
    model::{
        clock::{Clock, SystemClock},
        run::RunSummary,
    },
    schedule,
    store::{
        Store,
        rows::{MailResult, NewMail},
    },
};

/// Tries each mail this often, then leaves it to the outbox.
const ATTEMPTS: u32 = 3;

/// Tells of `runs` what the daemon would tell.
pub(super) async fn tell(loaded: &Loaded, runs: &[RunSummary], store: Option<Store>) -> anyhow::Result<()> {
    let now = SystemClock.now().wall;
    let facts: Vec<_> = (loaded.settings.scenarios.iter())
        .map(|scenario| {
            let words = schedule::compile(&scenario.schedule, &scenario.name).map(|plan| plan.describe());
            ScenarioFacts::of(scenario, words.unwrap_or_default(), None)
        })
        .collect();
    let rows = match &store {
        Some(store) => store.alert_states().await?,
        None => Vec::new(),
    };
    let zone = TimeZone::get(&loaded.settings.daemon.timezone).unwrap_or(TimeZone::UTC);
    let house = House { page_url: String::new(), zone, host: crate::daemon::boot::hostname() };
    let mut alerts = Alerts::new(&loaded.settings.alerts, house, rows, &facts, now);
    for run in runs {
        if let Some(facts) = facts.iter().find(|facts| *facts.name == *run.scenario) {
            alerts.observe_run(facts, run, None, now);
        }
    }
    // Everything this command will ever say is known now: nothing is gained by waiting for the group.
    let mut turn = alerts.turn(now);
    let later = now + loaded.settings.alerts.group_wait + loaded.settings.alerts.group_interval;
    let more = alerts.turn(later);
    turn.batch.append(more.batch);
    turn.problems.iter().chain(&more.problems).for_each(|problem| eprintln!("note: {problem}"));
    let mails: VecDeque<NewMail> = turn.batch.mails.clone().into();
    if let Some(store) = &store {
        store.commit(turn.batch).await?;
    }
    for mail in mails {
        let sent = send(loaded, &mail).await;
        record(store.as_ref(), &mail, &sent).await?;
        match sent {
            Ok(()) => eprintln!("mailed {}: {}", mail.recipient, mail.subject),
            Err(why) => eprintln!("note: the mail to {} was not sent: {why}", mail.recipient),
        }
    }
    Ok(())
}

async fn send(loaded: &Loaded, mail: &NewMail) -> Result<(), String> {
    let receiver = loaded.settings.alerts.receivers.iter().find(|receiver| receiver.name == mail.receiver);
    let receiver = receiver.ok_or("its receiver is not configured")?;
    let (_go_on, stop) = watch::channel(false);
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(Duration::from_secs(2) * attempt).await;
        match smtp::send(&receiver.email, mail, smtp::Patience::of(&receiver.email), &stop).await {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

async fn record(store: Option<&Store>, mail: &NewMail, sent: &Result<(), String>) -> anyhow::Result<()> {
    let Some(store) = store else { return Ok(()) };
    let now = SystemClock.now().wall;
    let row = store
        .recent_mails(200)
        .await?
        .into_iter()
        .find(|row| row.mail.message_id == mail.message_id && row.mail.recipient == mail.recipient);
    if let Some(row) = row {
        let result = match sent {
            Ok(()) => MailResult::Sent { at: now },
            Err(error) => MailResult::Retry { not_before: now, error: error.clone() },
        };
        store.mail_result(row.id, result, now).await?;
    }
    Ok(())
}
