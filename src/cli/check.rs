//! `plimsoll check` and `plimsoll schema`.

use super::out::say;
use std::{fmt::Write as _, time::Duration};

use super::{args::ConfigArg, exit, out};
use crate::{
    config::{self, Loaded, Options, Overrides},
    load::plan::{grace, outline},
    model::{
        scenario::{LoopOver, Reaction, Scenario, Step},
        units::{Unit, human, human_seconds},
    },
};

/// Loads a configuration, or says on standard error everything that is wrong with it.
pub(super) fn load(config: &ConfigArg, overrides: &Overrides, scenario: Option<&str>) -> Result<Loaded, u8> {
    let options = Options::from_process(config.config.clone());
    let overrides = Overrides { environment: config.environment.clone(), ..overrides.clone() };
    match config::load_with(&options, &overrides, scenario) {
        Ok(loaded) => {
            if loaded.warnings.warnings() > 0 {
                say!("{}", loaded.warnings.to_string(out::colour_err()).trim_end());
            }
            Ok(loaded)
        }
        Err(report) => {
            say!("{}", report.to_string(out::colour_err()).trim_end());
            Err(exit::CONFIG)
        }
    }
}

/// Prints what the configuration would do, or what is wrong with it.
pub(super) fn check(args: &ConfigArg) -> anyhow::Result<u8> {
    let loaded = match load(args, &Overrides::default(), None) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let mut text = String::new();
    for scenario in &loaded.settings.scenarios {
        text.push_str(&describe(scenario));
    }
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let warnings = match loaded.warnings.warnings() {
        0 => String::new(),
        some => format!(", {}", several(some as u64, "warning")),
    };
    let scenarios = several(loaded.settings.scenarios.len() as u64, "scenario");
    let _ = writeln!(text, "ok: {scenarios} in {}{warnings}", files.join(", "));
    out::print(&text)?;
    Ok(0)
}

/// `1 scenario`, `2 scenarios`.
fn several(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// From a minute on in minutes, so that a grace of one reads like the duration beside it: `1m00s`, `10m00s`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if (60.0..120.0).contains(&seconds.round()) {
        format!("1m{:02}s", seconds.round() as u64 - 60)
    } else {
        human_seconds(seconds)
    }
}

/// Requests that a step sends at most in an iteration, but for the polls of an `until`; `None` where answers decide.
fn most_requests(step: &Step) -> Option<u64> {
    let rounds = match step.repeat.as_ref().map(|repeat| &repeat.over) {
        None => 1,
        Some(LoopOver::Values(values)) => values.len() as u64,
        Some(LoopOver::Times(_, most)) => u64::from(*most),
        Some(LoopOver::Variable(_)) => return None,
    };
    let tries = [&step.on_rejected, &step.on_failed].map(|reaction| match reaction {
        Reaction::Retry(retry) => u64::from(retry.max),
        Reaction::Stop | Reaction::Continue => 0,
    });
    Some(rounds.saturating_mul(tries[0].max(tries[1]).saturating_add(1)))
}

fn describe(scenario: &Scenario) -> String {
    let mut text = String::new();
    let plan = outline(scenario);
    let when =
        crate::schedule::compile(&scenario.schedule, &scenario.name).map(|plan| plan.describe()).unwrap_or_default();
    let _ = writeln!(
        text,
        "{}  {when}, {} on {} ({})",
        scenario.name,
        scenario.executor(),
        scenario.target.name,
        scenario.target.base
    );
    let mut load = match plan.iterations {
        Some(iterations) => several(iterations, "iteration"),
        None => "iterations as fast as the target answers".to_owned(),
    };
    let each: Option<u64> = scenario.steps().map(most_requests).sum();
    match plan.iterations.zip(each).map(|(iterations, each)| iterations.saturating_mul(each)) {
        Some(0 | 1) => {}
        Some(requests) => {
            let _ = write!(load, ", at most {requests} requests, {} at once", plan.concurrency);
        }
        None => {
            let _ = write!(load, ", at most {} at once", plan.concurrency);
        }
    }
    if let Some(rate) = plan.rate_per_s {
        let _ = write!(load, ", {}", human(rate, Unit::PerSecond));
    }
    if let Some(duration) = plan.duration {
        let _ = write!(load, ", {} and at most {} of grace", span(duration), span(grace(scenario)));
    }
    let _ = writeln!(text, "  {load}");
    for threshold in &scenario.thresholds {
        let note = if threshold.implicit { "  (by default)" } else { "" };
        let _ = writeln!(text, "  must hold: {}{note}", threshold.source);
    }
    for threshold in &scenario.valid_if {
        let _ = writeln!(text, "  valid if:  {}", threshold.source);
    }
    text.push('\n');
    text
}

/// Prints the JSON Schema.
pub(super) fn schema() -> anyhow::Result<u8> {
    out::print(&format!("{:#}\n", config::json_schema()))?;
    Ok(0)
}
