//! `for_each`: one scenario for each combination of values.

use serde_json::Value as Json;

use super::{At, BUILT_IN, Lower};
use crate::config::{check::short, raw};

/// More would be a page that nobody reads.
const MAX_COMBINATIONS: usize = 200;

/// One scenario of those that `for_each` makes; the only one where there is none.
#[derive(Debug, Clone)]
pub(super) struct Combination {
    /// The scenario's name.
    pub(super) name: String,
    /// Variables and what they stand for here.
    pub(super) values: Vec<(String, Json)>,
    /// The target's name and where it stands, if `target` is among them.
    pub(super) target: Option<(String, At)>,
}

impl Lower<'_> {
    /// The scenarios that one entry comes to; none if what it says is wrong.
    pub(super) fn combinations(
        &mut self,
        at: &At,
        name: &str,
        raw: Option<&raw::Ordered<Vec<Json>>>,
    ) -> Vec<Combination> {
        let mut out = vec![Combination { name: name.to_owned(), values: Vec::new(), target: None }];
        for (variable, values) in raw.iter().flat_map(|each| &each.0) {
            let at = at.key(variable);
            if !self.variable_name(&at, variable, values) {
                return Vec::new();
            }
            let combinations = out.len() * values.len();
            if combinations > MAX_COMBINATIONS {
                let message = format!("`for_each` comes to {combinations} scenarios: the most is {MAX_COMBINATIONS}");
                self.key_error(&at, message, "write fewer values, or take them in one scenario with `data:`");
                return Vec::new();
            }
            out = out
                .iter()
                .flat_map(|before| {
                    let at = &at;
                    values.iter().enumerate().map(move |(index, value)| before.with(variable, value, at.index(index)))
                })
                .collect();
        }
        for (index, one) in out.iter().enumerate() {
            if raw.is_some() && self.section("scenarios").contains(&one.name.as_str()) {
                let message = format!("`for_each` makes a scenario `{}`, and there is one already", short(&one.name));
                self.key_error(at, message, "rename one of them");
            }
            if out[..index].iter().any(|other| other.name == one.name) {
                let help = "write values that differ in letters or digits: they become part of the name";
                self.key_error(at, format!("`for_each` makes two scenarios `{}`", short(&one.name)), help);
                return Vec::new();
            }
        }
        out
    }

    fn variable_name(&mut self, at: &At, variable: &str, values: &[Json]) -> bool {
        let before = self.problems.0.len();
        if variable != "target" {
            self.identifier(at, variable, "a variable");
            if BUILT_IN.contains(&variable) || ["vars", "secret", "env", "data"].contains(&variable) {
                let help = "choose another name: templates have this one already";
                self.key_error(at, format!("`{variable}` is a variable of Plimsoll's own"), help);
            }
        }
        if values.is_empty() {
            self.key_error(at, format!("`{variable}` has no values"), format!("write `{variable}: [a, b]`"));
        }
        for (index, value) in values.iter().enumerate() {
            if value.is_object() || value.is_array() || value.is_null() {
                let help = format!("write `{variable}: [a, b]`");
                self.error(&at.index(index), "a value of `for_each` is text, a number or true/false", help);
            }
        }
        self.problems.0.len() == before
    }
}

impl Combination {
    fn with(&self, variable: &str, value: &Json, at: At) -> Self {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "_.:".contains(c) { c } else { '-' };
        let slug: String = text.chars().map(plain).collect();
        let mut next = self.clone();
        next.name = format!("{}-{}", self.name, slug.trim_matches('-'));
        if variable == "target" {
            next.target = Some((text, at));
        } else {
            next.values.push((variable.to_owned(), value.clone()));
        }
        next
    }
}
