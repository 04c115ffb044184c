//! The lists of a scenario's `state`: what an iteration begins with, and what its steps add. Bounded, for a
//! conversation that goes on for months would fill the memory.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    perform::Performed,
    user::{Shared, User},
};
use crate::{
    http::scope::Scope,
    model::{
        Name,
        outcome::{Classified, Outcome, fail},
        scenario::Step,
    },
};

/// Values of a list at most; the oldest go.
const MAX_VALUES: usize = 256;

/// Bytes of a list at most, as JSON; the oldest go.
const MAX_BYTES: usize = 256 * 1024;

impl Shared {
    /// What an iteration begins with.
    pub(super) fn begin_state(&self, scope: &mut Scope, user: &User) {
        for (name, initial) in &self.scenario.state.lists {
            let held = user.state.get(name).cloned().unwrap_or_else(|| Value::Array(initial.to_vec()));
            scope.captures.insert(name.clone(), held);
        }
    }

    /// What a user takes with it into its next iteration.
    pub(super) fn keep_state(&self, scope: &Scope, user: &mut User) {
        let state = &self.scenario.state;
        let held = |name: &Name| Some((name.clone(), scope.captures.get(name)?.clone()));
        user.state = state.lists.iter().filter_map(|(name, _)| held(name)).collect();
    }

    /// What the step adds to the lists, where it ended ok; one that cannot be put together is a failure of the step.
    pub(super) fn pushed(&self, step: &Step, scope: &Arc<Scope>, done: &mut Performed) -> BTreeMap<Name, Value> {
        let mut grown = BTreeMap::new();
        if step.push.is_empty() || done.landing.class.outcome != Outcome::Ok {
            return grown;
        }
        let mut seen = Scope::clone(scope);
        seen.captures.extend(done.captured.iter().cloned());
        let sent = done.asked.as_ref().and_then(|asked| asked.appended().cloned());
        seen.captures.extend(sent.map(|sent| ("sent".into(), sent)));
        let seen = Arc::new(seen);
        for (name, items) in &step.push {
            let mut list = match seen.captures.get(name) {
                Some(Value::Array(list)) => list.clone(),
                _ => Vec::new(),
            };
            for item in items {
                match item.value(&seen.value()) {
                    Ok(value) => list.push(value),
                    Err(error) => {
                        let class = Classified { outcome: Outcome::Failed, reason: fail::CAPTURE.into() };
                        done.custom.clear();
                        done.fail(class, format!("push: {name}: {}", error.message));
                        return BTreeMap::new();
                    }
                }
            }
            if trim(&mut list) {
                self.recorder.trim();
            }
            grown.insert(name.clone(), list.into());
        }
        grown
    }
}

/// Takes away the oldest until what is left is within the bounds; whether any went.
fn trim(list: &mut Vec<Value>) -> bool {
    let (mut bytes, mut keep) = (0, 0);
    for value in list.iter().rev().take(MAX_VALUES) {
        bytes += value.to_string().len();
        if bytes > MAX_BYTES {
            break;
        }
        keep += 1;
    }
    let gone = list.len() - keep;
    list.drain(..gone);
    gone > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_newest_values() {
        let check = |each: usize, count: usize, left: usize| {
            let mut list: Vec<Value> = (0..count).map(|n| format!("{n:0each$}").into()).collect();
            let newest = list.last().cloned();
            assert_eq!(trim(&mut list), left < count, "{count} of {each}");
            assert_eq!((list.len(), list.last().cloned()), (left, newest), "{count} of {each}");
        };
        check(10, 256, 256);
        check(10, 300, 256);
        check(65_534, 4, 4);
        check(65_534, 5, 4);
        let mut huge = vec![Value::from("x".repeat(MAX_BYTES))];
        assert!(trim(&mut huge) && huge.is_empty());
    }
}
