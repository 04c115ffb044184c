//! The words of loads and scenarios, read into the model.

use std::{fs, path::Path, time::Duration};

use plimsoll::{
    config::{self, Loaded, Overrides},
    model::scenario::{Arrangement, Arrivals, BurstGap, Executor, FeedEnd, FeedOrder, LevelEnd, SearchVariable, Think},
};

use super::options;

fn write(dir: &Path, text: &str) -> config::Options {
    fs::write(dir.join("plimsoll.yaml"), text).expect("writable");
    options(&dir.join("plimsoll.yaml"))
}

fn load_with(text: &str, overrides: &Overrides, scenario: Option<&str>) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("rows.csv"), "q,n\na,1\n\"b, c\",2\n").expect("writable");
    config::load_with(&write(dir.path(), text), overrides, scenario).map_err(|report| report.to_string(false))
}

/// The only load of a scenario with this `load:`.
fn executor(load: &str) -> Executor {
    let text = format!(
        "version: 1\ntargets: {{api: {{base_url: \"http://localhost:1\"}}}}\nscenarios:\n  s:\n    load: {{executor: {load}}}\n    \
         steps: [{{get: /}}]\n"
    );
    let loaded = load_with(&text, &Overrides::default(), None).unwrap_or_else(|report| panic!("{load}\n{report}"));
    assert_eq!(loaded.warnings.to_string(false), "", "{load}");
    loaded.settings.scenarios[0].groups[0].load.executor.clone()
}

#[test]
fn loads_have_the_defaults_of_k6_and_locust() {
    let check = |load: &str, shown: &str| assert_eq!(format!("{:?}", executor(load)), shown, "{load}");
    check(
        "shared-iterations, vus: 5, iterations: 100",
        "SharedIterations { vus: 5, iterations: 100, max_duration: 600s }",
    );
    check("constant-vus, vus: 5, duration: 1m", "ConstantVus { vus: 5, duration: 60s }");
    check(
        "ramping-vus, stages: [{duration: 1m, target: 50}, {duration: 0s, target: 0}]",
        "RampingVus { start_vus: 1, stages: [VuStage { duration: 60s, target: 50 }, VuStage { duration: 0ns, target: 0 }], \
         graceful_ramp_down: 30s }",
    );
    check(
        "users, users: 1000, hold_for: 5m",
        "Users { users: 1000, spawn_rate: Rate { count: 1.0, per: 1s }, hold_for: 300s, ramp_down: 0ns }",
    );
    check("burst, size: 50", "Burst { size: 50, repeat: 1, gap: Pause(0ns) }");
    assert_eq!(
        executor("stepped-vus, vus: [1, 5], duration: 30s, pause: 2s"),
        Executor::SteppedVus {
            levels: vec![1, 5],
            each: LevelEnd::Duration(Duration::from_secs(30)),
            together: false,
            pause: Duration::from_secs(2)
        }
    );
    // As many bursts as start before the end.
    for (duration, bursts) in [("60s", 6), ("61s", 7), ("5s", 1)] {
        let burst = executor(&format!("burst, size: 20, every: 10s, duration: {duration}"));
        let gap = BurstGap::Every(Duration::from_secs(10));
        assert_eq!(burst, Executor::Burst { size: 20, repeat: bursts, gap }, "{duration}");
    }
    let Executor::RampingArrivalRate { start_rate, stages, arrivals } = executor(
        "ramping-arrival-rate, arrivals: poisson, stages: [{duration: 1m, target: 60/m}, {duration: 1m, target: 0/s}]",
    ) else {
        panic!("a ramp")
    };
    let rates: Vec<f64> = stages.iter().map(|stage| stage.target.per_second()).collect();
    assert_eq!((start_rate.per_second(), rates, arrivals), (0.0, vec![1.0, 0.0], Arrivals::Poisson));
}

const GROUPS: &str = r#"
version: 1
targets:
  api: {base_url: "http://localhost:1"}
  other: {base_url: "http://localhost:2"}
vars: {model: a}
environments:
  staging: {targets: {api: {base_url: "http://localhost:9"}}, vars: {model: b}, scenarios: {mixed: {duration: 1m}}}
defaults: {target: api, thresholds: [p95(latency) < 2s], graceful_stop: 5s, runbook: "https://wiki.example.com"}
scenarios:
  mixed:
    duration: 10m
    repeat: {times: 2, pause: 10s}
    cookies: per_vu
    users:
      short: {load: {executor: constant-arrival-rate, rate: 30/m}, steps: [{get: /short}]}
      bursty: {load: {executor: burst, size: 15, every: 60s}, steps: [{get: /bursty}]}
      sporadic: {load: {executor: constant-vus, vus: 2, duration: 5m}, think: {between: [20s, 90s]}}
    steps: [{get: /}]
    thresholds: ["p95(latency{user=short,repeat=2}) < 2s"]
  phased:
    phases:
      - {name: low, load: {executor: constant-vus, vus: 2, duration: 1m}}
      - {name: high, load: {executor: constant-vus, vus: 20, duration: 1m}, think: 1s}
    on_start: [{post: /login, capture: {token: {json: $.t}}}]
    tasks:
      - {name: begin, weight: 3, steps: [{post: "/begin?t=${token}", capture: {cid: {json: $.id}}}]}
      - {name: go_on, needs: cid, steps: [{get: "/${cid}"}]}
    thresholds: ["rate(ok{phase=high}) > 90%"]
  limited:
    load: {executor: limit, hold: 3, per: user, users: 4, bystanders: 1}
    acquire: {post: "/conversations?u=${user}", capture: {id: {json: $.id}}}
    release: {delete: "/conversations/${id}"}
    thresholds: ["count(ok{part=bystander}) == 1"]
  searched:
    load: {executor: search, variable: vus, start: 10}
    sustain: [rate(ok) >= 95%]
    steps: [{get: /}]
    thresholds: []
  each:
    for_each: {model: [llama2, "mi/stral"], target: [api, other]}
    load: {executor: probe}
    data: {rows: {file: rows.csv, order: shuffle, on_end: stop}, words: {values: [a, b]}}
    steps: [{get: "/${model}/${vars.model}/${data.rows.q}/${data.words.value}"}]
    thresholds: [p95(latency) < 9s]
"#;

#[test]
fn groups_and_their_words_become_the_model() {
    let loaded = load_with(GROUPS, &Overrides::default(), None).unwrap_or_else(|report| panic!("{report}"));
    let of = |name: &str| {
        let found = loaded.settings.scenarios.iter().find(|scenario| &*scenario.name == name);
        found.unwrap_or_else(|| panic!("{name} is there")).clone()
    };
    let mixed = of("mixed");
    assert_eq!((mixed.arrangement, mixed.repeat.times, mixed.executor()), (Arrangement::SideBySide, 2, "groups"));
    let [short, bursty, sporadic] = mixed.groups.as_slice() else { panic!("three groups") };
    let Executor::ConstantArrivalRate { duration, .. } = short.load.executor else { panic!("a rate") };
    assert_eq!(duration, Duration::from_mins(10), "the scenario's");
    assert!(matches!(bursty.load.executor, Executor::Burst { repeat: 10, .. }), "{:?}", bursty.load.executor);
    let Executor::ConstantVus { duration, .. } = sporadic.load.executor else { panic!("users") };
    assert_eq!(duration, Duration::from_mins(5), "its own");
    assert_eq!(sporadic.think, Some(Think::Between(Duration::from_secs(20), Duration::from_secs(90))));
    assert_eq!((short.think, short.cookies, short.labels.get("user").map(|name| &**name)), (None, true, Some("short")));
    assert_eq!((&*short.tasks[0].steps[0].name, &*sporadic.tasks[0].steps[0].name), ("GET /short", "GET /"));
    // Never below the request timeout.
    assert_eq!(short.load.graceful_stop, Duration::from_mins(1));

    let phased = of("phased");
    assert_eq!((phased.arrangement, phased.executor()), (Arrangement::Sequence, "phases"));
    let [low, high] = phased.groups.as_slice() else { panic!("two groups") };
    assert_eq!((low.think, high.think), (None, Some(Think::Constant(Duration::from_secs(1)))));
    let tasks: Vec<(&str, u32, usize)> =
        high.tasks.iter().map(|task| (&*task.name, task.weight, task.needs.len())).collect();
    assert_eq!((tasks, high.on_start.len()), (vec![("begin", 3, 0), ("go_on", 1, 1)], 1));
    assert!(phased.thresholds.iter().all(|threshold| threshold.runbook.as_deref() == Some("https://wiki.example.com")));

    let Executor::Limit(spec) = &of("limited").groups[0].load.executor else { panic!("a limit") };
    assert_eq!((spec.hold, spec.over, spec.free, spec.cycles, spec.per_user), (3, 1, 1, 1, Some(4)));
    assert_eq!((spec.acquire.len(), spec.release.len()), (1, 1));

    let searched = of("searched");
    let Executor::Search(spec) = &searched.groups[0].load.executor else { panic!("a search") };
    assert_eq!((spec.variable, spec.max, spec.sustain.len()), (SearchVariable::Vus, 10_000.0, 1));
    let left: Vec<&str> = searched.thresholds.iter().map(|threshold| &*threshold.source).collect();
    assert_eq!(left, ["count(ok) > 0"], "rejections are what a search looks for");
    let warnings = loaded.warnings.to_string(false);
    assert!(warnings.contains("`thresholds: []` clears the 1 of `defaults`"), "{warnings}");
    assert!(warnings.contains("what holds still: count(ok) > 0\n\n1 warning\n"), "{warnings}");

    let made: Vec<(&str, &str)> = loaded
        .settings
        .scenarios
        .iter()
        .filter(|scenario| scenario.name.starts_with("each"))
        .map(|scenario| (&*scenario.name, &*scenario.target.name))
        .collect();
    let expected = [
        ("each-llama2-api", "api"),
        ("each-llama2-other", "other"),
        ("each-mi-stral-api", "api"),
        ("each-mi-stral-other", "other"),
    ];
    assert_eq!(made, expected);
    let each = of("each-mi-stral-other");
    assert_eq!(each.constants.0["model"], "mi/stral");
    let rows = &each.data["rows"];
    assert_eq!(
        (rows.order, rows.on_end, rows.rows[1]["q"].as_str()),
        (FeedOrder::Shuffle, FeedEnd::Stop, Some("b, c"))
    );
    assert_ne!(each.config_hash, of("each-llama2-other").config_hash);
    assert_eq!(each.thresholds[0].source.as_ref(), "p95(latency) < 9s", "its own, not that of the defaults");
}

#[test]
fn an_environment_is_laid_over_the_file() {
    let staging = |name: &str| Overrides { environment: Some(name.into()), ..Overrides::default() };
    let loaded = load_with(GROUPS, &staging("staging"), None).unwrap_or_else(|report| panic!("{report}"));
    let mixed = &loaded.settings.scenarios[0];
    assert_eq!(mixed.target.base.to_string(), "http://localhost:9");
    assert_eq!(mixed.constants.0["vars"]["model"], "b");
    let Executor::ConstantArrivalRate { duration, .. } = mixed.groups[0].load.executor else { panic!("a rate") };
    assert_eq!(duration, Duration::from_mins(1));
    assert_ne!(loaded.hash, load_with(GROUPS, &Overrides::default(), None).expect("good").hash);
    let report = load_with(GROUPS, &staging("stagin"), None).expect_err("there is none");
    let said = "error: there is no environment `stagin`\n --> --env\n  = help: did you mean `staging`?\n";
    assert!(report.contains(said), "{report}");
}

/// An option sets what it means in each load, or says that it means nothing there.
#[test]
fn options_fit_the_load() {
    let check = |load: &str, overrides: &Overrides, expected: &str| {
        let text = format!(
            "version: 1\ntargets: {{api: {{base_url: \"http://localhost:1\"}}}}\nscenarios:\n  s:\n    \
             load: {{executor: {load}}}\n    steps: [{{get: /}}]\n"
        );
        let shown = match load_with(&text, overrides, Some("s")) {
            Ok(loaded) => format!("{:?}", loaded.settings.scenarios[0].groups[0].load.executor),
            Err(report) => report,
        };
        assert!(shown.contains(expected), "{load}: {shown}");
    };
    let users = Overrides { users: Some(7), ..Overrides::default() };
    let duration = Overrides { duration: Some("90s".into()), ..Overrides::default() };
    let spawn = Overrides { spawn_rate: Some("9/s".into()), ..Overrides::default() };
    check("constant-vus, vus: 1, duration: 1m", &users, "vus: 7");
    check("users, users: 1, hold_for: 1m", &users, "users: 7");
    check("burst, size: 1", &users, "size: 7");
    check("ramping-vus, stages: [{duration: 1m, target: 5}]", &users, "stages[0]");
    check("users, users: 1, hold_for: 1m", &duration, "hold_for: 90s");
    check("users, users: 1, hold_for: 1m", &spawn, "count: 9.0");
    check("stepped-vus, vus: [1, 2]", &duration, "max_duration: 90s");
    check("stepped-vus, vus: [1, 2], duration: 1s", &duration, "Duration(90s)");
    check("burst, size: 5, every: 30s", &duration, "repeat: 3");
    check("constant-vus, vus: 1, duration: 1m", &spawn, "which --spawn-rate does not apply to");

    let of = |overrides: &Overrides, name: &str| load_with(GROUPS, overrides, Some(name));
    let mixed = of(&duration, "mixed").expect("the scenario has a duration").settings.scenarios[0].clone();
    assert!(matches!(mixed.groups[1].load.executor, Executor::Burst { repeat: 2, .. }));
    let report = of(&users, "mixed").expect_err("which group?");
    assert!(report.contains("has several loads"), "{report}");
    let set = Overrides { set: vec![("scenarios.each.load.attempts".into(), "3".into())], ..Overrides::default() };
    let loaded = of(&set, "each-llama2-api").expect("made by for_each");
    let made = loaded.settings.scenarios.iter().find(|scenario| &*scenario.name == "each-llama2-api").expect("there");
    assert_eq!(made.groups[0].load.executor, Executor::Probe { attempts: 3 });
    let target = Overrides { target: Some("http://localhost:77".into()), ..Overrides::default() };
    let loaded = of(&target, "phased").expect("its target is that of the defaults");
    assert_eq!(loaded.settings.scenarios[1].target.base.port, 77);
}

/// Every word of the language on the jobs that it was made for.
#[test]
fn the_vocabulary_is_accepted() {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir("tests/it/vocabulary").expect("there") {
        let path = entry.expect("readable").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    // Certificates are read by their first line here.
    for file in ["ca.pem", "c.pem"] {
        fs::write(dir.path().join(file), "-----BEGIN CERTIFICATE-----\n").expect("writable");
    }
    fs::write(dir.path().join("k.pem"), "-----BEGIN PRIVATE KEY-----\n").expect("writable");
    fs::write(dir.path().join("smtp"), "secret").expect("writable");
    let mut options = options(&dir.path().join("plimsoll.yaml"));
    options.env.insert("OLLAMA_TOKEN".into(), "value-of-token".into());
    let set = vec![("secrets.smtp.from_file".into(), dir.path().join("smtp").display().to_string())];
    let overrides = Overrides { set, ..Overrides::default() };
    let loaded = config::load_with(&options, &overrides, None).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.settings.scenarios.len(), 15);
    assert_eq!(loaded.warnings.to_string(false), "");
}
