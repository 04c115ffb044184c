//! `plimsoll explain`: what a scenario will do, as a timeline with its sums, before anything is sent.

mod document;
mod picture;
mod text;

use super::{args::ExplainArgs, check, exit, out, out::say, run};
use crate::{
    daemon::boot,
    load::{
        forecast::{Forecast, forecast},
        host::{self, Host, Shortage},
    },
    model::{
        address,
        clock::{Clock, SystemClock},
        scenario::Scenario,
    },
    schedule,
    telemetry::{
        catalogue::{Family, Kind},
        metrics::{Build, Metrics, ScenarioFacts},
    },
};

use jiff::Timestamp;
use serde_json::Value;

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
    if args.scenario.is_none() && args.select.is_none() && !args.all {
        return Ok(run::which("explain", &loaded));
    }
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
        let all: Vec<Value> = explained.iter().map(document::of).collect();
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
        // A distribution is a line for each bound and for infinity, a sum and a count.
        let each = |family: &Family| match family.spec().kind {
            Kind::Histogram => family.spec().bounds.len() as u64 + 3,
            _ => 1,
        };
        Family::ALL.iter().map(|family| snapshot.table(*family).len() as u64 * each(family)).sum()
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
