//! The variables that a template or an expression of one iteration sees.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::value::{Object, Serde, Value};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::model::{Name, clock::Clock, scenario::Constants};

/// The variables of one iteration. `vu`, `iteration` and `n` count from 1.
#[derive(Debug, Clone)]
pub struct Scope {
    /// `vars`, `secret`, `env`.
    pub constants: Prepared,
    /// Of the run.
    pub run_id: Name,
    /// The user, or the slot of an arrival.
    pub vu: u64,
    /// Of this user.
    pub iteration: u64,
    /// Which of the scenario's identities it takes.
    pub identity: u64,
    /// Over the whole run.
    pub n: u64,
    /// Kept of earlier answers.
    pub captures: BTreeMap<Name, serde_json::Value>,
    /// Seed of the run: `random` is a function of it and `n`, the same wherever an iteration uses it.
    pub seed: u64,
    /// Reads `now`.
    pub clock: Arc<dyn Clock>,
}

/// The constants of a scenario, made ready once: no request copies them.
#[derive(Debug, Clone)]
pub struct Prepared {
    json: Constants,
    values: Value,
}

impl From<Constants> for Prepared {
    fn from(json: Constants) -> Self {
        let values = Value::from(Serde(&*json.0));
        Self { json, values }
    }
}

impl Prepared {
    /// A constant by its name, or by its place, as `vars.model`: a condition asks for one value, not for all of them.
    fn find(&self, name: &str) -> Option<&serde_json::Value> {
        let constants = &*self.json.0;
        constants.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            rest.split('.').try_fold(constants.get(first)?, |value, part| value.get(part))
        })
    }
}

impl Scope {
    /// The value of a name; captures hide nothing, since configuration refuses captures named like a built-in.
    pub fn get(&self, name: &str) -> Option<serde_json::Value> {
        Some(match name {
            "vu" => self.vu.into(),
            "identity" => self.identity.into(),
            "iteration" => self.iteration.into(),
            "n" => self.n.into(),
            "run_id" => (*self.run_id).into(),
            "now" => self.clock.now().wall.to_string().into(),
            "uuid" => uuid::Uuid::new_v4().to_string().into(),
            "random" => {
                SmallRng::seed_from_u64(self.seed ^ self.n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).random::<f64>().into()
            }
            _ => return self.captures.get(name).or_else(|| self.constants.find(name)).cloned(),
        })
    }

    /// For templates.
    pub fn value(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        if self.constants.json.0.contains_key(name) && !self.captures.contains_key(name) {
            return self.constants.values.get_attr(name).ok();
        }
        self.get(name).map(|value| Value::from(Serde(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock::SystemClock,
        template::{Escape, Template},
    };

    #[test]
    fn templates_see_the_scope() {
        let constants =
            serde_json::json!({"vars": {"model": "llama2", "prompt": "x".repeat(100)}, "secret": {}, "env": {}});
        let serde_json::Value::Object(constants) = constants else { unreachable!("it is an object") };
        let scope = Arc::new(Scope {
            constants: Constants(Arc::new(constants)).into(),
            run_id: "r1".into(),
            vu: 3,
            iteration: 2,
            identity: 3,
            n: 12,
            captures: BTreeMap::from([("cid".into(), serde_json::json!("c-9"))]),
            seed: 1,
            clock: Arc::new(SystemClock),
        });
        let text = "${vu}/${iteration}/${n}/${cid}/${vars.model}/${run_id}";
        let template = Template::compile(text, Escape::None).expect("compiles");
        assert_eq!(template.render(&scope.value()).expect("renders"), "3/2/12/c-9/llama2/r1");
        assert_eq!(scope.get("random"), scope.get("random"), "a run can be repeated");
        assert_ne!(scope.get("uuid"), scope.get("uuid"));
        assert_eq!(scope.get("nobody"), None);
        assert_eq!(
            (scope.get("vars.model"), scope.get("vars.x"), scope.get("no.x")),
            (Some("llama2".into()), None, None)
        );
        let prompt = || {
            let vars = scope.get_value(&"vars".into()).expect("it is there");
            vars.get_attr("prompt").ok().and_then(|prompt| prompt.as_str().map(str::as_ptr)).expect("text")
        };
        assert_eq!(prompt(), prompt(), "no request copies them");
    }
}
