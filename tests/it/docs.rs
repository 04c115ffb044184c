//! The documentation says what the program does: its links, its configurations and its exit codes are tried, and
//! `docs/configuration.md` is written from the JSON Schema, so that it says what the checker does. `UPDATE=1` writes it
//! anew; read the difference before committing it.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use plimsoll::{
    config::{self, Options},
    judge,
    model::run::Verdict,
};
use serde_json::{Map, Value as Json};

const PAGE: &str = "docs/configuration.md";

/// Above the tables.
const INTRO: &str = r"# Configuration

<!-- Written from the JSON Schema by `UPDATE=1 cargo test --test it docs::`. Change the words in src/config/raw/, not here. -->

One file, `plimsoll.yaml`, says everything. It is looked for as `--config FILE`, then `./plimsoll.yaml`, then
`/etc/plimsoll/plimsoll.yaml`. `plimsoll check` shows every problem of it with its place and what to write instead;
`plimsoll schema` prints the JSON Schema that this page is made from, for editors that complete from it.

* Keys are strict: an unknown key is an error, and the nearest known one is suggested.
* **Units are always written**: `500ms`, `10s`, `1h30m`, `30d` · `10/s`, `30/m`, `100/h` · `5%` · `500MB` (10⁶), `1GiB` (2³⁰).
* Paths of files are relative to the file that names them.
* Secrets are never written down: they are read from a file, the environment or a systemd credential.
* A *template* is a text with holes: `${vars.name}`, `${env.NAME}`, `${secret.name}`, `${data.NAME.FIELD}`, `${vu}`,
  `${iteration}`, `${n}`, or a captured value by its name. `$${` is a literal `${`.
* `--env NAME` lays one of `environments:` over the file; `--target`, `--users`, `--rate`, `--spawn-rate`, `--duration`,
  `--timeout`, `--var` and `--set` change single values of it.
* An *expression* is a condition, as in `status == 200` or `p95(latency) < 2s`; its grammar is in [expressions.md](expressions.md).
* Bold keys must be written.
";

/// Each executor with what it is for.
const LOADS: [(&str, &str, &str); 12] = [
    ("probe", "one iteration: is it well?", "attempts: 2"),
    ("constant-arrival-rate", "starts iterations at a rate, whatever became of the others", "rate: 10/s, duration: 5m"),
    (
        "ramping-arrival-rate",
        "the rate follows straight lines",
        "start_rate: 1/s, stages: [{duration: 2m, target: 50/s}, {duration: 1m, target: 0/s}]",
    ),
    ("constant-vus", "users who go on when they are answered", "vus: 10, duration: 5m"),
    (
        "ramping-vus",
        "the number of users follows straight lines",
        "stages: [{duration: 1m, target: 50}, {duration: 1m, target: 0}]",
    ),
    (
        "per-vu-iterations",
        "each user does so many iterations, all at once if they start together",
        "vus: 10, iterations: 1, start: together",
    ),
    ("shared-iterations", "users share so many iterations: who is free takes the next", "vus: 10, iterations: 1000"),
    ("stepped-vus", "one level of users after the other; each is a `level`", "vus: [1, 5, 10, 20, 50], pause: 2s"),
    ("burst", "many at the same instant, again and again; each is a `burst`", "size: 50, repeat: 10, every: 10s"),
    (
        "users",
        "users are spawned, stay, and are taken away; what is measured is while all of them stay",
        "users: 1000, spawn_rate: 10/s, hold_for: 5m",
    ),
    (
        "limit",
        "holds as many as the target allows, tries one more, frees one, tries again; each is a `part`",
        "hold: 10, over: 1",
    ),
    ("search", "looks for the highest load that holds what `sustain` says", "start: 5/s, max: 2000/s"),
];

/// What stands beside `load`.
const GROUPS: &str = r"
A scenario has one `load`, or several: `phases:` follow each other, `users:` act at the same time. What a phase or a group
of users does not say itself (`steps`, `tasks`, `think`) is the scenario's. Thresholds select by `level`, `burst`, `part`,
`phase` and `user`, as in `p95(latency{phase=overload}) < 5s`.
";

#[test]
fn the_load_models_of_the_page_are_accepted() {
    for (executor, _, example) in LOADS {
        let more = match executor {
            "limit" => "acquire: {post: /take}, release: {delete: /give}",
            "search" => "sustain: [rate(ok) >= 95%], steps: [{get: /}]",
            _ => "steps: [{get: /}]",
        };
        let scenario = format!("{{load: {{executor: {executor}, {example}}}, {more}}}");
        settings(&[("scenarios.shown".to_owned(), scenario)]);
    }
}

#[test]
fn the_page_is_what_the_schema_says() {
    let page = page(&config::json_schema());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, page).expect("writable");
        return;
    }
    let written = fs::read_to_string(PAGE).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(is, should)| is != should);
    assert!(written == page, "{PAGE} is not what the schema says (first in line {differs:?}): UPDATE=1 writes it anew");
}

/// A default that is written out changes nothing: what the page calls a default is one.
#[test]
fn defaults_are_what_the_page_says() {
    let schema = config::json_schema();
    let mut written: Vec<(String, String)> = Vec::new();
    for (name, at) in [
        ("Daemon", "daemon"),
        ("Retention", "daemon.retention"),
        ("Policy", "policy"),
        ("Http", "targets.t.http"),
        ("Stats", "targets.t.stats"),
        ("ScheduleMap", "scenarios.probe.schedule"),
        ("ThresholdMap", "scenarios.probe.thresholds.0"),
        ("Email", "alerts.receivers.r.email"),
        ("Alerts", "alerts"),
        ("Otlp", "telemetry.otlp"),
    ] {
        for (key, value) in keys(&schema, name) {
            let (_, default) = split(text(value, "description"));
            // A default in words, such as "the daemon's", cannot be written.
            // A target that does not name `connections` leaves the choice to the load, which comes to the same.
            if key == "connections" {
                continue;
            }
            if let Some(default) = default.filter(|d| !d.contains(' ') || d.starts_with('[')) {
                written.push((format!("{at}.{key}"), default.to_owned()));
            }
        }
    }
    // Of the keys of a load it is said which executors take them.
    for (key, value) in keys(&schema, "Load") {
        let (meaning, default) = split(text(value, "description"));
        let Some(default) = default.filter(|default| !default.contains(' ')) else { continue };
        let owners = meaning.split_once(": ").map_or("", |(owners, _)| owners);
        for owner in owners.split(", ").map(|owner| owner.split(' ').next().unwrap_or_default()) {
            assert!(owner.is_empty() || LOADS.iter().any(|(executor, ..)| *executor == owner), "{key}: {meaning}");
            let name = if owner.is_empty() { "users" } else { owner };
            written.push((format!("scenarios.{name}.load.{key}"), default.to_owned()));
        }
    }
    assert!(written.len() > 50, "only {written:?}");
    let plain = settings(&[]);
    let changes = |written: &[(String, String)]| settings(written).into_iter().zip(&plain).find(|(is, was)| is != *was);
    for one in &written {
        assert_eq!(changes(std::slice::from_ref(one)), None, "{one:?} is no default");
    }
    assert!(changes(&[owned(("targets.t.http.timeout", "7s"))]).is_some(), "the comparison sees a change");
}

fn owned((path, value): (&str, &str)) -> (String, String) {
    (path.to_owned(), value.to_owned())
}

/// The smallest scenario with a load of this executor.
fn smallest(executor: &str) -> String {
    let (load, more) = match executor {
        "constant-arrival-rate" => ("rate: 1/s, duration: 1s", ""),
        "ramping-arrival-rate" => ("stages: [{duration: 1m, target: 5/s}]", ""),
        "constant-vus" => ("vus: 2, duration: 1s", ""),
        "ramping-vus" => ("stages: [{duration: 1m, target: 5}]", ""),
        "per-vu-iterations" => ("vus: 2", ""),
        "shared-iterations" => ("vus: 2, iterations: 9", ""),
        "stepped-vus" => ("vus: [1, 2]", ""),
        "burst" => ("size: 2", ""),
        "users" => ("users: 2, hold_for: 1m", ""),
        "limit" => ("hold: 2", "acquire: {post: /take}, release: {delete: /give}"),
        "search" => ("start: 1/s", "sustain: [rate(ok) >= 95%], steps: [{get: /}]"),
        other => panic!("{other}: what is its smallest load?"),
    };
    let more = if more.is_empty() { "steps: [{get: /}]" } else { more };
    format!("{{load: {{executor: {executor}, {load}}}, {more}}}")
}

/// The settings of a small configuration with these values written into it, line by line.
fn settings(written: &[(String, String)]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plimsoll.yaml");
    let loads =
        LOADS.iter().filter(|(executor, ..)| *executor != "probe").fold(String::new(), |mut text, (executor, ..)| {
            let _ = writeln!(text, "  {executor}: {}", smallest(executor));
            text
        });
    fs::write(
        &path,
        format!(
            "version: 1\n\
             targets: {{t: {{base_url: \"http://localhost:1\", http: {{}}, stats: {{gauges: {{g: {{get: /g, json: \"$.g\"}}}}}}}}}}\n\
             scenarios:\n{loads}  \
               probe: {{schedule: {{every: 1m}}, load: {{executor: probe}}, steps: [{{get: /}}], thresholds: [{{expr: p95(latency) < 1s}}]}}\n\
             alerts: {{receivers: {{r: {{email: {{to: a@example.com, from: b@example.com, smtp: \"smtp://localhost\"}}}}}}}}\n\
             telemetry: {{otlp: {{endpoint: \"http://localhost:4318\"}}}}\n"
        ),
    )
    .expect("writable");
    let options = Options { path: Some(path), policy_file: None, env: [].into(), credentials_dir: None };
    let overrides = config::Overrides { set: written.to_vec(), ..config::Overrides::default() };
    let loaded = config::load_with(&options, &overrides, None).unwrap_or_else(|report| panic!("{written:?}: {report}"));
    let shown = format!("{:#?}", loaded.settings);
    // These follow the text of the file.
    let follows = |line: &str| ["config_hash:", "seed:"].iter().any(|key| line.trim_start().starts_with(key));
    shown.lines().filter(|line| !follows(line)).map(ToOwned::to_owned).collect()
}

/// The whole page.
fn page(schema: &Json) -> String {
    let mut page = INTRO.to_owned();
    page.push_str("\n## The load models\n\n| Executor | What it does | Example |\n|---|---|---|\n");
    for (executor, meaning, example) in LOADS {
        let _ = writeln!(page, "| `{executor}` | {meaning} | `load: {{executor: {executor}, {example}}}` |");
    }
    page.push_str(GROUPS);
    let _ = write!(page, "\n## The file\n\n{}", table(object(schema)));
    let mut done = BTreeSet::new();
    let mut next: Vec<String> = references(&schema["properties"]);
    next.reverse();
    // Depth first, in the order of the keys: what belongs together stands together.
    while let Some(name) = next.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let of = &schema["$defs"][&name];
        let mut inner = references(of);
        inner.reverse();
        next.extend(inner);
        if of.get("properties").is_none() {
            continue;
        }
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n{}",
            heading(schema, &name),
            text(of, "description"),
            table(object_of(schema, of))
        );
    }
    page
}

/// Properties and required keys of an object.
type Object<'a> = (&'a Json, &'a Map<String, Json>, Vec<&'a str>);

fn object(schema: &Json) -> Object<'_> {
    object_of(schema, schema)
}

fn object_of<'a>(schema: &'a Json, of: &'a Json) -> Object<'a> {
    let required = of["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    (schema, of["properties"].as_object().expect("an object has properties"), required)
}

fn keys<'a>(schema: &'a Json, name: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    schema["$defs"][name]["properties"].as_object().unwrap_or_else(|| panic!("{name} is no object")).iter()
}

fn table((schema, properties, required): Object<'_>) -> String {
    let mut table = "| Key | Type | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for (key, value) in properties {
        let shown = if required.contains(&key.as_str()) { format!("**`{key}`**") } else { format!("`{key}`") };
        let (meaning, default) = split(text(value, "description"));
        let default = default.map_or(String::new(), |default| {
            if default.contains(' ') && !default.starts_with('[') { default.to_owned() } else { format!("`{default}`") }
        });
        let meaning = format!("{}.", meaning.trim_end_matches('.'));
        let cells =
            [shown, kind(schema, value), default, meaning].map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// Meaning and default of `…; X by default…`.
fn split(description: &str) -> (&str, Option<&str>) {
    let Some((meaning, rest)) = description.split_once("; ") else { return (description, None) };
    match rest.split_once(" by default") {
        Some((default, "." | "")) => {
            let bare =
                default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).filter(|bare| !bare.contains('`'));
            (meaning, Some(bare.unwrap_or(default)))
        }
        _ => (description, None),
    }
}

/// A type in words, with its bounds.
fn kind(schema: &Json, value: &Json) -> String {
    if let Some(name) = reference(value) {
        let of = &schema["$defs"][name];
        return if of.get("properties").is_some() {
            format!("[map](#{})", anchor(schema, name))
        } else {
            kind(schema, of)
        };
    }
    if let Some(choices) = value["anyOf"].as_array() {
        let mut kinds: Vec<String> = Vec::new();
        for kind in choices.iter().map(|choice| kind(schema, choice)) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        // A list of what may stand alone as well.
        if let [list, one] = kinds.as_slice()
            && list.strip_prefix("list of ") == Some(one)
        {
            return format!("{one}, or a list of these");
        }
        return kinds.join(" or ");
    }
    if let Some(only) = value.get("const") {
        return format!("`{}`", only.as_str().map_or_else(|| only.to_string(), ToOwned::to_owned));
    }
    if let Some(words) = value["enum"].as_array() {
        return words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    match (value["type"].as_str(), value["format"].as_str()) {
        (_, Some(format)) if format.starts_with("plimsoll-") => format.trim_start_matches("plimsoll-").to_owned(),
        (Some("array"), _) => format!("list of {}", kind(schema, &value["items"])),
        (Some("object"), _) if value["additionalProperties"].is_object() => {
            format!("name: {}", kind(schema, &value["additionalProperties"]))
        }
        (Some("object"), _) => "name: value".to_owned(),
        (Some("integer" | "number"), _) => match (value["minimum"].as_u64(), value["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) if least > 0 => format!("number, {least} at least"),
            _ => "number".to_owned(),
        },
        (Some("boolean"), _) => "true or false".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn reference(value: &Json) -> Option<&str> {
    value.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The definitions that `value` refers to, in order.
fn references(value: &Json) -> Vec<String> {
    match value {
        Json::Object(map) => {
            let own = reference(value).map(ToOwned::to_owned).into_iter();
            own.chain(map.values().flat_map(references)).collect()
        }
        Json::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The heading of a definition: where it stands, the first few places if it stands in many.
fn heading(schema: &Json, name: &str) -> String {
    let mut places = places(schema, name);
    places.sort_by_key(|place| (place.matches('.').count(), !place.ends_with("steps")));
    let borrowed = |place: &String| place.starts_with("defaults.") || place.starts_with("environments.");
    if !places.iter().all(borrowed) {
        places.retain(|place| !borrowed(place));
    }
    let more = if places.len() > 4 { ", …" } else { "" };
    places.truncate(4);
    format!("`{}`{more}", places.join("`, `"))
}

/// Where a definition stands in the file: `targets.NAME.http`.
fn places(schema: &Json, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, schema, "", &mut |at, of| {
        if of == name && !found.contains(&at.to_owned()) {
            found.push(at.to_owned());
        }
    });
    found
}

fn walk(schema: &Json, value: &Json, at: &str, see: &mut impl FnMut(&str, &str)) {
    if let Some(name) = reference(value) {
        see(at, name);
        return walk(schema, &schema["$defs"][name], at, see);
    }
    for choice in value["anyOf"].as_array().into_iter().flatten() {
        walk(schema, choice, at, see);
    }
    if value["items"].is_object() {
        walk(schema, &value["items"], at, see);
    }
    if value["additionalProperties"].is_object() {
        walk(schema, &value["additionalProperties"], &format!("{at}.NAME"), see);
    }
    for (key, inner) in value["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        walk(schema, inner, &path, see);
    }
}

/// The heading's anchor, as GitHub makes it.
fn anchor(schema: &Json, name: &str) -> String {
    let heading = heading(schema, name).to_lowercase();
    heading
        .chars()
        .filter_map(|c| if c == ' ' { Some('-') } else { (c.is_alphanumeric() || c == '_').then_some(c) })
        .collect()
}

/// What the README shows is accepted: whole files as they are, parts of one with what they leave out.
#[test]
fn the_configurations_of_the_readme_load() {
    let readme = fs::read_to_string("README.md").expect("readable");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("a part")).collect();
    assert!(blocks.len() >= 5, "only {} blocks", blocks.len());
    for block in blocks {
        let mut text = block.to_owned();
        if block.starts_with(' ') {
            text = format!("scenarios:\n  s:\n    load: {{executor: probe}}\n{text}");
        }
        for (key, otherwise) in [
            ("version:", "version: 1"),
            ("targets:", "targets: {t: {base_url: \"http://localhost:1\"}}"),
            ("scenarios:", "scenarios: {s: {load: {executor: probe}, steps: [{get: /}]}}"),
        ] {
            if !text.lines().any(|line| line.starts_with(key)) {
                let _ = writeln!(text, "{otherwise}");
            }
        }
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("plimsoll.yaml");
        fs::write(&path, &text).expect("writable");
        let env = [("SMTP_PASSWORD".to_owned(), "secret".to_owned())].into();
        let options = Options { path: Some(path), policy_file: None, env, credentials_dir: None };
        let loaded = config::load(&options).unwrap_or_else(|report| panic!("{text}\n{report}"));
        assert_eq!(loaded.warnings.warnings(), 0, "{text}\n{}", loaded.warnings);
    }
}

#[test]
fn the_exit_codes_of_the_readme_are_right() {
    let readme = fs::read_to_string("README.md").expect("readable");
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Invalid, Verdict::NoData, Verdict::Interrupted] {
        let row = format!("| {verdict} | {} |", judge::exit_code(verdict));
        assert!(readme.contains(&row), "README.md has no row `{row}`");
    }
}

/// Every page that the README and the documentation link to is there.
#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let pages = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(ToOwned::to_owned);
    let docs = fs::read_dir("docs").expect("docs is there").map(|entry| entry.expect("readable").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).map(|path| path.display().to_string());
    for page in pages.into_iter().chain(docs) {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let there = Path::new(&page).parent().expect("a file has a folder").join(file);
            if !link.contains("://") && !file.is_empty() && !there.exists() {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}
