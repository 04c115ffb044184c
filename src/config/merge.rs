//! What stands once and holds in several places: an environment is laid over the file, `defaults:` goes into each
//! scenario. Both on the trees, before they are checked, so that what is wrong is reported where it is written.

use super::{
    diagnostic::Problems,
    hints,
    source::{Source, Sources, Span},
    tree::{Entry, Node, Value},
};

/// Nodes that defaults may come to in all scenarios together.
const MAX_MERGED: usize = 1_000_000;

/// Keys of `defaults:` that scenarios have themselves.
const OF_SCENARIOS: [&str; 16] = [
    "labels",
    "owner",
    "runbook",
    "intent",
    "target",
    "schedule",
    "before",
    "after",
    "on_start",
    "on_stop",
    "cookies",
    "data",
    "require",
    "thresholds",
    "valid_if",
    "recovery",
];

/// Keys of `defaults:` that belong to each load.
const OF_LOADS: [&str; 2] = ["graceful_stop", "max_in_flight"];

/// Lays the environment that was chosen over the trees, the first of which is the main file's.
pub(crate) fn environment(
    chosen: Option<&str>,
    trees: &mut [(usize, Node)],
    sources: &mut Sources,
    problems: &mut Problems,
) {
    let all: Vec<Entry> =
        trees.first().and_then(|(_, main)| main.get("environments")).map(Node::entries).unwrap_or_default().to_vec();
    for environment in &all {
        strangers(&environment.node, trees, problems);
    }
    let Some(chosen) = chosen else { return };
    let source = sources.add(Source::argument("--env".to_owned(), chosen.to_owned()));
    let Some(environment) = all.iter().find(|entry| entry.key == chosen) else {
        let names: Vec<&str> = all.iter().map(|entry| entry.key.as_str()).collect();
        let help = if names.is_empty() {
            format!("write `environments: {{{chosen}: {{targets: {{…}}}}}}`, or leave `--env` out")
        } else {
            hints::did_you_mean(chosen, &names, "environments")
        };
        let span = Span { source, start: 0, end: chosen.len() };
        problems.error(Some(span), format!("there is no environment `{chosen}`"), help);
        return;
    };
    for section in environment.node.entries() {
        match section.key.as_str() {
            "policy" => lay_into(&mut trees[0].1, section),
            "vars" | "targets" | "scenarios" => {
                for entry in section.node.entries() {
                    let place = holder(trees, &section.key, &entry.key).unwrap_or(0);
                    let Some(node) = trees[place].1.get_mut(&section.key) else {
                        lay_into(&mut trees[0].1, &Entry { node: one(entry), ..section.clone() });
                        continue;
                    };
                    lay_into(node, entry);
                }
            }
            // An unknown key is the checker's business.
            _ => {}
        }
    }
}

/// Notes targets and scenarios of an environment that the file does not have.
fn strangers(environment: &Node, trees: &[(usize, Node)], problems: &mut Problems) {
    for section in ["targets", "scenarios"] {
        let known: Vec<&str> = trees
            .iter()
            .filter_map(|(_, tree)| tree.get(section))
            .flat_map(Node::entries)
            .map(|entry| entry.key.as_str())
            .collect();
        for entry in environment.get(section).map(Node::entries).unwrap_or_default() {
            if !known.contains(&entry.key.as_str()) {
                let singular = section.trim_end_matches('s');
                let message = format!("there is no {singular} `{}` to change", entry.key);
                problems.error(Some(entry.key_span), message, hints::did_you_mean(&entry.key, &known, section));
            }
        }
    }
}

/// The tree that has a name under a section.
fn holder(trees: &[(usize, Node)], section: &str, name: &str) -> Option<usize> {
    trees.iter().position(|(_, tree)| tree.get(section).is_some_and(|node| node.get(name).is_some()))
}

/// A map of one entry.
fn one(entry: &Entry) -> Node {
    Node { value: Value::Map(vec![entry.clone()]), span: entry.node.span }
}

/// Puts an entry into a map: maps are merged, anything else is replaced.
fn lay_into(map: &mut Node, entry: &Entry) {
    let Value::Map(entries) = &mut map.value else { return };
    let Some(there) = entries.iter_mut().find(|there| there.key == entry.key) else {
        entries.push(entry.clone());
        return;
    };
    match &entry.node.value {
        Value::Map(over) if matches!(there.node.value, Value::Map(_)) => {
            for entry in over {
                lay_into(&mut there.node, entry);
            }
        }
        _ => there.clone_from(entry),
    }
}

/// Merges `defaults:` of the main file into every scenario; a scenario's own key wins.
pub(crate) fn defaults(trees: &mut [(usize, Node)], problems: &mut Problems) {
    let Some(defaults) = trees.first().and_then(|(_, main)| main.get("defaults")).cloned() else { return };
    let scenarios: usize =
        trees.iter().filter_map(|(_, tree)| tree.get("scenarios")).map(|node| node.entries().len()).sum();
    if count(&defaults).saturating_mul(scenarios) > MAX_MERGED {
        let message = format!("`defaults` in {scenarios} scenarios come to more than {MAX_MERGED} values");
        problems.error(Some(defaults.locate(&[])), message, "write less of it into `defaults`");
        return;
    }
    for (_, tree) in trees {
        let Some(Value::Map(scenarios)) = tree.get_mut("scenarios").map(|node| &mut node.value) else { continue };
        for scenario in scenarios {
            for entry in defaults.entries() {
                if OF_SCENARIOS.contains(&entry.key.as_str()) {
                    add(&mut scenario.node, entry);
                } else if OF_LOADS.contains(&entry.key.as_str()) {
                    loads(&mut scenario.node, &mut |load| add(load, entry));
                }
            }
        }
    }
}

/// Adds an entry to a map that has no such key.
fn add(map: &mut Node, entry: &Entry) {
    if let Value::Map(entries) = &mut map.value
        && entries.iter().all(|there| there.key != entry.key)
    {
        entries.push(entry.clone());
    }
}

/// Every load of a scenario.
fn loads(scenario: &mut Node, each: &mut impl FnMut(&mut Node)) {
    if let Some(load) = scenario.get_mut("load") {
        each(load);
    }
    let groups: Vec<&mut Node> = match &mut scenario.value {
        Value::Map(entries) => entries
            .iter_mut()
            .flat_map(|entry| match (entry.key.as_str(), &mut entry.node.value) {
                ("phases", Value::List(phases)) => phases.iter_mut().collect(),
                ("users", Value::Map(groups)) => groups.iter_mut().map(|group| &mut group.node).collect(),
                _ => Vec::new(),
            })
            .collect(),
        _ => return,
    };
    for load in groups.into_iter().filter_map(|group| group.get_mut("load")) {
        each(load);
    }
}

/// Values in a tree.
fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.node)).sum::<usize>(),
        _ => 1,
    }
}
