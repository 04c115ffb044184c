//! The text of a mail: what a person needs at 3 a.m., in the order in which it is needed.
//!
//! What broke and how bad, since when, what became of the requests, latency against the last good run, the target's
//! own figures, the first failing sample, whether it was us, what to do, and when the next mail comes. Text and HTML
//! are two templates over one [`view::View`]; the HTML loads nothing from anywhere, and everything in it that came
//! from a target or a configuration is escaped data.

mod pointers;
mod view;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jiff::Timestamp;
use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};

use crate::model::{Name, run::Severity, settings::AlertSettings};

use super::{
    evidence::Dossier,
    facts::{House, ScenarioFacts},
    group::{Incident, MailKind},
    state::{Alert, Cause},
    text::ascii,
};

pub(super) use words::summary;

/// Everything a mail is made of.
#[derive(Debug)]
pub(super) struct Notice<'a> {
    /// What kind of mail.
    pub(super) kind: MailKind,
    /// The thread it belongs to.
    pub(super) incident: &'a Incident,
    /// Name of the target.
    pub(super) target: &'a Name,
    /// The alerts it tells of.
    pub(super) lines: Vec<Line<'a>>,
    /// By scenario.
    pub(super) facts: &'a BTreeMap<Name, ScenarioFacts>,
    /// By scenario.
    pub(super) dossiers: &'a BTreeMap<Name, Dossier>,
    /// When it speaks again.
    pub(super) settings: &'a AlertSettings,
    /// Where it comes from.
    pub(super) house: &'a House,
    /// All load is paused, and why.
    pub(super) paused: Option<&'a str>,
    /// When it is written.
    pub(super) now: Timestamp,
}

/// One alert in a mail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// The alert.
    pub(super) alert: &'a Alert,
    /// When it began, for the first time in the incident if it is over.
    pub(super) since: Timestamp,
    /// It fires, and is told here.
    pub(super) firing: bool,
    /// It was not in the mail before.
    pub(super) fresh: bool,
}

/// A mail's words, the same for every recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// ASCII.
    pub(super) subject: String,
    /// Plain text.
    pub(super) text: String,
    /// HTML.
    pub(super) html: String,
    /// For the `X-Plimsoll-Scenario` field: names, comma-separated.
    pub(super) scenarios: String,
    /// For the `List-Id` field.
    pub(super) target: String,
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_template("mail.txt", include_str!("mail/mail.txt")).expect("tests render it");
    environment.add_template("mail.html", include_str!("mail/mail.html")).expect("tests render it");
    environment
});

/// The subject without its bracket; it stays the same for the whole incident, so that mail programs keep one thread.
pub(super) fn base(target: &Name, alerts: &[&Alert]) -> String {
    let text = match alerts {
        [alert] => {
            let name = match alert.breach.cause {
                Cause::Threshold => &alert.key.alert,
                cause => cause.as_str(),
            };
            format!("{target}: {} {name}", alert.key.scenario)
        }
        [first, rest @ ..] if rest.iter().all(|alert| alert.key.scenario == first.key.scenario) => {
            format!("{target}: {}, {} alerts", first.key.scenario, alerts.len())
        }
        _ => format!("{target}: {} alerts", alerts.len()),
    };
    ascii(&text, 120)
}

/// Writes the mail.
pub(super) fn letter(notice: &Notice<'_>) -> Letter {
    let view = view::View::of(notice);
    let render = |name: &str| {
        let template = TEMPLATES.get_template(name).expect("added above");
        template.render(Serde(&view)).unwrap_or_else(|error| format!("(this mail could not be rendered: {error})"))
    };
    let scenarios: BTreeSet<&str> = notice.lines.iter().map(|line| &*line.alert.key.scenario).collect();
    let scenarios: Vec<&str> = scenarios.into_iter().collect();
    Letter {
        subject: subject(notice),
        text: render("mail.txt"),
        html: render("mail.html"),
        scenarios: ascii(&scenarios.join(", "), 300),
        target: ascii(notice.target, 60),
    }
}

/// `[FIRING critical] base`, with `Re: ` in front from the second mail of the thread on.
fn subject(notice: &Notice<'_>) -> String {
    let word = match notice.kind {
        MailKind::Firing | MailKind::Update | MailKind::Repeat => "FIRING",
        MailKind::Resolved => "RESOLVED",
        MailKind::Closed => "CLOSED",
    };
    let re = if notice.incident.seq > 1 { "Re: " } else { "" };
    format!("{re}[{word} {}] {}", loudest(notice).as_str(), notice.incident.base)
}

/// The highest severity of what fires, or of what fired when all is over.
fn loudest(notice: &Notice<'_>) -> Severity {
    let severity = |line: &Line<'_>| line.alert.breach.severity;
    let firing = notice.lines.iter().filter(|line| line.firing).map(severity).max();
    firing.or_else(|| notice.lines.iter().map(severity).max()).unwrap_or_default()
}
