//! `scenarios`: the parts put together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    At, Lower,
    group::{Common, lengths},
    json_of,
    load::{length, length_of},
    schedule::known_zone,
    target::Targets,
    threshold::{Measured, Nature},
};
use crate::{
    config::{
        check::short,
        hints, raw,
        tree::{Node, Value},
    },
    model::{
        expr::Threshold,
        scenario::{Arrangement, Constants, Executor, Group, Intent, Repeat, Scenario, Step, Target},
        settings::{DaemonSettings, Policy},
        units,
    },
};

/// More would make as many series, and no page could show them.
const MAX_SCENARIOS: usize = 1000;

impl Lower<'_> {
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
                out.extend(self.scenario(&at, name, raw, targets, policy, zone).map(Arc::new));
            }
            let read = |name: &str| file.raw.scenarios.as_ref().is_some_and(|read| read.get(name).is_some());
            for entry in file.tree.get("scenarios").into_iter().flat_map(Node::entries) {
                if !read(&entry.key) {
                    self.thresholds_of_lost(&At::root(index).key("scenarios").key(&entry.key));
                }
            }
        }
        out
    }

    fn scenario(
        &mut self,
        at: &At,
        name: &str,
        raw: &raw::Scenario,
        targets: &Targets,
        policy: &Policy,
        zone: &str,
    ) -> Option<Scenario> {
        self.name(at, name, "a scenario");
        let labels = raw.labels.as_deref().unwrap_or_default();
        for (index, label) in labels.iter().enumerate() {
            self.identifier_or_dash(&at.key("labels").index(index), label);
        }
        let target = self.target_of(at, raw, targets);
        let overload = matches!(raw.intent, Some(raw::Intent::Overload));
        let schedule = self.schedule(&at.key("schedule"), raw.schedule.as_ref(), zone, name);
        // Hooks keep values for the steps and for each other; what the steps keep belongs to an iteration.
        let mut captures = Vec::new();
        let before = self.steps(&at.key("before"), raw.before.as_deref().unwrap_or_default(), &mut captures);
        let mut of_hooks = captures.clone();
        let after = self.steps(&at.key("after"), raw.after.as_deref().unwrap_or_default(), &mut of_hooks);
        let measured = Measured { target: target.as_deref(), steps: Vec::new(), certificate: false };
        let sustain = self.sustain(at, raw, &measured);
        let common = Common { at, raw, target: target.as_deref(), policy, known: &captures, sustain: &sustain };
        let (groups, arrangement) = self.groups(&common);
        let repeat = self.repeat(&at.key("repeat"), raw.repeat.as_ref());
        self.length_within(at, raw, &groups, arrangement, repeat, policy);
        let warmup = self.warmup(&at.key("warmup"), raw.warmup.as_ref(), &groups);
        let steps = groups.iter().flat_map(|group| group.steps()).map(|step| step.name.clone()).collect();
        let certificate = groups.iter().flat_map(|group| group.steps()).any(Step::shows_certificate);
        let measured = Measured { target: target.as_deref(), steps, certificate };
        let nature = Nature::of(&groups, overload);
        let thresholds = self.thresholds(&at.key("thresholds"), raw.thresholds.as_ref(), nature, &measured);
        let load = groups.first().map(|group| &group.load);
        let valid_if = self.valid_if(&at.key("valid_if"), raw.valid_if.as_ref(), load, &measured);
        let require = self.require(&at.key("require"), raw.require.as_ref(), &measured);
        let target = target?;
        let mut constants = (*self.constants.0).clone();
        constants.insert("target".into(), json!({"name": &*target.name, "base_url": target.base.to_string()}));
        let constants = Constants(Arc::new(constants));
        let config_hash = self.hash_of(at, &target);
        let seed = Sha256::digest(name.as_bytes());
        if groups.is_empty() {
            return None;
        }
        Some(Scenario {
            name: name.into(),
            description: raw.description.clone(),
            labels: labels.iter().map(|label| label.as_str().into()).collect(),
            owner: raw.owner.as_deref().map(Into::into),
            target,
            intent: if overload { Intent::Overload } else { Intent::Normal },
            schedule,
            groups,
            arrangement,
            repeat,
            warmup,
            require,
            before,
            after,
            data: BTreeMap::new(),
            thresholds,
            valid_if,
            constants,
            config_hash,
            seed: seed.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte)),
        })
    }

    fn repeat(&mut self, at: &At, raw: Option<&raw::Repeat>) -> Repeat {
        let Some(raw) = raw else { return Repeat::default() };
        let pause = self.duration(&at.key("pause"), raw.pause.as_ref(), Duration::ZERO, Duration::ZERO);
        Repeat { times: raw.times, pause }
    }

    /// Whether all of it together is longer than the policy allows; a single load that is has been noted.
    fn length_within(
        &mut self,
        at: &At,
        raw: &raw::Scenario,
        groups: &[Arc<Group>],
        arrangement: Arrangement,
        repeat: Repeat,
        policy: &Policy,
    ) {
        let lengths = lengths(groups);
        let total = length(&lengths, arrangement, repeat);
        let alone = groups.len() == 1 && repeat.times == 1;
        let counted = groups.iter().all(|group| {
            matches!(
                group.load.executor,
                Executor::RampingVus { .. }
                    | Executor::RampingArrivalRate { .. }
                    | Executor::SteppedVus { .. }
                    | Executor::Users { .. }
                    | Executor::Burst { .. }
            )
        });
        if total <= policy.max_duration || lengths.iter().any(|one| *one > policy.max_duration && !counted) {
            return;
        }
        let key = if raw.repeat.is_some() {
            "repeat"
        } else if raw.phases.is_some() {
            "phases"
        } else if raw.users.is_some() {
            "users"
        } else {
            "load"
        };
        let (total, most) = (total.as_secs_f64(), policy.max_duration.as_secs_f64());
        let (total, most) = (units::human_seconds(total), units::human_seconds(most));
        let whole = if alone { "it" } else { "all of it together" };
        self.key_error(
            &at.key(key),
            format!("{whole} takes {total}, which is above the policy's {most}"),
            "write a shorter run, or a longer `policy: {max_duration: …}` if you may",
        );
    }

    fn warmup(&mut self, at: &At, raw: Option<&raw::DurationText>, groups: &[Arc<Group>]) -> Duration {
        let warmup = self.duration(at, raw, Duration::ZERO, Duration::ZERO);
        let shortest = groups.iter().map(|group| length_of(group)).filter(|length| !length.is_zero()).max();
        if raw.is_some() && shortest.is_some_and(|length| warmup >= length) {
            let help = "write a shorter `warmup`, or a longer load";
            self.error(at, "nothing is judged: the warm-up is as long as the load", help);
        }
        warmup
    }

    /// `sustain`, which belongs to the executor `search`.
    fn sustain(&mut self, at: &At, raw: &raw::Scenario, measured: &Measured<'_>) -> Vec<Threshold> {
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
        self.whole_run(&at.key("sustain"), raw.sustain.as_ref(), measured)
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
    fn target_of(&mut self, at: &At, raw: &raw::Scenario, targets: &Targets) -> Option<Arc<Target>> {
        let names = self.section("targets");
        match &raw.target {
            Some(name) => {
                if let Some(target) = targets.get(name) {
                    return target.clone();
                }
                let help = if names.is_empty() {
                    format!("write `targets: {{{}: {{base_url: http://localhost:8080}}}}`", short(name))
                } else {
                    hints::did_you_mean(name, &names, "targets")
                };
                self.error(&at.key("target"), format!("there is no target `{}`", short(name)), help);
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
    fn hash_of(&self, at: &At, target: &Target) -> String {
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
        });
        digest(&[all.to_string().as_bytes()])
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
