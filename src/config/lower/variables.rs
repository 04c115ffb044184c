//! Which variables templates and conditions may use, and what was probably meant by one that is not among them.

use std::collections::BTreeSet;

use super::{At, BUILT_IN, Lower, Scope};
use crate::{config::hints, judge::STREAM_FIGURES, model::Name};

/// Where a condition is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What it may use.
    pub(super) scope: Scope<'a>,
    /// What is captured of the same answer, but only after it was asked.
    pub(super) later: &'a [String],
    /// The answer is streamed: its figures are variables.
    pub(super) streamed: bool,
    /// A word may have been meant as text.
    pub(super) text: bool,
}

impl Lower<'_> {
    /// Whether a condition may use its variables.
    pub(super) fn variables(&mut self, at: &At, source: &str, names: &BTreeSet<&Name>, asked: Asked<'_>) {
        for name in names {
            let root = name.split('.').next().unwrap_or(name);
            let known = match asked.scope {
                Scope::Run(captures) => captures.iter().any(|capture| capture == root),
                Scope::Load | Scope::Any => false,
            };
            if !known && asked.later.iter().any(|later| later == root) {
                let help = "write where it stands, such as `$.path`, or ask in a later step";
                let message = format!("`{root}` is captured only once this condition has been asked");
                self.text_error(at, word_at(source, name), message, help);
            } else if known || !STREAM_FIGURES.contains(&root) {
                self.known_variable(at, source, name, asked.scope, Some(asked.text));
            } else if !asked.streamed && !matches!(asked.scope, Scope::Any) {
                let help = "write `stream: sse` or `stream: ndjson` in the step whose answer is streamed";
                let message = format!("`{root}` is a figure of a streamed answer");
                self.text_error(at, word_at(source, name), message, help);
            }
        }
    }

    /// The section that has a name, where only one does.
    fn section_of_name(&self, name: &str) -> Option<&'static str> {
        let mut of = self.known.iter().filter(|(_, names)| names.iter().any(|known| known == name));
        let (section, _) = of.next()?;
        of.next().is_none().then_some(*section)
    }

    /// Whether a template may use a variable.
    pub(super) fn variable(&mut self, at: &At, text: &str, variable: &str, scope: Scope<'_>) {
        self.known_variable(at, text, variable, scope, None);
    }

    /// `condition`: in an expression, and whether a word in it may have been meant as text.
    fn known_variable(&mut self, at: &At, text: &str, variable: &str, scope: Scope<'_>, condition: Option<bool>) {
        let (root, rest) = variable.split_once('.').map_or((variable, None), |(root, rest)| (root, Some(rest)));
        let offset = word_at(text, variable);
        if let Some(names) = self.known.get(root) {
            let Some(name) = rest.map(|rest| rest.split('.').next().unwrap_or(rest)) else { return };
            if names.iter().any(|known| known == name) {
                if root == "data" {
                    self.field_there(at, offset, rest.unwrap_or_default());
                }
                return;
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (section, how) = match root {
                "secret" => ("secrets", format!("`secrets: {{{name}: {{from_env: NAME}}}}`")),
                "env" => ("env", format!("`env: [{name}]`")),
                "data" => ("data", format!("`data: {{{name}: {{file: {name}.csv}}}}` in the scenario")),
                _ => ("vars", format!("`vars: {{{name}: …}}`")),
            };
            let near = hints::nearest(name, names.iter().copied());
            let help = near.map_or_else(|| format!("write {how}"), |near| format!("did you mean `{root}.{near}`?"));
            self.text_error(at, offset, format!("`{variable}`: there is no `{name}` under `{section}`"), help);
            return;
        }
        let captures: &[String] = match scope {
            Scope::Any => return,
            Scope::Load => &[],
            Scope::Run(captures) => captures,
        };
        let run = matches!(scope, Scope::Run(_));
        if captures.iter().chain(self.lost).any(|name| name == root) || (run && BUILT_IN.contains(&root)) {
            return;
        }
        let mut all: Vec<&str> = captures.iter().map(String::as_str).collect();
        if run {
            all.extend(BUILT_IN);
        }
        all.extend(["vars", "secret", "env", "data"]);
        if condition.is_some() {
            all.extend(["status", "latency", "service_time", "body"]);
        }
        let help = match hints::nearest(root, all.iter().copied()) {
            _ if hints::foreign_variable(root).is_some() => {
                format!("write `${{{}}}`", hints::foreign_variable(root).unwrap_or_default())
            }
            _ if self.elsewhere.iter().any(|name| name == root) => {
                format!("another task captures it: write `needs: {root}` in this one, so that users without it wait")
            }
            _ if let Some(section) = self.section_of_name(root) => {
                if condition.is_some() {
                    format!("write `{section}.{variable}`")
                } else {
                    format!("write `${{{section}.{variable}}}`")
                }
            }
            Some(near) => format!("did you mean `{near}`? Known here: {}", all.join(", ")),
            None if condition == Some(true) => {
                format!("text stands in quotes: `'{variable}'`; known here: {}", all.join(", "))
            }
            None => format!("known here: {}", all.join(", ")),
        };
        self.text_error(at, offset, format!("`{root}` is not a variable here"), help);
    }
}

/// Where a word stands in a text; one that is a part of another word only as a last resort.
fn word_at(text: &str, word: &str) -> usize {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.$'\"".contains(c);
    let alone = |at: usize| !text[..at].ends_with(inner) && !text[at + word.len()..].starts_with(inner);
    let found = text.match_indices(word).map(|(at, _)| at).find(|at| alone(*at));
    found.or_else(|| text.find(word)).unwrap_or_default()
}
