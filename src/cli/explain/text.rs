//! What a scenario will do, for people (pure).

use std::{fmt::Write as _, time::Duration};

use super::{Explained, picture};
use crate::{
    load::forecast::{Part, Shape},
    model::units::{Unit, human, human_bytes, human_seconds},
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
    let next = if starts.is_empty() { String::new() } else { format!(": next {}", starts.join(", ")) };
    line("schedule", format!("{}{next}", explained.schedule));
    let grace = span(forecast.grace);
    line(
        "length",
        match forecast.duration {
            Some(length) => format!(
                "{}{}, and at most {grace} of grace",
                if forecast.parts.iter().any(|part| part.sooner) || ends_sooner(explained) { "at most " } else { "" },
                span(length)
            ),
            None => format!("until the last answer; a request is given {grace} at most"),
        },
    );
    let repeated = match scenario.repeat.times {
        0 | 1 => String::new(),
        times => format!(", all of it {times} times"),
    };
    line("sends", sends(explained) + &repeated);
    if let Some(bytes) = forecast.body_bytes.filter(|bytes| *bytes > 0) {
        let each = human_bytes(bytes as f64);
        let all = forecast.iterations.most.map(|most| human_bytes(most as f64 * bytes as f64));
        line(
            "bodies",
            format!("{each} an iteration{}", all.map_or(String::new(), |all| format!(", at most {all} in all"))),
        );
    }
    for (name, text) in around(explained) {
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
    let _ = write!(out, "\n{drawn}");
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

/// Whether it ends with its iterations, before the time that bounds it.
fn ends_sooner(explained: &Explained<'_>) -> bool {
    let users = explained.forecast.parts.iter().any(|part| matches!(part.shape, Shape::Users(..)));
    users && explained.forecast.iterations.is_exact()
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
    let name = parts.iter().map(|part| part.name.chars().count()).max().unwrap_or_default().max(4);
    let _ = writeln!(out, "  {:<name$}  {:>9}  {:>9}  {:<22}  iterations", "part", "from", "for", "what");
    for part in parts.iter().take(ROWS) {
        let from = match (part.follows, part.sooner) {
            (true, _) => "then".to_owned(),
            (false, sooner) => format!("{}{}", if sooner { "≤ " } else { "" }, span(part.at)),
        };
        let length = part.length.map_or("-".to_owned(), span);
        let shape = shape(part.shape);
        let _ = writeln!(out, "  {:<name$}  {from:>9}  {length:>9}  {shape:<22}  {}", part.name, part.iterations);
    }
    if parts.len() > ROWS {
        let _ = writeln!(out, "  … and {} more", parts.len() - ROWS);
    }
    out.push('\n');
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
        Shape::Bursts { size, repeat, every: Some(every) } => format!("{repeat} × {size}, every {}", span(every)),
        Shape::Bursts { size, repeat, every: None } => format!("{repeat} × {size}, one after the other"),
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

fn several_series(count: u64) -> String {
    format!("{count} series")
}
