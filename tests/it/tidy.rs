//! The walls of the house, as a test that reads files.
//!
//! A wall that nothing checks is a drawing. What is allowed stands in the tables below, which are meant to be read; whoever
//! needs a new door changes the table, and the change is seen. Code under `#[cfg(test)]` is exempt from all but `#[ignore]`.

mod text;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use text::{blank, crate_paths, functions, ident, line, without_tests, words};

/// A room of the house (`src/<name>.rs` and `src/<name>/`) and what its code may import by `crate::…`.
/// `store::rows` opens that one module only. Listed in the order in which data flows.
const ROOMS: &[(&str, &[&str])] = &[
    // The words. Everybody knows them, they know nobody.
    ("model", &[]),
    // Files that the user names, read within a bound; whoever reads one comes through this door.
    ("input", &[]),
    // Pure laws over the words.
    ("measure", &["model"]),
    ("schedule", &["model"]),
    ("judge", &["model", "measure"]),
    // What the user wrote becomes words; expressions and cron lines are parsed where they are understood.
    ("config", &["input", "model", "judge", "schedule"]),
    // How much, and the requests themselves. `http` judges a response's `expect`s.
    ("http", &["input", "model", "measure", "judge"]),
    ("probe", &["model", "http"]),
    ("load", &["model", "measure"]),
    // What is kept, what is told, what is shown. Rows are plain data; the database itself stays behind its door.
    ("store", &["model"]),
    ("alert", &["input", "model", "store::rows"]),
    ("telemetry", &["model", "measure", "store::rows", "alert"]),
    ("web", &["model", "telemetry", "store::rows", "alert"]),
    // A target to practise on knows no more of us than any other target.
    ("practice", &["model"]),
    // Where all is wired together; nobody imports the command line.
    (
        "daemon",
        &[
            "input",
            "model",
            "measure",
            "schedule",
            "judge",
            "config",
            "http",
            "load",
            "store",
            "alert",
            "telemetry",
            "web",
            "practice",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "measure",
            "schedule",
            "judge",
            "config",
            "http",
            "load",
            "store",
            "alert",
            "telemetry",
            "web",
            "practice",
            "daemon",
        ],
    ),
];

/// Files that may import more than their room: the few that act, and those that judge a load while it goes on. A name
/// covers every file that starts with it.
const SHELL: &[(&str, &[&str])] = &[
    ("load/answer", &["http", "judge"]),
    ("load/executor", &["http", "judge"]),
    ("load/fake", &["http", "judge"]),
    ("load/feeds", &["http"]),
    ("load/flow", &["http", "judge"]),
    ("load/judging", &["judge"]),
    ("load/metrics", &["http", "judge"]),
    ("load/pacer", &["http", "judge"]),
    ("load/perform", &["http", "judge"]),
    ("load/poller", &["http", "judge"]),
    ("load/pool", &["http", "judge"]),
    ("load/probing", &["http", "judge", "probe"]),
    ("load/report", &["judge"]),
    ("load/run", &["http", "judge"]),
    ("load/samples", &["http"]),
    ("load/state", &["http"]),
    ("load/streamed", &["http", "judge"]),
    ("load/user", &["http", "judge"]),
    ("alert/deliver", &["store"]),
    ("alert/smtp", &["store"]),
];

/// Pure files: same input, same output. They know no runtime, no network and no database. A name covers every file that
/// starts with it.
const PURE: &[&str] = &[
    "model",
    "measure",
    "schedule",
    "judge",
    "config",
    "http/h1/",
    "load/forecast",
    "http/streaming",
    "load/plan",
    "load/report",
    "load/judging",
    "store/rows",
    "alert/state",
    "alert/group",
    "alert/facts",
    "alert/evidence",
    "alert/desk",
    "alert/mail",
    "alert/backoff",
    "telemetry/catalogue",
    "telemetry/metrics",
    "telemetry/series",
    "web/guard",
    "web/view",
    "web/page",
    "daemon/control",
    "daemon/event",
    "daemon/view",
];

/// What pure files do not mention.
const IMPURE: &[&str] = &["tokio", "hyper", "axum", "lettre", "rusqlite", "reqwest"];

/// The exceptions to [`PURE`]: a mail's text is built with lettre's message builder, which does no I/O; the one place that
/// reads the monotonic clock does so through tokio's `Instant`, which a simulation can pause.
const PURE_MAY: &[(&str, &str)] = &[("alert/mail", "lettre"), ("model/clock", "tokio")];

/// What no code contains, but for files that start with the names given, and what to do instead.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("#[allow(", &[], "write #[expect(…, reason = \"…\")]: it says when it is no longer needed"),
    ("#![allow(", &[], "write #![expect(…, reason = \"…\")]: it says when it is no longer needed"),
    ("unbounded_channel", &[], "give the channel a bound and count what does not fit"),
    ("Arc<Mutex<", &[], "give the state one owner; publish it by `watch` or `ArcSwap`"),
    ("println!", &["cli", "practice/command"], "say it with tracing, or return it to the command line"),
];

/// Longest file, without its tests.
const FILE_LINES: usize = 500;

/// Longest function, from `fn` to its closing brace.
const FN_LINES: usize = 70;

/// The metric catalogue: every metric named anywhere is a line of it.
const CATALOGUE: &str = "src/telemetry/catalogue.tsv";

/// Where metrics are named, besides `src`.
const NAMES_METRICS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs", "dashboards", "deploy", "config", "examples"];

#[test]
fn imports_go_in_one_direction() {
    report(&sources().iter().flat_map(Source::imports).collect::<Vec<_>>());
}

#[test]
fn pure_files_stay_pure() {
    report(&sources().iter().flat_map(Source::impurities).collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short() {
    let mut found: Vec<_> = sources().iter().flat_map(Source::lengths).collect();
    for path in files(&root().join("src"), "rs").into_iter().filter(|path| is_test(path)) {
        let lines = read(&path).lines().count();
        if lines > FILE_LINES {
            found.push(format!("{}:1: {lines} lines of tests, {FILE_LINES} at most: split it by subject", show(&path)));
        }
    }
    report(&found);
}

#[test]
fn banned_words_are_absent() {
    let mut found: Vec<_> = sources().iter().flat_map(Source::banned).collect();
    for path in files(&root().join("src"), "rs").into_iter().chain(files(&root().join("tests"), "rs")) {
        let text = blank(&read(&path));
        for (at, _) in text.match_indices("#[ignore") {
            found.push(format!("{}:{}: no test is ignored: make it run, or delete it", show(&path), line(&text, at)));
        }
    }
    report(&found);
}

#[test]
fn metric_names_are_in_the_catalogue() {
    let catalogue = read(&root().join(CATALOGUE));
    let known: BTreeSet<&str> =
        catalogue.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split('|').next()).collect();
    let mut found = Vec::new();
    for source in sources() {
        found.extend(unknown_metrics(&source.path, &without_tests(&source.text, true), &known));
    }
    for name in NAMES_METRICS {
        for path in ["md", "json", "yml", "yaml"].iter().flat_map(|ext| files(&root().join(name), ext)) {
            found.extend(unknown_metrics(&show(&path), &read(&path), &known));
        }
    }
    report(&found);
}

/// A merge that was not finished is not committed.
#[test]
fn no_file_holds_the_marks_of_a_merge() {
    let mut found = Vec::new();
    for folder in ["src", "tests/it", "benches", "config", "docs", "dashboards", "deploy", "."] {
        let all = ["rs", "md", "yaml", "yml", "toml", "json", "tsv", "txt", "service", "lock"].iter();
        let there = all.flat_map(|ext| match folder {
            "." => tops(ext),
            _ => files(&root().join(folder), ext),
        });
        for path in there {
            let text = fs::read(&path).expect("a readable file");
            found.extend(merge_marks(&show(&path), &String::from_utf8_lossy(&text)));
        }
    }
    report(&found);
    let marked = format!("a\n{0} ours\nb\n{1}\nc\n{2} theirs\n{1}=\n", "<".repeat(7), "=".repeat(7), ">".repeat(7));
    assert_eq!(merge_marks("x.md", &marked).len(), 3, "each of them is found, and no line under a heading");
}

/// The lines that git writes around what it could not merge.
fn merge_marks(path: &str, text: &str) -> Vec<String> {
    let mark = |line: &str| line == "=".repeat(7) || ["<", ">"].iter().any(|c| line.starts_with(&(c.repeat(7) + " ")));
    let found = text.lines().enumerate().filter(|(_, line)| mark(line));
    found.map(|(at, _)| format!("{path}:{}: a merge is not finished here: finish it", at + 1)).collect()
}

/// The files of the top folder with the extension.
fn tops(ext: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root()).expect("a readable folder").map(|entry| entry.expect("an entry").path());
    all.filter(|path| path.is_file() && path.extension().is_some_and(|e| e == ext)).collect()
}

/// A file of `src`, outside tests.
struct Source {
    /// `src/room/file.rs`.
    path: String,
    /// `room/file.rs`.
    place: String,
    /// As it is.
    text: String,
    /// Comments, literals and tests blanked; the same lines.
    code: String,
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let code = without_tests(&blank(&text), true);
        let place = path.trim_start_matches("src/").to_owned();
        Self { path: path.to_owned(), place, text, code }
    }

    /// The room it stands in; none for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let name = self.place.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        (!["lib", "main"].contains(&name)).then_some(name)
    }

    fn imports(&self) -> Vec<String> {
        let Some(room) = self.room() else { return Vec::new() };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            return vec![format!(
                "{}:1: room `{room}` is not in the table ROOMS of tests/it/tidy.rs: add it",
                self.path
            )];
        };
        let extra = SHELL.iter().filter(|(name, _)| self.place.starts_with(name)).flat_map(|(_, more)| *more);
        let allowed: Vec<_> = allowed.iter().chain(extra).collect();
        let opens = |path: &str| allowed.iter().any(|a| path == **a || path.starts_with(&format!("{a}::")));
        let mut found = Vec::new();
        for (at, path) in crate_paths(&self.code) {
            if path != room && !path.starts_with(&format!("{room}::")) && !opens(&path) {
                let at = line(&self.code, at);
                let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                found.push(format!(
                    "{}:{at}: `{room}` does not import crate::{path} (allowed: {allowed}): pass a value in, or move the code",
                    self.path
                ));
            }
        }
        let out = "super::".repeat(self.place.matches('/').count() + 1);
        for (at, _) in self.code.match_indices(&out) {
            found.push(format!("{}:{}: leaves the room by {out}: write crate::…", self.path, line(&self.code, at)));
        }
        found
    }

    fn impurities(&self) -> Vec<String> {
        if !PURE.iter().any(|name| self.place.starts_with(name)) {
            return Vec::new();
        }
        let may = |word: &str| PURE_MAY.iter().any(|(name, w)| self.place.starts_with(name) && *w == word);
        let found = IMPURE.iter().filter(|word| !may(word)).flat_map(|word| {
            words(&self.code, word).into_iter().map(move |at| {
                format!(
                    "{}:{}: pure code does not know {word}: take what it gives as an argument",
                    self.path,
                    line(&self.code, at)
                )
            })
        });
        found.collect()
    }

    fn lengths(&self) -> Vec<String> {
        let mut found = Vec::new();
        let lines = without_tests(&self.text, false).trim_end().lines().count();
        if lines > FILE_LINES {
            found.push(format!(
                "{}:1: {lines} lines without tests, {FILE_LINES} at most: split it by subject",
                self.path
            ));
        }
        for (start, end) in functions(&self.code) {
            let (first, last) = (line(&self.code, start), line(&self.code, end));
            if last - first >= FN_LINES {
                let lines = last - first + 1;
                found.push(format!(
                    "{}:{first}: a function of {lines} lines, {FN_LINES} at most: name its parts",
                    self.path
                ));
            }
        }
        found
    }

    fn banned(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (word, but, instead) in BANNED {
            if but.iter().any(|name| self.place.starts_with(name)) {
                continue;
            }
            for at in words(&self.code, word) {
                found.push(format!("{}:{}: `{word}`: {instead}", self.path, line(&self.code, at)));
            }
        }
        found
    }
}

/// Prints every violation and fails if there is one.
#[track_caller]
fn report(violations: &[String]) {
    let violations: BTreeSet<_> = violations.iter().collect();
    let mut text = String::new();
    for v in &violations {
        let _ = writeln!(text, "  {v}");
    }
    assert!(violations.is_empty(), "{} violations:\n{text}", violations.len());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    // One of the broken configurations is no UTF-8.
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("failed to read {}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// All files below `path` (or `path` itself) with the extension, sorted.
fn files(path: &Path, ext: &str) -> Vec<PathBuf> {
    if path.is_file() {
        return if path.extension().is_some_and(|e| e == ext) { vec![path.to_owned()] } else { Vec::new() };
    }
    let Ok(dir) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<_> = dir.flat_map(|entry| files(&entry.expect("a readable folder").path(), ext)).collect();
    found.sort();
    found
}

/// The files of `src` that are not tests.
fn sources() -> Vec<Source> {
    let all = files(&root().join("src"), "rs").into_iter();
    all.filter(|p| !is_test(p)).map(|p| Source::new(&show(&p), read(&p))).collect()
}

/// Whether a file of `src` holds tests only.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// Names that look like a metric of ours and are in no line of the catalogue.
fn unknown_metrics(path: &str, text: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("plimsoll_") {
        let before = at.checked_sub(1).map(|i| text.as_bytes()[i]);
        if before.is_some_and(|c| ident(c) || c == b':') {
            continue; // a longer word, or the middle of a recording rule's name (`level:metric:operation`)
        }
        let name: String =
            text[at..].chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect();
        let after = &text[at + name.len()..];
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(&name);
        // `plimsoll_threshold_*`, or a prefix that code looks for.
        let prefix = name.ends_with('_') && known.iter().any(|k| k.starts_with(&name));
        let crate_item = after.starts_with("::");
        if known.contains(name.as_str()) || known.contains(family) || crate_item || prefix {
            continue;
        }
        found.push(format!(
            "{path}:{}: {name} is no metric of {CATALOGUE}: correct it, or add its line",
            line(text, at)
        ));
    }
    found
}

/// The reader itself: each rule finds what it is there for, where it is, and nothing in comments, strings and tests.
#[test]
fn each_rule_finds_its_violation() {
    let text = r##"//! crate::web, tokio
use crate::{model::Name, store::{db::Store, rows}};
const C: char = '"'; const S: &str = "crate::web \" println!"; const R: &str = r#"fn x() { " } crate::cli"#;
fn f<'a>(x: &'a str) -> tokio::Instant { println!("{x}"); #[allow(dead_code)] super::super::g() }
#[cfg(test)]
mod tests {
    use crate::cli;
}
fn long() {
    crate::daemon::start();
}
"##;
    let long =
        text.replace("    crate::daemon::start();\n", &format!("    crate::daemon::start();{}", "\n".repeat(FN_LINES)));
    let found = |place: &str| {
        let s = Source::new(&format!("src/{place}"), long.clone());
        let all = [s.imports(), s.impurities(), s.lengths(), s.banned()].concat();
        all.iter().map(|v| v.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(found("alert/state.rs"), @r"
    src/alert/state.rs:2: `alert` does not import crate::store::db (allowed
    src/alert/state.rs:10: `alert` does not import crate::daemon::start (allowed
    src/alert/state.rs:4: leaves the room by super::super::
    src/alert/state.rs:4: pure code does not know tokio
    src/alert/state.rs:9: a function of 72 lines, 70 at most
    src/alert/state.rs:4: `#[allow(`
    src/alert/state.rs:4: `println!`
    ");
    insta::assert_snapshot!(found("cli/run.rs"), @r"
    src/cli/run.rs:4: leaves the room by super::super::
    src/cli/run.rs:9: a function of 72 lines, 70 at most
    src/cli/run.rs:4: `#[allow(`
    ");
    let known = BTreeSet::from(["plimsoll_runs_total", "plimsoll_lag_seconds"]);
    let names = "plimsoll_runs_total plimsoll_lag_seconds_bucket a:plimsoll_x:rate5m plimsoll_lag_* plimsoll::x\nplimsoll_rums_total";
    insta::assert_snapshot!(unknown_metrics("x", names, &known).join("\n"), @"x:2: plimsoll_rums_total is no metric of src/telemetry/catalogue.tsv: correct it, or add its line");
}
