//! Whole scenarios, as they are written: what `explain` says of each, and what its run does on a made-up target. The clock
//! waits for nobody, so that hours pass in milliseconds.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, rc::Rc, sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    config::{self, Loaded, Options, Overrides},
    judge,
    load::{
        fake::{Fake, FakeAnswer},
        forecast::{Count, Forecast, forecast},
        run::tests::carried_out,
        tests::answer,
    },
    model::{
        run::RunSummary,
        scenario::{Action, Executor, Group, RequestSpec, Scenario, Step},
        settings::Policy,
        template::Template,
    },
};

/// Everything that the guides ask an answer for.
fn body() -> bytes::Bytes {
    json!({"status": "done", "id": 1, "session_id": "s", "model": "m"}).to_string().into()
}

fn step(step: &Step) -> Step {
    let mut step = step.clone();
    if matches!(step.action, Action::Probe(_)) {
        let request = RequestSpec::new(::http::Method::GET, Template::literal("/"));
        step.action = Action::Http(Box::new(request));
    }
    (step.stream, step.ok) = (None, None);
    step.expect.clear();
    for capture in &mut step.capture {
        (capture.required, capture.default) = (false, Some("kept".into()));
    }
    step
}

/// What counts nothing and asks more of the target than a made-up one has is left away.
fn tamed(scenario: &Scenario) -> Scenario {
    let steps = |steps: &[Step]| steps.iter().map(step).collect::<Vec<_>>();
    let group = |group: &Arc<Group>| {
        let mut group = Group::clone(group);
        for task in &mut group.tasks {
            task.steps = steps(&task.steps);
        }
        (group.on_start, group.on_stop) = (steps(&group.on_start), steps(&group.on_stop));
        match &mut group.load.executor {
            Executor::Limit(spec) => (spec.acquire, spec.release) = (steps(&spec.acquire), steps(&spec.release)),
            Executor::Search(spec) => {
                spec.sustain = [judge::parse_threshold("rate(ok) >= 95%").expect("a threshold")].into();
            }
            _ => {}
        }
        Arc::new(group)
    };
    let mut target = (*scenario.target).clone();
    target.stats = None;
    target.classify.clear();
    target.http.tls = crate::model::scenario::TlsOptions::default();
    let mut scenario = Scenario {
        target: Arc::new(target),
        groups: scenario.groups.iter().map(group).collect(),
        before: steps(&scenario.before),
        after: steps(&scenario.after),
        recovery: None,
        ..scenario.clone()
    };
    scenario.thresholds.clear();
    scenario.require.clear();
    scenario.metrics.clear();
    scenario
}

/// A scenario that was carried out.
struct Carried {
    foretold: Forecast,
    run: RunSummary,
    series: u64,
    peak: u64,
}

impl Carried {
    async fn out(scenario: &Scenario, policy: &Policy, fake: Fake) -> Self {
        let foretold = forecast(scenario, policy);
        let fake = Rc::new(fake);
        let (run, series) = carried_out(scenario.clone(), policy.clone(), &fake).await;
        Self { foretold, run, series, peak: fake.peak() }
    }

    /// What does not agree, as sentences.
    fn quarrels(&self) -> Vec<String> {
        let Self { foretold, run, .. } = self;
        let dropped = run.planned - run.sent;
        let iterations = run.iterations.completed + run.iterations.failed + run.iterations.interrupted;
        // What finds no slot is no iteration to the document; what the gate drops is one.
        let unbegun = dropped - run.dropped.get("policy").copied().unwrap_or_default();
        let counts = [
            ("iterations", foretold.iterations, iterations + unbegun),
            ("requests", foretold.requests, run.planned),
            ("polls", foretold.polls, run.polls),
            ("hooks", foretold.hooks, run.hooks.ok + run.hooks.failed),
            ("series", foretold.series, self.series),
            ("at once", Count::at_most(foretold.concurrency), self.peak),
            ("dropped", Count { least: foretold.dropped, most: None }, dropped),
        ];
        let wrong = |what: &str, foretold: Count, counted: u64| {
            (!foretold.covers(counted)).then(|| format!("{foretold} {what}, not {counted}"))
        };
        let mut found: Vec<_> = counts.into_iter().filter_map(|(what, of, count)| wrong(what, of, count)).collect();
        for label in run.groups.keys().filter(|label| !foretold.groups.contains_key(*label)) {
            found.push(format!("{label} was not foretold"));
        }
        for (label, planned) in &foretold.groups {
            let counted = run.groups.get(label).cloned().unwrap_or_default();
            let iterations = counted.iterations.completed + counted.iterations.failed;
            found.extend(wrong(&format!("requests of {label}"), planned.requests, counted.sent));
            found.extend(wrong(&format!("iterations of {label}"), planned.iterations, iterations));
        }
        if let Some(ends) = foretold.ends.filter(|_| foretold.hooks == Count::ZERO) {
            // The simulated clock goes in whole milliseconds.
            if run.duration_s > (ends + Duration::from_millis(10)).as_secs_f64() {
                found.push(format!("over by {ends:?}, not {}", run.duration_s));
            }
        }
        found
    }
}

/// Answers everything after so many milliseconds.
fn patient(ms: u64) -> Fake {
    Fake::new(move |_| FakeAnswer { result: Ok((::http::StatusCode::OK, body())), ..answer(ms, 200) })
}

/// Fails in every way there is, now and then.
fn moody(ms: u64) -> Fake {
    Fake::new(move |n| match n % 7 {
        1 => answer(ms / 10, 500),
        3 => answer(ms, 429),
        5 => FakeAnswer { result: Err("reset"), ..answer(ms, 200) },
        _ => FakeAnswer { result: Ok((::http::StatusCode::OK, body())), ..answer(ms, 200) },
    })
}

/// Carries out all scenarios, and says what was foretold of each.
async fn all_agree(loaded: &Loaded, ms: u64) -> String {
    let (mut said, mut quarrels) = (String::new(), String::new());
    for scenario in &loaded.settings.scenarios {
        let (name, scenario) = (&scenario.name, tamed(scenario));
        let carried = Carried::out(&scenario, &loaded.settings.policy, patient(ms)).await;
        for quarrel in carried.quarrels() {
            let _ = writeln!(quarrels, "{name}: {quarrel}");
        }
        let Forecast { iterations, requests, concurrency, series, .. } = &carried.foretold;
        let _ = writeln!(said, "{name}: {iterations} / {requests}; {concurrency} at once; {series} series");
    }
    assert!(quarrels.is_empty(), "{quarrels}");
    said
}

fn load(path: &Path, overrides: &Overrides, env: BTreeMap<String, String>) -> Loaded {
    let options = Options { path: Some(path.to_owned()), env, ..Options::default() };
    config::load_with(&options, overrides, None).unwrap_or_else(|report| panic!("{report}"))
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_vocabulary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(root.join("tests/it/vocabulary")).expect("there") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    for (file, text) in [
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("c.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("k.pem", "-----BEGIN PRIVATE KEY-----\n"),
        ("smtp", "secret"),
    ] {
        std::fs::write(folder.path().join(file), text).expect("writable");
    }
    let smtp = folder.path().join("smtp").display().to_string();
    let overrides = Overrides { set: vec![("secrets.smtp.from_file".into(), smtp)], ..Overrides::default() };
    let env = BTreeMap::from([("OLLAMA_TOKEN".to_owned(), "value".to_owned())]);
    let loaded = load(&folder.path().join("plimsoll.yaml"), &overrides, env);
    insta::assert_snapshot!(all_agree(&loaded, 500).await, @r"
    health: 1 / 1; 1 at once; 1 series
    ten_at_once: 10 / 10; 10 at once; 1 series
    queue_full: 10 / 10; 10 at once; 1 series
    gradual: 86 / 86; 50 at once; 5 series
    sustained: 3000 / 3000; 500 at once; 1 series
    bursts: 500 / 500; 350 at once; 10 series
    ten_agents_x_50: 500 / 500; 10 at once; 1 series
    mixed_agents: 472 to 532 / 472 to 532; 66 at once; 13 series
    fir_workflow: 50 / 350; 10 at once; 35 series
    thousand_users: 1000 to 432000 / 1000 to 432000; 1000 at once; at most 6 series
    limit_10: 12 / 12; 11 at once; 3 series
    recovery: 510 to 120711 / 510 to 120711; 150 at once; 3 series
    breaking_point: 150 to 3600061 / 150 to 3600061; 1000 at once; 1 series
    soak: 600 / 600; 11 at once; 1 series
    llm_stream: 300 / 300; 61 at once; 1 series
    ");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let quick = Overrides { environment: Some("quick".into()), ..Overrides::default() };
    let mut said = String::new();
    for name in ["afirgen", "gremlinsai", "matrixbot", "ollama-guard-proxy", "semantic-cache"] {
        let loaded = load(&root.join(format!("{name}.yaml")), &quick, BTreeMap::new());
        let _ = write!(said, "{name}\n{}", all_agree(&loaded, 200).await);
    }
    insta::assert_snapshot!(said, @r"
    afirgen
    health: 1 / 1; 1 at once; 1 series
    ten_workflows: 10 / 80; 10 at once; 8 series
    performance: 1 / 8; 1 at once; 8 series
    high_load: 15 / 120; 15 at once; 8 series
    stress: 30 / 170; 30 at once; 9 series
    sustained: 50 / 400; 10 at once; 40 series
    table: 51 / 408; 20 at once; 40 series
    gremlinsai
    alive: 1 / 1; 1 at once; 1 series
    thousand_users: 100 to 12600 / 100 to 25200; 100 at once; at most 10 series
    matrixbot
    alive: 1 / 1; 1 at once; 1 series
    fifty_users: 50 / 200; 50 at once; 3 series
    sustained: 10 to 1210 / 40 to 4840; 10 at once; 3 series
    bursts: 100 / 300; 20 at once; 15 series
    mixed: 20 / 105 to 130; 20 at once; 6 series
    global_limit: 22 / 22; 21 at once; 3 series
    race: 62 / 62; 40 at once; 4 series
    user_limit: 6 / 6; 5 at once; 4 series
    cycles: 1000 / 2000; 10 at once; 2 series
    idle_timeout: 1 / 2; 1 at once; 2 series
    breaking_point: 2 to 1209664 / 6 to 3628992; 32 at once; 3 series
    day: 10 to 210 / 40 to 840; 10 at once; 3 series
    phones: 5 to 205 / 15 to 615; 5 at once; 3 series
    ollama-guard-proxy
    health: 1 / 1; 1 at once; 1 series
    memory_endpoint: 1 / 1; 1 at once; 1 series
    single_request: 1 / 2; 1 at once; 2 series
    any_answer: 1 / 1; 1 at once; 1 series
    ten_at_once: 10 / 10; 10 at once; 1 series
    queue_stats: 1 / 1; 1 at once; 1 series
    queue_full: 10 / 10; 10 at once; 1 series
    apache_bench: 100 / 100; 10 at once; 1 series
    apache_bench_1000: 1000 / 1000; 50 at once; 1 series
    wrk: 20 to 11021 / 20 to 11021; 20 at once; 1 series
    batches: 100 / 100; 20 at once; 5 series
    gradual: 86 / 86; 50 at once; 5 series
    sustained: 200 / 200; 200 at once; 1 series
    ten_each_second: 100 / 100; 100 at once; 10 series
    bursts: 250 / 250; 250 at once; 5 series
    monitoring: 1 / 1; 1 at once; 1 series
    semantic-cache
    pool_exhaustion: 150 / 150; 150 at once; 1 series
    below_capacity: 50 to 21051 / 50 to 21051; 50 at once; 1 series
    recovery: 230 to 11231 / 230 to 11231; 150 at once; 3 series
    ten_agents: 500 / 500; 10 at once; 1 series
    multi_turn: 50 / 250; 10 at once; 5 series
    sustained: 600 / 600; 600 at once; 1 series
    sustained_workers: 5 to 55 / 5 to 55; 5 at once; 1 series
    conversations: 182 to 222 / 182 to 222; 182 at once; 7 series
    ");
}

/// What the guides do not use, or not together.
const MORE: &str = r#"
version: 1
targets: {t: {base_url: "http://127.0.0.1:9"}}
policy: {max_rate: 200/s}
scenarios:
  hooks:
    before: [{get: /ready, until: status == 200, every: 1s, timeout: 5s}, {post: /reset}]
    after: [{post: /reset}]
    load: {executor: per-vu-iterations, vus: 4, iterations: 3, start: together}
    on_start: [{post: /login}, {get: /me}]
    on_stop: [{post: /logout}]
    steps: [{get: /}]
  hooks_of_arrivals:
    load: {executor: constant-arrival-rate, rate: 10/s, duration: 5s}
    on_start: [{post: /login}]
    on_stop: [{post: /logout}]
    steps: [{get: /}]
  hooks_of_levels:
    load: {executor: stepped-vus, vus: [2, 3], iterations: 2, pause: 1s}
    on_start: [{post: /login}]
    steps: [{get: /}]
  hooks_of_sharers:
    load: {executor: shared-iterations, vus: 5, iterations: 3}
    on_stop: [{post: /logout}]
    steps: [{get: /}]
  hooks_of_a_ramp:
    load: {executor: ramping-vus, start_vus: 1, stages: [{duration: 0s, target: 4}, {duration: 3s, target: 1}, {duration: 3s, target: 3}]}
    think: 500ms
    on_start: [{post: /login}]
    steps: [{get: /}]
  events:
    load: {executor: constant-arrival-rate, rate: 5/s, duration: 6s}
    steps: [{get: /}]
    events: [{at: 2s, do: {post: /break}, undo: {post: /mend}}, {at: 4s, do: {post: /look}}]
  courses:
    load: {executor: shared-iterations, vus: 3, iterations: 20}
    steps:
      - {name: first, get: /a, loop: {times: {between: [1, 3]}, as: turn}, tags: {nth: "t${turn}"}}
      - {name: maybe, get: /b, when: n > 5}
      - {name: again, get: /c, on: {rejected: {retry: {max: 2, backoff: 1s}}, failed: {retry: {max: 1}}}}
      - {name: poll, get: /d, until: "$.status == 'done'", every: 200ms, timeout: 1s}
      - {name: thinks, get: /e, think: 100ms}
  tagged:
    load: {executor: constant-arrival-rate, rate: 10/s, duration: 10s}
    warmup: 3s
    steps: [{get: /, loop: {over: [a, b, a]}, tags: {kind: "${item}", all: fixed}}]
  rows:
    data: {words: {values: [{w: a}, {w: b}, {w: c}], on_end: stop}}
    load: {executor: per-vu-iterations, vus: 2, iterations: 10}
    steps: [{get: "/${data.words.w}"}]
  jumps:
    load: {executor: ramping-arrival-rate, start_rate: 5/s, stages: [{duration: 5s, target: 5/s}, {duration: 0s, target: 20/s}, {duration: 5s, target: 0/s}]}
    steps: [{get: /}]
  levels_by_time:
    load: {executor: stepped-vus, vus: [1, 3], duration: 5s, pause: 1s}
    think: {pacing: 1s}
    steps: [{get: /}]
  too_many_at_once:
    load: {executor: burst, size: 20, repeat: 3, pause: 1s, max_in_flight: 15}
    steps: [{get: /}]
  too_fast:
    load: {executor: constant-arrival-rate, rate: 150/s, duration: 10s}
    steps: [{get: /a}, {get: /b}]
  held_back:
    load: {executor: constant-vus, vus: 150, duration: 10s}
    steps: [{get: /}]
  places:
    load: {executor: limit, per: user, users: 4, hold: 3, over: 2, free: 1, race: 6, bystanders: 2, cycles: 2}
    acquire: [{post: /take, capture: {id: {json: $.id}}}, {get: /look}]
    release: [{delete: "/${id}"}]
  users_that_search:
    load: {executor: search, variable: vus, start: 2, max: 16, measure: 5s, cooldown: 1s, confirm: 5s, deadline: 2m}
    think: 300ms
    steps: [{get: /}]
    sustain: [rate(ok) >= 95%]
  again_and_again:
    repeat: {times: 3, pause: 2s}
    phases:
      - {name: a, load: {executor: constant-arrival-rate, rate: 5/s, duration: 4s}}
      - {name: b, load: {executor: stepped-vus, vus: [1, 2], iterations: 2}}
      - {name: c, load: {executor: burst, size: 3, repeat: 2, every: 1s}}
    steps: [{get: /}]
  choosers:
    load: {executor: users, users: 20, spawn_rate: 10/s, hold_for: 10s, ramp_down: 2s}
    think: {throughput: 2/s}
    tasks:
      - {weight: 3, name: one, steps: [{name: a, get: /a}, {name: b, get: /b}]}
      - {weight: 1, name: two, needs: id, steps: [{name: c, get: /c}]}
      - {weight: 1, name: three, steps: [{name: d, get: /d, capture: {id: {json: $.id}}}]}
  each:
    for_each: {side: [north, south]}
    load: {executor: probe, attempts: 3}
    steps: [{get: "/${side}"}]
"#;

#[tokio::test(flavor = "local", start_paused = true)]
async fn everything_else() {
    let loaded = config::load_text(MORE, &Options::default()).unwrap_or_else(|report| panic!("{report}"));
    insta::assert_snapshot!(all_agree(&loaded, 40).await, @r"
    hooks: 12 / 12; 4 at once; 1 series
    hooks_of_arrivals: 50 / 50; 50 at once; 1 series
    hooks_of_levels: 10 / 10; 3 at once; 2 series
    hooks_of_sharers: 3 / 3; 5 at once; 1 series
    hooks_of_a_ramp: at most 49 / at most 49; 4 at once; at most 1 series
    events: 30 / 30; 30 at once; 1 series
    courses: 20 / 80 to 140; 3 at once; 4 to 7 series
    tagged: 100 / 300; 100 at once; 2 series
    rows: 3 to 20 / 3 to 20; 2 at once; 1 series
    jumps: 75 / 75; 75 at once; 1 series
    levels_by_time: 4 to 24 / 4 to 24; 3 at once; 2 series
    too_many_at_once: 60 / 60; 15 at once; 3 series
    too_fast: 1500 / 1500 to 3000; 1000 at once; at most 2 series
    held_back: 150 to 2171 / 150 to 2171; 150 at once; 1 series
    places: 100 / 200; 24 at once; 10 series
    users_that_search: 2 to 6816 / 2 to 6816; 16 at once; 1 series
    again_and_again: 96 / 96; 20 at once; 15 series
    choosers: 20 to 600 / 20 to 1200; 20 at once; at most 4 series
    each-north: 1 / 1; 1 at once; 1 series
    each-south: 1 / 1; 1 at once; 1 series
    ");
}

/// Steps that are not reached were not planned; tries again and polls keep within their bounds.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_moody_target() {
    let loaded = config::load_text(MORE, &Options::default()).unwrap_or_else(|report| panic!("{report}"));
    let mut quarrels = String::new();
    for scenario in loaded.settings.scenarios.iter().filter(|scenario| scenario.before.is_empty()) {
        let (name, scenario) = (&scenario.name, tamed(scenario));
        let Carried { foretold, run, peak, series } = Carried::out(&scenario, &loaded.settings.policy, moody(40)).await;
        let most = foretold.requests.most.zip(foretold.again).map(|(most, again)| most + again);
        for (what, most, counted) in [
            ("requests", most, run.planned),
            ("polls", foretold.polls.most, run.polls),
            ("at once", Some(foretold.concurrency), peak),
            ("series", foretold.series.most, series),
        ] {
            if most.is_none_or(|most| counted > most) {
                let _ = writeln!(quarrels, "{name}: at most {most:?} {what}, not {counted}");
            }
        }
    }
    assert!(quarrels.is_empty(), "{quarrels}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn polls_that_never_end() {
    let text = r#"
version: 1
targets: {t: {base_url: "http://127.0.0.1:9"}}
scenarios:
  a:
    load: {executor: per-vu-iterations, vus: 3, iterations: 2}
    steps: [{get: /, until: "$.status == 'never'", every: 300ms, timeout: 1s, on_fail: continue}]
"#;
    let loaded = config::load_text(text, &Options::default()).unwrap_or_else(|report| panic!("{report}"));
    let scenario = tamed(&loaded.settings.scenarios[0]);
    let carried = Carried::out(&scenario, &loaded.settings.policy, patient(0)).await;
    assert_eq!(carried.quarrels(), [] as [String; 0]);
    assert_eq!(
        (carried.run.polls, carried.foretold.polls),
        (18, Count::at_most(18)),
        "300, 600 and 900 ms after the first"
    );
}
