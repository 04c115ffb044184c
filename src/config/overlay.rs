//! What the command line changes: applied to the trees before they are checked, so that a wrong value is reported like
//! any other, and nothing can be set that could not be written.

use super::{
    Overrides,
    diagnostic::Problems,
    hints,
    source::{Source, Sources, Span},
    tree::{self, Entry, Node, Value},
};

/// Sections that are laid over scenarios, or become a part of them: what is set in them is set before that.
const EARLY: [&str; 2] = ["defaults", "environments"];

/// Applies what `--set` changes in sections that go into others.
pub(crate) fn early(
    overrides: &Overrides,
    trees: &mut [(usize, Node)],
    sources: &mut Sources,
    problems: &mut Problems,
) {
    let mut overlay = Overlay { trees, sources, problems };
    for (path, value) in overrides.set.iter().filter(|(path, _)| is_early(path)) {
        overlay.set_path(path, value);
    }
}

fn is_early(path: &str) -> bool {
    EARLY.contains(&path.split(['.', '[']).next().unwrap_or(path))
}

/// Applies all other overrides. `scenario` limits them to one; `trees` holds the main file first.
pub(crate) fn apply(
    overrides: &Overrides,
    scenario: Option<&str>,
    trees: &mut [(usize, Node)],
    sources: &mut Sources,
    problems: &mut Problems,
) {
    let mut overlay = Overlay { trees, sources, problems };
    let names = overlay.scenarios(scenario);
    let targets = overlay.targets(&names, scenario.is_some());
    if let Some(url) = &overrides.target {
        overlay.each("--target", &targets, &["base_url"], url);
    }
    if let Some(timeout) = &overrides.timeout {
        overlay.each("--timeout", &targets, &["http", "timeout"], timeout);
    }
    for name in &names {
        overlay.load(name, overrides, scenario.is_some());
    }
    let vars = overlay.names("vars");
    for (name, value) in &overrides.vars {
        let option = format!("--var {name}");
        if vars.contains(name) {
            overlay.set(&option, &["vars", name], value);
        } else {
            overlay.no_variable(&option, name, value, &vars);
        }
    }
    for (path, value) in overrides.set.iter().filter(|(path, _)| !is_early(path)) {
        overlay.set_path(path, value);
    }
}

struct Overlay<'a> {
    trees: &'a mut [(usize, Node)],
    sources: &'a mut Sources,
    problems: &'a mut Problems,
}

impl Overlay<'_> {
    fn names(&self, section: &str) -> Vec<String> {
        let entries = self.trees.iter().filter_map(|(_, tree)| tree.get(section)).flat_map(Node::entries);
        entries.map(|entry| entry.key.clone()).collect()
    }

    /// The scenarios that are meant; one that `for_each` makes stands under the name of its entry.
    fn scenarios(&self, only: Option<&str>) -> Vec<String> {
        let mut names = self.names("scenarios");
        let Some(only) = only else { return names };
        let made = |name: &String| {
            let each = self.scenario(name).is_some_and(|node| node.get("for_each").is_some());
            each && only.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        if names.iter().any(|name| name == only) {
            names.retain(|name| name == only);
        } else {
            names.retain(made);
        }
        names
    }

    /// The targets of these scenarios, as paths; all of them when no scenario was named.
    fn targets(&self, scenarios: &[String], limited: bool) -> Vec<Vec<String>> {
        let all = self.names("targets");
        let used: Vec<String> = scenarios
            .iter()
            .filter_map(|name| match &self.scenario(name)?.get("target")?.value {
                Value::String { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect();
        let limited = limited && all.len() > 1;
        let chosen = all.into_iter().filter(|name| !limited || used.contains(name));
        chosen.map(|name| vec!["targets".to_owned(), name]).collect()
    }

    fn scenario(&self, name: &str) -> Option<&Node> {
        self.trees.iter().find_map(|(_, tree)| tree.get("scenarios")?.get(name))
    }

    /// `strict` makes an option that does not apply an error: not where all scenarios are meant.
    fn load(&mut self, name: &str, overrides: &Overrides, strict: bool) {
        let settings = [
            ("--users", overrides.users.map(|users| users.to_string())),
            ("--rate", overrides.rate.clone()),
            ("--spawn-rate", overrides.spawn_rate.clone()),
            ("--duration", overrides.duration.clone()),
        ];
        for (option, value) in settings {
            let Some(value) = value else { continue };
            let why = match self.scenario(name).map(|node| place(name, node, option)) {
                Some(Ok(path)) => {
                    let path: Vec<&str> = ["scenarios", name].into_iter().chain(path).collect();
                    self.set(option, &path, &value);
                    continue;
                }
                Some(Err(why)) => why,
                None => continue,
            };
            if strict {
                let span = self.argument(option, &value);
                let (why, help) = why;
                self.problems.error(
                    Some(span),
                    format!("scenario `{name}` {why}, which {option} does not apply to"),
                    help,
                );
            }
        }
    }

    fn each(&mut self, option: &str, bases: &[Vec<String>], keys: &[&str], value: &str) {
        for base in bases {
            let path: Vec<&str> = base.iter().map(String::as_str).chain(keys.iter().copied()).collect();
            self.set(option, &path, value);
        }
    }

    fn argument(&mut self, name: &str, value: &str) -> Span {
        let source = self.sources.add(Source::argument(name.to_owned(), value.to_owned()));
        Span { source, start: 0, end: value.len() }
    }

    /// A variable that no file declares would change nothing.
    fn no_variable(&mut self, option: &str, name: &str, value: &str, vars: &[String]) {
        let known: Vec<&str> = vars.iter().map(String::as_str).collect();
        let help = if known.is_empty() {
            format!("declare it in the file, `vars: {{{name}: …}}`, and write `${{vars.{name}}}` where it is meant")
        } else {
            hints::did_you_mean(name, &known, "variables")
        };
        let span = self.argument(option, value);
        self.problems.error(Some(span), format!("there is no variable `{name}` under `vars`"), help);
    }

    /// Puts a value at a path as written on the command line.
    fn set_path(&mut self, path: &str, value: &str) {
        let normal = path.replace('[', ".").replace(']', "");
        let parts: Vec<&str> = normal.split('.').collect();
        self.set(&format!("--set {path}"), &parts, value);
    }

    /// Puts a value at a path, in the file that has most of the path already.
    fn set(&mut self, option: &str, path: &[&str], value: &str) {
        let span = self.argument(option, value);
        if path.iter().any(|part| part.is_empty()) || path.len() > tree::MAX_DEPTH {
            self.problems.error(
                Some(span),
                format!("`{}` is not a path", path.join(".")),
                "write `--set scenarios.health.load.attempts=3`",
            );
            return;
        }
        let source = &self.sources.0[span.source];
        let Some(mut node) = tree::parse(source, span.source, self.problems) else { return };
        if !node.is_collection() {
            node.span = span;
        }
        let best = (0..self.trees.len()).max_by_key(|index| (depth(&self.trees[*index].1, path), usize::MAX - index));
        let Some(best) = best else { return };
        if let Err(part) = put(&mut self.trees[best].1, path, node, span) {
            let message = format!("nothing stands at `{part}` in `{}`", path.join("."));
            self.problems.error(
                Some(span),
                message,
                "a path names keys, and the indexes of lists from 0: `scenarios.health.steps[0].get`",
            );
        }
    }
}

/// Where an option applies in a scenario, or why not and what to do.
fn place(name: &str, scenario: &Node, option: &str) -> Result<Vec<&'static str>, (String, String)> {
    let Some(load) = scenario.get("load") else {
        if option == "--duration" && scenario.get("duration").is_some() {
            return Ok(vec!["duration"]);
        }
        let path = if scenario.get("phases").is_some() { "phases[0]" } else { "users.GROUP" };
        let help = format!("each has its own, such as `--set scenarios.{name}.{path}.load.rate=5/s`");
        return Err(("has several loads".to_owned(), help));
    };
    let Some(Value::String { text: executor, .. }) = load.get("executor").map(|node| &node.value) else {
        return Err(("has no executor".to_owned(), "write one".to_owned()));
    };
    match key_of(executor, option, load) {
        Some("duration") if load.get("duration").is_none() && scenario.get("duration").is_some() => {
            Ok(vec!["duration"])
        }
        Some(key) => Ok(vec!["load", key]),
        None => {
            let each = |what: &str, path: &str| Some(format!("{what}: `--set scenarios.{name}.load.{path}`"));
            let help = match (executor.as_str(), option) {
                ("ramping-vus", "--users") => each("each of its stages has its own", "stages[0].target=50"),
                ("ramping-arrival-rate", "--rate") => each("each of its stages has its own", "stages[0].target=50/s"),
                ("ramping-vus" | "ramping-arrival-rate", "--duration") => {
                    each("each of its stages has its own", "stages[0].duration=1m")
                }
                ("stepped-vus", "--users") => each("each of its levels has its own", "vus=[1, 5]"),
                ("search", "--rate") => each("it looks for one, from `start` on", "start=5/s"),
                _ => None,
            };
            let help = help.unwrap_or_else(|| "leave the option out, or name another scenario".to_owned());
            Err((format!("has the executor {executor}"), help))
        }
    }
}

/// The key of a load that an option sets.
fn key_of(executor: &str, option: &str, load: &Node) -> Option<&'static str> {
    Some(match (option, executor) {
        ("--users", "per-vu-iterations" | "shared-iterations" | "constant-vus") => "vus",
        ("--users", "users") => "users",
        ("--users", "burst") => "size",
        ("--users", "limit") => "hold",
        ("--users", "constant-arrival-rate" | "ramping-arrival-rate") => "max_in_flight",
        ("--rate", "constant-arrival-rate") => "rate",
        ("--spawn-rate", "users") => "spawn_rate",
        ("--duration", "constant-arrival-rate" | "constant-vus") => "duration",
        ("--duration", "stepped-vus") if load.get("duration").is_some() => "duration",
        ("--duration", "per-vu-iterations" | "shared-iterations" | "stepped-vus") => "max_duration",
        ("--duration", "burst") if load.get("repeat").is_none() => "duration",
        ("--duration", "users") => "hold_for",
        ("--duration", "search") => "deadline",
        _ => return None,
    })
}

/// How far a path exists in a tree.
fn depth(node: &Node, path: &[&str]) -> usize {
    match split(node, path) {
        Some((taken, child)) => taken + depth(child, &path[taken..]),
        None => 0,
    }
}

/// The child a path begins with and how many parts its key takes: a key may hold dots itself.
fn split<'n>(node: &'n Node, path: &[&str]) -> Option<(usize, &'n Node)> {
    match &node.value {
        Value::Map(_) => (1..=path.len()).find_map(|taken| Some((taken, node.get(&path[..taken].join("."))?))),
        Value::List(items) => Some((1, items.get(path.first()?.parse::<usize>().ok()?)?)),
        _ => None,
    }
}

fn put(node: &mut Node, path: &[&str], new: Node, span: Span) -> Result<(), String> {
    if path.is_empty() {
        *node = new;
        return Ok(());
    }
    if let Some((taken, _)) = split(node, path) {
        let key = path[..taken].join(".");
        let child = match &mut node.value {
            Value::List(items) => items.get_mut(key.parse::<usize>().unwrap_or(usize::MAX)),
            _ => node.get_mut(&key),
        };
        return child.map_or(Err(key), |child| put(child, &path[taken..], new, span));
    }
    if node.value == Value::Null {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else { return Err(path[0].to_owned()) };
    let mut child = Node { value: Value::Map(Vec::new()), span };
    put(&mut child, &path[1..], new, span)?;
    entries.push(Entry { key: path[0].to_owned(), key_span: span, node: child });
    Ok(())
}
