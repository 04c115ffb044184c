//! Numbers and times as sentences.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    alert::{
        state::{Alert, AlertState, Cause},
        text::clean,
    },
    model::units::{Unit, human, human_seconds},
};

use super::Line;

/// `12.3 %`, with the unit as reports name it.
pub(super) fn amount(value: f64, unit: &str) -> String {
    let unit = match unit {
        "s" => Unit::Seconds,
        "ratio" | "1" => Unit::Ratio,
        "pp" => Unit::Points,
        "B" => Unit::Bytes,
        "1/s" => Unit::PerSecond,
        "B/s" => Unit::BytesPerSecond,
        _ => Unit::Count,
    };
    human(value, unit)
}

/// What is wrong, in one sentence without its full stop.
pub(in crate::alert) fn summary(alert: &Alert) -> String {
    let breach = &alert.breach;
    let what = clean(&breach.what, 300);
    match (breach.cause, breach.value, breach.limit) {
        (Cause::Threshold, Some(value), Some(limit)) => {
            let (measured, allowed) = (amount(value, &breach.unit), amount(limit, &breach.unit));
            format!(
                "{what} does not hold: {measured} measured, limit {allowed}{}",
                distance(value, limit, &breach.unit)
            )
        }
        (Cause::Threshold, Some(value), None) => {
            format!("{what} does not hold: {} measured", amount(value, &breach.unit))
        }
        (Cause::Threshold, None, _) => format!("{what} does not hold"),
        (Cause::NoData, ..) => format!("no data: {what}"),
        (Cause::Invalid, ..) => format!("our measurement is broken: {what}"),
        (Cause::Fail | Cause::Missed, ..) => what,
    }
}

/// How far a value is from its limit, in words, in brackets.
fn distance(value: f64, limit: f64, unit: &str) -> String {
    let side = if value > limit { "above" } else { "below" };
    if unit == "ratio" || unit == "1" {
        let points = human((value - limit).abs() * 100.0, Unit::Count);
        return if points == "0" { String::new() } else { format!(" ({points} percentage points {side})") };
    }
    let ratio = value / limit;
    if !ratio.is_finite() || ratio <= 0.0 || (ratio - 1.0).abs() < 0.01 {
        String::new()
    } else if ratio > 1.0 {
        format!(" ({} times the limit)", human(ratio, Unit::Count))
    } else {
        format!(" ({} of the limit)", human(ratio, Unit::Ratio))
    }
}

/// How it ended, or since when and in how many runs it is broken.
pub(super) fn story(line: Line<'_>, now: Timestamp, zone: &TimeZone) -> String {
    let Line { alert, firing, .. } = line;
    let runs = match (alert.breach.cause, alert.runs) {
        (Cause::Missed, 1) => "1 due time missed".to_owned(),
        (Cause::Missed, runs) => format!("{runs} due times missed"),
        (_, 1) => "in 1 run".to_owned(),
        (_, runs) => format!("in {runs} runs in a row"),
    };
    let since = when(line.since, zone);
    if firing {
        return format!("Since {since}, for {}, {runs}.", span(line.since, now));
    }
    let ended = alert.ended_at.unwrap_or(now);
    let how = match alert.state {
        AlertState::Closed => "No longer watched since",
        AlertState::Firing => "Told to other receivers since",
        AlertState::Pending | AlertState::Resolved => "Over since",
    };
    let mut story = format!("{how} {}; it began at {since} and lasted {}", when(ended, zone), span(line.since, ended));
    // With pauses, they were not in a row.
    let _ = if line.since == alert.since { write!(story, ", {runs}") } else { write!(story, " in all") };
    if let Some(worst) = alert.worst {
        let _ = write!(story, ", at worst {}", amount(worst, &alert.breach.unit));
    }
    story.push('.');
    if alert.state == AlertState::Closed && alert.breach.cause != Cause::Missed {
        story.push_str(" It was still broken when last measured.");
    }
    story
}

fn span(from: Timestamp, to: Timestamp) -> String {
    human_seconds((to.as_second() - from.as_second()).max(0) as f64)
}

/// `2026-11-20 04:05:00 UTC (05:05:00 Europe/Berlin)`.
pub(super) fn when(at: Timestamp, zone: &TimeZone) -> String {
    let utc = at.to_zoned(TimeZone::UTC);
    let text = utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let local = at.to_zoned(zone.clone());
    let name = zone.iana_name().unwrap_or("local");
    if matches!(name, "UTC" | "Etc/UTC") {
        text
    } else if local.date() == utc.date() {
        format!("{text} ({} {name})", local.strftime("%H:%M:%S"))
    } else {
        format!("{text} ({} {name})", local.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

/// `04:05:00 UTC (05:05:00 Europe/Berlin)`, where the day is said elsewhere.
pub(super) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    let text = at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string();
    match zone.iana_name().unwrap_or("local") {
        "UTC" | "Etc/UTC" => text,
        name => format!("{text} ({} {name})", at.to_zoned(zone.clone()).strftime("%H:%M:%S")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let check = |value, limit, unit, expected: &str| assert_eq!(distance(value, limit, unit), expected);
        check(0.123, 0.05, "ratio", " (7.3 percentage points above)");
        check(0.5, 1.0, "ratio", " (50 percentage points below)");
        check(3.2, 2.0, "s", " (1.6 times the limit)");
        check(30.0, 100.0, "1/s", " (30 % of the limit)");
        check(0.0, 0.0, "", "");
        check(5.0, 0.0, "", "");
        check(2.0, 2.0, "s", "");
    }

    #[test]
    fn both_clocks() {
        let at: Timestamp = "2026-11-20T23:30:00Z".parse().expect("a time");
        assert_eq!(when(at, &TimeZone::UTC), "2026-11-20 23:30:00 UTC");
        let berlin = TimeZone::get("Europe/Berlin").expect("bundled");
        assert_eq!(when(at, &berlin), "2026-11-20 23:30:00 UTC (2026-11-21 00:30:00 Europe/Berlin)");
    }
}
