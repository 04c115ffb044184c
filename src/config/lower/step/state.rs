//! `state` and `push`: lists that steps grow, such as the messages of a conversation.

use std::sync::Arc;

use super::Written;
use crate::{
    config::{
        hints,
        lower::{At, Lower, Scope},
        raw,
    },
    model::{
        Name,
        scenario::{Capture, State},
        template::JsonTemplate,
    },
};

impl Lower<'_> {
    pub(in crate::config::lower) fn state(&mut self, at: &At, raw: &raw::Scenario) -> State {
        let mut lists: Vec<(Name, Arc<[serde_json::Value]>)> = Vec::new();
        for (name, initial) in raw.state.iter().flat_map(|state| &state.0) {
            self.own_name(&at.key("state").key(name), name, "a list of `state`");
            lists.push((name.as_str().into(), initial.clone().into()));
        }
        if raw.state_per.is_some() && lists.is_empty() {
            self.key_error(&at.key("state_per"), "there is no `state` here", "write `state: {history: []}`");
        }
        if !lists.is_empty() && raw.load.as_ref().is_some_and(|load| load.executor == raw::ExecutorWord::Limit) {
            let help = "write it in a scenario with `steps`";
            self.key_error(&at.key("state"), "a limit acquires and releases: it has no `state`", help);
        }
        State { lists, per_vu: raw.state_per == Some(raw::StatePer::Vu) }
    }

    /// What the step adds to the lists.
    pub(super) fn push(
        &mut self,
        written: &Written<'_>,
        scope: Scope<'_>,
        capture: &[Capture],
    ) -> Vec<(Name, Vec<JsonTemplate>)> {
        let Some((pushed, at)) = written.field("push", |step| step.push.as_ref()) else { return Vec::new() };
        let mut names = if let Scope::Run(names) = scope { names.to_vec() } else { Vec::new() };
        names.extend(capture.iter().map(|capture| capture.name.to_string()));
        names.push("sent".to_owned());
        let scope = if matches!(scope, Scope::Run(_)) { Scope::Run(&names) } else { scope };
        let mut out = Vec::new();
        for (name, items) in &pushed.0 {
            let at = at.key(name);
            if matches!(scope, Scope::Run(_)) && !self.lists.contains(name) {
                let known: Vec<&str> = self.lists.iter().map(String::as_str).collect();
                let help = if known.is_empty() {
                    format!("write `state: {{{name}: []}}` in the scenario; hooks have none")
                } else {
                    hints::did_you_mean(name, &known, "lists")
                };
                self.key_error(&at, format!("there is no list `{name}` under `state`"), help);
            }
            let mut templates = Vec::new();
            for (index, item) in items.iter() {
                let before = self.problems.0.len();
                let at = at.item(index);
                self.json_leaves(&at, item, scope);
                match JsonTemplate::compile(item) {
                    Ok(template) => templates.push(template),
                    Err(error) if self.problems.0.len() == before => {
                        self.error(&at, error.message, "templates are written `${name}`");
                    }
                    Err(_) => {}
                }
            }
            out.push((name.as_str().into(), templates));
        }
        out
    }
}
