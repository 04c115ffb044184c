//! What a scenario will do, for programs: the words are those of the document of a run, and stay as they are within a
//! schema (pure).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Explained;
use crate::{
    load::{
        forecast::{Count, Part, Shape},
        plan,
    },
    model::scenario::BurstGap,
};

/// The version of the document.
const SCHEMA: &str = "plimsoll/explain/1";

/// The document of one scenario.
pub(super) fn of(explained: &Explained<'_>) -> Value {
    let Explained { scenario, forecast, host, .. } = explained;
    let groups = forecast.groups.iter().map(|(group, planned)| {
        let planned = json!({"iterations": count(planned.iterations), "sent": count(planned.requests)});
        (group.clone(), planned)
    });
    json!({
        "schema": SCHEMA,
        "scenario": &*scenario.name,
        "target": &*scenario.target.name,
        "url": scenario.target.base.to_string(),
        "schedule": explained.schedule,
        "next": explained.starts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "plan": plan::document(scenario),
        "parts": forecast.parts.iter().map(part).collect::<Vec<_>>(),
        "iterations": count(forecast.iterations),
        "planned": count(forecast.requests),
        "again": forecast.again,
        "dropped": {"least": forecast.dropped, "exceeds_max_rate": forecast.exceeds},
        "polls": count(forecast.polls),
        "hooks": count(forecast.hooks),
        "groups": groups.collect::<Map<_, _>>(),
        "duration_s": forecast.duration.map(seconds),
        "ends_s": forecast.ends.map(seconds),
        "grace_s": seconds(forecast.grace),
        "concurrency": forecast.concurrency,
        "connections": forecast.connections,
        "body_bytes_per_iteration": forecast.body_bytes,
        "series": count(forecast.series),
        "metrics": explained.metrics,
        "memory_bytes": forecast.memory,
        "network": scenario.network.map(|network| network.to_string()),
        "events": scenario.events.iter().map(|event| json!({
            "at_s": seconds(event.at), "do": &*event.act.name,
            "undo": event.undo.as_ref().map(|undo| undo.name.to_string()),
        })).collect::<Vec<_>>(),
        "thresholds": scenario.thresholds.iter().map(|threshold| json!({
            "expr": &*threshold.source, "implicit": threshold.implicit,
        })).collect::<Vec<_>>(),
        "host": {
            "open_files": host.files, "local_ports": host.ports, "memory_bytes": host.memory,
        },
        "cannot": explained.shortages.iter().map(|shortage| json!({
            "what": shortage.what, "help": shortage.help,
        })).collect::<Vec<_>>(),
        "config_hash": scenario.config_hash,
        "version": env!("CARGO_PKG_VERSION"),
        "seed": scenario.seed,
    })
}

fn part(part: &Part) -> Value {
    let mut shown = json!({
        "name": part.name,
        "at_s": seconds(part.at),
        "earliest_s": seconds(part.earliest),
        "latest_s": part.latest.map(seconds),
        "length_s": part.length.map(seconds),
        "iterations": count(part.iterations),
    });
    match part.shape {
        Shape::Rate(from, to) => shown["rate_per_s"] = json!([from, to]),
        Shape::Users(from, to) => shown["users"] = json!([from, to]),
        Shape::Bursts { size, repeat, gap } => {
            let (key, gap) = match gap {
                BurstGap::Every(gap) => ("every_s", gap),
                BurstGap::Pause(gap) => ("pause_s", gap),
            };
            shown["bursts"] = json!({"size": size, "repeat": repeat, key: seconds(gap)});
        }
        Shape::Turns(users) => shown["turns"] = json!(users),
        Shape::AtOnce(size) => shown["at_once"] = json!(size),
        Shape::Search(plan) => {
            shown[if plan.whole { "users" } else { "rate_per_s" }] = json!([plan.start, plan.max]);
            shown["search"] = json!({"factor": plan.factor, "measure_s": seconds(plan.measure), "cooldown_s": seconds(plan.cooldown)});
        }
    }
    shown
}

fn count(count: Count) -> Value {
    json!({"least": count.least, "most": count.most, "exact": count.is_exact()})
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
