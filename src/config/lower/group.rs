//! Who sends: one group, or one for each of `phases:` and `users:`; what each does, and how it pauses.

use std::{sync::Arc, time::Duration};

use super::{
    At, Lower, Scope,
    load::{Within, length_of},
};
use crate::{
    config::{hints, raw, tree::Value},
    model::{
        expr::Threshold,
        labels::Labels,
        scenario::{Arrangement, Executor, Group, SearchVariable, Step, Target, Task, Think},
        settings::Policy,
        units,
    },
};

/// What the groups of a scenario have in common.
pub(super) struct Common<'a> {
    pub(super) at: &'a At,
    pub(super) raw: &'a raw::Scenario,
    pub(super) target: Option<&'a Target>,
    pub(super) policy: &'a Policy,
    /// What hooks keep, and what else every step of the scenario may use.
    pub(super) known: &'a [String],
    pub(super) sustain: &'a [Threshold],
}

/// A group as written; what it does not say is the scenario's.
struct Written<'a> {
    at: At,
    labels: Labels,
    load: &'a raw::Load,
    steps: Option<&'a [raw::Step]>,
    tasks: Option<&'a [raw::Task]>,
    think: Option<&'a raw::Think>,
    cookies: Option<raw::Cookies>,
    on_start: Option<&'a [raw::Step]>,
    on_stop: Option<&'a [raw::Step]>,
}

impl Lower<'_> {
    pub(super) fn groups(&mut self, common: &Common<'_>) -> (Vec<Arc<Group>>, Arrangement) {
        let (written, arrangement) = self.written_groups(common);
        let several = common.raw.load.is_none();
        let acquire = self.acquire(common);
        let mut groups = Vec::with_capacity(written.len());
        for written in &written {
            groups.extend(self.group(common, written, several, &acquire).map(Arc::new));
        }
        self.think_applies(common, &groups);
        (groups, arrangement)
    }

    fn written_groups<'a>(&mut self, common: &Common<'a>) -> (Vec<Written<'a>>, Arrangement) {
        let (at, raw) = (common.at, common.raw);
        let kind = self.kind_of_groups(common);
        let alone = raw.load.iter().map(|load| Written {
            at: at.clone(),
            labels: Labels::default(),
            load,
            steps: None,
            tasks: None,
            think: None,
            cookies: None,
            on_start: None,
            on_stop: None,
        });
        let phases = raw.phases.iter().flatten().enumerate().map(|(index, phase)| Written {
            at: at.key("phases").index(index),
            labels: Labels::one("phase", phase.name.as_str()),
            load: &phase.load,
            steps: phase.steps.as_deref(),
            tasks: phase.tasks.as_deref(),
            think: phase.think.as_ref(),
            cookies: None,
            on_start: None,
            on_stop: None,
        });
        let users = raw.users.iter().flat_map(|users| &users.0).map(|(name, group)| Written {
            at: at.key("users").key(name),
            labels: Labels::one("user", name.as_str()),
            load: &group.load,
            steps: group.steps.as_deref(),
            tasks: group.tasks.as_deref(),
            think: group.think.as_ref(),
            cookies: group.cookies,
            on_start: group.on_start.as_deref(),
            on_stop: group.on_stop.as_deref(),
        });
        let (written, arrangement): (Vec<_>, _) = match kind {
            Some("phases") => (phases.collect(), Arrangement::Sequence),
            Some("users") => (users.collect(), Arrangement::SideBySide),
            _ => (alone.collect(), Arrangement::Sequence),
        };
        self.group_names(&written);
        (written, arrangement)
    }

    /// The first of `load`, `phases` and `users` that is there: a scenario has one of them.
    fn kind_of_groups(&mut self, common: &Common<'_>) -> Option<&'static str> {
        let (at, raw) = (common.at, common.raw);
        let there = |key: &str, read: bool| read || self.node(&at.key(key)).is_some();
        // `users: 10` is another slip, which has been noted.
        let users = self.node(&at.key("users")).is_some_and(|node| matches!(node.value, Value::Map(_)));
        let keys = [
            ("load", there("load", raw.load.is_some())),
            ("phases", there("phases", raw.phases.is_some())),
            ("users", users),
        ];
        let keys: Vec<&'static str> = keys.into_iter().filter_map(|(key, there)| there.then_some(key)).collect();
        match keys.as_slice() {
            [] if self.node(&at.key("users")).is_some() => {}
            [] => {
                let name = Self::last_key(at);
                let help = "write `load: {executor: probe}` for a single check";
                self.key_error(at, format!("`load` is missing in scenario `{name}`"), help);
                if ["steps", "tasks", "acquire"].iter().all(|key| self.node(&at.key(key)).is_none()) {
                    let help = "write `steps: [{get: /health}]`";
                    self.key_error(at, format!("`steps` is missing in scenario `{name}`"), help);
                }
            }
            [first, second, ..] => {
                let help =
                    "`load` is one load, `phases` follow each other, `users` act at the same time: keep one of them";
                self.key_error(
                    &at.key(second),
                    format!("a scenario has one of them: here are `{first}` and `{second}`"),
                    help,
                );
            }
            [_] => {}
        }
        keys.first().copied()
    }

    fn group_names(&mut self, written: &[Written<'_>]) {
        let name_of = |group: &Written<'_>| group.labels.iter().next().cloned();
        for (index, group) in written.iter().enumerate() {
            let Some((dimension, name)) = name_of(group) else { continue };
            let at = if &*dimension == "phase" { group.at.key("name") } else { group.at.clone() };
            self.name(&at, &name, if &*dimension == "phase" { "a phase" } else { "a group of users" });
            if written[..index].iter().any(|other| name_of(other) == name_of(group)) && &*dimension == "phase" {
                self.error(&at, format!("there are two phases `{name}`"), "give one of them another name");
            }
        }
    }

    fn group(&mut self, common: &Common<'_>, written: &Written<'_>, several: bool, acquire: &Acquire) -> Option<Group> {
        let (raw, at) = (common.raw, common.at);
        let mut known = common.known.to_vec();
        let (start, start_at) = match written.on_start {
            Some(steps) => (Some(steps), written.at.key("on_start")),
            None => (raw.on_start.as_deref(), at.key("on_start")),
        };
        let on_start = self.steps(&start_at, start.unwrap_or_default(), &mut known);
        let lists = common.raw.state.iter().flat_map(|state| &state.0).map(|(name, _)| name.clone());
        self.lists = lists.collect();
        known.extend(self.lists.iter().cloned());
        let special = matches!(written.load.executor, raw::ExecutorWord::Limit | raw::ExecutorWord::Search);
        if several && special {
            let help = "write it as the `load` of a scenario of its own";
            self.error(&written.at.key("load").key("executor"), "a limit and a search stand alone", help);
            return None;
        }
        let tasks = if matches!(written.load.executor, raw::ExecutorWord::Limit) {
            vec![Task { name: "".into(), weight: 1, needs: Vec::new(), steps: acquire.acquire.clone() }]
        } else {
            self.tasks(common, written, &known)
        };
        self.lists.clear();
        let mut after = known.clone();
        after.extend(tasks.iter().flat_map(|task| &task.steps).flat_map(captured));
        let (stop, stop_at) = match written.on_stop {
            Some(steps) => (Some(steps), written.at.key("on_stop")),
            None => (raw.on_stop.as_deref(), at.key("on_stop")),
        };
        let on_stop = self.steps(&stop_at, stop.unwrap_or_default(), &mut after);
        let default = common.target.map_or(Duration::ZERO, |target| target.http.timeout);
        let timeouts = tasks.iter().flat_map(|task| &task.steps).map(|step| step.patience(default));
        let within = Within {
            target: common.target,
            longest: timeouts.max().unwrap_or(default),
            policy: common.policy,
            duration: raw.duration.as_ref(),
            acquire: &acquire.acquire,
            release: &acquire.release,
            sustain: common.sustain,
        };
        let load = self.load(&written.at.key("load"), written.load, &within);
        let think = match written.think {
            Some(think) => self.think(&written.at.key("think"), think),
            None => raw.think.as_ref().and_then(|think| self.think(&at.key("think"), think)),
        };
        let think = think.filter(|_| closed(&load.executor));
        let cookies = written.cookies.or(raw.cookies) == Some(raw::Cookies::PerVu);
        Some(Group { labels: written.labels.clone(), load, tasks, think, on_start, on_stop, cookies })
    }

    fn tasks(&mut self, common: &Common<'_>, written: &Written<'_>, known: &[String]) -> Vec<Task> {
        let (raw, at) = (common.raw, common.at);
        let own = written.steps.is_some() || written.tasks.is_some();
        let (steps, tasks, at) = if own {
            (written.steps, written.tasks, &written.at)
        } else {
            (raw.steps.as_deref(), raw.tasks.as_deref(), at)
        };
        match (steps, tasks) {
            (Some(_), Some(_)) => {
                let help = "`steps` are done in order, `tasks` are chosen by weight: keep one of them";
                self.key_error(&at.key("tasks"), "users do `steps` or `tasks`, not both", help);
                Vec::new()
            }
            (Some(steps), None) => {
                let mut captures = known.to_vec();
                let steps = self.steps(&at.key("steps"), steps, &mut captures);
                vec![Task { name: "".into(), weight: 1, needs: Vec::new(), steps }]
            }
            (None, Some(tasks)) => self.weighted(&at.key("tasks"), tasks, known),
            (None, None) => {
                if self.node(&at.key("steps")).is_none() && self.node(&at.key("tasks")).is_none() {
                    let what = match written.labels.iter().next() {
                        Some((dimension, name)) => format!("{dimension} `{name}`"),
                        None => format!("scenario `{}`", Self::last_key(common.at)),
                    };
                    self.key_error(
                        &written.at,
                        format!("`steps` is missing in {what}"),
                        "write `steps: [{get: /health}]`",
                    );
                }
                Vec::new()
            }
        }
    }

    fn weighted(&mut self, at: &At, raw: &[raw::Task], known: &[String]) -> Vec<Task> {
        // What any task keeps, so that another may need it.
        let kept: Vec<String> = raw.iter().flat_map(|task| &task.steps).flat_map(|step| self.keeps(step)).collect();
        let mut out: Vec<Task> = Vec::with_capacity(raw.len());
        for (index, task) in raw.iter().enumerate() {
            let at = at.index(index);
            self.name(&at.key("name"), &task.name, "a task");
            if out.iter().any(|other| *other.name == *task.name) {
                let message = format!("there are two tasks `{}`", task.name);
                self.error(&at.key("name"), message, "give one of them another name");
            }
            let mut captures = known.to_vec();
            let mut needs = Vec::new();
            for (index, name) in task.needs.iter().flat_map(raw::OneOrMany::iter) {
                let there = kept.iter().chain(known).chain(self.lost).any(|kept| kept == name);
                if !there {
                    let names: Vec<&str> = kept.iter().map(String::as_str).collect();
                    let help = if names.is_empty() {
                        format!("write `capture: {{{name}: {{json: $.id}}}}` in a step of another task")
                    } else {
                        hints::did_you_mean(name, &names, "captures")
                    };
                    self.error(&at.key("needs").item(index), format!("no task captures `{name}`"), help);
                }
                captures.push(name.clone());
                needs.push(name.as_str().into());
            }
            self.elsewhere.clone_from(&kept);
            let steps = self.steps(&at.key("steps"), &task.steps, &mut captures);
            self.elsewhere.clear();
            out.push(Task { name: task.name.as_str().into(), weight: task.weight.unwrap_or(1), needs, steps });
        }
        if !out.is_empty() && out.iter().all(|task| !task.needs.is_empty()) {
            let help = "leave `needs` out of the task that comes first";
            self.key_error(at, "every task needs something: a user has nothing to begin with", help);
        }
        out
    }

    /// The variables that a step keeps, its named request's included.
    pub(super) fn keeps(&self, step: &raw::Step) -> Vec<String> {
        let own = step.capture.iter().flat_map(|captures| &captures.0);
        let base = step.request.as_ref().and_then(|name| {
            self.files.iter().find_map(|file| file.raw.requests.as_ref()?.get(name)?.capture.as_ref())
        });
        own.chain(base.into_iter().flat_map(|captures| &captures.0)).map(|(name, _)| name.clone()).collect()
    }

    /// `acquire` and `release`, which belong to the executor `limit`.
    fn acquire(&mut self, common: &Common<'_>) -> Acquire {
        let (at, raw) = (common.at, common.raw);
        let limit = raw.load.as_ref().is_some_and(|load| load.executor == raw::ExecutorWord::Limit);
        let mut known = common.known.to_vec();
        known.push("user".to_owned());
        let acquire = self.one_or_many(&at.key("acquire"), raw.acquire.as_ref(), &mut known);
        let release = self.one_or_many(&at.key("release"), raw.release.as_ref(), &mut known);
        let keys = [("acquire", raw.acquire.is_some()), ("release", raw.release.is_some())];
        for (key, there) in keys {
            if there && !limit {
                let help = "write `load: {executor: limit, hold: 10}`, or use `steps:`, `before:` and `after:`";
                self.key_error(&at.key(key), format!("`{key}` belongs to the executor limit"), help);
            }
            if limit && !there && self.node(&at.key(key)).is_none() {
                let (why, help) = match key {
                    "acquire" => (
                        "takes one of what is limited",
                        "write `acquire: {post: /conversations, capture: {id: {json: $.id}}}`",
                    ),
                    _ => ("gives one back", "write `release: {delete: \"/conversations/${id}\"}`"),
                };
                self.error(&at.key("load").key("executor"), format!("`{key}` is missing: it {why}"), help);
            }
        }
        if limit && (raw.steps.is_some() || raw.tasks.is_some()) {
            let key = if raw.steps.is_some() { "steps" } else { "tasks" };
            self.key_error(&at.key(key), format!("a limit has `acquire` and `release`, no `{key}`"), "move them there");
        }
        Acquire { acquire, release }
    }

    fn one_or_many(&mut self, at: &At, raw: Option<&raw::OneOrMany<raw::Step>>, known: &mut Vec<String>) -> Vec<Step> {
        match raw {
            None => Vec::new(),
            Some(raw::OneOrMany::Many(steps)) => self.steps(at, steps, known),
            Some(raw::OneOrMany::One(step)) => {
                let scope = known.clone();
                let step = self.step(at, step, Scope::Run(&scope));
                known.extend(step.iter().flat_map(captured));
                step.into_iter().collect()
            }
        }
    }

    /// A pause. `None` if it is wrong, which was noted.
    pub(super) fn think(&mut self, at: &At, raw: &raw::Think) -> Option<Think> {
        let least = Duration::ZERO;
        let map = match raw {
            raw::Think::Constant(text) => return Some(Think::Constant(self.duration(at, Some(text), least, least))),
            raw::Think::Full(map) => map,
        };
        let mut found: Vec<(&str, Think)> = Vec::new();
        if let Some([from, to]) = map.between.as_deref() {
            let at = at.key("between");
            let from = self.duration(&at.index(0), Some(from), least, least);
            let to = self.duration(&at.index(1), Some(to), least, least);
            if from > to {
                self.key_error(&at, "the shorter pause comes first", "exchange the two");
            }
            found.push(("between", Think::Between(from.min(to), to.max(from))));
        }
        for (key, text, make) in [
            ("constant", &map.constant, Think::Constant as fn(Duration) -> Think),
            ("pacing", &map.pacing, Think::Pacing),
            ("poisson", &map.poisson, Think::Poisson),
        ] {
            if let Some(text) = text {
                found.push((key, make(self.duration(&at.key(key), Some(text), least, least))));
            }
        }
        if let Some(Ok(rate)) = map.throughput.as_ref().map(|text| units::parse_rate(&text.0)) {
            found.push(("throughput", Think::Throughput(rate)));
        }
        match found.as_slice() {
            [(_, think)] => Some(*think),
            [] => {
                if !self.troubled(at) && self.node(&at.key("between")).is_none() {
                    self.key_error(at, "a pause has a length", "write `think: 2s` or `think: {between: [1s, 5s]}`");
                }
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!("a pause is of one kind: here are `{first}` and `{second}`");
                self.key_error(&at.key(second), message, "remove one of them");
                None
            }
        }
    }

    /// A pause in a load whose arrivals do not wait for it would do nothing.
    fn think_applies(&mut self, common: &Common<'_>, groups: &[Arc<Group>]) {
        let used = groups.iter().any(|group| closed(&group.load.executor));
        let Some(first) = groups.first().filter(|_| !used && common.raw.think.is_some()) else { return };
        let name = first.load.executor.as_str();
        let help = "remove it, or write `executor: constant-vus` for users who pause";
        self.key_error(
            &common.at.key("think"),
            format!("`think` does nothing here: {name} has no users who pause"),
            help,
        );
    }
}

/// `acquire` and `release`, lowered.
struct Acquire {
    acquire: Vec<Step>,
    release: Vec<Step>,
}

/// Whether users go on when they are answered.
fn closed(executor: &Executor) -> bool {
    match executor {
        Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. }
        | Executor::ConstantVus { .. }
        | Executor::RampingVus { .. }
        | Executor::SteppedVus { .. }
        | Executor::Users { .. } => true,
        Executor::Search(spec) => spec.variable == SearchVariable::Vus,
        Executor::Probe { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::RampingArrivalRate { .. }
        | Executor::Burst { .. }
        | Executor::Limit(_) => false,
    }
}

fn captured(step: &Step) -> impl Iterator<Item = String> {
    step.capture.iter().map(|capture| capture.name.to_string())
}

/// The planned length of each group.
pub(super) fn lengths(groups: &[Arc<Group>]) -> Vec<Duration> {
    groups.iter().map(|group| length_of(group)).collect()
}
