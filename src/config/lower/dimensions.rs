//! What the series of a scenario are told apart by: which values a selector may name. What is misspelt would select
//! nothing, and a count of nothing holds for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{At, Lower, threshold::Measured};
use crate::{
    config::hints,
    model::{
        expr::{Aggregate, Dimension, GROUPS, Metric, Pattern, Selector, Threshold},
        outcome::{DropReason, OTHER_REASON, Outcome, fail, reject},
        scenario::{Executor, Group, LoopOver, ReasonSource, Repeat, Step, Target},
        template::Template,
    },
};

/// Of numbers up to this it is tried whether a selector means one.
const MOST_TRIED: u64 = 10_000;

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

impl Values {
    /// Whether one of them is meant.
    fn have(&self, pattern: &Pattern) -> bool {
        match (self, pattern) {
            (Self::Any, _) => true,
            (Self::Named(names), _) => names.iter().any(|name| pattern.takes(name)),
            (Self::Numbered(count), Pattern::Is(word)) => is_numbered(word, *count),
            (Self::Numbered(count), _) => {
                *count > MOST_TRIED || (1..=*count).any(|number| pattern.takes(&number.to_string()))
            }
        }
    }

    /// These too.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Named(mut names), Self::Named(more)) => {
                names.extend(more);
                Self::Named(names)
            }
            (Self::Numbered(count), Self::Numbered(more)) => Self::Numbered(count.max(more)),
            _ => Self::Any,
        }
    }

    /// What to write.
    fn help(&self, pattern: &Pattern, what: &str) -> String {
        match (self, pattern) {
            (Self::Numbered(count), _) => format!("they are numbered: write 1 to {count}, `first` or `last`"),
            (Self::Named(names), Pattern::Is(value)) => hints::did_you_mean(value, &listed(names), what),
            (Self::Named(names), _) => format!("{what} known here: {}", listed(names).join(", ")),
            (Self::Any, _) => String::new(),
        }
    }
}

fn listed(names: &BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Dimensions beside `step` and `reason`, with their values.
pub(super) type Dimensions = BTreeMap<String, Values>;

/// The dimensions that a scenario's loads and steps bring along.
pub(super) fn of(groups: &[Arc<Group>], repeat: Repeat) -> Dimensions {
    let mut found = Dimensions::new();
    for group in groups {
        for (dimension, name) in group.labels.iter() {
            add(&mut found, dimension, named(&[name]));
        }
        match &group.load.executor {
            Executor::SteppedVus { levels, .. } => add(&mut found, "level", Values::Numbered(levels.len() as u64)),
            Executor::Burst { repeat, .. } => add(&mut found, "burst", Values::Numbered(*repeat)),
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
                add(&mut found, "part", named(&parts));
            }
            _ => {}
        }
        for step in group.steps() {
            for (tag, template) in &step.tags {
                add(&mut found, tag, tagged(step, tag, template));
            }
        }
    }
    if repeat.times > 1 {
        add(&mut found, "repeat", Values::Numbered(u64::from(repeat.times)));
    }
    found
}

fn add(found: &mut Dimensions, dimension: &str, values: Values) {
    let known = found.remove(dimension);
    let values = if let Some(known) = known { known.and(values) } else { values };
    found.insert(dimension.to_owned(), values);
}

fn named(names: &[impl AsRef<str>]) -> Values {
    Values::Named(names.iter().map(|name| name.as_ref().to_owned()).collect())
}

/// The values of a tag of one step.
fn tagged(step: &Step, tag: &str, template: &Template) -> Values {
    if let Some(text) = template.as_literal() {
        return named(&[text]);
    }
    match step.repeat.as_ref().map(|repeat| &repeat.over) {
        Some(LoopOver::Times(_, most)) if tag == "turn" => Values::Numbered(u64::from(*most)),
        _ => Values::Any,
    }
}

/// Why requests are counted under `metric`; `None` where that is known only from the answers.
fn reasons(metric: &Metric, target: &Target) -> Option<Values> {
    let outcome = match metric {
        Metric::Dropped => return Some(named(&DropReason::ALL.map(DropReason::as_str))),
        Metric::Outcome(outcome @ (Outcome::Rejected | Outcome::Failed)) => *outcome,
        _ => return None,
    };
    let mut names: BTreeSet<String> = match outcome {
        Outcome::Failed => fail::ALL.map(str::to_owned).into(),
        _ => ["status_429", "status_503", reject::EXHAUSTED].map(str::to_owned).into(),
    };
    names.insert(OTHER_REASON.to_owned());
    for rule in target.classify.iter().filter(|rule| rule.outcome == outcome) {
        match &rule.reason {
            ReasonSource::Header { .. } => return None,
            ReasonSource::Fixed(name) => drop(names.insert(name.to_string())),
            ReasonSource::Status if outcome == Outcome::Failed => {}
            ReasonSource::Status if rule.status.is_empty() => return None,
            ReasonSource::Status => names.extend(
                rule.status.iter().flat_map(|range| range.first..=range.last).map(|status| format!("status_{status}")),
            ),
        }
    }
    Some(Values::Named(names))
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
        _ => "leave the selector out",
    }
}

/// Where the value of a selector stands in an expression.
fn value_at(source: &str, dimension: &str, value: &str) -> usize {
    let behind = |(at, _): (usize, &str)| {
        let rest = &source[at + dimension.len()..];
        let rest = rest.trim_start_matches(|c: char| " =!\"'".contains(c));
        rest.starts_with(value).then(|| source.len() - rest.len())
    };
    source.match_indices(dimension).find_map(behind).or_else(|| source.find(dimension)).unwrap_or_default()
}

impl Lower<'_> {
    /// Whether what a threshold selects by exists in the scenario.
    pub(super) fn selectors_exist(&mut self, at: &At, threshold: &Threshold, measured: &Measured<'_>) {
        let Some(there) = &measured.dimensions else { return };
        let find = |name: &str| threshold.source.find(name).unwrap_or_default();
        for tag in threshold.tags().filter(|tag| !there.contains_key(*tag)) {
            let known: Vec<&str> = there.keys().map(String::as_str).chain(crate::judge::SELECTORS).collect();
            let help = match hints::nearest(tag, known.iter().copied()) {
                _ if hints::foreign_selector(tag).is_some() => {
                    hints::foreign_selector(tag).unwrap_or_default().to_owned()
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "a request has no tag `{tag}`: write `tags: {{{tag}: …}}` in a step, or one of {}",
                    known.join(", ")
                ),
            };
            self.text_error(at, find(tag), format!("`{tag}` is not a selector"), help);
        }
        for aggregate in threshold.aggregates() {
            for selector in &aggregate.selectors {
                self.selector_exists(at, threshold, (aggregate, selector), measured, there);
            }
        }
        for by in threshold.spreads() {
            self.dimension_exists(at, threshold, by, there);
        }
    }

    /// Whether a dimension that is no tag has values in the scenario; of a tag this has been said.
    fn dimension_exists(&mut self, at: &At, threshold: &Threshold, by: &Dimension, there: &Dimensions) {
        let Dimension::Group(name) = by else { return };
        if GROUPS.contains(&&**name) && !there.contains_key(&**name) {
            let offset = threshold.source.find(&**name).unwrap_or_default();
            self.text_error(at, offset, format!("this scenario has no `{name}`"), source(name));
        }
    }

    fn selector_exists(
        &mut self,
        at: &At,
        threshold: &Threshold,
        (aggregate, selector): (&Aggregate, &Selector),
        measured: &Measured<'_>,
        there: &Dimensions,
    ) {
        let metric = &aggregate.metric;
        let values = match &selector.by {
            Dimension::Step if measured.steps.is_empty() => return,
            Dimension::Step => Some(named(&measured.steps)),
            Dimension::Reason => measured.target.and_then(|target| reasons(metric, target)),
            Dimension::Group(name) => {
                self.dimension_exists(at, threshold, &selector.by, there);
                there.get(&**name).cloned()
            }
            Dimension::Status | Dimension::Outcome | Dimension::Timing => return,
        };
        let Some(values) = values.filter(|values| !values.have(&selector.value)) else { return };
        let dimension = selector.by.as_str();
        let Pattern::Is(value) = &selector.value else {
            let offset = threshold.source.find(dimension).unwrap_or_default();
            let help = values.help(&selector.value, &format!("{dimension}s"));
            self.text_error(at, offset, format!("this selects no {dimension} of this scenario"), help);
            return;
        };
        let offset = value_at(&threshold.source, dimension, value);
        let (message, help) = if selector.by == Dimension::Reason {
            let name = metric.as_str();
            let message = format!("nothing is {name} for the reason `{value}`");
            let of = |other: Outcome| {
                let values = reasons(&Metric::Outcome(other), measured.target?)?;
                values.have(&selector.value).then_some(other)
            };
            let elsewhere = [Outcome::Rejected, Outcome::Failed].into_iter().find_map(of);
            let status = value.strip_prefix("status_").filter(|_| *metric == Metric::Outcome(Outcome::Failed));
            let help = match (elsewhere, status) {
                (_, Some(status)) => format!("write failed{{status={status}}}"),
                (Some(other), _) => format!("it is a reason of {other}: write {other}{{reason={value}}}"),
                (None, None) => values.help(&selector.value, "reasons"),
            };
            (message, help)
        } else {
            let message = format!("there is no {dimension} `{value}` in this scenario");
            (message, values.help(&selector.value, &format!("{dimension}s")))
        };
        self.text_error(at, offset, message, help);
    }
}
