//! What the two templates show: finished strings and lists, so that they only lay out.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    alert::{
        evidence::{Baseline, Dossier, Evidence, Quantiles},
        facts::ScenarioFacts,
        group::{MailKind, after},
        state::{AlertState, Cause, instant},
        text::clean,
    },
    model::{
        run::{FailureSample, Verdict},
        units::{Unit, human, human_seconds},
    },
};

use super::{
    Line, Notice, base, loudest,
    pointers::{Command, Link, commands, is_web, links, tunnel},
    words::{amount, clock, story, summary, when},
};

/// Alerts listed one by one; the others are counted.
const LISTED: usize = 40;
/// Scenarios whose run is shown in full.
const SHOWN: usize = 2;
/// Scenarios named whose run is not shown.
const NAMED: usize = 5;

/// A whole mail.
#[derive(Debug, Serialize)]
pub(super) struct View {
    /// What is to be read before everything else, or nothing.
    alarm: Option<String>,
    /// `FIRING`, `STILL FIRING`, `RESOLVED`, `CLOSED`.
    word: &'static str,
    /// Picks the colours: `critical`, `warning`, `info` or `over`.
    tone: &'static str,
    severity: &'static str,
    /// What fires now; the subject stays as it was when the incident opened.
    base: String,
    /// One sentence that says all.
    lead: String,
    firing: Vec<Entry>,
    more_firing: usize,
    over: Vec<Entry>,
    more_over: usize,
    /// Nobody measures it any more.
    closed: Vec<Entry>,
    more_closed: usize,
    runs: Vec<Run>,
    /// Whose run is left out.
    not_shown: Option<String>,
    /// Where commands are to be typed; may be empty.
    host: String,
    commands: Vec<Command>,
    links: Vec<Link>,
    /// How the page is reached from another machine, if only this one reaches it.
    tunnel: Option<String>,
    next: Vec<String>,
    footer: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    scenario: String,
    alert: String,
    severity: &'static str,
    fresh: bool,
    summary: String,
    story: String,
    runbook: Option<String>,
    /// The runbook may be a link.
    linked: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) scenario: String,
    headline: String,
    /// Label and text, in the order in which they are read.
    about: Vec<(&'static str, String)>,
    bars: Vec<Bar>,
    statuses: String,
    latency: Vec<LatencyRow>,
    compared: String,
    stats: Vec<(String, String)>,
    sample: Option<Sample>,
    us: String,
    hints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Bar {
    outcome: &'static str,
    count: u64,
    share: String,
    /// Width in per cent of the bar, at least 1 if there is any.
    width: u64,
    /// The same, in characters.
    ticks: String,
    reasons: String,
}

#[derive(Debug, Serialize)]
struct LatencyRow {
    name: &'static str,
    now: String,
    before: String,
    change: String,
}

#[derive(Debug, Serialize)]
struct Sample {
    headline: String,
    request: String,
    answer: String,
    detail: String,
    body: Vec<String>,
}

impl View {
    pub(super) fn of(notice: &Notice<'_>) -> Self {
        let mut lines = notice.lines.clone();
        lines.sort_by_key(|line| (!line.firing, std::cmp::Reverse(line.alert.breach.severity), &line.alert.key));
        let (firing, ended): (Vec<_>, Vec<_>) = lines.iter().copied().partition(|line| line.firing);
        let unwatched = |line: &Line<'_>| line.alert.state == AlertState::Closed;
        let (closed, over): (Vec<_>, Vec<_>) = ended.into_iter().partition(unwatched);
        let present: Vec<_> = if firing.is_empty() { &lines } else { &firing }.iter().map(|line| line.alert).collect();
        let (runs, not_shown) = runs(notice, &lines);
        let severity = loudest(notice).as_str();
        let (word, tone) = match notice.kind {
            MailKind::Firing | MailKind::Update => ("FIRING", severity),
            MailKind::Repeat => ("STILL FIRING", severity),
            MailKind::Resolved => ("RESOLVED", "over"),
            MailKind::Closed => ("CLOSED", "over"),
        };
        let entries = |lines: &[Line<'_>]| lines.iter().take(LISTED).map(|line| entry(*line, notice)).collect();
        Self {
            alarm: paused(notice, firing.len()).map(|reason| {
                format!(
                    "ALL LOAD IS PAUSED{reason}: nothing is being measured, so this alert cannot resolve. `plimsoll \
                     resume` releases it."
                )
            }),
            word,
            tone,
            severity,
            base: base(notice.target, &present),
            lead: lead(notice, &firing, over.len(), closed.len()),
            more_firing: firing.len().saturating_sub(LISTED),
            more_over: over.len().saturating_sub(LISTED),
            firing: entries(&firing),
            over: entries(&over),
            more_closed: closed.len().saturating_sub(LISTED),
            closed: entries(&closed),
            links: links(notice, &runs),
            runs,
            not_shown,
            host: clean(&notice.house.host, 100),
            commands: commands(notice, &firing),
            tunnel: tunnel(notice),
            next: next(notice, firing.len()),
            footer: format!(
                "Incident {}, mail {} of its thread; measured from {} by Plimsoll {}.",
                notice.incident.id,
                notice.incident.seq,
                clean(&notice.house.host, 100),
                env!("CARGO_PKG_VERSION")
            ),
        }
    }
}

/// Why all load is paused, as ` (reason)`, where somebody waits for something to be over.
fn paused(notice: &Notice<'_>, firing: usize) -> Option<String> {
    let reason = notice.paused.filter(|_| firing > 0 && notice.kind != MailKind::Closed)?;
    let reason = clean(reason.trim(), 200);
    Some(if reason.is_empty() { reason } else { format!(" ({reason})") })
}

/// The first sentence.
fn lead(notice: &Notice<'_>, firing: &[Line<'_>], over: usize, closed: usize) -> String {
    let count = |lines: &[Line<'_>]| {
        let scenarios: BTreeSet<_> = lines.iter().map(|line| &line.alert.key.scenario).collect();
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        format!("{} of {}", plural(lines.len(), "alert"), plural(scenarios.len(), "scenario"))
    };
    let facts = notice.lines.iter().find_map(|line| notice.facts.get(&line.alert.key.scenario));
    let place = facts.filter(|facts| facts.target == *notice.target).map_or_else(
        || clean(notice.target, 100),
        |facts| format!("{} ({})", clean(notice.target, 100), clean(&facts.target_url, 200)),
    );
    match notice.kind {
        MailKind::Closed if !firing.is_empty() => {
            format!("This address was taken off the receiver while {} fired on {place}.", count(firing))
        }
        MailKind::Closed => format!("What fired on {place} is no longer watched."),
        MailKind::Resolved if closed == 0 => format!("Everything that fired on {place} is over."),
        MailKind::Resolved => format!("Nothing fires on {place} any more: {over} over, {closed} no longer watched."),
        _ => {
            let ends = [(over, "over"), (closed, "no longer watched")].into_iter().filter(|(count, _)| *count > 0);
            let ends: Vec<_> = ends.map(|(count, how)| format!("{count} {how}")).collect();
            let semicolon = if ends.is_empty() { "" } else { "; " };
            format!("{} on {place}{semicolon}{}.", count(firing), ends.join(", "))
        }
    }
}

fn entry(line: Line<'_>, notice: &Notice<'_>) -> Entry {
    let alert = line.alert;
    let name = match alert.breach.cause {
        Cause::Threshold => &*alert.key.alert,
        cause => cause.as_str(),
    };
    let runbook = alert.breach.runbook.as_ref().map(|runbook| clean(runbook, 500));
    Entry {
        scenario: clean(&alert.key.scenario, 100),
        alert: clean(name, 100),
        severity: alert.breach.severity.as_str(),
        fresh: line.fresh && notice.kind == MailKind::Update,
        summary: summary(alert),
        story: story(line, notice.now, &notice.house.zone),
        linked: runbook.as_deref().is_some_and(is_web),
        runbook,
    }
}

/// The runs with the newest and worst alerts, and a sentence about those left out.
fn runs(notice: &Notice<'_>, lines: &[Line<'_>]) -> (Vec<Run>, Option<String>) {
    let mut lines: Vec<_> = lines.iter().filter(|line| line.alert.breach.cause != Cause::Missed).collect();
    // What has no margin was not measured at all.
    let margin = |line: &Line<'_>| line.alert.breach.margin.unwrap_or(f64::NEG_INFINITY);
    lines.sort_by(|a, b| {
        let rank = |line: &Line<'_>| (line.firing, line.fresh, line.alert.breach.severity);
        rank(b).cmp(&rank(a)).then(margin(a).total_cmp(&margin(b)))
    });
    let (mut runs, mut left, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for line in lines {
        let scenario = &line.alert.key.scenario;
        let Some(dossier) = notice.dossiers.get(scenario).filter(|_| seen.insert(scenario)) else { continue };
        let evidence = if line.firing { dossier.bad.as_ref() } else { dossier.latest.as_ref() };
        match evidence {
            Some(evidence) if runs.len() < SHOWN => runs.push(run(notice, *line, dossier, evidence)),
            Some(_) => left.push(clean(scenario, 100)),
            None => {}
        }
    }
    let place = if is_web(&notice.house.page_url) { "on the page" } else { "not shown here" };
    let not_shown = match left.as_slice() {
        [] => None,
        [only] => Some(format!("(the run of {only} is {place})")),
        [some @ .., last] if left.len() <= NAMED => {
            Some(format!("(the runs of {} and {last} are {place})", some.join(", ")))
        }
        _ => Some(format!("(the runs of {} and {} more are {place})", left[..NAMED].join(", "), left.len() - NAMED)),
    };
    (runs, not_shown)
}

fn run(notice: &Notice<'_>, line: Line<'_>, dossier: &Dossier, evidence: &Evidence) -> Run {
    let scenario = &line.alert.key.scenario;
    let zone = &notice.house.zone;
    Run {
        id: evidence.run_id.clone(),
        scenario: clean(scenario, 100),
        headline: format!(
            "{}, {} long, verdict {}",
            when(evidence.started_at, zone),
            human_seconds(evidence.duration_s),
            evidence.verdict
        ),
        about: about(notice.facts.get(scenario), evidence),
        bars: bars(evidence),
        statuses: counts(&evidence.status),
        latency: latency(evidence.latency, dossier.good.as_ref()),
        compared: dossier.good.as_ref().map_or_else(
            || "no good run to compare with".to_owned(),
            |good| format!("last good run: {}", when(good.ended_at, zone)),
        ),
        stats: evidence
            .stats
            .iter()
            .map(|stat| (stat.name.clone(), stat_words(&stat.unit, stat.values, stat.failed)))
            .collect(),
        // A resolved alert's run went well; what failed in it is not what the mail is about.
        sample: evidence
            .first_failure
            .as_ref()
            .filter(|_| evidence.verdict != Verdict::Pass)
            .map(|sample| first_failure(sample, evidence.started_at, zone)),
        us: us(evidence),
        hints: evidence.hints.clone(),
    }
}

fn about(facts: Option<&ScenarioFacts>, evidence: &Evidence) -> Vec<(&'static str, String)> {
    let mut about = vec![("Run", clean(&evidence.run_id, 100))];
    if let Some(facts) = facts {
        if let Some(description) = &facts.description {
            about.push(("About", clean(description, 300)));
        }
        if let Some(owner) = &facts.owner {
            about.push(("Owner", clean(owner, 100)));
        }
        about.push(("Target", format!("{}, {}", clean(&facts.target, 100), clean(&facts.target_url, 200))));
        about.push(("Schedule", clean(&facts.schedule, 100)));
    }
    if !evidence.reasons.is_empty() {
        about.push(("Verdict", format!("{}: {}", evidence.verdict, evidence.reasons.join("; "))));
    }
    let dropped: u64 = evidence.dropped.iter().map(|(_, count)| count).sum();
    let mut requests = format!("{} planned, {} sent", evidence.planned, evidence.sent);
    if dropped > 0 {
        let _ = write!(requests, ", {dropped} never sent ({})", counts(&evidence.dropped));
    }
    if evidence.throughput_per_s > 0.0 {
        let _ = write!(requests, ", {} ok", human(evidence.throughput_per_s, Unit::PerSecond));
    }
    about.push(("Requests", requests));
    about
}

fn counts(counts: &[(String, u64)]) -> String {
    counts.iter().map(|(name, count)| format!("{name}: {count}")).collect::<Vec<_>>().join(", ")
}

fn bars(evidence: &Evidence) -> Vec<Bar> {
    let outcomes = evidence.outcomes;
    let total = evidence.sent.max(1);
    let bar = |outcome, count: u64, reasons: &[(String, u64)]| {
        let share = count as f64 / total as f64;
        let width = if count == 0 { 0 } else { ((share * 100.0).round() as u64).max(1) };
        Bar {
            outcome,
            count,
            share: human(share, Unit::Ratio),
            width,
            ticks: "#".repeat(if count == 0 { 0 } else { ((share * 20.0).round() as usize).clamp(1, 20) }),
            reasons: counts(reasons),
        }
    };
    let mut bars = vec![
        bar("ok", outcomes.ok, &[]),
        bar("rejected", outcomes.rejected, &evidence.rejected),
        bar("failed", outcomes.failed, &evidence.failed),
    ];
    if outcomes.interrupted > 0 {
        bars.push(bar("interrupted", outcomes.interrupted, &[]));
    }
    bars
}

fn latency(now: Option<Quantiles>, good: Option<&Baseline>) -> Vec<LatencyRow> {
    let before = good.and_then(|good| good.latency);
    if now.is_none() && before.is_none() {
        return Vec::new();
    }
    let row = |name, of: fn(&Quantiles) -> f64| {
        let (now, before) = (now.as_ref().map(of), before.as_ref().map(of));
        let show = |value: Option<f64>| value.map_or_else(|| "no ok request".to_owned(), human_seconds);
        let change = match (now, before) {
            (Some(now), Some(before)) if before > 0.0 => change(now / before - 1.0),
            _ => String::new(),
        };
        LatencyRow { name, now: show(now), before: before.map_or_else(|| "-".to_owned(), human_seconds), change }
    };
    vec![row("p50", |q| q.p50), row("p95", |q| q.p95), row("p99", |q| q.p99)]
}

/// `+3 %`; what rounds to nothing has no sign.
fn change(ratio: f64) -> String {
    let percent = (ratio * 100.0).round();
    if percent == 0.0 { "0 %".to_owned() } else { format!("{percent:+.0} %") }
}

fn stat_words(unit: &str, [first, last, min, max]: [Option<f64>; 4], failed: u64) -> String {
    let mut words: Vec<String> = [(last, "at the end"), (first, "at the start"), (min, "at least"), (max, "at most")]
        .into_iter()
        .filter_map(|(value, name)| value.map(|value| format!("{} {name}", amount(value, unit))))
        .collect();
    if words.is_empty() {
        words.push("no reading".to_owned());
    }
    if failed > 0 {
        words.push(format!("{failed} reading{} failed", if failed == 1 { "" } else { "s" }));
    }
    words.join(", ")
}

fn first_failure(sample: &FailureSample, started_at: Timestamp, zone: &TimeZone) -> Sample {
    let status = sample.status.map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
    let reason = if sample.reason.is_empty() { String::new() } else { format!(" ({})", sample.reason) };
    Sample {
        headline: format!(
            "First failure at {}, {} into the run, step {}",
            clock(instant(started_at, sample.at_s), zone),
            human_seconds(sample.at_s),
            sample.step
        ),
        request: sample.request.clone(),
        answer: format!("{status}, {}{reason}", sample.outcome),
        detail: sample.detail.clone(),
        body: sample.body.chars().collect::<Vec<_>>().chunks(76).map(|line| line.iter().collect()).collect(),
    }
}

fn us(evidence: &Evidence) -> String {
    let lag =
        evidence.send_lag_p99.map(|lag| format!(", 99 % of requests sent within {} of their time", human_seconds(lag)));
    let figures = format!("CPU {}{}", human(evidence.generator_cpu, Unit::Ratio), lag.unwrap_or_default());
    if evidence.generator_valid {
        format!("No sign of it: the generator kept up ({figures}).")
    } else if evidence.generator_reasons.is_empty() {
        format!("Possibly: the generator did not keep up ({figures}).")
    } else {
        format!("Possibly: {} ({figures}).", evidence.generator_reasons.join("; "))
    }
}

/// When the next mail comes, in sentences.
fn next(notice: &Notice<'_>, firing: usize) -> Vec<String> {
    if firing == 0 || notice.kind == MailKind::Closed {
        return vec!["This is the last mail of this incident.".to_owned()];
    }
    let zone = &notice.house.zone;
    let due = notice
        .lines
        .iter()
        .filter(|line| line.firing && notice.paused.is_none())
        .filter_map(|line| notice.facts.get(&line.alert.key.scenario)?.next_run)
        .filter(|at| *at > notice.now)
        .min();
    let mut next: Vec<String> =
        due.map(|at| format!("The next run is due at {}.", when(at, zone))).into_iter().collect();
    next.push(if notice.settings.send_resolved {
        "A mail in this thread says when all is over.".to_owned()
    } else {
        "No mail says when it is over (send_resolved: false).".to_owned()
    });
    let repeat = when(after(notice.now, notice.settings.repeat_interval), zone);
    let changes = match notice.settings.group_interval {
        // As for runs by hand.
        Duration::ZERO => "Changes before that are told at once".to_owned(),
        spaced => format!("Changes before that are told once in {} at most", human_seconds(spaced.as_secs_f64())),
    };
    next.push(format!("{changes}; if nothing changes, this is told again at {repeat}."));
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_read_well() {
        let check = |ratio, expected: &str| assert_eq!(change(ratio), expected);
        check(-0.003, "0 %");
        check(0.003, "0 %");
        check(0.031, "+3 %");
        check(-0.5, "-50 %");
        let readings = |failed| stat_words("", [Some(1.0), None, None, None], failed);
        assert_eq!(readings(0), "1 at the start");
        assert_eq!(readings(1), "1 at the start, 1 reading failed");
        assert_eq!(readings(2), "1 at the start, 2 readings failed");
    }
}
