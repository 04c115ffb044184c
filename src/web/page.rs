//! The pages: one template each, no script. Everything is made into words first, so that the templates only lay out.

mod rows;
mod words;

use std::sync::LazyLock;

use jiff::Timestamp;
use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use self::{
    rows::{AlertRow, MailRow, RunRow, ScenarioRow, alert_row, mail_row, run_row, scenario_row},
    words::{Headline, Watch, When, headline, relative, verdict_words},
};
use super::{
    mime::Bodies,
    summary,
    view::{MailView, OutboxView, StatusView},
};
use crate::{
    model::run::{RunSummary, Trigger},
    store::rows::OutboxMail,
};

/// The page calls a state old when the control loop has not written one for this many seconds.
const STALE_S: i64 = 15;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    templates.set_syntax(syntax.expect("the delimiters are the default ones"));
    for (name, source) in [
        ("base.html", include_str!("page/base.html")),
        ("style.css", include_str!("page/style.css")),
        ("status.html", include_str!("page/status.html")),
        ("mail.html", include_str!("page/mail.html")),
        ("run.html", include_str!("page/run.html")),
    ] {
        templates.add_template(name, source).expect("a test renders each template");
    }
    templates
});

#[derive(Serialize)]
struct StatusPage<'a> {
    title: String,
    refresh: bool,
    headline: Headline,
    stale: Option<String>,
    paused: Option<&'a str>,
    troubles: &'a [String],
    firing: Vec<AlertRow<'a>>,
    scenarios: Vec<ScenarioRow<'a>>,
    runs: Vec<RunRow<'a>>,
    mails: Vec<MailRow<'a>>,
    outbox: OutboxView,
    version: &'a str,
    started: When,
    clock: When,
    timezone: &'a str,
}

/// The page at `/`.
pub(super) fn status(view: &StatusView, now: Timestamp, refresh: bool) -> Result<String, minijinja::Error> {
    let watch = Watch::new(now, &view.timezone);
    let headline = headline(view, &watch);
    let age = now.as_second() - view.at.as_second();
    let page = StatusPage {
        title: format!("{} – Plimsoll", headline.title),
        refresh,
        headline,
        stale: (age >= STALE_S).then(|| relative(-age)),
        paused: view.paused.as_deref(),
        troubles: &view.troubles,
        firing: view.firing.iter().map(|alert| alert_row(alert, &watch)).collect(),
        scenarios: view.scenarios.iter().map(|scenario| scenario_row(scenario, &watch)).collect(),
        runs: view.runs.iter().map(|run| run_row(run, &watch)).collect(),
        mails: view.mails.iter().map(|mail| mail_row(mail, &watch)).collect(),
        outbox: view.outbox,
        version: &view.version,
        started: watch.when(view.started_at),
        clock: watch.when(now),
        timezone: &view.timezone,
    };
    TEMPLATES.get_template("status.html")?.render(Serde(page))
}

#[derive(Serialize)]
struct MailPage<'a> {
    title: String,
    refresh: bool,
    mail: MailRow<'a>,
    sent: Option<When>,
    receiver: &'a str,
    message_id: &'a str,
    text: Option<&'a str>,
    html: Option<&'a str>,
}

/// The page of one mail: its HTML in a sandbox that can run, load and submit nothing.
pub(super) fn mail(row: &OutboxMail, bodies: &Bodies, zone: &str) -> Result<String, minijinja::Error> {
    let view = MailView::from(row);
    let watch = Watch::new(view.created, zone);
    let page = MailPage {
        title: format!("{} – Plimsoll", view.subject),
        refresh: false,
        mail: mail_row(&view, &watch),
        sent: view.sent_at.map(|at| watch.when(at)),
        receiver: &row.mail.receiver,
        message_id: &row.mail.message_id,
        text: bodies.text.as_deref(),
        html: bodies.html.as_deref(),
    };
    TEMPLATES.get_template("mail.html")?.render(Serde(page))
}

#[derive(Serialize)]
struct RunPage<'a> {
    title: String,
    refresh: bool,
    verdict: (&'static str, &'static str),
    scenario: &'a str,
    target: &'a str,
    trigger: Trigger,
    due: When,
    started: When,
    ended: When,
    run_id: &'a str,
    text: String,
}

/// The page of one run: what the command line prints of it.
pub(super) fn run(run: &RunSummary, now: Timestamp, zone: &str) -> Result<String, minijinja::Error> {
    let watch = Watch::new(now, zone);
    let verdict = verdict_words(run.verdict);
    let page = RunPage {
        title: format!("{}: {} – Plimsoll", run.scenario, verdict.1),
        refresh: false,
        verdict,
        scenario: &run.scenario,
        target: &run.target,
        trigger: run.trigger,
        due: watch.when(run.due_at),
        started: watch.when(run.started_at),
        ended: watch.when(run.ended_at),
        run_id: &run.run_id,
        text: summary::text(run, false),
    };
    TEMPLATES.get_template("run.html")?.render(Serde(page))
}

#[cfg(test)]
mod tests;
