//! From the file's types to the model: everything that a schema cannot say. Errors are collected, and each stands at
//! the place in the file that it is about.

mod alerts;
mod constants;
mod course;
mod data;
mod dimensions;
mod each;
mod group;
mod host;
mod load;
mod metric;
mod network;
mod probe;
mod scenario;
mod schedule;
mod stats;
mod step;
mod target;
mod threshold;
mod variables;

pub(crate) use self::{constants::reason, load::keys_of, scenario::digest};

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    diagnostic::Problems,
    mask, raw,
    source::{Sources, Span},
    tree::{Node, Seg, Value},
};
use crate::model::{
    scenario::Constants,
    settings::{Redactor, Settings},
    template::{Escape, Template},
    units,
};

/// A parsed file: its tree and what could be read of it.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// With positions.
    pub(crate) tree: Node,
    /// With types; what was wrong is left out.
    pub(crate) raw: raw::File,
}

/// The host's own policy.
#[derive(Debug)]
pub(crate) struct HostPolicy {
    /// As shown.
    pub(crate) name: String,
    /// With positions.
    pub(crate) tree: Node,
    /// With types.
    pub(crate) raw: raw::Policy,
}

/// What is read from the process's surroundings.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// $CREDENTIALS_DIRECTORY.
    pub(crate) credentials_dir: Option<&'a Path>,
}

/// Where something stands: a file and a path into its tree.
#[derive(Debug, Clone)]
pub(crate) struct At {
    file: usize,
    path: Vec<Seg>,
}

impl At {
    fn root(file: usize) -> Self {
        Self { file, path: Vec::new() }
    }

    fn key(&self, key: &str) -> Self {
        let mut path = self.path.clone();
        path.push(Seg::Key(key.to_owned()));
        Self { file: self.file, path }
    }

    fn index(&self, index: usize) -> Self {
        let mut path = self.path.clone();
        path.push(Seg::Index(index));
        Self { file: self.file, path }
    }

    /// The map or list that it stands in.
    fn parent(&self) -> Option<Self> {
        let (_, path) = self.path.split_last()?;
        Some(Self { file: self.file, path: path.to_vec() })
    }

    /// An item of a list, or the value itself where it stands alone.
    fn item(&self, index: Option<usize>) -> Self {
        index.map_or_else(|| self.clone(), |index| self.index(index))
    }
}

/// What lowering has found out so far.
struct Lower<'a> {
    sources: &'a Sources,
    files: &'a [Parsed],
    around: Surroundings<'a>,
    /// Captures of steps that could not be read: known, so that one error is enough.
    lost: &'a [String],
    problems: &'a mut Problems,
    constants: Constants,
    redactor: Redactor,
    /// What may be loaded.
    policy_in_force: crate::model::settings::Policy,
    /// Names under `vars`, `secret` and `env`, and the scenario's under `data`.
    known: BTreeMap<&'static str, Vec<String>>,
    /// What other tasks of the same users capture.
    elsewhere: Vec<String>,
    /// A `stream` could not be read: which answers are streamed is not known.
    stream_unread: bool,
    /// The lists of the scenario's `state`, where steps may grow them.
    lists: Vec<String>,
    /// Fields of the scenario's data; `None` where it could not be read.
    fields: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// Which variables a template may use besides the constants and what every run brings.
#[derive(Debug, Clone, Copy)]
enum Scope<'a> {
    /// Constants only: rendered once, when the configuration is loaded.
    Load,
    /// Captures of earlier steps.
    Run(&'a [String]),
    /// Any: a named request that no scenario uses.
    Any,
}

/// What every run brings.
const BUILT_IN: &[&str] = &["vu", "iteration", "n", "identity", "user", "run_id", "now", "now_ms", "uuid", "random"];

/// Lowers the files, the first of which is the main one. The settings are complete only if no error was noted.
pub(crate) fn lower(
    sources: &Sources,
    files: &[Parsed],
    host: Option<&HostPolicy>,
    around: Surroundings<'_>,
    lost: &[String],
    problems: &mut Problems,
) -> (Option<Settings>, Redactor) {
    let constants = Constants(std::sync::Arc::default());
    let known = BTreeMap::new();
    let redactor = Redactor::default();
    let mut lower = Lower {
        sources,
        files,
        around,
        lost,
        problems,
        constants,
        redactor,
        policy_in_force: crate::model::settings::Policy::default(),
        known,
        elsewhere: Vec::new(),
        stream_unread: false,
        lists: Vec::new(),
        fields: BTreeMap::new(),
    };
    lower.constants();
    let daemon = lower.daemon();
    let policy = lower.policy(host);
    lower.policy_in_force = policy.clone();
    let telemetry = lower.telemetry();
    let targets = lower.targets(&policy);
    lower.unused_requests();
    let scenarios = lower.scenarios(&targets, &policy, daemon.as_ref());
    let alerts = lower.alerts();
    let redact = lower.redactor.clone();
    let settings = daemon.map(|daemon| Settings { daemon, policy, telemetry, alerts, scenarios, redact });
    (settings, lower.redactor)
}

impl<'a> Lower<'a> {
    fn main(&self) -> &'a raw::File {
        &self.files[0].raw
    }

    fn node(&self, at: &At) -> Option<&'a Node> {
        self.files.get(at.file).and_then(|file| file.tree.at(&at.path))
    }

    /// Where a value stands: itself if it is a scalar, else its key.
    fn span(&self, at: &At) -> Option<Span> {
        self.files.get(at.file).map(|file| file.tree.locate(&at.path))
    }

    fn error(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        let span = self.span(at);
        self.problems.error(span, message, help);
    }

    fn warning(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        let span = self.span(at);
        self.problems.warning(span, message, help);
    }

    /// Whether a key of the map is unknown or its value wrong: then nothing is said of what is missing in it.
    fn troubled(&self, at: &At) -> bool {
        let known = |span: Span| self.problems.0.iter().any(|problem| problem.span == Some(span));
        let entries = self.node(at).map(Node::entries).unwrap_or_default();
        entries.iter().any(|entry| known(entry.key_span) || known(entry.node.span))
    }

    /// An error about a key rather than its value.
    fn key_error(&mut self, at: &At, message: impl Into<String>, help: impl Into<String>) {
        let span = self.files.get(at.file).map(|file| file.tree.locate_key(&at.path));
        self.problems.error(span, message, help);
    }

    /// An error within a text, `offset` bytes from its start.
    fn text_error(&mut self, at: &At, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        let span = self.span(at).map(|span| match self.node(at).map(|node| &node.value) {
            Some(Value::String { text, .. }) => {
                let quote = usize::from(self.sources.text(span).starts_with(['"', '\'']));
                let plain = self.sources.text(span).get(quote..).is_some_and(|raw| raw.starts_with(text.as_str()));
                match text.get(offset..).filter(|rest| plain && !rest.is_empty()) {
                    Some(rest) => span.part(quote + offset, word(rest)),
                    None => span,
                }
            }
            _ => span,
        });
        self.problems.error(span, message, help);
    }

    /// The folder that relative paths start from.
    fn resolve(&self, at: &At, path: &str) -> PathBuf {
        let source = self.span(at).and_then(|span| self.sources.0.get(span.source));
        source.map_or_else(|| PathBuf::from(path), |source| source.dir.join(path))
    }

    /// A duration of the file, or its default.
    fn duration(&mut self, at: &At, text: Option<&raw::DurationText>, default: Duration, least: Duration) -> Duration {
        let Some(Ok(value)) = text.map(|text| units::parse_duration(&text.0)) else { return default };
        if value < least {
            let key = Self::last_key(at);
            let least = units::human_seconds(least.as_secs_f64());
            self.error(at, format!("`{key}` is too short: the least is {least}"), "write a longer duration");
        }
        value
    }

    fn last_key(at: &At) -> String {
        at.path
            .iter()
            .rev()
            .find_map(|seg| if let Seg::Key(key) = seg { Some(key.clone()) } else { None })
            .unwrap_or_default()
    }

    /// A template, its variables checked. One that does not compile is noted and replaced by nothing.
    fn template(&mut self, at: &At, text: &str, escape: Escape, scope: Scope<'_>) -> Template {
        match Template::compile(text, escape) {
            Ok(template) => {
                for variable in template.variables() {
                    self.variable(at, text, &variable, scope);
                }
                template
            }
            Err(error) => {
                self.text_error(
                    at,
                    error.offset,
                    error.message,
                    "templates are written `${name}`, a literal `${` is written `$${`",
                );
                Template::literal("")
            }
        }
    }

    /// A text whose holes are constants, filled now.
    fn text(&mut self, at: &At, text: &str) -> String {
        if !text.contains("${") {
            return text.to_owned();
        }
        let before = self.problems.0.len();
        let template = self.template(at, text, Escape::None, Scope::Load);
        match template.render(&minijinja::Value::from(minijinja::value::Serde(&*self.constants.0))) {
            Ok(text) => text,
            Err(error) => {
                if self.problems.0.len() == before && !self.unread(text) {
                    self.error(at, error.message, "use `${vars.…}`, `${env.…}` or `${secret.…}`");
                }
                String::new()
            }
        }
    }

    /// Whether a text uses a constant that is declared but could not be read: that has been noted where it is declared.
    fn unread(&self, text: &str) -> bool {
        let Ok(template) = Template::compile(text, Escape::None) else { return false };
        template.variables().iter().any(|variable| {
            let Some((root, name)) = variable.split_once('.') else { return false };
            let name = name.split('.').next().unwrap_or(name);
            let known = self.known.get(root).is_some_and(|names| names.iter().any(|known| known == name));
            let read = self.constants.0.get(root).is_some_and(|values| values.get(name).is_some());
            known && !read
        })
    }

    /// A name that becomes a metric label.
    fn name(&mut self, at: &At, name: &str, what: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_.:/ ${}-".contains(c);
        if name.is_empty() || name.len() > 80 || !name.chars().all(fine) || name.trim() != name {
            let shown = super::check::short(name);
            self.key_error(
                at,
                format!("`{shown}` is not a name for {what}"),
                "a name has 1 to 80 letters, digits and _ . : / - characters: it is a metric label",
            );
        }
    }

    /// A name that a template or an expression uses.
    fn identifier(&mut self, at: &At, name: &str, what: &str) {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || name.len() > 80 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let shown = super::check::short(name);
            self.key_error(
                at,
                format!("`{shown}` is not a name for {what}"),
                "a name has letters, digits and _, and begins with a letter",
            );
        }
    }

    /// Whether a literal stands where only a reference to a secret may.
    fn literal_secret(&mut self, at: &At, text: &str, what: &str, help: &str) {
        if !text.is_empty() && !mask::only_references(text) {
            self.error(at, format!("{what} is written into the file"), help);
        }
    }

    /// The names of a section over all files, whether or not they could be read.
    fn section(&self, section: &str) -> Vec<&'a str> {
        let nodes = self.files.iter().filter_map(|file| file.tree.get(section));
        let mut names: Vec<&str> = Vec::new();
        for entry in nodes.flat_map(Node::entries) {
            if !names.contains(&entry.key.as_str()) {
                names.push(&entry.key);
            }
        }
        names
    }

    /// Notes names of a section that stand in two files.
    fn twice(&mut self, section: &str) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for file in self.files {
            let Some(node) = file.tree.get(section) else { continue };
            for entry in node.entries() {
                let Some(first) = seen.get(entry.key.as_str()) else {
                    seen.insert(&entry.key, entry.key_span);
                    continue;
                };
                if first.source == entry.key_span.source {
                    continue;
                }
                let other = &self.sources.0[first.source];
                let place = format!("{}:{}", other.name, other.line(first.start).0);
                self.problems.error(
                    Some(entry.key_span),
                    format!("`{}` stands under `{section}` in two files", entry.key),
                    format!("it is in {place} already: rename one of them"),
                );
            }
        }
    }
}

/// Length of the word that a text begins with, at least 1.
fn word(text: &str) -> usize {
    let len = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    len.max(text.chars().next().map_or(1, char::len_utf8))
}

/// The JSON of a node, for hashes.
fn json_of(node: Option<&Node>) -> Json {
    node.map_or(Json::Null, Node::to_json)
}
