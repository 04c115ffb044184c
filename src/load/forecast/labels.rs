//! By which labels a run counts: how many series it keeps, and how much is planned under each label.

use std::collections::BTreeMap;

use minijinja::value::{Serde, Value};
use serde_json::{Map, Value as Json};

use super::{Count, Part, steps::rounds};
use crate::{
    load::{flow::tag, plan::limit, recorder::MAX_SERIES},
    model::{
        Name,
        labels::Labels,
        scenario::{Executor, Group, LoopOver, Scenario, Step},
        template::{FUNCTIONS, Template},
    },
};

/// What is planned under one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Iterations that start.
    pub iterations: Count,
    /// Requests that are sent where every answer is ok.
    pub requests: Count,
}

/// The series of a run and its labels.
#[derive(Debug, Default)]
pub(super) struct Kept {
    series: BTreeMap<(Name, Labels), Count>,
    /// `level=2`, as in the document of a run.
    pub(super) groups: BTreeMap<String, Planned>,
    /// The answers decide on a tag.
    open: bool,
}

impl Kept {
    /// How many series: at least those that are certainly reached.
    pub(super) fn series(&self) -> Count {
        let most = (MAX_SERIES as u64).saturating_add(1);
        let sure = self.series.values().filter(|count| count.least > 0).count() as u64;
        let known = self.series.len() as u64;
        Count { least: sure.min(most), most: Some(if self.open { most } else { known.min(most) }) }
    }

    /// Adds a group of users whose parts are these; `started` of its iterations come past our own caps.
    pub(super) fn add(&mut self, scenario: &Scenario, group: &Group, parts: &[Part], started: impl Fn(Count) -> Count) {
        let times = scenario.repeat.times.max(1);
        for (labels, iterations) in turns(group, parts) {
            let iterations = started(iterations);
            for repetition in 1..=times {
                if self.series.len() > MAX_SERIES {
                    self.open = true;
                    return;
                }
                let mut labels = group.labels.and(&labels);
                if times > 1 {
                    labels = labels.with("repeat", repetition.to_string());
                }
                for label in labels.iter() {
                    self.group(label).iterations = self.group(label).iterations.plus(iterations);
                }
                self.add_turn(scenario, group, &labels, iterations);
            }
        }
    }

    fn group(&mut self, (dimension, value): &(Name, Name)) -> &mut Planned {
        let none = Planned { iterations: Count::ZERO, requests: Count::ZERO };
        self.groups.entry(format!("{dimension}={value}")).or_insert(none)
    }

    fn add_turn(&mut self, scenario: &Scenario, group: &Group, labels: &Labels, iterations: Count) {
        let of_task = if group.tasks.len() == 1 { iterations } else { iterations.or_none() };
        for step in group.steps() {
            let Some(tagged) = tagged(scenario, step) else {
                self.open = true;
                continue;
            };
            for (tags, count) in tagged {
                let (labels, requests) = (labels.and(&tags), of_task.times(count));
                for label in labels.iter() {
                    self.group(label).requests = self.group(label).requests.plus(requests);
                }
                let series = self.series.entry((step.name.clone(), labels)).or_insert(Count::ZERO);
                *series = series.plus(requests);
            }
        }
    }
}

/// The labels of the turns of a group, with its iterations.
fn turns(group: &Group, parts: &[Part]) -> Vec<(Labels, Count)> {
    let numbered = |name: &'static str, counts: Vec<Count>| {
        (1..).zip(counts).map(|(number, count)| (Labels::one(name, number.to_string()), count)).collect()
    };
    match &group.load.executor {
        Executor::SteppedVus { .. } => numbered("level", parts.iter().map(|part| part.iterations).collect()),
        Executor::Burst { size, repeat, .. } => {
            let shown = usize::try_from(*repeat).unwrap_or(usize::MAX).min(MAX_SERIES + 1);
            numbered("burst", vec![Count::exactly(u64::from(*size)); shown])
        }
        Executor::Limit(spec) => {
            let acts = limit::Limit::from(&**spec).acts().into_iter().filter_map(|act| match act {
                limit::Act::Acquire { part, .. } => Some(Labels::one("part", part.as_str())),
                limit::Act::Release { .. } | limit::Act::ReleaseAll => None,
            });
            acts.zip(parts.iter().map(|part| part.iterations)).collect()
        }
        _ => vec![(Labels::default(), parts.iter().map(|part| part.iterations).sum())],
    }
}

/// The labels that the tags of a step make, each with how often in an iteration; `None` where only answers tell.
fn tagged(scenario: &Scenario, step: &Step) -> Option<Vec<(Labels, Count)>> {
    if step.tags.is_empty() {
        return Some(vec![(Labels::default(), rounds(step))]);
    }
    let mut known = Map::clone(&scenario.constants.0);
    let mut found: BTreeMap<Labels, Count> = BTreeMap::new();
    let mut add = |known: &Map<String, Json>, count: Count| {
        let mut labels = Labels::default();
        for (name, template) in &step.tags {
            labels = labels.with(name.clone(), filled_in(template, known)?);
        }
        let all = found.entry(labels).or_insert(Count::ZERO);
        *all = all.plus(count);
        Some(())
    };
    let once = |least: bool| {
        let count = Count { least: u64::from(least), most: Some(1) };
        if step.when.is_some() { count.or_none() } else { count }
    };
    match step.repeat.as_ref().map(|repeat| (&repeat.name, &repeat.over)) {
        None => add(&known, once(true))?,
        Some((name, LoopOver::Values(values))) => {
            for value in values.iter().take(MAX_SERIES) {
                known.insert(name.to_string(), value.clone());
                add(&known, once(true))?;
            }
        }
        Some((name, LoopOver::Times(least, most))) => {
            for number in 1..=*most {
                known.insert(name.to_string(), number.into());
                add(&known, once(number <= *least))?;
            }
        }
        Some((_, LoopOver::Variable(_))) => return None,
    }
    Some(found.into_iter().collect())
}

/// The template where all that it reads is known before anything is sent.
fn filled_in(template: &Template, known: &Map<String, Json>) -> Option<String> {
    if let Some(text) = template.as_literal() {
        return Some(tag(text));
    }
    // A secret is nothing to show.
    let root = |name: &String| {
        let root = name.split('.').next().unwrap_or_default();
        root != "secret" && known.contains_key(root)
    };
    let draws = FUNCTIONS.iter().any(|function| template.source().contains(function));
    if draws || !template.variables().iter().all(root) {
        return None;
    }
    template.render(&Value::from(Serde(known))).ok().map(|text| tag(&text))
}
