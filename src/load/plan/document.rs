//! The load as planned, as it stands in the document of a run.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::scenario::{Arrivals, BurstGap, Executor, Group, LevelEnd, Scenario, SearchVariable};

/// The plan of `scenario`: that of its only group, or a list of groups.
pub fn document(scenario: &Scenario) -> Value {
    let mut plan = match &scenario.groups[..] {
        [only] => group(only),
        several => json!({
            "executor": scenario.executor(),
            "groups": several.iter().map(|each| group(each)).collect::<Vec<_>>(),
        }),
    };
    plan["grace_s"] = seconds(super::grace(scenario));
    plan["steps"] = scenario.steps().map(|step| &*step.name).collect();
    if scenario.repeat.times > 1 {
        plan["repeat"] = json!({"times": scenario.repeat.times, "pause_s": scenario.repeat.pause.as_secs_f64()});
    }
    if !scenario.warmup.is_zero() {
        plan["warmup_s"] = seconds(scenario.warmup);
    }
    if let Some(network) = &scenario.network {
        plan["network"] = json!({
            "delay_s": seconds(network.delay), "jitter_s": seconds(network.jitter),
            "down_bytes_per_s": network.down, "up_bytes_per_s": network.up,
            "abort": network.abort.map(|abort| json!({"share": abort.share(), "after_s": seconds(abort.after)})),
        });
    }
    plan
}

fn group(group: &Group) -> Value {
    let mut plan = executor(&group.load.executor);
    for (dimension, value) in group.labels.iter() {
        plan[&**dimension] = json!(&**value);
    }
    plan["executor"] = json!(group.load.executor.as_str());
    plan["max_in_flight"] = json!(group.load.max_in_flight);
    plan
}

fn seconds(time: Duration) -> Value {
    json!(time.as_secs_f64())
}

fn arrivals(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Uniform => "uniform",
        Arrivals::Poisson => "poisson",
    }
}

fn executor(executor: &Executor) -> Value {
    match executor {
        Executor::Probe { attempts } => json!({"attempts": attempts}),
        Executor::PerVuIterations { vus, iterations, together, max_duration } => json!({
            "vus": vus, "iterations": iterations, "together": together, "max_duration_s": seconds(*max_duration),
        }),
        Executor::SharedIterations { vus, iterations, max_duration } => {
            json!({"vus": vus, "iterations": iterations, "max_duration_s": seconds(*max_duration)})
        }
        Executor::ConstantVus { vus, duration } => json!({"vus": vus, "duration_s": seconds(*duration)}),
        Executor::RampingVus { start_vus, stages, graceful_ramp_down } => json!({
            "start_vus": start_vus,
            "stages": stages.iter().map(|stage| json!([seconds(stage.duration), stage.target])).collect::<Vec<_>>(),
            "graceful_ramp_down_s": seconds(*graceful_ramp_down),
        }),
        Executor::SteppedVus { levels, each, together, pause } => {
            let mut plan = json!({"vus": levels, "together": together, "pause_s": seconds(*pause)});
            match each {
                LevelEnd::Iterations { iterations, max_duration } => {
                    plan["iterations"] = json!(iterations);
                    plan["max_duration_s"] = seconds(*max_duration);
                }
                LevelEnd::Duration(duration) => plan["duration_s"] = seconds(*duration),
            }
            plan
        }
        Executor::ConstantArrivalRate { rate, duration, arrivals: spread } => json!({
            "rate_per_s": rate.per_second(), "duration_s": seconds(*duration), "arrivals": arrivals(*spread),
        }),
        Executor::RampingArrivalRate { start_rate, stages, arrivals: spread } => json!({
            "start_rate_per_s": start_rate.per_second(),
            "stages": stages.iter().map(|stage| json!([seconds(stage.duration), stage.target.per_second()])).collect::<Vec<_>>(),
            "arrivals": arrivals(*spread),
        }),
        Executor::Burst { size, repeat, gap } => {
            let (key, gap) = match gap {
                BurstGap::Every(gap) => ("every_s", gap),
                BurstGap::Pause(gap) => ("pause_s", gap),
            };
            json!({"size": size, "repeat": repeat, key: seconds(*gap)})
        }
        Executor::Users { users, spawn_rate, hold_for, ramp_down } => json!({
            "users": users, "spawn_rate_per_s": spawn_rate.per_second(),
            "hold_for_s": seconds(*hold_for), "ramp_down_s": seconds(*ramp_down),
        }),
        Executor::Limit(spec) => json!({
            "hold": spec.hold, "over": spec.over, "free": spec.free, "cycles": spec.cycles, "users": spec.per_user,
            "bystanders": spec.bystanders, "race": spec.race,
        }),
        Executor::Search(spec) => json!({
            "variable": match spec.variable { SearchVariable::Rate => "rate", SearchVariable::Vus => "vus" },
            "start": spec.start, "max": spec.max, "factor": spec.factor, "precision": spec.precision,
            "measure_s": seconds(spec.measure), "cooldown_s": seconds(spec.cooldown),
            "confirm_s": seconds(spec.confirm), "deadline_s": seconds(spec.deadline),
        }),
    }
}
