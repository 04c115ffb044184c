//! `plimsoll explain`: what a scenario will do, as a timeline with its sums, before anything is sent.

mod picture;
mod text;

use super::{args::ExplainArgs, check, exit, out, out::say, run};
use crate::{
    daemon::boot,
    load::{
        forecast::{Count, Forecast, Shape, forecast},
        host::{self, Host, Shortage},
    },
    model::{
        address,
        clock::{Clock, SystemClock},
        scenario::Scenario,
    },
    schedule,
    telemetry::{
        catalogue::Family,
        metrics::{Build, Metrics, ScenarioFacts},
    },
};

use jiff::Timestamp;
use serde_json::{Value, json};

/// Scheduled starts that are shown.
const STARTS: usize = 3;

/// All there is to say of a scenario.
struct Explained<'a> {
    scenario: &'a Scenario,
    forecast: Forecast,
    host: Host,
    shortages: Vec<Shortage>,
    /// Lines that it adds to `/metrics` from the start.
    metrics: u64,
    schedule: String,
    starts: Vec<Timestamp>,
}

/// Prints what the scenarios will do; exits with 104 where this machine cannot carry one of them.
pub(super) fn main(args: &ExplainArgs) -> anyhow::Result<u8> {
    let loaded = match check::load(&args.config, &args.overrides.overrides(), args.scenario.as_deref()) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let chosen = match run::choose(args.scenario.as_deref(), args.select.as_deref(), &loaded.settings.scenarios) {
        Ok(chosen) => chosen,
        Err(sentence) => {
            say!("error: {sentence}");
            return Ok(exit::CONFIG);
        }
    };
    // As the run itself will.
    let _stays_as_it_is = host::raise_files().is_err();
    let now = SystemClock.now().wall;
    let explained: Vec<_> = chosen.iter().map(|scenario| explain(scenario, &loaded.settings.policy, now)).collect();
    if args.json {
        let all: Vec<Value> = explained.iter().map(document).collect();
        out::print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    } else {
        let texts: Vec<String> = explained.iter().map(text::of).collect();
        out::print(&texts.join("\n"))?;
    }
    let mut code = 0;
    for each in &explained {
        for shortage in &each.shortages {
            run::say_shortage(&each.scenario.name, shortage);
            code = exit::CONFIG;
        }
    }
    Ok(code)
}

fn explain<'a>(scenario: &'a Scenario, policy: &crate::model::settings::Policy, now: Timestamp) -> Explained<'a> {
    let host = Host::read(address::is_loopback_host(&scenario.target.base.host));
    let forecast = forecast(scenario, policy);
    let plan = schedule::compile(&scenario.schedule, &scenario.name).ok();
    let starts =
        std::iter::successors(plan.as_ref().and_then(|plan| plan.next(now)), |last| plan.as_ref()?.next(*last));
    let schedule = plan.as_ref().map(schedule::Plan::describe).unwrap_or_default();
    let facts = boot::metric_facts(scenario, &schedule);
    let lines = |facts: &[ScenarioFacts]| -> u64 {
        let snapshot = Metrics::new(facts, &[], Build::THIS, now).snapshot(now);
        Family::ALL.iter().map(|family| snapshot.table(*family).len() as u64).sum()
    };
    Explained {
        scenario,
        shortages: host.shortages(&forecast),
        metrics: lines(&[facts]) - lines(&[]),
        host,
        forecast,
        schedule,
        starts: starts.take(STARTS).collect(),
    }
}

fn count(count: Count) -> Value {
    json!({"least": count.least, "most": count.most, "exact": count.is_exact()})
}

fn document(explained: &Explained<'_>) -> Value {
    let Explained { scenario, forecast, host, .. } = explained;
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    let parts = forecast.parts.iter().map(|part| {
        let mut shown = json!({
            "name": part.name,
            "at_s": seconds(part.at),
            "sooner": part.sooner,
            "follows": part.follows,
            "length_s": part.length.map(seconds),
            "iterations": count(part.iterations),
        });
        match part.shape {
            Shape::Rate(from, to) => shown["rate_per_s"] = json!([from, to]),
            Shape::Users(from, to) => shown["users"] = json!([from, to]),
            Shape::Bursts { size, repeat, every } => {
                shown["bursts"] = json!({"size": size, "repeat": repeat, "every_s": every.map(seconds)});
            }
            Shape::Turns(users) => shown["turns"] = json!(users),
        }
        shown
    });
    json!({
        "scenario": &*scenario.name,
        "target": scenario.target.base.to_string(),
        "executor": scenario.executor(),
        "schedule": explained.schedule,
        "next": explained.starts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "parts": parts.collect::<Vec<_>>(),
        "repeat": scenario.repeat.times.max(1),
        "iterations": count(forecast.iterations),
        "requests": count(forecast.requests),
        "duration_s": forecast.duration.map(seconds),
        "grace_s": seconds(forecast.grace),
        "concurrency": forecast.concurrency,
        "connections": forecast.connections,
        "body_bytes_per_iteration": forecast.body_bytes,
        "series": forecast.series,
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
    })
}
