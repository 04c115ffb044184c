//! Which key of `load:` belongs to which executor: one of another executor would be ignored, and the load would not be
//! what was meant.

use super::super::{At, Lower};
use crate::config::raw::ExecutorWord;

/// The executors with their words and keys.
const EXECUTORS: [(ExecutorWord, &str, &[&str]); 12] = [
    (ExecutorWord::Probe, "probe", &["attempts"]),
    (ExecutorWord::PerVuIterations, "per-vu-iterations", &["vus", "iterations", "start", "max_duration"]),
    (ExecutorWord::SharedIterations, "shared-iterations", &["vus", "iterations", "max_duration"]),
    (ExecutorWord::ConstantVus, "constant-vus", &["vus", "duration"]),
    (ExecutorWord::RampingVus, "ramping-vus", &["start_vus", "stages", "graceful_ramp_down"]),
    (ExecutorWord::SteppedVus, "stepped-vus", &["vus", "iterations", "duration", "start", "pause", "max_duration"]),
    (ExecutorWord::ConstantArrivalRate, "constant-arrival-rate", &["rate", "duration", "arrivals"]),
    (ExecutorWord::RampingArrivalRate, "ramping-arrival-rate", &["start_rate", "stages", "arrivals"]),
    (ExecutorWord::Burst, "burst", &["size", "repeat", "every", "pause", "duration"]),
    (ExecutorWord::Users, "users", &["users", "spawn_rate", "hold_for", "ramp_down"]),
    (ExecutorWord::Limit, "limit", &["hold", "over", "free", "cycles", "per", "users", "bystanders", "race"]),
    (
        ExecutorWord::Search,
        "search",
        &["variable", "start", "factor", "precision", "measure", "cooldown", "max", "deadline", "confirm"],
    ),
];

/// What every executor takes.
const COMMON: [&str; 5] = ["executor", "identities", "connections", "max_in_flight", "graceful_stop"];

/// The keys that an executor takes, by its word.
pub(crate) fn keys_of(word: &str) -> Option<Vec<&'static str>> {
    let (.., keys) = EXECUTORS.iter().find(|(_, name, _)| *name == word)?;
    Some(keys.iter().copied().chain(COMMON).filter(|key| *key != "executor").collect())
}

/// Word and keys of an executor.
pub(super) fn of(executor: ExecutorWord) -> (&'static str, &'static [&'static str]) {
    EXECUTORS.iter().find(|(word, ..)| *word == executor).map_or(("", &[]), |(_, name, keys)| (*name, *keys))
}

/// What to write instead, where another key says the same for this executor.
fn instead(executor: ExecutorWord, key: &str) -> Option<&'static str> {
    use ExecutorWord::{
        Burst, ConstantArrivalRate, ConstantVus, Limit, PerVuIterations, RampingArrivalRate, RampingVus, Search,
        SharedIterations, SteppedVus, Users,
    };
    Some(match (executor, key) {
        (PerVuIterations | SharedIterations, "duration") => {
            "it ends when its iterations are done: write `max_duration: 5m`, or `executor: constant-vus` for a duration"
        }
        (ConstantVus, "max_duration") => "write `duration: 5m`: that is its length",
        (ConstantVus, "iterations") => "write `executor: per-vu-iterations` to count iterations instead of time",
        (PerVuIterations | SharedIterations | ConstantVus, "rate") => {
            "users go on as soon as they are answered: write `executor: constant-arrival-rate` for a rate"
        }
        (PerVuIterations | SharedIterations | ConstantVus, "users") => "write `vus: 10`",
        (PerVuIterations | SharedIterations | ConstantVus, "stages" | "start_vus") => {
            "write `executor: ramping-vus` for stages of users"
        }
        (ConstantVus | Users, "start") => "write `executor: per-vu-iterations` with `start: together`",
        (RampingVus, "vus" | "users") => "write `start_vus: 1`, and `target:` in each of the stages",
        (RampingVus | RampingArrivalRate, "duration") => "each of its stages has a `duration:`",
        (RampingVus, "rate" | "start_rate") => "write `executor: ramping-arrival-rate` for stages of rates",
        (SteppedVus, "stages") => "write `vus: [1, 5, 10]`, or `executor: ramping-vus` for straight lines",
        (SteppedVus, "every") => "write `pause: 2s`: from the end of a level to the start of the next",
        (ConstantArrivalRate, "vus" | "users") => {
            "arrivals need no users: write `max_in_flight: 500` for the most unanswered requests at once"
        }
        (ConstantArrivalRate, "start_rate" | "stages") => "write `executor: ramping-arrival-rate` for stages",
        (RampingArrivalRate, "rate") => "write `start_rate: 10/s`, and `target:` in each of the stages",
        (RampingArrivalRate, "start_vus") => "write `start_rate: 10/s`, or `executor: ramping-vus` for users",
        (Burst, "vus" | "users") => "write `size: 50`: the iterations of a burst",
        (Burst, "iterations") => "write `repeat: 10`: how many bursts there are",
        (Burst, "rate") => "write `size: 50` with `every: 10s`",
        (Users, "vus") => "write `users: 1000`",
        (Users, "rate") => "write `spawn_rate: 10/s` for the new users per second; requests follow from `think`",
        (Users, "duration") => "write `hold_for: 5m`: how long all users stay",
        (Limit, "vus") => "write `hold: 10`: how many may be held at once",
        (Limit, "iterations" | "repeat") => "write `cycles: 10`",
        (Search, "rate" | "vus") => "write `variable: rate` or `variable: vus`, and `start:` for the first load",
        (Search, "duration") => "write `measure: 30s` for each load and `deadline: 30m` for all of it",
        _ => return None,
    })
}

impl Lower<'_> {
    /// Keys that belong to other executors.
    pub(super) fn foreign_keys(&mut self, at: &At, executor: ExecutorWord) {
        let (name, takes) = of(executor);
        let Some(node) = self.node(at) else { return };
        for key in node.entries().iter().map(|entry| entry.key.as_str()) {
            let owners: Vec<&str> =
                EXECUTORS.iter().filter(|(.., keys)| keys.contains(&key)).map(|(_, name, _)| *name).collect();
            if takes.contains(&key) || owners.is_empty() {
                continue;
            }
            let owners = match owners.as_slice() {
                [one] => (*one).to_owned(),
                [first @ .., last] => format!("{} and {last}", first.join(", ")),
                [] => String::new(),
            };
            let help = instead(executor, key).map_or_else(
                || format!("{name} takes {}, {} and {}", takes.join(", "), COMMON[1..4].join(", "), COMMON[4]),
                ToOwned::to_owned,
            );
            self.key_error(&at.key(key), format!("`{key}` belongs to {owners}, not to {name}"), help);
        }
    }
}
