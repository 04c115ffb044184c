//! `scenarios`: the parts put together.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    At, Lower,
    data::Feeds,
    dimensions,
    each::Combination,
    group::Common,
    json_of,
    load::surely,
    schedule::known_zone,
    target::Targets,
    threshold::{Measured, nature},
};
use crate::{
    config::{
        check::short,
        expr, hints, raw,
        tree::{Node, Value},
    },
    model::{
        Name,
        expr::Threshold,
        metric::CustomMetric,
        scenario::{Constants, Executor, Group, Intent, RecoverySpec, Repeat, Scenario, Step, Target},
        settings::{DaemonSettings, Policy},
    },
};

/// More would make as many series, and no page could show them.
const MAX_SCENARIOS: usize = 1000;

/// What scenarios are lowered with.
struct Around<'a> {
    targets: &'a Targets,
    policy: &'a Policy,
    /// Of schedules that name none.
    zone: &'a str,
    feeds: Feeds,
}

/// What must hold.
struct Conditions {
    thresholds: Vec<Threshold>,
    valid_if: Vec<Threshold>,
    require: Vec<Threshold>,
    recovery: Option<RecoverySpec>,
}

impl<'a> Lower<'a> {
    pub(super) fn scenarios(
        &mut self,
        targets: &Targets,
        policy: &Policy,
        daemon: Option<&DaemonSettings>,
    ) -> Vec<Arc<Scenario>> {
        self.twice("scenarios");
        let total = self.section("scenarios").len();
        let wrong = self
            .files
            .iter()
            .any(|file| file.tree.get("scenarios").is_some_and(|node| !matches!(node.value, Value::Map(_))));
        if total == 0 && !wrong {
            self.key_error(
                &At::root(0).key("scenarios"),
                "there are no scenarios",
                "write `scenarios: {health: {load: {executor: probe}, steps: [{get: /health}]}}`",
            );
        }
        if total > MAX_SCENARIOS {
            self.key_error(
                &At::root(0).key("scenarios"),
                format!("there are {total} scenarios: the most is {MAX_SCENARIOS}"),
                "run a second daemon with a file of its own",
            );
            return Vec::new();
        }
        let zone = daemon.map_or("UTC", |daemon| &daemon.timezone);
        // A zone that does not exist has been noted already.
        let zone = if known_zone(zone) { zone } else { "UTC" };
        let mut out = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            for (name, raw) in file.raw.scenarios.iter().flat_map(|scenarios| &scenarios.0) {
                let at = At::root(index).key("scenarios").key(name);
                let feeds = self.data(&at.key("data"), raw.data.as_ref());
                self.fields = self.fields(&at.key("data"), &feeds);
                self.known.insert("data", self.fields.keys().cloned().collect());
                let around = Around { targets, policy, zone, feeds };
                for one in self.combinations(&at.key("for_each"), name, raw.for_each.as_ref()) {
                    out.extend(self.scenario(&at, raw, &one, &around).map(Arc::new));
                }
            }
            let read = |name: &str| file.raw.scenarios.as_ref().is_some_and(|read| read.get(name).is_some());
            for entry in file.tree.get("scenarios").into_iter().flat_map(Node::entries) {
                if !read(&entry.key) {
                    self.thresholds_of_lost(&At::root(index).key("scenarios").key(&entry.key));
                }
            }
        }
        self.known.remove("data");
        self.equal_names(&out);
        out
    }

    /// What `for_each` makes may have the name of another scenario, and be too much.
    fn equal_names(&mut self, scenarios: &[Arc<Scenario>]) {
        let mut seen = BTreeSet::new();
        let at = At::root(0).key("scenarios");
        for scenario in scenarios {
            if !seen.insert(&scenario.name) && !self.section("scenarios").contains(&&*scenario.name) {
                let message = format!("`for_each` makes two scenarios `{}`", scenario.name);
                self.key_error(&at, message, "rename one of the scenarios that it stands in");
            }
        }
        if scenarios.len() > MAX_SCENARIOS {
            let message = format!("there are {} scenarios: the most is {MAX_SCENARIOS}", scenarios.len());
            self.key_error(&at, message, "write fewer values under `for_each`");
        }
    }

    fn scenario(&mut self, at: &At, raw: &raw::Scenario, one: &Combination, around: &Around<'_>) -> Option<Scenario> {
        let (name, policy) = (one.name.as_str(), around.policy);
        self.name(at, name, "a scenario");
        let labels = self.labels(at, raw);
        let target = self.target_of(at, raw, one, around.targets);
        let overload = matches!(raw.intent, Some(raw::Intent::Overload));
        let schedule = self.schedule(&at.key("schedule"), raw.schedule.as_ref(), around.zone, name);
        let (captures, before, after) = self.hooks(at, raw, one);
        let metrics = self.metrics(&at.key("metrics"), raw.metrics.as_ref(), target.as_deref());
        // Of the loads and steps nothing is known yet.
        let declared = self.declared(at);
        let early = Measured { declared, ..measures(raw, target.as_deref(), &[], Repeat::default(), &metrics) };
        let placed = self.sustain(at, raw, &early);
        let sustain: Vec<Threshold> = placed.iter().map(|(_, threshold)| threshold.clone()).collect();
        let common = Common { at, raw, target: target.as_deref(), policy, known: &captures, sustain: &sustain };
        let (groups, arrangement) = self.groups(&common);
        let repeat = self.repeat(&at.key("repeat"), raw.repeat.as_ref());
        self.length_within(at, raw, &groups, arrangement, repeat, policy);
        self.outlasts(at, &schedule, surely(&groups, arrangement, repeat), name);
        let warmup = self.warmup(&at.key("warmup"), raw.warmup.as_ref(), &groups);
        let (network, events) = self.around(at, raw, target.as_deref(), &captures, (&groups, arrangement, repeat));
        let declared = self.declared(at);
        let measured = Measured { declared, ..measures(raw, target.as_deref(), &groups, repeat, &metrics) };
        for (at, threshold) in &placed {
            self.scenario_measures(at, threshold, &measured);
        }
        self.metric_variables(&at.key("metrics"), &metrics, &groups, &captures);
        let conditions = self.conditions(at, raw, &groups, &measured);
        let target = target?;
        let steps = groups.iter().flat_map(|group| group.steps()).chain(&before).chain(&after);
        self.compressed_streams(at, &target, steps);
        if groups.is_empty() {
            return None;
        }
        let (config_hash, seed) = (self.hash_of(at, &target, one, &around.feeds), Sha256::digest(name.as_bytes()));
        Some(Scenario {
            name: name.into(),
            description: raw.description.clone(),
            labels,
            owner: raw.owner.as_deref().map(Into::into),
            constants: self.constants_of(&target, one),
            target,
            intent: if overload { Intent::Overload } else { Intent::Normal },
            schedule,
            groups,
            arrangement,
            repeat,
            warmup,
            require: conditions.require,
            state: self.state(at, raw),
            network,
            events,
            before,
            after,
            data: around.feeds.clone(),
            thresholds: conditions.thresholds,
            valid_if: conditions.valid_if,
            metrics,
            recovery: conditions.recovery,
            config_hash,
            seed: seed.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte)),
        })
    }

    /// The steps before and after the load, and the variables that the load knows. Hooks keep values for the steps and for
    /// each other; what the steps keep belongs to an iteration.
    fn hooks(&mut self, at: &At, raw: &raw::Scenario, one: &Combination) -> (Vec<String>, Vec<Step>, Vec<Step>) {
        let mut captures: Vec<String> = one.values.iter().map(|(variable, _)| variable.clone()).collect();
        let before = self.steps(&at.key("before"), raw.before.as_deref().unwrap_or_default(), &mut captures);
        let mut of_hooks = captures.clone();
        let after = self.steps(&at.key("after"), raw.after.as_deref().unwrap_or_default(), &mut of_hooks);
        (captures, before, after)
    }

    /// The names under `metrics`.
    fn declared(&self, at: &At) -> Vec<&'a str> {
        let entries = self.node(&at.key("metrics")).map(Node::entries).unwrap_or_default();
        entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    /// What comes compressed comes in lumps: neither its events nor their gaps could be told as they come.
    fn compressed_streams<'s>(&mut self, at: &At, target: &Target, mut steps: impl Iterator<Item = &'s Step>) {
        let streamed = steps.find(|step| step.stream.is_some()).filter(|_| target.http.gzip);
        if let Some(step) = streamed {
            let message =
                format!("`{}` reads a stream, and `{}` asks for compressed answers", short(&step.name), target.name);
            let help = format!(
                "leave `compression: gzip` out under targets.{0}, or write a second target without it for the streams",
                target.name
            );
            self.key_error(at, message, help);
        }
    }

    /// For `--select`: the labels.
    fn labels(&mut self, at: &At, raw: &raw::Scenario) -> Vec<Name> {
        let labels = raw.labels.as_deref().unwrap_or_default();
        for (index, label) in labels.iter().enumerate() {
            self.identifier_or_dash(&at.key("labels").index(index), label);
        }
        labels.iter().map(|label| label.as_str().into()).collect()
    }

    /// What must hold, of the run, of the generator, and before it begins.
    fn conditions(
        &mut self,
        at: &At,
        raw: &raw::Scenario,
        groups: &[Arc<Group>],
        measured: &Measured<'_>,
    ) -> Conditions {
        let nature = nature(groups, matches!(raw.intent, Some(raw::Intent::Overload)));
        let mut thresholds = self.thresholds(&at.key("thresholds"), raw.thresholds.as_ref(), nature, measured);
        if let Some(page) = &raw.runbook {
            self.page(&at.key("runbook"), page);
            for threshold in thresholds.iter_mut().filter(|threshold| threshold.runbook.is_none()) {
                threshold.runbook = Some(page.as_str().into());
            }
        }
        self.cleared(at, raw, &thresholds);
        let recovery = self.recovery(&at.key("recovery"), raw.recovery.as_ref(), groups, measured);
        thresholds.extend(recovery.as_ref().map(expr::recovery_threshold));
        let load = groups.first().map(|group| &group.load);
        let valid_if = self.valid_if(&at.key("valid_if"), raw.valid_if.as_ref(), load, measured);
        let require = self.require(&at.key("require"), raw.require.as_ref(), measured);
        Conditions { thresholds, valid_if, require, recovery }
    }

    /// Says what is left of the thresholds of `defaults:` where a scenario clears them.
    fn cleared(&mut self, at: &At, raw: &raw::Scenario, left: &[Threshold]) {
        let empty = raw.thresholds.as_ref().is_some_and(|thresholds| thresholds.iter().next().is_none());
        let defaults = self.files[0].tree.get("defaults").and_then(|node| node.get("thresholds"));
        if let Some(defaults) = defaults.filter(|_| empty) {
            let count = if let Value::List(items) = &defaults.value { items.len() } else { 1 };
            let left: Vec<&str> = left.iter().map(|threshold| &*threshold.source).collect();
            let message = format!("`thresholds: []` clears the {count} of `defaults`");
            self.warning(&at.key("thresholds"), message, format!("what holds still: {}", left.join(", ")));
        }
    }

    /// What templates may use besides what a run brings.
    fn constants_of(&self, target: &Target, one: &Combination) -> Constants {
        let mut constants = (*self.constants.0).clone();
        constants.insert("target".into(), json!({"name": &*target.name, "base_url": target.base.to_string()}));
        constants.extend(one.values.iter().cloned());
        Constants(Arc::new(constants))
    }

    /// `sustain`, which belongs to the executor `search`.
    fn sustain(&mut self, at: &At, raw: &raw::Scenario, measured: &Measured<'_>) -> Vec<(At, Threshold)> {
        let search = raw.load.as_ref().is_some_and(|load| load.executor == raw::ExecutorWord::Search);
        let there = raw.sustain.is_some() || self.node(&at.key("sustain")).is_some();
        if search && !there {
            let help = "write `sustain: [rate(ok) >= 95%, p95(latency) < 2s]`";
            self.error(&at.key("load").key("executor"), "`sustain` is missing: when is a load too high?", help);
        }
        if !search && there {
            let help = "write `load: {executor: search, start: 5/s}`, or `thresholds:`";
            self.key_error(&at.key("sustain"), "`sustain` belongs to the executor search", help);
        }
        self.placed(&at.key("sustain"), raw.sustain.as_ref(), measured)
    }

    fn identifier_or_dash(&mut self, at: &At, label: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if label.is_empty() || label.len() > 80 || !label.chars().all(fine) || ["and", "or", "not"].contains(&label) {
            self.error(
                at,
                format!("`{}` is not a label", short(label)),
                "write letters, digits, _ and -, so that `--select` can name it",
            );
        }
    }

    /// The scenario's target: named, or the only one there is.
    fn target_of(&mut self, at: &At, raw: &raw::Scenario, one: &Combination, targets: &Targets) -> Option<Arc<Target>> {
        let names = self.section("targets");
        let written = raw.target.as_ref().map(|name| (name.clone(), at.key("target")));
        match one.target.clone().or(written) {
            Some((name, named_at)) => {
                let name = &name;
                if let Some(target) = targets.get(name) {
                    return target.clone();
                }
                let help = if names.is_empty() {
                    format!("write `targets: {{{}: {{base_url: http://localhost:8080}}}}`", short(name))
                } else {
                    hints::did_you_mean(name, &names, "targets")
                };
                self.error(&named_at, format!("there is no target `{}`", short(name)), help);
                None
            }
            None if names.len() == 1 => targets.get(names[0]).cloned().flatten(),
            None if names.is_empty() => {
                let name = Self::last_key(at);
                self.key_error(
                    at,
                    format!("scenario `{}` has no target", short(&name)),
                    "write `targets: {api: {base_url: http://localhost:8080}}`",
                );
                None
            }
            None => {
                let name = Self::last_key(at);
                let help = format!("write `target: {}`; there are {}", names[0], names.join(", "));
                self.key_error(at, format!("scenario `{}` does not say which target", short(&name)), help);
                None
            }
        }
    }

    /// What decides how the scenario behaves, as one hash: itself, its target, the named requests and the constants'
    /// names and values as written (secrets are references there).
    fn hash_of(&self, at: &At, target: &Target, one: &Combination, feeds: &Feeds) -> String {
        let files = self.files.iter();
        let target = files.clone().find_map(|file| file.tree.get("targets")?.get(&target.name));
        let shared =
            |section: &'static str| -> Vec<_> { files.clone().map(|file| json_of(file.tree.get(section))).collect() };
        let all = json!({
            "scenario": json_of(self.node(at)),
            "target": json_of(target),
            "requests": shared("requests"),
            "vars": shared("vars"),
            "policy": shared("policy"),
            "each": one.values,
            "data": feeds.values().map(|feed| &feed.rows).collect::<Vec<_>>(),
        });
        digest(&[all.to_string().as_bytes()])
    }
}

/// What the conditions of a scenario may name.
fn measures<'a>(
    raw: &raw::Scenario,
    target: Option<&'a Target>,
    groups: &[Arc<Group>],
    repeat: Repeat,
    custom: &'a [CustomMetric],
) -> Measured<'a> {
    let steps = || groups.iter().flat_map(|group| group.steps());
    Measured {
        target,
        steps: steps().map(|step| step.name.clone()).collect(),
        streamed: steps().filter(|step| step.stream.is_some()).map(|step| step.name.clone()).collect(),
        certificate: steps().any(Step::shows_certificate),
        search: groups.iter().any(|group| matches!(group.load.executor, Executor::Search(_))),
        recovery: raw.recovery.is_some(),
        // Of groups that could not be read nothing is known.
        dimensions: (!groups.is_empty()).then(|| dimensions::of(groups, repeat)),
        custom,
        declared: Vec::new(),
    }
}

/// `sha256:…` over all parts.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("sha256:{:x}", hasher.finalize())
}
