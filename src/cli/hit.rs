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
    result,
    run::{self, Watch},
};
use crate::{
    config::{self, Loaded, Options},
    daemon::pause,
    judge::{self, History},
    load::{gate::Gate, run::RunRequest, samples::Samples},
    model::{
        address,
        clock::{Clock, SystemClock},
        run::{RunSummary, Trigger},
        scenario::Scenario,
    },
    web::summary,
};

/// Sends what was asked for and prints what it came to.
pub(super) fn main(args: &HitArgs) -> anyhow::Result<u8> {
    if let Some(code) = result::both_to_stdout(args.json.as_deref(), args.samples.as_deref()) {
        return Ok(code);
    }
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err((problems, code)) => {
            say!("{}", problems.trim_end());
            return Ok(code);
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
    let (json, (samples, teller)) = match result::open(args.json.as_deref(), args.samples.as_deref(), args.verbose) {
        Ok(opened) => opened,
        Err(code) => return Ok(code),
    };
    let run = runtime.block_on(send(args, &loaded, &scenario, samples))?;
    let told = teller.finish();
    let to_stdout = args.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if !args.quiet {
        let text = tell(&run, &scenario);
        if to_stdout { say!("{}", text.trim_end()) } else { out::print(&text)? }
    }
    let written = json.map_or(Ok(()), |json| json.write(std::slice::from_ref(&run), true));
    Ok(result::code(judge::exit_code(run.verdict), [written, told]))
}

/// A configuration of one scenario, made of the arguments; or what is wrong with them, in lines, and the exit code.
fn load(args: &HitArgs) -> Result<Loaded, (String, u8)> {
    let mut options = Options { policy_file: Some(config::HOST_POLICY.into()), ..Options::default() };
    let bounded = options.policy_file.as_deref().is_some_and(std::path::Path::exists);
    let mut env = BTreeMap::new();
    let place = Place::of(&args.url).map_err(|problem| (problem, exit::USAGE))?;
    if !bounded {
        ask::allowed(&place.base, &args.allow)?;
    }
    let asked = ask::configuration(args, &place, bounded, &mut env).map_err(|problem| (problem, exit::USAGE))?;
    options.env = env;
    // What is left to be refused without a policy is wrong by itself.
    let by_policy = bounded || !args.allow.is_empty() || address::forbidden(&place.base.host).is_some();
    let code = if by_policy { exit::CONFIG } else { exit::USAGE };
    config::load_text(&format!("{asked:#}"), &options).map_err(|report| {
        let lines = report.diagnostics.iter().map(|problem| {
            let help = problem.help.as_ref().map_or(String::new(), |help| format!("\nhelp: {help}"));
            format!("error: {}{help}\n", problem.message)
        });
        (lines.collect(), code)
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
    for hint in &mut run.hints {
        *hint = without_a_file(hint);
    }
    Ok(run)
}

/// A hint that speaks of a file, for those who have none.
fn without_a_file(hint: &str) -> String {
    hint.split_once(", add under targets.")
        .map_or_else(|| hint.to_owned(), |(of_503, _)| format!("{of_503}, add `--reject 503`"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_speaks_of_no_file_and_only_of_503_where_there_were_some() {
        let check = |hint: &str, expected: &str| assert_eq!(without_a_file(hint), expected);
        check("held back 4 times by policy.max_rate", "held back 4 times by policy.max_rate");
        check(
            "4 answers were 503. If that is a full queue, add under targets.a: classify: [{status: 503}]",
            "4 answers were 503. If that is a full queue, add `--reject 503`",
        );
    }
}
