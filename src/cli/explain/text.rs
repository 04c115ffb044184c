//! What a scenario will do, for people (pure).

use std::{fmt::Write as _, time::Duration};

use super::{Explained, picture};
use crate::{
    load::forecast::{Count, Forecast, Part, Shape},
    model::{
        scenario::{BurstGap, Executor},
        units::{Unit, human, human_bytes, human_seconds},
    },
};

/// Rows of the timeline at most.
const ROWS: usize = 40;

/// The whole text, ending in a newline.
pub(super) fn of(explained: &Explained<'_>) -> String {
    let mut out = String::new();
    let (scenario, forecast) = (explained.scenario, &explained.forecast);
    let _ = writeln!(
        out,
        "{}  {} on {} ({})",
        scenario.name,
        scenario.executor(),
        scenario.target.name,
        scenario.target.base
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<9} {text}");
    };
    let starts: Vec<String> = explained.starts.iter().map(|at| format!("{at:.0}")).collect();
    line("schedule", explained.schedule.clone());
    if !starts.is_empty() {
        line("next", starts.join(", "));
    }
    line("length", length(forecast));
    let repeated = match scenario.repeat.times {
        0 | 1 => String::new(),
        times => format!(", all of it {times} times"),
    };
    line("sends", sends(explained) + &repeated);
    for (name, text) in [("again", again(forecast)), ("polls", polls(forecast)), ("hooks", hooks(explained))] {
        if let Some(text) = text {
            line(name, text);
        }
    }
    if forecast.dropped > 0 || forecast.exceeds {
        let cap = if forecast.exceeds { "policy.max_rate is below what it sends" } else { "beyond max_in_flight" };
        line("dropped", format!("at least {} of them: {cap}", forecast.dropped));
    }
    if let Some(bytes) = forecast.body_bytes.filter(|bytes| *bytes > 0) {
        let each = human_bytes(bytes as f64);
        let all = forecast.iterations.most.map(|most| human_bytes(most as f64 * bytes as f64));
        line(
            "bodies",
            format!("{each} an iteration{}", all.map_or(String::new(), |all| format!(", at most {all} in all"))),
        );
    }
    for (name, text) in forecast.parts.iter().filter_map(search).chain(around(explained)) {
        line(name, text);
    }
    line("at once", format!("at most {} on {}", forecast.concurrency, several(forecast.connections, "connection")));
    line(
        "keeps",
        format!(
            "{} in the run, {} of /metrics, about {} of memory",
            several_series(forecast.series),
            several(explained.metrics, "line"),
            human_bytes(forecast.memory as f64)
        ),
    );
    line("host", host(explained));
    let drawn = picture::of(&forecast.parts);
    let _ = write!(out, "{}{drawn}", if drawn.is_empty() && forecast.parts.len() < 2 { "" } else { "\n" });
    if forecast.parts.len() > 1 {
        timeline(&mut out, &forecast.parts);
    }
    for threshold in &scenario.thresholds {
        let note = if threshold.implicit { "  (by default)" } else { "" };
        let _ = writeln!(out, "  must hold: {}{note}", threshold.source);
    }
    for threshold in &scenario.valid_if {
        let _ = writeln!(out, "  valid if:  {}", threshold.source);
    }
    out
}

/// How a search goes: what it tries first is known, and what follows is up to the target.
fn search(part: &Part) -> Option<(&'static str, String)> {
    let Shape::Search(plan) = part.shape else { return None };
    let unit = if plan.whole { " users" } else { "/s" };
    let number = |value| human(value, Unit::Count);
    let (start, max, factor, each) = (number(plan.start), number(plan.max), number(plan.factor), span(plan.measure));
    Some((
        "search",
        format!("{start}{unit} for {each}, then × {factor} until one breaks, {max}{unit} at most; then bisects"),
    ))
}

/// What the network is made to be, and what is done beside the load.
fn around(explained: &Explained<'_>) -> Vec<(&'static str, String)> {
    let (scenario, requests) = (explained.scenario, explained.forecast.requests);
    let mut lines = Vec::new();
    if let Some(network) = &scenario.network {
        let gone = network.abort.as_ref().map_or(String::new(), |abort| {
            let (of, marked) = (u64::from(abort.of), u64::from(abort.marked));
            if requests.is_exact() && requests.least % of == 0 {
                format!(", {} in all", requests.least / of * marked)
            } else {
                format!(", {marked} of each {of} requests")
            }
        });
        lines.push(("network", format!("{network}{gone}")));
    }
    for event in &scenario.events {
        let undo = event.undo.as_ref().map_or(String::new(), |undo| format!(", undone by {} at the end", undo.name));
        lines.push(("event", format!("at {}: {}{undo}", span(event.at), event.act.name)));
    }
    lines
}

fn length(forecast: &Forecast) -> String {
    let grace = span(forecast.grace);
    let Some(length) = forecast.duration else {
        return format!("until the last answer; a request is given {grace} at most");
    };
    let most = if forecast.sooner { "at most " } else { "" };
    match forecast.ends {
        Some(ends) if ends != length.saturating_add(forecast.grace) => {
            format!("{most}{}; with {grace} of grace for each part, over by {}", span(length), span(ends))
        }
        _ => format!("{most}{}, and at most {grace} of grace", span(length)),
    }
}

fn again(forecast: &Forecast) -> Option<String> {
    match forecast.again {
        Some(0) => None,
        Some(most) => Some(format!("at most {most} on top where an answer is not ok")),
        None => Some("any number on top where an answer is not ok".to_owned()),
    }
}

fn polls(forecast: &Forecast) -> Option<String> {
    (forecast.polls != Count::ZERO).then(|| format!("{} more until the answers are as wanted", forecast.polls))
}

fn hooks(explained: &Explained<'_>) -> Option<String> {
    let Explained { scenario, forecast, .. } = explained;
    let lives = scenario.groups.iter().any(|group| !group.on_start.is_empty() || !group.on_stop.is_empty());
    let releases = scenario.groups.iter().any(|group| matches!(group.load.executor, Executor::Limit(_)));
    let kinds = [
        (!scenario.before.is_empty(), "before it"),
        (lives, "when users come and go"),
        (releases, "releases"),
        (!scenario.events.is_empty(), "events"),
        (!scenario.after.is_empty(), "after it"),
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter_map(|(is, kind)| is.then_some(kind)).collect();
    (forecast.hooks != Count::ZERO).then(|| format!("{} beside the load: {}", forecast.hooks, kinds.join(", ")))
}

fn sends(explained: &Explained<'_>) -> String {
    let forecast = &explained.forecast;
    let requests = if forecast.requests == forecast.iterations {
        "as many requests".to_owned()
    } else {
        format!("{} requests where every answer is ok", forecast.requests)
    };
    let iterations = if forecast.iterations.most == Some(1) { "iteration" } else { "iterations" };
    format!("{} {iterations}, {requests}", forecast.iterations)
}

fn host(explained: &Explained<'_>) -> String {
    let host = &explained.host;
    let files = host.files.map_or("any number of".to_owned(), |files| files.to_string());
    let memory = host.memory.map_or(String::new(), |memory| format!(", {} of memory", human_bytes(memory as f64)));
    let end = if explained.shortages.is_empty() { "enough" } else { "not enough, see below" };
    format!("{files} open files, {} local ports{memory}: {end}", host.ports)
}

fn timeline(out: &mut String, parts: &[Part]) {
    let shown = parts.iter().take(ROWS);
    let rows: Vec<[String; 6]> =
        std::iter::once(["part", "from", "latest", "for", "what", "iterations"].map(String::from))
            .chain(shown.map(row))
            .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [name, from, latest, length, what] = [0, 1, 2, 3, 4].map(width);
    // What begins when the plan says so needs no second column.
    let certain = parts.iter().all(|part| part.latest == Some(part.earliest));
    for row in &rows {
        let [part, begins, late, takes, goes_on, count] = row;
        let _ = write!(out, "  {part:<name$}  {begins:>from$}");
        if !certain {
            let _ = write!(out, "  {late:>latest$}");
        }
        let _ = writeln!(out, "  {takes:>length$}  {goes_on:<what$}  {count}");
    }
    if parts.len() > ROWS {
        let _ = writeln!(out, "  … and {} more", parts.len() - ROWS);
    }
    out.push('\n');
}

fn row(part: &Part) -> [String; 6] {
    let (from, latest) = match part.latest {
        Some(latest) => (span(part.earliest), span(latest)),
        None => ("then".to_owned(), "-".to_owned()),
    };
    let length = part.length.map_or("-".to_owned(), span);
    [part.name.clone(), from, latest, length, shape(part.shape), part.iterations.to_string()]
}

fn shape(shape: Shape) -> String {
    let number = |value| human(value, Unit::Count);
    let line = |from: f64, to: f64, unit: &str| {
        if (from - to).abs() < f64::EPSILON {
            format!("{}{unit}", number(from))
        } else {
            format!("{} to {}{unit}", number(from), number(to))
        }
    };
    match shape {
        Shape::Rate(from, to) => line(from, to, "/s"),
        Shape::Users(1.0, 1.0) => "1 user".to_owned(),
        Shape::Users(from, to) => line(from, to, " users"),
        Shape::AtOnce(size) | Shape::Bursts { size, repeat: 1, .. } => format!("{size} at once"),
        Shape::Bursts { size, repeat, gap: BurstGap::Every(every) } => {
            format!("{repeat} × {size}, every {}", span(every))
        }
        Shape::Bursts { size, repeat, gap: BurstGap::Pause(pause) } => {
            format!("{repeat} × {size}, {} apart", span(pause))
        }
        Shape::Search(plan) => line(plan.start, plan.max, if plan.whole { " users" } else { "/s" }) + ", then bisects",
        Shape::Turns(1) => "one by one".to_owned(),
        Shape::Turns(users) => format!("{users} users, one by one"),
    }
}

fn span(time: Duration) -> String {
    human_seconds(time.as_secs_f64())
}

fn several(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn several_series(count: Count) -> String {
    format!("{count} series")
}
