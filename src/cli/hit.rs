//! `plimsoll hit`: load on one URL without a configuration, as ab, hey, wrk and curl are used; counted, judged and shown
//! like any other run.

mod ask;
mod once;

pub(super) use ask::Place;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use super::{
    args::HitArgs,
    exit, out,
    out::say,
    run::{self, Watch},
    samples,
};
use crate::{
    config::{self, Loaded, Options},
    daemon::pause,
    judge::{self, History},
    load::{gate::Gate, run::RunRequest, samples::Samples},
    model::{
        clock::{Clock, SystemClock},
        run::{RunSummary, Trigger},
        scenario::Scenario,
    },
    web::summary,
};

/// Sends what was asked for and prints what it came to.
pub(super) fn main(args: &HitArgs) -> anyhow::Result<u8> {
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err(problems) => {
            say!("{}", problems.trim_end());
            return Ok(exit::CONFIG);
        }
    };
    if let Some(reason) = pause::reason(&loaded.settings.daemon.pause_file) {
        say!("error: all load is paused: {reason}");
        say!("help: `plimsoll resume` releases it");
        return Ok(exit::CONFIG);
    }
    let scenario = loaded.settings.scenarios[0].clone();
    if let Some(code) = run::refuse(&loaded, &loaded.settings.scenarios) {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (samples, teller) = samples::begin(args.samples.as_deref(), args.verbose)?;
    let run = runtime.block_on(send(args, &loaded, &scenario, samples))?;
    let told = teller.finish();
    let to_stdout = args.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if !args.quiet {
        let text = tell(&run, &scenario);
        if to_stdout { say!("{}", text.trim_end()) } else { out::print(&text)? }
    }
    if let Some(path) = &args.json {
        run::write_json(path, std::slice::from_ref(&run), true)?;
    }
    told?;
    Ok(judge::exit_code(run.verdict))
}

/// A configuration of one scenario, made of the arguments; or what is wrong with them, in lines.
fn load(args: &HitArgs) -> Result<Loaded, String> {
    let mut options = Options { policy_file: Some(config::HOST_POLICY.into()), ..Options::default() };
    let bounded = options.policy_file.as_deref().is_some_and(std::path::Path::exists);
    let mut env = BTreeMap::new();
    let asked = ask::configuration(args, bounded, &mut env)?;
    options.env = env;
    config::load_text(&format!("{asked:#}"), &options).map_err(|report| {
        let lines = report.diagnostics.iter().map(|problem| {
            let help = problem.help.as_ref().map_or(String::new(), |help| format!("\nhelp: {help}"));
            format!("error: {}{help}\n", problem.message)
        });
        lines.collect()
    })
}

async fn send(
    args: &HitArgs,
    loaded: &Loaded,
    scenario: &Arc<Scenario>,
    samples: Option<Samples>,
) -> anyhow::Result<RunSummary> {
    let request = RunRequest {
        run_id: uuid::Uuid::now_v7().to_string().into(),
        scenario: scenario.clone(),
        trigger: Trigger::Manual,
        due: SystemClock.now().wall,
        history: Arc::new(History::default()),
        policy: Arc::new(loaded.settings.policy.clone()),
        gate: Gate::new(&loaded.settings.policy),
        redactor: loaded.settings.redact.clone(),
        clock: Arc::new(SystemClock),
        samples,
    };
    let watch = Watch { quiet: args.quiet, plain: args.verbose, pause_file: &loaded.settings.daemon.pause_file };
    let mut run = run::one(&watch, request).await?;
    // Theirs speak of a file.
    if !run.hints.is_empty() {
        run.hints = vec!["if those 503 are a full queue and no outage, add `--reject 503`".to_owned()];
    }
    Ok(run)
}

/// One request with its timings, or the summary of many with their statuses.
fn tell(run: &RunSummary, scenario: &Scenario) -> String {
    if scenario.is_probe() {
        let request = scenario.steps().find_map(|step| step.http());
        let line = request.map(|spec| format!("{} {}{}", spec.method, scenario.target.base, spec.path.source()));
        return once::text(run, &line.unwrap_or_default(), out::colour());
    }
    let mut text = summary::text(run, out::colour());
    if run.status.len() > 1 {
        let counts: Vec<String> = run.status.iter().map(|(status, count)| format!("{status} × {count}")).collect();
        let _ = writeln!(text, "\nstatuses: {}", counts.join(", "));
    }
    text
}
