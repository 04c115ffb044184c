//! What a person reads when a configuration is wrong: each broken file under `configs/` is pinned to its exact message
//! in the `.txt` beside it. `UPDATE=1` writes the messages anew; read the difference before committing it.

mod words;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use plimsoll::{
    config::{self, Options, Overrides},
    model::{
        scenario::{Connections, Executor, OkStatus, Reaction, Think},
        schedule::Due,
        settings::{AlertOn, SmtpTls},
    },
};
use proptest::prelude::*;

/// Unique texts that stand as secrets in the broken files: no message may hold one.
const CANARIES: [&str; 2] = ["CANARY-4d8f1c", "4815162342"];

fn options(path: &Path) -> Options {
    let env = [("SET", "value-of-set"), ("EMPTY", "")];
    let name = path.file_name().expect("a file has a name");
    Options {
        path: Some(path.to_path_buf()),
        policy_file: path.parent().map(|dir| dir.join("host").join(name)),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        credentials_dir: None,
    }
}

fn files(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn broken_configurations_say_what_is_wrong() {
    let files = files("tests/it/configs");
    assert!(files.len() >= 60, "only {} broken configurations", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let Err(report) = config::load(&options(&path)) else {
            wrong.push(format!("{}: loads without an error", path.display()));
            continue;
        };
        let shown = report.to_string(false);
        let coloured = report.to_string(true);
        for canary in CANARIES {
            if shown.contains(canary) || coloured.contains(canary) || format!("{report:?}").contains(canary) {
                wrong.push(format!("{}: a secret is shown:\n{shown}", path.display()));
            }
        }
        let pinned = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&pinned, &shown).expect("writable");
        } else if fs::read_to_string(&pinned).unwrap_or_default() != shown {
            wrong.push(format!("{}: the message is now\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn shipped_configurations_load() {
    let mut paths = files("config/examples");
    paths.push(PathBuf::from("config/plimsoll.yaml"));
    assert!(paths.len() >= 5);
    for path in paths {
        let loaded = config::load(&options(&path)).unwrap_or_else(|report| panic!("{}\n{report}", path.display()));
        assert_eq!(loaded.warnings.to_string(false), "", "{}", path.display());
        assert!(!loaded.settings.scenarios.is_empty(), "{}", path.display());
        assert_eq!(loaded.files, [path]);
    }
}

#[test]
fn a_scenario_that_limits_no_failures_is_warned_about() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plimsoll.yaml");
    let shown = |thresholds: &str| {
        let text = format!(
            "version: 1\ntargets:\n  api: {{base_url: \"http://localhost:1\"}}\nscenarios:\n  load:\n    \
             load: {{executor: constant-arrival-rate, rate: 1/s, duration: 1s}}\n    steps: [{{get: /}}]\n    \
             thresholds:\n      - {thresholds}\n"
        );
        std::fs::write(&path, text).expect("written");
        config::load(&options(&path)).expect("loads").warnings.to_string(false)
    };
    assert!(shown("rate(rejected) <= 5%").contains("nothing here limits failures"));
    assert_eq!(shown("count(failed) == 0"), "");
    assert_eq!(shown("p95(latency) < 1s"), "", "the default holds");
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("huge.yaml");
    fs::write(&path, "a: b\n".repeat(300_000)).expect("writable");
    let report = config::load(&options(&path)).expect_err("too large").to_string(false);
    assert!(report.contains("has 1.4 MiB: the most is 1 MiB"), "{report}");
    let report = config::load(&options(&dir.path().join("nowhere.yaml"))).expect_err("absent").to_string(false);
    assert!(report.contains("cannot be read: it does not exist"), "{report}");
    let report = config::load(&options(dir.path())).expect_err("a folder").to_string(false);
    assert!(report.contains("is not a file"), "{report}");
}

/// What could overflow the stack, fill the memory or never end, and what could make a message lie.
#[test]
fn hostile_configurations_are_refused_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a FIFO");
    let path = dir.path().join("plimsoll.yaml");
    let check = |top: &str, target: &str, step: &str, part: &str| {
        let text = format!(
            "version: 1\n{top}\ntargets: {{api: {{base_url: \"http://localhost:1\"{target}}}}}\nscenarios:\n  s:\n    \
             load: {{executor: probe}}\n    steps: [{{get: /{step}}}]\n"
        );
        fs::write(&path, text).expect("written");
        let shown = config::load(&options(&path)).expect_err(part).to_string(false);
        assert!(shown.contains(part), "{part}: {shown}");
        assert!(shown.len() < 10_000, "{part}: {} bytes", shown.len());
        assert!(!shown.contains(['\u{202e}', '\u{2066}']), "{part}: {shown}");
    };
    let step = |step: &str, part: &str| check("", "", step, part);
    for file in ["/dev/zero", "pipe"] {
        const PART: &str = "cannot be read: it is a device or a pipe, not a file";
        check(&format!("secrets: {{a: {{from_file: {file}}}}}"), "", "", PART);
        check("", &format!(", http: {{tls: {{ca: {file}}}}}"), "", PART);
        check("", "", &format!(", body_file: {file}"), PART);
    }
    for unit in ["[?@", "[?(", "[?!("] {
        let query = format!("$[?{}", unit.repeat(20_000));
        step(&format!(", capture: {{x: {{json: '{query}'}}}}"), "the most is 2048");
        step(&format!(", expect: ['{query} == 1']"), "at most 2048 bytes");
        let query = format!("${}", unit.repeat(200));
        step(&format!(", capture: {{x: {{json: '{query}'}}}}"), "are nested");
        let query = format!("{query}{}", "]".repeat(200));
        step(&format!(", expect: ['{query} == 1']"), "are nested");
    }
    step(&format!(", headers: {{x: '${{n{}}}'}}", ".a".repeat(50_000)), "the most is 2048");
    step(&format!(", headers: {{x: '${{n{}}}'}}", ".a".repeat(500)), "the most is 64");
    check("include: '/*/*/*/*/*'", "", "", "matches too much");
    check("vars: !!python/object {a: 1}", "", "", "`!!python/object` is a tag");
    check("vars: {a: !mine [1]}", "", "", "`!mine` is a tag");
    step(", expect: ['status == \u{202e}200']", "\\u{202e}");
    step(&format!(", {}: 1", "k".repeat(900)), "…`");
    step(&format!(", expect: ['{} == 200']", "s".repeat(20_000)), "bytes");
}

const GOOD: &str = r#"
version: 1
vars: {model: llama2}
secrets: {token: {from_env: SET}, file: {from_file: secret.txt}}
targets:
  api:
    base_url: "http://LOCALHOST:8080/v1/"
    headers: {authorization: "Bearer ${secret.token}", x-number: 7}
    http: {version: 1.1, connections: 20, timeout: 90s}
    classify: [{outcome: rejected, status: [429, 5xx], reason: {header: x-reason}}]
    stats: {gauges: {memory: {get: /stats, json: $.gb, unit: GB}}}
requests:
  generate: {post: /generate, json: {model: "${vars.model}"}, headers: {x-a: "1", x-b: "1"}, expect: status == 200}
scenarios:
  flow:
    schedule: {every: 5m, misfire: run_once, overlap: queue, timeout: 1h}
    load: {executor: per-vu-iterations, vus: 10, start: together, graceful_stop: 5s}
    before: [{post: /login, capture: {session: {json: $.id}}}]
    steps:
      - {request: generate, headers: {x-b: "2"}, expect: [latency < 1s], capture: {id: {regex: "id=(\\d+)"}}}
      - {get: "/items/${id}?s=${session}", ok: any, on_fail: continue, think: 1s}
    thresholds: [p95(latency) < 2s, last(memory) < 5GB]
  probe:
    schedule: "@daily"
    load: {executor: probe}
    steps: [{head: /health}]
  sustained:
    load: {executor: constant-arrival-rate, rate: 30/m, duration: 1m30s, connections: per_vu}
    steps: [{request: generate, timeout: 200s}]
alerts:
  receivers:
    a: {email: {to: a@example.com, from: b@example.com, smtp: "smtp://mail.example.com", username: me, password: "${secret.token}"}}
  on: [fail, {invalid: 5}]
"#;

fn good() -> (tempfile::TempDir, Options) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("plimsoll.yaml"), GOOD).expect("writable");
    fs::write(dir.path().join("secret.txt"), "value-of-file\n").expect("writable");
    let options = options(&dir.path().join("plimsoll.yaml"));
    (dir, options)
}

#[test]
fn a_good_configuration_becomes_the_model() {
    let (_dir, options) = good();
    let loaded = config::load(&options).unwrap_or_else(|report| panic!("{report}"));
    let settings = &loaded.settings;
    let [flow, probe, sustained] = settings.scenarios.as_slice() else { panic!("three scenarios") };
    assert_eq!((&*flow.name, &*probe.name, &*sustained.name), ("flow", "probe", "sustained"));
    assert_eq!(flow.target.base.to_string(), "http://localhost:8080/v1");
    assert_eq!(flow.groups[0].load.connections, Connections::Pool(20));
    assert_eq!(sustained.groups[0].load.connections, Connections::PerVu);
    // Never below the longest request timeout, so that each request ends answered or timed out.
    assert_eq!(flow.groups[0].load.graceful_stop, Duration::from_secs(90));
    assert_eq!(sustained.groups[0].load.graceful_stop, Duration::from_secs(200));
    assert_eq!(flow.groups[0].load.max_in_flight, 1000);
    let Executor::PerVuIterations { vus, iterations, together, max_duration } = flow.groups[0].load.executor else {
        panic!("{:?}", flow.groups[0].load.executor)
    };
    assert_eq!((vus, iterations, together, max_duration), (10, 1, true, Duration::from_mins(10)));
    let names: Vec<&str> = flow.steps().map(|step| &*step.name).collect();
    assert_eq!(names, ["generate", "GET /items/${id}"]);
    let headers: Vec<_> = flow.groups[0].tasks[0].steps[0]
        .http()
        .expect("it is one")
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.source()))
        .collect();
    assert_eq!(headers, [("x-a", "1"), ("x-b", "2")]);
    assert_eq!(flow.groups[0].tasks[0].steps[0].expect.len(), 2);
    assert!(
        flow.groups[0].tasks[0].steps[1].on_failed == Reaction::Continue
            && flow.groups[0].tasks[0].steps[1].ok == Some(OkStatus::Any)
    );
    let implicit: Vec<(&str, bool)> =
        flow.thresholds.iter().map(|threshold| (&*threshold.source, threshold.implicit)).collect();
    assert_eq!(
        implicit,
        [
            ("p95(latency) < 2s", false),
            ("last(memory) < 5GB", false),
            ("rate(ok) >= 99%", true),
            ("rate(dropped) <= 1%", true),
            ("count(ok) > 0", true)
        ]
    );
    assert!(probe.thresholds.iter().any(|threshold| &*threshold.source == "rate(ok) == 100%"));
    assert_eq!(flow.schedule.due, Due::Every(Duration::from_mins(5)));
    assert_eq!(probe.schedule.due, Due::Cron { expr: "@daily".into(), zone: "UTC".into() });
    assert_eq!(sustained.schedule.due, Due::Manual);
    assert_eq!(flow.constants.0["secret"]["file"], "value-of-file");
    assert_eq!(flow.constants.0["target"]["name"], "api");
    assert_eq!(settings.redact.redact("x value-of-set y value-of-file"), "x *** y ***");
    let email = &settings.alerts.receivers[0].email;
    assert_eq!((email.host.as_str(), email.port, email.tls), ("mail.example.com", 587, SmtpTls::StartTls));
    assert_eq!(settings.alerts.routes.len(), 1, "one receiver and no routes is that one");
    assert_eq!(settings.alerts.on, AlertOn { fail: true, no_data: false, missed: false, invalid: Some(5) });
    assert_eq!(settings.daemon.retention_bytes, 1_000_000_000);
    assert!(!format!("{settings:?}").contains("value-of-"), "no secret is shown");
    assert!(loaded.hash.starts_with("sha256:") && flow.config_hash.starts_with("sha256:"));
    assert_ne!(flow.config_hash, probe.config_hash);
    assert_eq!(loaded.hash, config::load(&options).expect("good").hash, "the hash is a function of the text");
}

#[test]
fn the_command_line_changes_a_configuration() {
    let (_dir, options) = good();
    let overrides = Overrides {
        target: Some("http://127.0.0.1:9999".into()),
        users: Some(50),
        duration: Some("20s".into()),
        timeout: Some("3s".into()),
        vars: vec![("model".into(), "mistral".into())],
        set: vec![
            ("scenarios.flow.load.iterations".into(), "4".into()),
            ("scenarios.flow.steps[1].think".into(), "2s".into()),
            ("scenarios.flow.owner".into(), "me".into()),
        ],
        ..Overrides::default()
    };
    let loaded = config::load_with(&options, &overrides, Some("flow")).unwrap_or_else(|report| panic!("{report}"));
    let flow = &loaded.settings.scenarios[0];
    assert_eq!(flow.target.base.to_string(), "http://127.0.0.1:9999");
    assert_eq!(flow.target.http.timeout, Duration::from_secs(3));
    let Executor::PerVuIterations { vus, iterations, max_duration, .. } = flow.groups[0].load.executor else {
        panic!()
    };
    assert_eq!((vus, iterations, max_duration), (50, 4, Duration::from_secs(20)));
    assert_eq!(flow.groups[0].tasks[0].steps[1].think, Some(Think::Constant(Duration::from_secs(2))));
    assert_eq!(flow.owner.as_deref(), Some("me"));
    assert_eq!(flow.constants.0["vars"]["model"], "mistral");

    // Without a scenario each one takes what applies to it.
    let overrides = Overrides { users: Some(9), ..Overrides::default() };
    let loaded = config::load_with(&options, &overrides, None).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.settings.scenarios[2].groups[0].load.max_in_flight, 9);

    let overrides = Overrides { users: Some(7), rate: Some("99/s".into()), ..Overrides::default() };
    let loaded = config::load_with(&options, &overrides, Some("sustained")).unwrap_or_else(|report| panic!("{report}"));
    let sustained = &loaded.settings.scenarios[2];
    assert_eq!(sustained.groups[0].load.max_in_flight, 7);
    let Executor::ConstantArrivalRate { rate, .. } = sustained.groups[0].load.executor else { panic!() };
    assert_eq!(rate.to_string(), "99/s");
}

#[test]
fn a_wrong_override_is_reported_like_any_other_value() {
    let (_dir, options) = good();
    let overrides = Overrides {
        target: Some("https://example.com".into()),
        rate: Some("10".into()),
        users: Some(3),
        set: vec![
            ("scenarios.probe.lod".into(), "x".into()),
            ("scenarios.probe.steps[7].get".into(), "/x".into()),
            ("alerts.receivers.a.email.password".into(), CANARIES[0].into()),
        ],
        ..Overrides::default()
    };
    let report = config::load_with(&options, &overrides, Some("probe")).expect_err("wrong").to_string(false);
    assert!(!report.contains(CANARIES[0]), "{report}");
    insta::assert_snapshot!(report, @r#"
    error: the policy does not allow `https://example.com:443`: without a policy only loopback is allowed
     --> --target
      = help: if you may load it, write `policy: {allow: ["https://example.com:443"]}`

    error: scenario `probe` has the executor probe, which --users does not apply to
     --> --users
      = help: leave the option out, or name another scenario

    error: scenario `probe` has the executor probe, which --rate does not apply to
     --> --rate
      = help: leave the option out, or name another scenario

    error: unknown key `lod` in a scenario
     --> --set scenarios.probe.lod
      = help: did you mean `load`?

    error: nothing stands at `7` in `scenarios.probe.steps.7.get`
     --> --set scenarios.probe.steps[7].get
      = help: a path names keys, and the indexes of lists from 0: `scenarios.health.steps[0].get`

    error: a password is written into the file
     --> --set alerts.receivers.a.email.password
      = help: declare it, `secrets: {smtp: {from_file: /run/credentials/smtp}}`, and write `password: "${secret.smtp}"`

    6 errors
    "#);
}

#[test]
fn what_the_command_line_names_must_be_there() {
    let (_dir, options) = good();
    let shown = |overrides: Overrides, scenario: &str| {
        config::load_with(&options, &overrides, Some(scenario)).expect_err("wrong").to_string(false)
    };
    let vars = vec![("modle".to_owned(), "mistral".to_owned()), ("x".to_owned(), "1".to_owned())];
    insta::assert_snapshot!(shown(Overrides { vars, ..Overrides::default() }, "probe"), @r"
    error: there is no variable `modle` under `vars`
     --> --var modle
      = help: did you mean `model`?

    error: there is no variable `x` under `vars`
     --> --var x
      = help: variables known here: model

    2 errors
    ");
    let rate = |rate: &str| Overrides { rate: Some(rate.to_owned()), ..Overrides::default() };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plimsoll.yaml");
    let text = "version: 1\ndefaults: {owner: you}\ntargets: {api: {base_url: \"http://localhost:1\"}}\nscenarios:\n  \
                ramp:\n    load: {executor: ramping-arrival-rate, stages: [{duration: 1m, target: 5/s}]}\n    \
                steps: [{get: /}]\n";
    fs::write(&path, text).expect("writable");
    let report = config::load_with(&self::options(&path), &rate("5/s"), Some("ramp")).expect_err("its stages have it");
    insta::assert_snapshot!(report.to_string(false), @r"
    error: scenario `ramp` has the executor ramping-arrival-rate, which --rate does not apply to
     --> --rate
      = help: each of its stages has its own: `--set scenarios.ramp.load.stages[0].target=50/s`

    1 error
    ");
    let set = vec![("defaults.owner".to_owned(), "me".to_owned())];
    let loaded = config::load_with(&self::options(&path), &Overrides { set, ..Overrides::default() }, None);
    assert_eq!(loaded.expect("loads").settings.scenarios[0].owner.as_deref(), Some("me"));
}

#[test]
fn nothing_to_load_says_how_to_make_it() {
    // The tests run in the folder of the package, which has no configuration of that name; the host may have one.
    if Path::new("/etc/plimsoll/plimsoll.yaml").exists() {
        return;
    }
    let options = Options::default();
    let report = config::load(&options).expect_err("there is none").to_string(false);
    insta::assert_snapshot!(report, @r"
    error: there is no configuration: neither plimsoll.yaml nor /etc/plimsoll/plimsoll.yaml
      = help: write one with `version: 1`, `targets:` and `scenarios:`, or name one: `--config FILE`; `plimsoll init URL` writes one to begin with

    1 error
    ");
}

#[test]
fn included_files_join_the_main_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("writable");
    fs::create_dir(dir.path().join("scenarios")).expect("a folder");
    write(
        "plimsoll.yaml",
        "version: 1\ninclude: scenarios/*.yaml\ntargets: {api: {base_url: \"http://localhost:1\"}}\n",
    );
    write("scenarios/b.yaml", "scenarios: {b: {load: {executor: probe}, steps: [{request: r}]}}\n");
    write(
        "scenarios/a.yaml",
        "scenarios: {a: {load: {executor: probe}, steps: [{request: r}]}}\nrequests: {r: {get: /}}\n",
    );
    let loaded = config::load(&options(&dir.path().join("plimsoll.yaml"))).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<&str> = loaded.settings.scenarios.iter().map(|scenario| &*scenario.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn the_schema_describes_itself() {
    let schema = config::json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$defs"]["Load"]["properties"]["duration"]["format"], "plimsoll-duration");
    assert_eq!(schema["additionalProperties"], false);
    let mut undescribed = Vec::new();
    let defs = schema["$defs"].as_object().expect("definitions");
    for (name, def) in defs.iter().chain([(&"File".to_owned(), &schema)]) {
        for (key, property) in def["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                undescribed.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(undescribed.is_empty(), "without a description: {undescribed:?}");
    assert!(!schema.to_string().contains("\"null\""), "an optional key is left out, never null");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a slip of the hand or a broken disk makes of a file, there is a report and no panic.
    #[test]
    fn no_mutation_of_a_file_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..12)) {
        let (dir, options) = good();
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, change) in changes {
            let at = at.index(bytes.len() + 1);
            match change {
                Change::Set(byte) => if let Some(old) = bytes.get_mut(at) { *old = byte },
                Change::Insert(text) => { bytes.splice(at..at, text.bytes()); }
                Change::Delete(len) => { bytes.drain(at..(at + len).min(bytes.len())); }
            }
        }
        fs::write(dir.path().join("plimsoll.yaml"), &bytes).expect("writable");
        if let Err(report) = config::load(&options) {
            let shown = report.to_string(true);
            prop_assert!(report.errors() > 0);
            prop_assert!(!shown.contains("internal:"), "{}", shown);
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(u8),
    Insert(String),
    Delete(usize),
}

fn mutation() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Set),
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ": ",
            "- ",
            "\n",
            "\n  ",
            "\"",
            "'",
            "${",
            "&a ",
            "*a",
            "#",
            "|",
            ">",
            "!!x ",
            "é",
            "999999999999999999999",
            "-1",
            "0",
            "null",
            "\t",
            "---\n",
            "? ",
            "<<: ",
        ])
        .prop_map(|text| Change::Insert(text.to_owned())),
        (1usize..30).prop_map(Change::Delete),
    ]
}
