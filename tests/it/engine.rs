//! The engine through the library: what it says it sent, against what servers say they saw.
//!
//! Counts and orders are asserted to the unit; times with bounds a busy machine keeps. The figures that need a quiet
//! one stand in `docs/performance.md`, with the command that makes them.

mod connections;
mod faults;
mod flow;
mod gzip;
mod h2;
mod ledger;
mod memory;
mod network;
mod open_model;
mod probes;
mod server;
mod sockets;
mod stopping;
mod streams;
mod tls;
mod users;

use std::{sync::Arc, time::Duration};

use plimsoll::{
    config,
    judge::History,
    load::{
        gate::Gate,
        run::{self, RunEvent, RunHandle, RunRequest},
    },
    measure::data::RunData,
    model::{
        clock::{Clock, SystemClock, mono},
        outcome::Outcome,
        run::{RunSummary, Trigger},
        settings::Settings,
    },
    practice::{
        knobs::Knobs,
        target::{self, Target},
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::PATIENCE;

/// A practice target with some knobs set.
pub(crate) async fn practice(change: Value) -> Target {
    let target = target::start(Knobs::ephemeral()).await.expect("a free port");
    target.patch(&change).expect("known knobs");
    target
}

/// A configuration with one target and one scenario `s`: `target` and `scenario` are the rest of their maps, indented
/// by four blanks.
pub(crate) fn settings(url: &str, target: &str, scenario: &str) -> Settings {
    parse(&format!("version: 1\ntargets:\n  t:\n    base_url: {url}\n{target}\nscenarios:\n  s:\n{scenario}\n"))
}

/// A whole configuration.
pub(crate) fn parse(text: &str) -> Settings {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    std::fs::write(&path, text).expect("it is writable");
    let options = config::Options { path: Some(path), ..config::Options::default() };
    match config::load(&options) {
        Ok(loaded) => loaded.settings,
        Err(report) => panic!("{report}\n{text}"),
    }
}

/// A finished run: its document, and the sum of what it told second by second.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) run: RunSummary,
    pub(crate) data: RunData,
    /// Requests in flight, as told each second.
    pub(crate) active: Vec<u64>,
    pub(crate) took: Duration,
}

impl Done {
    /// The reasons of failed and rejected requests as `failed.timeout=3 rejected.status_429=1`, and `ok=`,
    /// `interrupted=` and `dropped.x=` where they are not 0.
    pub(crate) fn ledger(&self) -> String {
        let run = &self.run;
        let mut parts = Vec::new();
        let mut add = |name: String, count: u64| {
            if count > 0 {
                parts.push(format!("{name}={count}"));
            }
        };
        add("ok".to_owned(), run.outcomes.ok);
        run.rejected.iter().for_each(|(reason, count)| add(format!("rejected.{reason}"), *count));
        run.failed.iter().for_each(|(reason, count)| add(format!("failed.{reason}"), *count));
        add("interrupted".to_owned(), run.outcomes.interrupted);
        run.dropped.iter().for_each(|(reason, count)| add(format!("dropped.{reason}"), *count));
        parts.join(" ")
    }

    /// Connections opened and reused.
    pub(crate) fn connections(&self) -> (u64, u64) {
        self.data.total().connections
    }

    /// What holds of every run, whatever happened in it.
    fn check(&self) {
        let (run, counts) = (&self.run, self.run.outcomes);
        let dropped: u64 = run.dropped.values().sum();
        assert_eq!(run.planned, run.sent + dropped, "planned = sent + dropped");
        assert_eq!(run.sent, counts.ok + counts.rejected + counts.failed + counts.interrupted, "{counts:?}");
        assert_eq!(run.rejected.values().sum::<u64>(), counts.rejected, "each rejection has a reason");
        assert_eq!(run.failed.values().sum::<u64>(), counts.failed, "each failure has a reason");
        let late = run.dropped.get("generator").copied().unwrap_or_default();
        assert!((run.sent..=run.sent + late).contains(&run.send_lag_s.count), "what came too late has a lag as well");
        assert_eq!((self.data.sent(), self.data.dropped()), (run.sent, dropped), "the seconds make the whole");
        assert_eq!(self.data.counts(), counts);
        for (index, outcome) in Outcome::ALL.iter().take(3).enumerate() {
            let timed = run.latency_s.get(outcome.as_str()).map_or(0, |times| times.count);
            let all = [counts.ok, counts.rejected, counts.failed][index];
            // What could not be put together for want of a value was not sent, and has none.
            let least = if index == 2 { all - run.failed.get("capture").copied().unwrap_or_default() } else { all };
            assert!((least..=all).contains(&timed), "{outcome} requests have a latency: {timed} of {all}");
        }
    }
}

/// A run that goes on.
pub(crate) struct Going {
    pub(crate) handle: RunHandle,
    pub(crate) gate: Arc<Gate>,
    events: mpsc::Receiver<RunEvent>,
    begun: std::time::Instant,
}

impl Going {
    /// Waits for its end and checks what holds of every run.
    pub(crate) async fn done(mut self) -> Done {
        let (mut data, mut active) = (RunData::default(), Vec::new());
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("a run tells each second");
            match event.expect("a run tells its end") {
                RunEvent::Second { data: second, active: now, .. } => {
                    data.merge(&second);
                    active.push(now);
                }
                RunEvent::Ended(run) => {
                    let done = Done { run: *run, data, active, took: mono() - self.begun };
                    done.check();
                    tokio::task::spawn_blocking(|| self.handle.join()).await.expect("the thread ends");
                    return done;
                }
            }
        }
    }
}

/// Starts the scenario `s`.
pub(crate) fn start(settings: &Settings, history: History) -> Going {
    start_with(settings, history, Arc::new(SystemClock), false)
}

/// The same while the kill switch is on.
pub(crate) fn start_paused(settings: &Settings) -> Going {
    start_with(settings, History::default(), Arc::new(SystemClock), true)
}

/// The same by another clock, or while the kill switch is on.
pub(crate) fn start_with(settings: &Settings, history: History, clock: Arc<dyn Clock>, paused: bool) -> Going {
    let scenario = settings.scenarios.iter().find(|scenario| &*scenario.name == "s").expect("a scenario s").clone();
    let gate = Gate::new(&settings.policy);
    gate.set_paused(paused);
    let request = RunRequest {
        run_id: "test-run".into(),
        scenario,
        trigger: Trigger::Manual,
        due: SystemClock.now().wall,
        history: Arc::new(history),
        policy: Arc::new(settings.policy.clone()),
        gate: gate.clone(),
        redactor: settings.redact.clone(),
        clock,
        samples: None,
    };
    let (sender, events) = mpsc::channel(64);
    let begun = mono();
    Going { handle: run::spawn(request, sender).expect("a thread"), gate, events, begun }
}

/// Runs the scenario `s` to its end.
pub(crate) async fn run(settings: &Settings) -> Done {
    start(settings, History::default()).done().await
}
