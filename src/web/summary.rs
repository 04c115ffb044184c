//! A finished run as text for a person, on its page and in a terminal: what it came to first, then why, then the
//! figures.

mod found;

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, TableStyle};

use crate::model::{
    run::{GroupStats, RunSummary, ThresholdReport, ThresholdResult, TimeStats, Verdict},
    units::{Unit, human, human_seconds},
};

/// Rows of levels, bursts, tags and the like; the rest is counted.
const MAX_GROUPS: usize = 40;

/// The parts of a limit, in the order in which they happen.
const PARTS: [&str; 5] = ["race", "hold", "over", "bystander", "retry"];

/// The whole summary, ending in a newline. `colour` adds ANSI colours.
pub fn text(run: &RunSummary, colour: bool) -> String {
    let mut out = String::new();
    let paint = Paint(colour);
    let head = paint.verdict(run.verdict, &run.verdict.as_str().replace('_', " ").to_uppercase());
    let _ = writeln!(out, "{head}  {}  on {} in {}", run.scenario, run.target, human_seconds(run.duration_s));
    for reason in &run.reasons {
        let _ = writeln!(out, "      {reason}");
    }
    let _ = writeln!(out);
    let _ = write!(out, "{}", counts(run));
    let _ = write!(out, "{}", judged(run));
    let _ = write!(out, "{}", times(run));
    let _ = write!(out, "{}", run.streams.as_ref().map_or_else(String::new, found::streams));
    if run.steps.len() > 1 {
        let _ = write!(out, "{}", steps(run));
    }
    if !run.groups.is_empty() {
        let _ = write!(out, "{}", groups(run));
    }
    if !run.stats.is_empty() {
        let _ = write!(out, "{}", stats(run));
    }
    let _ = write!(out, "{}", found::search(run));
    let _ = write!(out, "{}", thresholds(run, &paint));
    if let Some(first) = &run.first_failure {
        let _ = writeln!(
            out,
            "\nfirst {} ({}) after {}: {}",
            first.outcome,
            first.reason,
            human_seconds(first.at_s),
            first.request
        );
        let _ = writeln!(out, "      {}", first.detail);
        if !first.body.trim().is_empty() {
            let _ = writeln!(out, "      {}", first.body.lines().next().unwrap_or_default());
        }
    }
    for hint in run.hints.iter().chain(&unlimited(run)) {
        let _ = writeln!(out, "\nhint: {hint}");
    }
    out
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(&self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Pass => "1;32",
            Verdict::Fail => "1;31",
            Verdict::Invalid | Verdict::NoData | Verdict::Interrupted => "1;33",
        };
        self.with(code, text)
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(head.iter().map(ToString::to_string));
    for index in 1..head.len() {
        table.column_mut(index).expect("it has so many columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn show(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text.push('\n');
    text
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { human(part as f64 / whole as f64, Unit::Ratio) }
}

fn named(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    parts.join(", ")
}

fn counts(run: &RunSummary) -> String {
    let mut table = table(&["requests", "count", "share", ""]);
    let dropped: u64 = run.dropped.values().sum();
    let answered = run.outcomes.answered();
    table.column_mut(3).expect("it has four columns").set_cell_alignment(CellAlignment::Left);
    let mut row = |name: &str, count: u64, share: String, why: String| {
        table.add_row(vec![name.to_owned(), count.to_string(), share, why]);
    };
    row("planned", run.planned, String::new(), String::new());
    row("sent", run.sent, share(run.sent, run.planned), String::new());
    let pace =
        if run.outcomes.ok > 1 { format!("{}/s", human(run.throughput_per_s, Unit::Count)) } else { String::new() };
    row("ok", run.outcomes.ok, share(run.outcomes.ok, answered), pace);
    row("rejected", run.outcomes.rejected, share(run.outcomes.rejected, answered), named(&run.rejected));
    row("failed", run.outcomes.failed, share(run.outcomes.failed, answered), named(&run.failed));
    if run.outcomes.interrupted > 0 {
        row("interrupted", run.outcomes.interrupted, String::new(), interrupted(run));
    }
    if dropped > 0 {
        row("dropped", dropped, share(dropped, run.planned), named(&run.dropped));
    }
    if run.polls > 0 {
        row("polls", run.polls, String::new(), "of steps with `until`, beside what was sent".to_owned());
    }
    if run.reconnects > 0 {
        row("reconnects", run.reconnects, String::new(), "sent again: the kept connection was closed".to_owned());
    }
    show(&table)
}

/// Of how many requests the thresholds are, where that is not all of them.
fn judged(run: &RunSummary) -> String {
    let Some(measured) = &run.measured else { return String::new() };
    let groups = run.plan["groups"].as_array().map_or(&[][..], Vec::as_slice);
    let users = groups.iter().chain([&run.plan]).any(|group| group["executor"] == "users");
    let when = match (users, run.plan.get("warmup_s").is_some()) {
        (true, true) => "after the warmup, while all users were there",
        (true, false) => "while all users were there",
        (false, true) => "after the warmup",
        (false, false) => "within the measured window",
    };
    format!("  judged: {} of {} requests ({when})\n\n", measured.sent, run.sent)
}

/// That a run passed although requests failed, because no threshold is about them.
fn unlimited(run: &RunSummary) -> Option<String> {
    let failed = run.measured.as_ref().map_or(run.outcomes, |measured| measured.outcomes).failed;
    let names_them = |threshold: &ThresholdReport| {
        let expr: String = threshold.expr.chars().filter(|c| !c.is_whitespace()).collect();
        let asked_of_all = threshold.implicit && expr.starts_with("count(ok)");
        !asked_of_all && (expr.contains("failed") || expr.contains("(ok"))
    };
    let silent = run.verdict == Verdict::Pass && failed > 0 && run.search.is_none();
    (silent && !run.thresholds.iter().any(names_them)).then(|| {
        let requests = if failed == 1 { "request" } else { "requests" };
        format!("nothing limits `failed`: {failed} {requests} failed and the run passed; add the threshold `rate(failed) < 1%`")
    })
}

fn interrupted(run: &RunSummary) -> String {
    let by = named(&run.interrupted);
    if by.is_empty() { "in no rate".to_owned() } else { format!("{by}, in no rate") }
}

fn times(run: &RunSummary) -> String {
    let mut table = table(&["times", "count", "min", "p50", "p95", "p99", "max"]);
    let mut row = |name: &str, stats: &TimeStats| {
        if stats.count > 0 {
            let figures = [stats.min, stats.p50, stats.p95, stats.p99, stats.max].map(human_seconds);
            table.add_row([vec![name.to_owned(), stats.count.to_string()], figures.to_vec()].concat());
        }
    };
    for (outcome, stats) in &run.latency_s {
        row(&format!("latency {outcome}"), stats);
    }
    if let Some(stats) = run.service_time_s.get("ok") {
        row("service time ok", stats);
    }
    for (timing, stats) in &run.timing_s {
        if timing == "blocked" {
            row("waiting for a connection", stats);
        }
    }
    row("send lag (ours)", &run.send_lag_s);
    if run.steps.len() > 1 {
        row("iteration", &run.iteration_s);
    }
    if table.row_count() == 0 { String::new() } else { show(&table) }
}

/// A row with what became of the requests of a step or group.
fn row(name: &str, group: &GroupStats) -> Vec<String> {
    let ok = group.latency_s.get("ok").copied().unwrap_or_default();
    let outcomes = group.outcomes;
    let counts = [group.sent, outcomes.ok, outcomes.rejected, outcomes.failed].map(|count| count.to_string());
    let quantiles = [ok.p50, ok.p95].map(|time| if ok.count > 0 { human_seconds(time) } else { "-".to_owned() });
    [vec![name.to_owned()], counts.to_vec(), quantiles.to_vec()].concat()
}

const HEAD: [&str; 6] = ["sent", "ok", "rejected", "failed", "p50 ok", "p95 ok"];

fn steps(run: &RunSummary) -> String {
    let mut table = table(&[&["step"][..], &HEAD].concat());
    // In the order of the scenario.
    let order: Vec<&str> =
        run.plan["steps"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let mut named: Vec<_> = run.steps.iter().collect();
    named.sort_by_key(|(name, _)| order.iter().position(|step| step == name));
    for (name, step) in named {
        table.add_row(row(name, step));
    }
    show(&table)
}

/// By part, phase, level and tag, in the order in which things happen; of many, the first ones.
fn groups(run: &RunSummary) -> String {
    let mut table = table(&[&["part of the load"][..], &HEAD].concat());
    let phases: Vec<&str> = run.plan["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["phase"].as_str().or_else(|| group["user"].as_str()))
        .collect();
    let place = |name: &str| {
        let (dimension, value) = name.split_once('=').unwrap_or((name, ""));
        let place = match dimension {
            "part" => PARTS.iter().position(|part| *part == value),
            "phase" | "user" => phases.iter().position(|phase| *phase == value),
            _ => value.parse().ok(),
        };
        (dimension.to_owned(), place.unwrap_or(usize::MAX))
    };
    let mut named: Vec<_> = run.groups.iter().collect();
    named.sort_by_key(|(name, _)| place(name));
    for (name, group) in named.iter().take(MAX_GROUPS) {
        table.add_row(row(name, group));
    }
    let more = named.len().saturating_sub(MAX_GROUPS);
    if more > 0 {
        table.add_row(vec![format!("and {more} more: `--json` has them")]);
    }
    show(&table)
}

fn stats(run: &RunSummary) -> String {
    let mut table = table(&["target", "readings", "first", "last", "min", "max"]);
    for (name, stat) in &run.stats {
        let unit = Unit::named(&stat.unit);
        let figures =
            [stat.first, stat.last, stat.min, stat.max].map(|value| value.map_or("-".to_owned(), |v| human(v, unit)));
        let readings = if stat.failed > 0 {
            format!("{} ({} failed)", stat.samples, stat.failed)
        } else {
            stat.samples.to_string()
        };
        table.add_row([vec![name.clone(), readings], figures.to_vec()].concat());
    }
    show(&table)
}

fn thresholds(run: &RunSummary, paint: &Paint) -> String {
    let mut out = String::new();
    let width = run.thresholds.iter().map(|threshold| threshold.expr.chars().count()).max().unwrap_or_default();
    for threshold in &run.thresholds {
        let mark = match threshold.result {
            ThresholdResult::Pass => paint.with("32", "ok  "),
            ThresholdResult::Warn => paint.with("33", "warn"),
            ThresholdResult::Fail => paint.with("31", "FAIL"),
            ThresholdResult::NoData => paint.with("33", "none"),
            ThresholdResult::Skipped => "skip".to_owned(),
        };
        let ended = run.aborted.as_ref().filter(|aborted| aborted.threshold == threshold.name);
        let note = match ended {
            Some(aborted) => format!("  (ended the run after {})", human_seconds(aborted.at_s)),
            None if threshold.implicit => "  (by default)".to_owned(),
            None => String::new(),
        };
        let _ = writeln!(out, "  {mark}  {:<width$}  {}{note}", threshold.expr, value(threshold));
    }
    out
}

fn value(threshold: &ThresholdReport) -> String {
    threshold.value.map_or_else(|| "no data".to_owned(), |value| human(value, Unit::named(&threshold.unit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::run::{Aborted, OutcomeCounts},
        telemetry::metrics::testing,
    };

    #[test]
    fn a_pass_with_failures_that_nothing_limits_says_so() {
        let check = |verdict, exprs: &[(&str, bool)], expected: bool| {
            let mut run = testing::summary(verdict);
            let one = run.thresholds[0].clone();
            let threshold = |(expr, implicit): &(&str, bool)| ThresholdReport {
                expr: (*expr).to_owned(),
                implicit: *implicit,
                ..one.clone()
            };
            run.thresholds = exprs.iter().map(threshold).collect();
            let shown = text(&run, false);
            assert_eq!(shown.contains("hint: nothing limits `failed`: 1 request failed"), expected, "{shown}");
        };
        let (of_all, rejected) = (("count(ok) > 0", true), ("rate(rejected) <= 5%", false));
        check(Verdict::Pass, &[of_all, rejected], true);
        check(Verdict::Pass, &[rejected, ("p95(latency{outcome=ok}) < 2s", false)], true);
        check(Verdict::Fail, &[of_all, rejected], false);
        check(Verdict::Pass, &[rejected, ("rate(failed) < 1%", false)], false);
        check(Verdict::Pass, &[of_all, ("rate(ok) >= 99%", true)], false);
    }

    #[test]
    fn what_is_judged_is_told_where_it_is_not_all() {
        let mut run = testing::summary(Verdict::Pass);
        let check = |run: &RunSummary, expected: &str| assert_eq!(judged(run), expected);
        check(&run, "");
        run.sent = 413;
        run.measured = Some(crate::model::run::MeasuredSummary { sent: 301, ..Default::default() });
        run.plan["warmup_s"] = 10.into();
        check(&run, "  judged: 301 of 413 requests (after the warmup)\n\n");
        run.plan = serde_json::json!({"executor": "users"});
        check(&run, "  judged: 301 of 413 requests (while all users were there)\n\n");
    }

    #[test]
    fn parts_of_the_load_have_a_row_each_in_the_order_in_which_they_happen() {
        let mut run = testing::summary(Verdict::Fail);
        let of = |sent, rejected| GroupStats {
            sent,
            outcomes: OutcomeCounts { ok: sent - rejected, rejected, ..OutcomeCounts::default() },
            ..GroupStats::default()
        };
        for (name, sent, rejected) in
            [("part=hold", 10, 0), ("part=over", 2, 2), ("part=retry", 1, 0), ("level=10", 7, 0), ("level=9", 5, 0)]
        {
            run.groups.insert(name.to_owned(), of(sent, rejected));
        }
        run.aborted =
            Some(Aborted { threshold: "rate_rejected".into(), expr: "rate(rejected) <= 5%".into(), at_s: 6.0 });
        let shown = text(&run, false);
        let table: Vec<&str> = shown
            .lines()
            .skip_while(|line| !line.contains("part of the load"))
            .take_while(|line| !line.is_empty())
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        part of the load  sent  ok  rejected  failed  p50 ok  p95 ok
        level=9              5   5         0       0       -       -
        level=10             7   7         0       0       -       -
        part=hold           10  10         0       0       -       -
        part=over            2   0         2       0       -       -
        part=retry           1   1         0       0       -       -
        ");
        assert!(shown.contains("(ended the run after 6 s)"), "{shown}");
        (0..50).for_each(|n| drop(run.groups.insert(format!("burst={n}"), of(1, 0))));
        assert!(text(&run, false).contains("and 15 more: `--json` has them"));
    }
}
