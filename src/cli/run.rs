//! `plimsoll run`: scenarios now, in this process, with what they came to as the exit code.

use super::out::say;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{args::RunArgs, check, exit, out, progress::Progress, result, select};
use crate::{
    config::Loaded,
    daemon::{control::GOOD_RUNS, pause},
    judge::{self, History},
    load::{
        gate::Gate,
        host::{self, Shortage},
        plan,
        run::{self, RunEvent, RunHandle, RunRequest},
        samples::Samples,
    },
    model::{
        Name,
        clock::{Clock, SystemClock},
        run::{RunSummary, Trigger, Verdict},
        scenario::Scenario,
    },
    store::{Store, rows::Batch},
    web::summary,
};

/// How often the kill switch's file is looked for.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs what was asked for.
pub(super) fn main(args: &RunArgs) -> anyhow::Result<u8> {
    if let Some(code) = result::both_to_stdout(args.json.as_deref(), args.samples.as_deref()) {
        return Ok(code);
    }
    let loaded = match check::load(&args.config, &args.overrides.overrides(), args.scenario.as_deref()) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    if args.scenario.is_none() && args.select.is_none() && !args.all {
        return Ok(which("run", &loaded));
    }
    let chosen = match choose(args.scenario.as_deref(), args.select.as_deref(), &loaded.settings.scenarios) {
        Ok(chosen) => chosen,
        Err(sentence) => {
            say!("error: {sentence}");
            return Ok(exit::CONFIG);
        }
    };
    if let Some(reason) = pause::reason(&loaded.settings.daemon.pause_file) {
        say!("error: all load is paused: {reason}");
        say!("help: `plimsoll resume` releases it");
        return Ok(exit::CONFIG);
    }
    if let Some(code) = refuse(&loaded, &chosen) {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = open_history(&loaded, args.quiet);
    let (json, (samples, teller)) = match result::open(args.json.as_deref(), args.samples.as_deref(), args.verbose) {
        Ok(opened) => opened,
        Err(code) => return Ok(code),
    };
    let runs = runtime.block_on(run_all(args, &loaded, &chosen, store.as_ref(), samples))?;
    let told = teller.finish();
    let written = json.map_or(Ok(()), |json| json.write(&runs, args.scenario.is_some()));
    if args.notify || loaded.settings.alerts.from_cli {
        runtime.block_on(super::notify::tell(&loaded, &runs, store))?;
    }
    let worst = runs.iter().map(|run| run.verdict).max_by_key(|verdict| weight(*verdict)).map_or(0, judge::exit_code);
    Ok(result::code(worst, [written, told]))
}

/// Says what could be named where nothing is; gives the exit code.
pub(super) fn which(command: &str, loaded: &Loaded) -> u8 {
    let names: Vec<&str> = loaded.settings.scenarios.iter().map(|scenario| &*scenario.name).collect();
    say!("error: which scenario? There are: {}", names.join(", "));
    say!("help: `plimsoll {command} NAME`, `--all`, or `--select LABELS` for those whose labels fit");
    exit::USAGE
}

/// Raises the limit of open files, and says what this machine cannot carry all the same.
pub(super) fn refuse(loaded: &Loaded, chosen: &[Arc<Scenario>]) -> Option<u8> {
    let short = shortages(loaded, chosen);
    for (name, shortage) in &short {
        say_shortage(name, shortage);
    }
    (!short.is_empty()).then_some(exit::CONFIG)
}

/// The same for a daemon, which starts where the memory is only short for now.
pub(super) fn refuse_for_good(loaded: &Loaded) -> bool {
    let short = shortages(loaded, &loaded.settings.scenarios);
    for (name, shortage) in &short {
        say_shortage(name, shortage);
    }
    short.iter().any(|(_, shortage)| !shortage.passing)
}

fn shortages(loaded: &Loaded, chosen: &[Arc<Scenario>]) -> Vec<(Name, Shortage)> {
    if let Err(error) = host::raise_files() {
        say!("note: the limit of open files stays as it is: {error}");
    }
    let of = |scenario: &Arc<Scenario>| {
        let short = host::shortages_of(scenario, &loaded.settings.policy);
        short.into_iter().map(|shortage| (scenario.name.clone(), shortage)).collect::<Vec<_>>()
    };
    chosen.iter().flat_map(of).collect()
}

/// What is short, and what to do.
pub(super) fn say_shortage(scenario: &str, shortage: &Shortage) {
    say!("error: this machine cannot carry {scenario}: {}", shortage.what);
    say!("help: {}", shortage.help);
}

/// Of several runs, the exit code is that of the worst.
fn weight(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::NoData => 1,
        Verdict::Invalid => 2,
        Verdict::Fail => 3,
        Verdict::Interrupted => 4,
    }
}

/// The scenarios that the command line names: one, those whose labels fit, or all. The error is a sentence.
pub(super) fn choose(
    scenario: Option<&str>,
    select: Option<&str>,
    all: &[Arc<Scenario>],
) -> Result<Vec<Arc<Scenario>>, String> {
    if let Some(name) = scenario {
        let found = all.iter().find(|scenario| *scenario.name == *name).cloned();
        let known = || all.iter().map(|scenario| &*scenario.name).collect::<Vec<_>>();
        return found.map(|scenario| vec![scenario]).ok_or_else(|| {
            let near = judge::suggest(name, known()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let end = if near.is_empty() { "." } else { "" };
            format!("there is no scenario `{name}`{near}{end} There are: {}", known().join(", "))
        });
    }
    let Some(text) = select else { return Ok(all.to_vec()) };
    let wanted = select::parse(text)?;
    let chosen: Vec<_> = all.iter().filter(|scenario| wanted.holds(&scenario.labels)).cloned().collect();
    if chosen.is_empty() {
        let mut labels: Vec<&str> = all.iter().flat_map(|scenario| &scenario.labels).map(|label| &**label).collect();
        labels.sort_unstable();
        labels.dedup();
        let there = if labels.is_empty() {
            "no scenario has `labels:`".to_owned()
        } else {
            format!("there are: {}", labels.join(", "))
        };
        return Err(format!("no scenario has labels that fit `{text}`; {there}"));
    }
    Ok(chosen)
}

/// The history of runs: in the data directory if it may be written there (a running daemon holds its own), else in the
/// user's state directory; a run without history is still a run.
fn open_history(loaded: &Loaded, quiet: bool) -> Option<Store> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    let mut tried = Vec::new();
    for dir in [Some(loaded.settings.daemon.data_dir.clone()), state.map(|state| own_folder(&state, &loaded.files))]
        .into_iter()
        .flatten()
    {
        match Store::open(&dir, SystemClock.now().wall) {
            Ok(opened) => {
                opened.notes.iter().for_each(|note| say!("note: {note}"));
                return Some(opened.store);
            }
            Err(error) => tried.push(error.to_string()),
        }
    }
    if !quiet {
        say!("note: this run is kept in no history: {}", tried.join("; "));
    }
    None
}

/// Where runs of this configuration are kept below the user's state directory. Each configuration has a folder of its
/// own: scenarios of the same name in two projects have neither baselines nor alerts in common.
fn own_folder(state: &Path, files: &[PathBuf]) -> PathBuf {
    let main = files.first().map(|file| file.canonicalize().unwrap_or_else(|_| file.clone())).unwrap_or_default();
    let digest = Sha256::digest(main.as_os_str().as_encoded_bytes());
    let name = digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    state.join("plimsoll").join(name)
}

async fn run_all(
    args: &RunArgs,
    loaded: &Loaded,
    chosen: &[Arc<Scenario>],
    store: Option<&Store>,
    samples: Option<Samples>,
) -> anyhow::Result<Vec<RunSummary>> {
    let gate = Gate::new(&loaded.settings.policy);
    let mut done = Vec::new();
    for (index, scenario) in chosen.iter().enumerate() {
        let history = history_of(store, scenario).await;
        let request = RunRequest {
            run_id: uuid::Uuid::now_v7().to_string().into(),
            scenario: scenario.clone(),
            trigger: Trigger::Manual,
            due: now(),
            history: Arc::new(history),
            policy: Arc::new(loaded.settings.policy.clone()),
            gate: gate.clone(),
            redactor: loaded.settings.redact.clone(),
            clock: Arc::new(SystemClock),
            samples: samples.clone(),
        };
        let watch = Watch { quiet: args.quiet, plain: args.verbose, pause_file: &loaded.settings.daemon.pause_file };
        let run = one(&watch, request).await?;
        if let Some(store) = store {
            let batch = Batch { runs: vec![run.clone()], ..Batch::default() };
            if let Err(error) = store.commit(batch).await {
                say!("note: this run is kept in no history: {error}");
            }
        }
        if !args.quiet {
            let blank = if index > 0 { "\n" } else { "" };
            let text = format!("{blank}{}", summary::text(&run, out::colour()));
            if args.json.as_deref() == Some(Path::new("-")) { say!("{}", text.trim_end()) } else { out::print(&text)? }
        }
        let stopped = run.was_stopped();
        done.push(run);
        if stopped {
            break;
        }
    }
    Ok(done)
}

async fn history_of(store: Option<&Store>, scenario: &Scenario) -> History {
    let mut history = crate::load::report::history(scenario);
    if let Some(store) = store {
        let name: Name = scenario.name.clone();
        history.previous = store.recent_runs(Some(name.clone()), 1).await.ok().and_then(|runs| runs.into_iter().next());
        history.good = store.last_good(name, GOOD_RUNS as u32).await.unwrap_or_default();
    }
    history
}

/// What goes on beside a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    /// No progress is shown.
    pub(super) quiet: bool,
    /// Progress is shown in lines, since there are others.
    pub(super) plain: bool,
    /// The kill switch.
    pub(super) pause_file: &'a Path,
}

/// One run with its progress. The first signal drains it, the second cuts it; so does the kill switch's file.
pub(super) async fn one(watch: &Watch<'_>, request: RunRequest) -> anyhow::Result<RunSummary> {
    let mut progress = Progress::new(&request.scenario.name, &plan::outline(&request.scenario), watch);
    let gate = request.gate.clone();
    let (events, mut inbox) = mpsc::channel(1024);
    let handle = run::spawn(request, events).context("failed to start a thread for the run")?;
    let mut signals = Signals::new()?;
    let mut looks = tokio::time::interval(LOOK);
    let mut stops = 0u32;
    loop {
        tokio::select! {
            event = inbox.recv() => match event {
                Some(RunEvent::Second { data, active, .. }) => progress.second(&data, active),
                Some(RunEvent::Ended(run)) => {
                    progress.finish();
                    handle.join();
                    return Ok(*run);
                }
                None => anyhow::bail!("the run ended without a result; this is a fault of Plimsoll"),
            },
            () = signals.next() => {
                stops += 1;
                stop(&handle, stops);
            }
            _ = looks.tick() => {
                if !gate.is_paused() && watch.pause_file.exists() {
                    gate.set_paused(true);
                    handle.drain();
                }
            }
        }
    }
}

fn stop(handle: &RunHandle, stops: u32) {
    if stops == 1 {
        say!("stopping: nothing new is sent, what is in flight may finish; once more to cut it");
        handle.drain();
    } else {
        handle.cut();
    }
}

/// SIGINT and SIGTERM. Those that pause and release daemons end no other command.
pub(super) struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        for other in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            // Once they are listened to they do nothing by themselves, for as long as the process lives.
            drop(signal(other)?);
        }
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

fn now() -> Timestamp {
    SystemClock.now().wall
}
