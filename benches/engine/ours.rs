//! Ourselves, in a process of our own like every other tool.

use std::{path::Path, sync::Arc, time::Duration};

use plimsoll::{
    config,
    judge::History,
    load::{
        gate::Gate,
        host,
        run::{self, RunEvent, RunRequest},
    },
    model::{
        clock::{Clock as _, SystemClock},
        run::{RunSummary, Trigger},
    },
};
use tokio::{runtime::Builder, sync::mpsc};

use crate::{
    measure::{self, Usage},
    peers::Load,
    server::Server,
};

/// A configuration of one scenario `s`, with no cap of a policy in the way.
fn text(url: &str, path: &str, load: &str) -> String {
    format!(
        "version: 1\npolicy: {{allow: ['http://127.0.0.1:*'], max_rate: 1000000/s, max_concurrency: 100000}}\n\
         targets: {{t: {{base_url: '{url}'}}}}\n\
         scenarios: {{s: {{load: {{{load}}}, steps: [{{get: {path}}}]}}}}\n"
    )
}

fn executor(load: Load) -> String {
    match load.rate {
        Some(rate) => format!(
            "executor: constant-arrival-rate, rate: {rate}/s, duration: {}s, max_in_flight: 10000",
            load.seconds
        ),
        None => format!("executor: constant-vus, vus: {}, duration: {}s", load.users, load.seconds),
    }
}

/// One run in a process of its own.
pub(crate) fn measure(server: &Server, load: Load) -> Option<Usage> {
    let text = text(&server.base(load.path), load.path, &executor(load));
    let (summary, usage) = in_child(&text, server.pid())?;
    let latency = summary.latency_s.get("ok");
    Some(Usage {
        requests: summary.outcomes.ok as f64,
        seconds: summary.outcomes.ok as f64 / summary.throughput_per_s,
        lag_p50: summary.send_lag_s.p50,
        lag_p99: summary.send_lag_s.p99,
        latency_p99: latency.map_or(f64::NAN, |times| times.p99),
        ..usage
    })
}

/// Resident MiB of a closed loop of ten minutes, after ten seconds and at its end.
pub(crate) fn flat(server: &Server) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    std::fs::write(&path, text(&server.base("/"), "/", &executor(Load::closed(50, 600, "/")))).expect("it is writable");
    let program = std::env::current_exe().expect("our own path");
    let mut child = std::process::Command::new(program)
        .arg("--run")
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let mut resident = Vec::new();
    while child.try_wait().expect("it can be waited for").is_none() {
        std::thread::sleep(Duration::from_secs(1));
        resident.push(measure::status_kib(child.id(), "VmRSS:") / 1024.0);
    }
    let alive: Vec<f64> = resident.into_iter().filter(|mib| *mib > 0.0).collect();
    (alive[10.min(alive.len() - 1)], alive[alive.len() - 1])
}

/// Runs a configuration in a process of its own.
pub(crate) fn in_child(text: &str, target: u32) -> Option<(RunSummary, Usage)> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join("plimsoll.yaml");
    std::fs::write(&path, text).ok()?;
    let program = std::env::current_exe().ok()?;
    let arguments = ["--run".to_owned(), path.display().to_string()];
    let done = measure::run(&program.display().to_string(), &arguments, target)?;
    Some((serde_json::from_str(&done.text).ok()?, done.usage))
}

/// What that process does: it runs the scenario and prints its document.
pub(crate) fn child(arguments: &[&str]) {
    let ended = at(Path::new(arguments.first().expect("a file")));
    println!("{}", serde_json::to_string(&ended).expect("a document"));
}

/// Runs a configuration in this process.
pub(crate) fn once(text: &str) -> RunSummary {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    std::fs::write(&path, text).expect("it is writable");
    at(&path)
}

fn at(path: &Path) -> RunSummary {
    let settings = match config::load(&config::Options { path: Some(path.to_owned()), ..config::Options::default() }) {
        Ok(loaded) => loaded.settings,
        Err(report) => panic!("{report}"),
    };
    let _told_by_what_fails = host::raise_files();
    let request = RunRequest {
        run_id: "bench".into(),
        scenario: settings.scenarios[0].clone(),
        trigger: Trigger::Manual,
        due: SystemClock.now().wall,
        history: Arc::new(History::default()),
        gate: Gate::new(&settings.policy),
        policy: Arc::new(settings.policy),
        redactor: settings.redact,
        clock: Arc::new(SystemClock),
        samples: None,
    };
    let (sender, mut events) = mpsc::channel(64);
    let handle = run::spawn(request, sender).expect("a thread");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        loop {
            if let RunEvent::Ended(run) = events.recv().await.expect("a run tells its end") {
                return run;
            }
        }
    });
    handle.join();
    *ended
}
