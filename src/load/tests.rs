//! Loads on a made-up target, with tokio's paused clock: hours in milliseconds, and every count exact.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ::http::{Method, StatusCode};
use tokio::task::LocalSet;

use super::{
    executor::execute,
    fake::{Fake, FakeAnswer},
    gate::Gate,
    perform::Transport,
    plan,
    recorder::Recorder,
    stop::Stop,
    user::Shared,
};
use crate::{
    config,
    measure::data::RunData,
    model::{
        clock::{self, SystemClock},
        labels::Labels,
        outcome::DropReason,
        scenario::{Action, Connections, Executor, Group, Load, RequestSpec, Scenario, Step, Task},
        settings::{Policy, Redactor},
        template::{Escape, Template},
    },
};

/// A scenario to be changed: a probe of one target.
pub(crate) fn scenario() -> Scenario {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plimsoll.yaml");
    let text = "version: 1\ntargets: {t: {base_url: \"http://127.0.0.1:9\"}}\n\
                scenarios: {s: {load: {executor: probe}, steps: [{get: /}]}}\n";
    std::fs::write(&path, text).expect("it is writable");
    let options = config::Options { path: Some(path), ..config::Options::default() };
    match config::load(&options) {
        Ok(loaded) => Scenario::clone(&loaded.settings.scenarios[0]),
        Err(report) => panic!("{report}"),
    }
}

/// A step `GET path` by this name.
pub(crate) fn get(name: &str, path: &str) -> Step {
    let path = Template::compile(path, Escape::None).expect("a template");
    Step::new(name, Action::Http(Box::new(RequestSpec::new(Method::GET, path))))
}

/// Users that do one step, `work`, in this load.
pub(crate) fn group(executor: Executor) -> Group {
    Group {
        labels: Labels::default(),
        load: Load {
            executor,
            max_in_flight: 1000,
            connections: Connections::PerVu,
            graceful_stop: Duration::from_secs(30),
            identities: None,
        },
        tasks: vec![Task { name: "".into(), weight: 1, needs: Vec::new(), steps: vec![get("work", "/work")] }],
        think: None,
        on_start: Vec::new(),
        on_stop: Vec::new(),
        cookies: false,
    }
}

/// A target that answers 200 after so many milliseconds.
pub(crate) fn answers_after(ms: u64) -> Fake {
    Fake::new(move |_| answer(ms, 200))
}

/// An answer after so many milliseconds.
pub(crate) fn answer(ms: u64, status: u16) -> FakeAnswer {
    let status = StatusCode::from_u16(status).expect("a status");
    FakeAnswer { after: Duration::from_millis(ms), result: Ok((status, bytes::Bytes::new())) }
}

/// One load on a made-up target.
pub(crate) struct Bench {
    pub(crate) shared: Rc<Shared>,
    pub(crate) fake: Rc<Fake>,
}

impl Bench {
    pub(crate) fn new(group: Group, fake: Fake) -> Self {
        Self::with(group, fake, &Policy { max_rate: 1e9, max_concurrency: 1_000_000, ..Policy::default() })
    }

    pub(crate) fn with(group: Group, fake: Fake, policy: &Policy) -> Self {
        let (group, fake) = (Arc::new(group), Rc::new(fake));
        let mut scenario = scenario();
        scenario.groups = vec![group.clone()];
        let stop = Stop::default();
        let shared = Shared {
            constants: scenario.constants.clone().into(),
            scenario: Arc::new(scenario),
            group,
            literals: crate::http::request::Literals::default(),
            transport: Transport::Fake(fake.clone()),
            probers: Rc::default(),
            samples: None,
            network: None,
            gate: Gate::new(policy),
            recorder: Rc::new(Recorder::default()),
            plan: stop.clone(),
            stop,
            clock: Arc::new(SystemClock),
            redactor: Redactor::new(Vec::new()),
            run_id: "r".into(),
            inherited: RefCell::default(),
            started: Cell::new(clock::mono()),
            metrics: crate::load::metrics::Metrics::default(),
            takes: crate::load::feeds::Takes::default(),
            count: Rc::default(),
        };
        Self { shared: Rc::new(shared), fake }
    }

    /// Runs it to its end, `meanwhile` beside it.
    pub(crate) async fn run_beside(&self, meanwhile: impl Future<Output = ()>) -> Ran {
        let begun = clock::mono();
        self.shared.started.set(begun);
        let grace = plan::group_grace(&self.shared.scenario, &self.shared.group);
        let tasks = LocalSet::new();
        let run = tasks.run_until(execute(&self.shared, begun, grace));
        tokio::pin!(run);
        let (mut meanwhile, mut done) = (Box::pin(meanwhile), false);
        let found = loop {
            tokio::select! {
                found = &mut run => break found.expect("a timer"),
                () = &mut meanwhile, if !done => done = true,
            }
        };
        let taken = self.shared.recorder.take();
        Ran { judged: taken.judged, outside: taken.outside, took: clock::mono() - begun, found }
    }

    pub(crate) async fn run(&self) -> Ran {
        self.run_beside(async {}).await
    }
}

/// What became of it.
pub(crate) struct Ran {
    pub(crate) judged: RunData,
    pub(crate) outside: RunData,
    pub(crate) took: Duration,
    pub(crate) found: Option<serde_json::Value>,
}

impl Ran {
    /// Sent requests by one dimension: `1=5 2=5`.
    pub(crate) fn by(&self, dimension: &str) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for (key, series) in &self.judged.series {
            let value = key.labels.get(dimension).map_or_else(|| "-".to_owned(), ToString::to_string);
            *counts.entry(value).or_insert(0) += series.sent();
        }
        counts.iter().map(|(value, count)| format!("{value}={count}")).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.judged.dropped[reason as usize] + self.outside.dropped[reason as usize]
    }

    /// Sent and dropped, on either side of the window.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.judged.sent() + self.outside.sent(), self.judged.dropped() + self.outside.dropped())
    }
}
