//! One request with its timings laid out, each where it began (pure).

use std::fmt::Write as _;

use crate::{
    measure::data::Timing,
    model::{
        outcome::fail,
        run::{RunSummary, ThresholdResult},
        units::{Unit, human, human_seconds},
    },
};

/// Columns of the longest bar.
const WIDTH: f64 = 40.0;

/// The whole text, ending in a newline.
pub(super) fn text(run: &RunSummary, asked: &str, colour: bool) -> String {
    let mut out = String::new();
    let (outcome, code) = outcome(run);
    let outcome = if colour { format!("\x1b[{code}m{outcome}\x1b[0m") } else { outcome };
    let status = run.status.keys().next().map_or(String::new(), |status| format!("  {status}"));
    let _ = writeln!(out, "{outcome}{status}  {asked}");
    // Of a request that was not answered as wanted, the answer says more than the thresholds that it breaches.
    for reason in run.reasons.iter().filter(|_| run.first_failure.is_none()) {
        let _ = writeln!(out, "  {reason}");
    }
    let latency = run.latency_s.values().next().map(|stats| stats.max);
    if let Some(total) = latency.filter(|total| *total > 0.0) {
        out.push('\n');
        let mut begun = 0.0;
        let broken = broken(run, asked.contains(" https://"));
        for timing in Timing::ALL {
            if broken == Some(timing) {
                bar(&mut out, timing, (total - begun).max(0.0), begun / total, total, "  failed");
                break;
            }
            let taken = run.timing_s.get(timing.as_str()).filter(|stats| stats.count > 0).map(|stats| stats.max);
            line(&mut out, timing, taken, begun / total, total);
            begun += taken.unwrap_or_default();
        }
        let _ = writeln!(out, "  {:<9}{:>9}", "total", human_seconds(total));
    }
    let written = run.thresholds.iter().filter(|threshold| !threshold.implicit);
    for threshold in written {
        let mark = if threshold.result == ThresholdResult::Pass { "ok  " } else { "FAIL" };
        let value = threshold.value.map_or("no data".to_owned(), |value| human(value, Unit::named(&threshold.unit)));
        let _ = writeln!(out, "\n  {mark}  {}  {value}", threshold.expr);
    }
    if let Some(first) = &run.first_failure {
        let _ = writeln!(out, "\n{} ({}): {}", first.outcome, first.reason, first.detail);
        for line in first.body.lines().take(5).filter(|line| !line.trim().is_empty()) {
            let _ = writeln!(out, "  {line}");
        }
    }
    for hint in &run.hints {
        let _ = writeln!(out, "\nhint: {hint}");
    }
    out
}

/// The part in which a request ended that got no whole answer: none of its time is in the timings.
fn broken(run: &RunSummary, https: bool) -> Option<Timing> {
    let reason = run.first_failure.as_ref().filter(|first| first.outcome == "failed")?.reason.as_str();
    let missing = |timing: &Timing| {
        (*timing != Timing::Tls || https) && run.timing_s.get(timing.as_str()).is_none_or(|stats| stats.count == 0)
    };
    match reason {
        fail::DNS => Some(Timing::Dns),
        fail::CONNECT => Some(Timing::Connect),
        fail::TLS => Some(Timing::Tls),
        fail::TIMEOUT | fail::RESET | fail::PROTOCOL => {
            [Timing::Connect, Timing::Tls, Timing::Ttfb, Timing::Transfer].into_iter().find(missing)
        }
        _ => None,
    }
}

/// A word for what became of it, and its colour.
fn outcome(run: &RunSummary) -> (String, &'static str) {
    let counts = run.outcomes;
    let dropped = || run.dropped.keys().next().map_or("not sent".to_owned(), |reason| format!("not sent ({reason})"));
    match (counts.ok, counts.rejected, counts.failed, counts.interrupted) {
        (1.., ..) => ("ok".to_owned(), "1;32"),
        (_, 1.., ..) => ("rejected".to_owned(), "1;33"),
        (_, _, 1.., _) => ("failed".to_owned(), "1;31"),
        (_, _, _, 1..) => ("interrupted".to_owned(), "1;33"),
        _ => (dropped(), "1;31"),
    }
}

/// A part that did not happen is left out where it would only confuse: waiting for a pool, and TLS without it.
fn line(out: &mut String, timing: Timing, taken: Option<f64>, begun: f64, total: f64) {
    let Some(taken) = taken else {
        if timing == Timing::Dns {
            let _ = writeln!(out, "  {:<9}{:>9}", timing.as_str(), "-");
        }
        return;
    };
    bar(out, timing, taken, begun, total, "");
}

fn bar(out: &mut String, timing: Timing, taken: f64, begun: f64, total: f64, note: &str) {
    let indent = (begun * WIDTH).round().clamp(0.0, WIDTH) as usize;
    let length = (taken / total * WIDTH).round().clamp(1.0, WIDTH) as usize;
    let bar = "━".repeat(length);
    let _ = writeln!(out, "  {:<9}{:>9}  {}{bar}{note}", timing.as_str(), human_seconds(taken), " ".repeat(indent));
}
