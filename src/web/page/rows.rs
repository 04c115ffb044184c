//! The lines of the page's tables, in words.

use serde::Serialize;

use super::words::{Watch, When, grouped, plural, verdict_words};
use crate::{
    model::units::{Unit, human, human_seconds},
    web::view::{AlertView, MailView, RunView, ScenarioView},
};

#[derive(Debug, Serialize)]
pub(super) struct ScenarioRow<'a> {
    pub(super) name: &'a str,
    pub(super) path: String,
    pub(super) description: Option<&'a str>,
    pub(super) target: &'a str,
    pub(super) url: &'a str,
    pub(super) plan: String,
    pub(super) running: Option<String>,
    pub(super) verdict: Option<(&'static str, &'static str)>,
    pub(super) reason: Option<&'a str>,
    pub(super) p95: String,
    pub(super) rejected: String,
    pub(super) rejecting: bool,
    pub(super) last: Option<When>,
    pub(super) next: Option<When>,
}

pub(super) fn scenario_row<'a>(scenario: &'a ScenarioView, watch: &Watch) -> ScenarioRow<'a> {
    let last = scenario.last.as_ref();
    let share = last.and_then(|run| run.rejected_share);
    ScenarioRow {
        name: &scenario.name,
        path: escaped(&scenario.name),
        description: scenario.description.as_deref(),
        target: &scenario.target,
        url: &scenario.url,
        plan: format!("{}, {}", scenario.executor, scenario.schedule),
        running: (scenario.running > 0).then(|| match scenario.in_flight {
            0 => "running".to_owned(),
            waiting => format!("running, {} in flight", grouped(waiting)),
        }),
        verdict: last.map(|run| verdict_words(run.verdict)),
        reason: last.and_then(|run| run.reasons.first()).map(String::as_str),
        p95: last.and_then(|run| run.p95_s).map_or_else(|| "–".to_owned(), human_seconds),
        rejected: share.map_or_else(|| "–".to_owned(), |share| human(share, Unit::Ratio)),
        rejecting: share.is_some_and(|share| share > 0.0),
        last: last.map(|run| watch.when(run.ended_at)),
        next: scenario.next_run.map(|at| watch.when(at)),
    }
}

/// A name as one segment of a path.
pub(super) fn escaped(name: &str) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    name.bytes().map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[derive(Debug, Serialize)]
pub(super) struct RunRow<'a> {
    pub(super) run_id: &'a str,
    pub(super) scenario: &'a str,
    pub(super) verdict: (&'static str, &'static str),
    pub(super) ended: When,
    pub(super) took: String,
    /// Kind, start and width (percent) of each part of the bar.
    pub(super) bar: Vec<(&'static str, f64, f64)>,
    pub(super) words: String,
}

pub(super) fn run_row<'a>(run: &'a RunView, watch: &Watch) -> RunRow<'a> {
    let outcomes = run.outcomes;
    let parts = [
        ("ok", outcomes.ok),
        ("rejected", outcomes.rejected),
        ("failed", outcomes.failed),
        ("interrupted", outcomes.interrupted),
        ("dropped", run.dropped),
    ];
    let total = parts.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
    let mut start = 0.0;
    let mut bar = Vec::new();
    for (kind, count) in parts.iter().filter(|(_, count)| *count > 0) {
        let width = *count as f64 / total * 100.0;
        bar.push((*kind, (start * 100.0_f64).round() / 100.0, (width * 100.0).round() / 100.0));
        start += width;
    }
    let words: Vec<String> = parts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {kind}", grouped(*count)))
        .collect();
    RunRow {
        run_id: &run.run_id,
        scenario: &run.scenario,
        verdict: verdict_words(run.verdict),
        ended: watch.when(run.ended_at),
        took: human_seconds(run.duration_s),
        bar,
        words: if words.is_empty() { "nothing sent".to_owned() } else { words.join(" · ") },
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AlertRow<'a> {
    pub(super) severity: &'static str,
    pub(super) scenario: &'a str,
    pub(super) target: &'a str,
    pub(super) what: &'a str,
    pub(super) value: Option<String>,
    pub(super) limit: Option<String>,
    pub(super) since: When,
    pub(super) runbook: Option<&'a str>,
}

pub(super) fn alert_row<'a>(alert: &'a AlertView, watch: &Watch) -> AlertRow<'a> {
    let units = [Unit::Seconds, Unit::Ratio, Unit::Points, Unit::Bytes, Unit::PerSecond, Unit::BytesPerSecond];
    let unit = units.into_iter().find(|unit| unit.as_str() == alert.unit).unwrap_or(Unit::Count);
    AlertRow {
        severity: alert.severity.as_str(),
        scenario: &alert.scenario,
        target: &alert.target,
        what: &alert.what,
        value: alert.value.map(|value| human(value, unit)),
        limit: alert.limit.map(|limit| human(limit, unit)),
        since: watch.when(alert.since),
        // Only what a browser may follow without running anything.
        runbook: alert.runbook.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://")),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct MailRow<'a> {
    pub(super) id: i64,
    pub(super) subject: &'a str,
    pub(super) recipient: &'a str,
    pub(super) created: When,
    pub(super) tone: &'static str,
    pub(super) state: String,
    pub(super) error: Option<&'a str>,
}

pub(super) fn mail_row<'a>(mail: &'a MailView, watch: &Watch) -> MailRow<'a> {
    let (tone, state) = match mail.state {
        "sent" => ("good", "sent".to_owned()),
        "dead" => ("bad", format!("given up after {}", plural(mail.attempts as usize, "attempt"))),
        _ if mail.attempts == 0 => ("idle", "waiting".to_owned()),
        _ => ("warn", format!("waiting, {}", plural(mail.attempts as usize, "attempt"))),
    };
    let error = mail.last_error.as_deref().filter(|_| mail.state != "sent");
    MailRow {
        id: mail.id,
        subject: &mail.subject,
        recipient: &mail.recipient,
        created: watch.when(mail.created),
        tone,
        state,
        error,
    }
}
