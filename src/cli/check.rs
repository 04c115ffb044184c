//! `plimsoll check` and `plimsoll schema`.

use super::out::say;
use std::{fmt::Write as _, time::Duration};

use super::{args::ConfigArg, exit, out};
use crate::{
    config::{self, Loaded, Options, Overrides},
    load::{
        forecast::{Count, forecast},
        plan::{grace, outline},
    },
    model::{
        scenario::Scenario,
        settings::Policy,
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
        text.push_str(&describe(scenario, &loaded.settings.policy));
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

fn describe(scenario: &Scenario, policy: &Policy) -> String {
    let mut text = String::new();
    let (plan, forecast) = (outline(scenario), forecast(scenario, policy));
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
    let mut load = match forecast.iterations {
        Count { least: 1, most: Some(1) } => "1 iteration".to_owned(),
        Count { most: None, .. } => "iterations as fast as the target answers".to_owned(),
        iterations => format!("{iterations} iterations"),
    };
    match forecast.requests {
        Count { most: Some(0 | 1), .. } => {}
        Count { most: Some(_), .. } => {
            let _ = write!(load, ", {} requests, at most {} at once", forecast.requests, forecast.concurrency);
        }
        Count { most: None, .. } => {
            let _ = write!(load, ", at most {} at once", forecast.concurrency);
        }
    }
    if let Some(rate) = plan.rate_per_s {
        let _ = write!(load, ", {}", human(rate, Unit::PerSecond));
    }
    if let Some(duration) = plan.duration {
        let most = if forecast.sooner { "at most " } else { "" };
        let _ = write!(load, ", {most}{} and at most {} of grace", span(duration), span(grace(scenario)));
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
