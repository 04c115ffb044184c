//! The variables that a template or an expression of one iteration sees.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use minijinja::value::{Object, Serde, Value};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::model::{
    Name,
    clock::Clock,
    scenario::{Constants, Feed},
    template::{DRAW, draw},
};

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
    /// The rows of data that it took.
    pub rows: Vec<Row>,
    /// What was drawn so far.
    pub draws: Draws,
}

/// A row of a feed, taken by one iteration.
#[derive(Debug, Clone)]
pub struct Row {
    /// The feed's name.
    pub feed: Name,
    /// Its rows.
    pub of: Arc<Feed>,
    /// Which of them; `None` where all were taken.
    pub index: Option<usize>,
}

impl Row {
    fn json(&self) -> Option<&serde_json::Value> {
        self.of.rows.get(self.index?)
    }
}

/// How often an iteration has asked for something random.
#[derive(Debug, Default)]
pub struct Draws(AtomicU64);

impl Clone for Draws {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
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
            "user" => self.captures.get(name).cloned().unwrap_or_else(|| self.vu.into()),
            "now" => self.clock.now().wall.to_string().into(),
            "now_ms" => self.clock.now().wall.as_millisecond().into(),
            "uuid" => uuid::Uuid::new_v4().to_string().into(),
            "random" => {
                SmallRng::seed_from_u64(self.seed ^ self.n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).random::<f64>().into()
            }
            "data" => {
                let rows = self.rows.iter().filter_map(|row| Some((row.feed.to_string(), row.json()?.clone())));
                serde_json::Value::Object(rows.collect())
            }
            _ => {
                return self
                    .captures
                    .get(name)
                    .or_else(|| self.datum(name))
                    .or_else(|| self.constants.find(name))
                    .cloned();
            }
        })
    }

    /// A number that nothing else in the run draws.
    pub fn draw(&self) -> u64 {
        draw(self.seed, self.n, self.draws.0.fetch_add(1, Ordering::Relaxed))
    }

    /// A source of random numbers for one purpose.
    pub fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.draw())
    }

    /// `data.NAME` or `data.NAME.field`.
    fn datum(&self, name: &str) -> Option<&serde_json::Value> {
        let (feed, field) = name.strip_prefix("data.").map(|rest| rest.split_once('.').unwrap_or((rest, "")))?;
        let row = self.rows.iter().find(|row| &*row.feed == feed)?.json()?;
        if field.is_empty() { Some(row) } else { field.split('.').try_fold(row, |value, part| value.get(part)) }
    }

    /// For templates.
    pub fn value(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        if name == DRAW {
            return Some(self.draw().into());
        }
        if name == "data" {
            return Some(Value::from_object(Data(self.clone())));
        }
        if self.constants.json.0.contains_key(name) && !self.captures.contains_key(name) {
            return self.constants.values.get_attr(name).ok();
        }
        self.get(name).map(|value| Value::from(Serde(value)))
    }
}

/// `data` of a template: only the field that it asks for is made into a value.
#[derive(Debug)]
struct Data(Arc<Scope>);

impl Object for Data {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let at = self.0.rows.iter().position(|row| &*row.feed == name)?;
        self.0.rows[at].json()?;
        Some(Value::from_object(DataRow(self.0.clone(), at)))
    }
}

/// `data.NAME` of a template.
#[derive(Debug)]
struct DataRow(Arc<Scope>, usize);

impl Object for DataRow {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.rows[self.1].json()?.get(key.as_str()?).map(|value| Value::from(Serde(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock::SystemClock,
        scenario::{FeedEnd, FeedOrder},
        template::{Escape, Template},
    };

    #[test]
    fn templates_see_the_scope() {
        let constants =
            serde_json::json!({"vars": {"model": "llama2", "prompt": "x".repeat(100)}, "secret": {}, "env": {}});
        let serde_json::Value::Object(constants) = constants else { unreachable!("it is an object") };
        let rows = vec![serde_json::json!({"text": "first"}), serde_json::json!({"text": "second", "n": 2})];
        let feed = Feed { rows, order: FeedOrder::Sequence, on_end: FeedEnd::Cycle };
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
            rows: vec![Row { feed: "q".into(), of: Arc::new(feed), index: Some(1) }],
            draws: Draws::default(),
        });
        let render = |text: &str| Template::compile(text, Escape::None).expect("compiles").render(&scope.value());
        let text = "${vu}/${iteration}/${n}/${cid}/${vars.model}/${run_id}/${data.q.text}/${data.q.n + 1}";
        assert_eq!(render(text).expect("renders"), "3/2/12/c-9/llama2/r1/second/3");
        assert_eq!(
            render("${data.none.x}").expect_err("no such feed").message,
            "`data.none.x`: `data.none` is undefined"
        );
        assert_eq!((scope.get("data.q.n"), scope.get("data.q.x")), (Some(2.into()), None));
        let words = render("${words(3)}").expect("renders");
        assert_eq!(words.split(' ').count(), 3, "{words}");
        assert_ne!(render("${random_int(1, 1000000)}"), render("${random_int(1, 1000000)}"), "each call draws anew");
        assert_eq!(render("${pick(['a']) ~ b64('user:pass')}").expect("renders"), "adXNlcjpwYXNz");
        assert!(render("${words(5, 2)}").expect_err("turned round").message.contains("the smaller one first"));
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
