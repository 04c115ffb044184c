//! What the series of a scenario are told apart by: which values a selector may name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{At, Lower};
use crate::{
    config::hints,
    model::{
        expr::{Dimension, Pattern, Threshold},
        scenario::{Executor, Group, Repeat},
    },
};

/// The values of a dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    /// From 1 to this many; `first` and `last` too.
    Numbered(u64),
    /// These.
    Named(BTreeSet<String>),
    /// Known only when the run is under way.
    Any,
}

/// Dimensions beside `step`, with their values.
pub(super) type Dimensions = BTreeMap<String, Values>;

/// The dimensions that a scenario's loads and steps bring along.
pub(super) fn of(groups: &[Arc<Group>], repeat: Repeat) -> Dimensions {
    let mut found = Dimensions::new();
    for group in groups {
        for (dimension, name) in group.labels.iter() {
            named(&mut found, dimension, &[name]);
        }
        match &group.load.executor {
            Executor::SteppedVus { levels, .. } => numbered(&mut found, "level", levels.len() as u64),
            Executor::Burst { repeat, .. } => numbered(&mut found, "burst", *repeat),
            Executor::Limit(spec) => {
                let parts = [
                    ("hold", spec.hold),
                    ("over", spec.over),
                    ("retry", spec.free),
                    ("race", spec.race),
                    ("bystander", spec.bystanders),
                ];
                let parts: Vec<&str> =
                    parts.into_iter().filter_map(|(part, count)| (count > 0).then_some(part)).collect();
                named(&mut found, "part", &parts);
                if spec.per_user.is_some() {
                    found.insert("user".to_owned(), Values::Any);
                }
            }
            _ => {}
        }
        for (dimension, _) in group.steps().flat_map(|step| &step.tags) {
            found.insert(dimension.to_string(), Values::Any);
        }
        if group.load.identities.is_some() {
            found.insert("identity".to_owned(), Values::Any);
        }
    }
    if repeat.times > 1 {
        numbered(&mut found, "repeat", u64::from(repeat.times));
    }
    found
}

fn numbered(found: &mut Dimensions, dimension: &str, count: u64) {
    let known = match found.get(dimension) {
        Some(Values::Numbered(known)) => *known,
        _ => 0,
    };
    found.insert(dimension.to_owned(), Values::Numbered(count.max(known)));
}

fn named(found: &mut Dimensions, dimension: &str, names: &[impl AsRef<str>]) {
    let entry = found.entry(dimension.to_owned()).or_insert_with(|| Values::Named(BTreeSet::new()));
    if let Values::Named(known) = entry {
        known.extend(names.iter().map(|name| name.as_ref().to_owned()));
    }
}

/// Whether a text is one of so many numbers, or stands for the first or last of them.
fn is_numbered(text: &str, count: u64) -> bool {
    ["first", "last"].contains(&text) || text.parse::<u64>().is_ok_and(|number| (1..=count).contains(&number))
}

/// What brings a dimension along.
fn source(dimension: &str) -> &'static str {
    match dimension {
        "level" => "levels are those of the executor stepped-vus",
        "burst" => "bursts are those of the executor burst",
        "part" => "parts are those of the executor limit: hold, over, retry, race, bystander",
        "phase" => "phases are those of `phases: [{name: …, load: …}]`",
        "user" => "users are those of `users: {NAME: {load: …}}`",
        "repeat" => "repeats are those of `repeat: {times: 5}`",
        "turn" => "turns are those of a step with `loop: {times: 5, as: turn}`",
        "identity" => "identities are those of `load: {identities: 5}`",
        _ => "leave the selector out",
    }
}

impl Lower<'_> {
    /// Whether what a threshold selects by exists in the scenario.
    pub(super) fn selectors_exist(&mut self, at: &At, threshold: &Threshold, there: &Dimensions) {
        let find = |name: &str| threshold.source.find(name).unwrap_or_default();
        let tags: Vec<&str> = there.keys().map(String::as_str).collect();
        for tag in threshold.tags().filter(|tag| !there.contains_key(*tag)) {
            let known: Vec<&str> = tags.iter().copied().chain(crate::judge::SELECTORS).collect();
            let help = match hints::nearest(tag, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "a request has no tag `{tag}`: write `tags: {{{tag}: …}}` in a step, or one of {}",
                    known.join(", ")
                ),
            };
            self.text_error(at, find(tag), format!("`{tag}` is not a selector"), help);
        }
        for selector in threshold.aggregates().into_iter().flat_map(|aggregate| &aggregate.selectors) {
            let Dimension::Group(dimension) = &selector.by else { continue };
            if threshold.tags().any(|tag| tag == &**dimension) {
                continue;
            }
            let Some(values) = there.get(&**dimension) else {
                if &**dimension != "resource" {
                    let message = format!("this scenario has no `{dimension}`");
                    self.text_error(at, find(dimension), message, source(dimension));
                }
                continue;
            };
            let Pattern::Is(value) = &selector.value else { continue };
            // Behind its dimension: `5` stands in `p95` too.
            let behind = find(dimension);
            let place = threshold.source[behind..].find(&**value).map_or(behind, |offset| behind + offset);
            let message = format!("there is no {dimension} `{value}` in this scenario");
            match values {
                Values::Named(names) if !names.contains(&**value) => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let help = hints::did_you_mean(value, &names, &format!("{dimension}s"));
                    self.text_error(at, place, message, help);
                }
                Values::Numbered(count) if !is_numbered(value, *count) => {
                    let help = format!("they are numbered: write 1 to {count}, `first` or `last`");
                    self.text_error(at, place, message, help);
                }
                _ => {}
            }
        }
    }
}
