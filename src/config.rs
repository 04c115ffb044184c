//! What the user wrote, checked into the immutable model.
//!
//! A file becomes a tree that knows where everything stands (`tree`), the tree is held against the schema (`check`),
//! what is right of it is read into the file's own types (`raw`), and those are lowered to the model (`lower`). Each
//! stage collects every problem it finds and leaves out what is wrong, so that one run of `plimsoll check` shows all
//! of them. The file's types never leave this folder.

mod check;
mod diagnostic;
mod expr;
mod files;
mod hints;
mod lower;
mod mask;
mod merge;
mod overlay;
mod raw;
mod schema;
mod source;
mod tree;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use self::{
    diagnostic::Problems,
    lower::{HostPolicy, Parsed, Surroundings},
    source::Sources,
    tree::Node,
};
pub use self::{
    diagnostic::{Diagnostic, Report, Severity},
    schema::json_schema,
};
use crate::model::settings::{Redactor, Settings};

/// The host's own policy: the outer bound of every configuration on it.
pub const HOST_POLICY: &str = "/etc/plimsoll/policy.yaml";

/// Where a configuration is read from, and what of the process's surroundings it may see.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--config`; else ./plimsoll.yaml, else /etc/plimsoll/plimsoll.yaml.
    pub path: Option<PathBuf>,
    /// The host's policy; `None`, or a file that does not exist, is no outer bound.
    pub policy_file: Option<PathBuf>,
    /// The environment, for `env:` and `from_env:`.
    pub env: BTreeMap<String, String>,
    /// $CREDENTIALS_DIRECTORY, for `from_credential:`.
    pub credentials_dir: Option<PathBuf>,
}

impl Options {
    /// From this process: its environment, its credentials and the host's policy.
    pub fn from_process(path: Option<PathBuf>) -> Self {
        // Variables that are not UTF-8 cannot stand in a template.
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let credentials_dir = env.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { path, policy_file: Some(HOST_POLICY.into()), env, credentials_dir }
    }
}

/// What the command line changes of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--target URL`: the base URL of the scenario's target.
    pub target: Option<String>,
    /// `--env NAME`: what is laid over the file.
    pub environment: Option<String>,
    /// `--users N`: vus, users, size or max_in_flight, as the executor has it.
    pub users: Option<u32>,
    /// `--rate 10/s`: of an arrival-rate load.
    pub rate: Option<String>,
    /// `--spawn-rate 10/s`: of a load of users.
    pub spawn_rate: Option<String>,
    /// `--duration 5m`: duration, max_duration, hold_for or deadline, as the executor has it.
    pub duration: Option<String>,
    /// `--timeout 10s`: the request timeout of the scenario's target.
    pub timeout: Option<String>,
    /// `--var name=value`, the value as YAML.
    pub vars: Vec<(String, String)>,
    /// `--set path=value`, the value as YAML: `scenarios.health.load.attempts=3`.
    pub set: Vec<(String, String)>,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The model.
    pub settings: Settings,
    /// What is probably not as meant.
    pub warnings: Report,
    /// All files it was read from, the main one first.
    pub files: Vec<PathBuf>,
    /// Hash of the text of all files and overrides, as `sha256:…`.
    pub hash: String,
}

/// Reads and checks a configuration. The report of a failure holds every problem, warnings too.
pub fn load(options: &Options) -> Result<Loaded, Report> {
    load_with(options, &Overrides::default(), None)
}

/// Reads and checks a configuration as the command line changes it; `scenario` limits the changes to one scenario.
pub fn load_with(options: &Options, overrides: &Overrides, scenario: Option<&str>) -> Result<Loaded, Report> {
    load_any(options, overrides, scenario, None)
}

fn load_any(
    options: &Options,
    overrides: &Overrides,
    scenario: Option<&str>,
    text: Option<String>,
) -> Result<Loaded, Report> {
    let mut loader =
        Loader { sources: Sources::default(), problems: Problems::default(), files: Vec::new(), lost: Vec::new() };
    let (settings, redactor) = loader.load(options, overrides, scenario, text);
    let failed = loader.problems.failed();
    let parts: Vec<&[u8]> =
        loader.sources.0.iter().flat_map(|source| [source.name.as_bytes(), source.text.as_bytes()]).collect();
    let hash = lower::digest(&parts);
    let report = loader.problems.report(&loader.sources, &redactor);
    match settings {
        Some(settings) if !failed => Ok(Loaded { settings, warnings: report, files: loader.files, hash }),
        _ => Err(report),
    }
}

/// Reads and checks a configuration that stands in no file.
pub fn load_text(text: &str, options: &Options) -> Result<Loaded, Report> {
    let text = Some(text.to_owned());
    load_any(options, &Overrides::default(), None, text)
}

/// What has been read so far.
struct Loader {
    sources: Sources,
    problems: Problems,
    files: Vec<PathBuf>,
    /// Captures of steps that could not be read.
    lost: Vec<String>,
}

impl Loader {
    fn load(
        &mut self,
        options: &Options,
        overrides: &Overrides,
        scenario: Option<&str>,
        text: Option<String>,
    ) -> (Option<Settings>, Redactor) {
        let nothing = (None, Redactor::default());
        let (path, main) = if let Some(text) = text {
            let index = self.sources.add(source::Source::new("the arguments".into(), PathBuf::new(), text));
            (PathBuf::new(), self.parsed(index))
        } else {
            let Some(path) = self.find(options) else { return nothing };
            let main = self.tree(&path, None);
            (path, main)
        };
        let Some(main) = main else { return nothing };
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut trees = vec![main];
        for (file, named) in files::included(&trees[0].1, &dir, &path, &mut self.problems) {
            trees.extend(self.tree(&file, Some(named)));
        }
        overlay::early(overrides, &mut trees, &mut self.sources, &mut self.problems);
        merge::environment(overrides.environment.as_deref(), &mut trees, &mut self.sources, &mut self.problems);
        merge::defaults(&mut trees, &mut self.problems);
        overlay::apply(overrides, scenario, &mut trees, &mut self.sources, &mut self.problems);
        for index in 0..self.sources.0.len() {
            let tree = trees.iter().find(|(source, _)| *source == index).map(|(_, tree)| tree);
            let source = &mut self.sources.0[index];
            if let Some(tree) = tree {
                source.masks = mask::of_tree(tree, &source.text);
            }
        }
        let host = self.host_policy(options.policy_file.as_deref());
        let Some(parsed) = self.check(trees) else { return nothing };
        let around = Surroundings { env: &options.env, credentials_dir: options.credentials_dir.as_deref() };
        lower::lower(&self.sources, &parsed, host.as_ref(), around, &self.lost, &mut self.problems)
    }

    fn find(&mut self, options: &Options) -> Option<PathBuf> {
        if let Some(path) = &options.path {
            return Some(path.clone());
        }
        let found = files::SEARCH.iter().map(PathBuf::from).find(|path| path.exists());
        if found.is_none() {
            let message = format!("there is no configuration: neither {} nor {}", files::SEARCH[0], files::SEARCH[1]);
            let help = "write one with `version: 1`, `targets:` and `scenarios:`, or name one: `--config FILE`; `plimsoll init URL` writes one to begin with";
            self.problems.error(None, message, help);
        }
        found
    }

    /// Reads and parses a file; what it hides until its tree is known is judged from its text.
    fn tree(&mut self, path: &Path, named: Option<source::Span>) -> Option<(usize, Node)> {
        let index = files::read(path, named, &mut self.sources, &mut self.problems)?;
        self.files.push(path.to_path_buf());
        self.parsed(index)
    }

    fn parsed(&mut self, index: usize) -> Option<(usize, Node)> {
        let source = &mut self.sources.0[index];
        source.masks = mask::of_text(&source.text);
        let tree = tree::parse(&self.sources.0[index], index, &mut self.problems)?;
        Some((index, tree))
    }

    /// Holds each tree against its schema. `None` if the main file is of no use.
    fn check(&mut self, trees: Vec<(usize, Node)>) -> Option<Vec<Parsed>> {
        let (main, fragment) = (schema::json_schema(), schema::fragment_schema());
        let mut parsed = Vec::new();
        for (number, (_, mut tree)) in trees.into_iter().enumerate() {
            let schema = if number == 0 { &main } else { &fragment };
            let json = check::check(&mut tree, schema, &self.sources, &mut self.problems, &mut self.lost);
            let raw = json.and_then(|json| {
                if number == 0 {
                    self.read(json, &tree)
                } else {
                    self.read::<raw::Fragment>(json, &tree).map(Into::into)
                }
            });
            match raw {
                Some(raw) => parsed.push(Parsed { tree, raw }),
                None if number == 0 => return None,
                None => {}
            }
        }
        Some(parsed)
    }

    /// Into the file's own types. It cannot fail after the check; if it does, the two disagree.
    fn read<T: DeserializeOwned>(&mut self, json: Json, tree: &Node) -> Option<T> {
        // The error's own text may quote a value: it is not shown.
        let raw = serde_json::from_value(json).ok();
        if raw.is_none() {
            self.problems.error(
                Some(tree.locate(&[])),
                "internal: the file passed its schema and cannot be read all the same",
                "please report it, with the file if it holds nothing private",
            );
        }
        raw
    }

    fn host_policy(&mut self, path: Option<&Path>) -> Option<HostPolicy> {
        let path = path.filter(|path| path.exists())?;
        let (_, mut tree) = self.tree(path, None)?;
        let (schema, lost) = (schema::policy_schema(), &mut Vec::new());
        let json = check::check(&mut tree, &schema, &self.sources, &mut self.problems, lost)?;
        let raw = self.read(json, &tree)?;
        Some(HostPolicy { name: path.display().to_string(), tree, raw })
    }
}
