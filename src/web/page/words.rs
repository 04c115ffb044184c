//! Instants, counts and the state of the daemon in words.

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{model::run::Verdict, web::view::StatusView};

/// The first thing that is read: a colour, a few words, and a sentence.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Headline {
    /// `good`, `bad`, `warn` or `idle`.
    pub(super) tone: &'static str,
    pub(super) title: String,
    pub(super) detail: String,
}

/// An instant for people: how far away, when exactly, and for machines.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct When {
    pub(super) relative: String,
    pub(super) absolute: String,
    pub(super) iso: String,
}

/// Times as one reader sees them.
pub(super) struct Watch {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl Watch {
    pub(super) fn new(now: Timestamp, zone: &str) -> Self {
        Self { now, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    pub(super) fn when(&self, at: Timestamp) -> When {
        let (zoned, today) = (at.to_zoned(self.zone.clone()), self.now.to_zoned(self.zone.clone()));
        let format = if zoned.date() == today.date() { "%H:%M:%S" } else { "%b %-d, %H:%M" };
        When {
            relative: relative(at.as_second() - self.now.as_second()),
            absolute: zoned.strftime(format).to_string(),
            iso: at.to_string(),
        }
    }
}

/// `in 3 min`, `12 s ago`, `now`.
pub(super) fn relative(seconds: i64) -> String {
    match seconds {
        -1..=1 => "now".to_owned(),
        ..-1 => format!("{} ago", span(seconds.unsigned_abs())),
        2.. => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// `12 s`, `3 min`, `5 h`, `4 days`.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", (seconds + 30) / 60),
        7_200..=172_799 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// `1 alert`, `2 alerts`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(super) fn verdict_words(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("good", "pass"),
        Verdict::Fail => ("bad", "fail"),
        Verdict::Invalid => ("warn", "invalid"),
        Verdict::NoData => ("warn", "no data"),
        Verdict::Interrupted => ("idle", "interrupted"),
    }
}

pub(super) fn headline(view: &StatusView, watch: &Watch) -> Headline {
    let make = |tone, title: String, detail: String| Headline { tone, title, detail };
    if let Some(first) = view.firing.first() {
        let more = match view.firing.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let seconds = watch.now.as_second() - first.since.as_second();
        let detail = format!(
            "{} on {}: {}, for {}{more}",
            first.scenario,
            first.target,
            first.what,
            span(seconds.unsigned_abs())
        );
        return make("bad", format!("{} firing", plural(view.firing.len(), "alert")), detail);
    }
    if let Some(reason) = &view.paused {
        return make("warn", "Paused".to_owned(), format!("No load is sent until it is resumed. Why: {reason}"));
    }
    if let Some(trouble) = view.troubles.first() {
        return make("warn", "Plimsoll itself needs attention".to_owned(), trouble.clone());
    }
    let with = |wanted: &[Verdict]| -> Vec<&str> {
        let last = view
            .scenarios
            .iter()
            .filter(|scenario| scenario.last.as_ref().is_some_and(|run| wanted.contains(&run.verdict)));
        last.map(|scenario| &*scenario.name).collect()
    };
    let failing = with(&[Verdict::Fail]);
    if !failing.is_empty() {
        return make(
            "warn",
            format!("{} failing", plural(failing.len(), "scenario")),
            format!("{}; no alert fires yet", failing.join(", ")),
        );
    }
    let unclear = with(&[Verdict::Invalid, Verdict::NoData]);
    if !unclear.is_empty() {
        return make(
            "warn",
            format!("{} without a result to trust", plural(unclear.len(), "scenario")),
            unclear.join(", "),
        );
    }
    let Some(last) = view.runs.first() else {
        let next = view.scenarios.iter().filter_map(|scenario| scenario.next_run).min();
        let detail = match next {
            Some(next) => format!("The next one is due {}.", watch.when(next).relative),
            None if view.scenarios.is_empty() => "The configuration names no scenario.".to_owned(),
            None => "Nothing is scheduled: start a scenario with its Run now button.".to_owned(),
        };
        return make("idle", "Waiting for the first run".to_owned(), detail);
    };
    let ago = watch.when(last.ended_at).relative;
    make(
        "good",
        "All well".to_owned(),
        format!("{} watched; the last run ended {ago}", plural(view.scenarios.len(), "scenario")),
    )
}
