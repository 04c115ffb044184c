//! Loads of users who go on when they are answered.

use std::time::Duration;

use super::{Lower, Words};
use crate::{
    config::raw,
    model::{
        scenario::{Executor, LevelEnd, VuStage},
        units::{self, Rate},
    },
};

const TEN_MINUTES: Duration = Duration::from_mins(10);

impl Lower<'_> {
    pub(super) fn per_vu(&mut self, words: &Words<'_>) -> Executor {
        let vus = self.vus(words);
        let max_duration = self.bounded(words, "max_duration", words.raw.max_duration.as_ref(), TEN_MINUTES);
        let together = self.together(words);
        Executor::PerVuIterations { vus, iterations: words.raw.iterations.unwrap_or(1), together, max_duration }
    }

    pub(super) fn shared(&mut self, words: &Words<'_>) -> Executor {
        let vus = self.vus(words);
        let max_duration = self.bounded(words, "max_duration", words.raw.max_duration.as_ref(), TEN_MINUTES);
        let iterations = words.raw.iterations;
        self.needed(words, "iterations", iterations.is_some(), "how many all users do together", "iterations: 100");
        let iterations = iterations.unwrap_or(u64::from(vus));
        if iterations < u64::from(vus) {
            let message = format!("{vus} users share {iterations} iterations: some of them do nothing");
            self.warning(&words.at.key("iterations"), message, format!("write `iterations: {vus}` or more"));
        }
        Executor::SharedIterations { vus, iterations, max_duration }
    }

    pub(super) fn constant_vus(&mut self, words: &Words<'_>) -> Executor {
        let vus = self.vus(words);
        Executor::ConstantVus { vus, duration: self.planned(words, "how long it goes on") }
    }

    pub(super) fn ramping_vus(&mut self, words: &Words<'_>) -> Executor {
        let start_vus = words.raw.start_vus.unwrap_or(1);
        self.users_within(&words.at.key("start_vus"), &format!("`start_vus: {start_vus}`"), start_vus, words.policy);
        let stages =
            self.stages(words, "write `target: 50`, or `executor: ramping-arrival-rate` for rates", |amount| {
                if let raw::Amount::Users(users) = amount { Some(*users) } else { None }
            });
        let at = words.at.key("stages");
        for (index, (_, target)) in stages.iter().enumerate() {
            let at = at.index(index).key("target");
            self.users_within(&at, &format!("`target: {target}`"), *target, words.policy);
        }
        if !stages.is_empty() && start_vus == 0 && stages.iter().all(|(_, target)| *target == 0) {
            self.key_error(&at, "nothing is sent: no stage has users", "write `target: 10` in a stage");
        }
        let grace_at = words.at.key("graceful_ramp_down");
        let grace = words.raw.graceful_ramp_down.as_ref();
        let graceful_ramp_down = self.duration(&grace_at, grace, Duration::from_secs(30), Duration::ZERO);
        let stages = stages.into_iter().map(|(duration, target)| VuStage { duration, target }).collect();
        Executor::RampingVus { start_vus, stages, graceful_ramp_down }
    }

    pub(super) fn stepped_vus(&mut self, words: &Words<'_>) -> Executor {
        let (raw, at) = (words.raw, words.at.key("vus"));
        let levels = match &raw.vus {
            Some(raw::Vus::Levels(levels)) => levels.clone(),
            Some(raw::Vus::One(users)) => {
                let help = "write `vus: [1, 5, 10]`, or `executor: constant-vus`";
                self.error(&at, format!("`vus: {users}` is one level: stepped-vus goes from one to the next"), help);
                vec![*users]
            }
            None => {
                self.needed(words, "vus", false, "how many users each level has", "vus: [1, 5, 10, 20]");
                vec![1]
            }
        };
        for (index, users) in levels.iter().enumerate() {
            self.users_within(&at.index(index), &format!("`{users}`"), *users, words.policy);
        }
        if let (Some(_), Some(_)) = (&raw.duration, raw.iterations) {
            let help = "remove one of them; `max_duration` bounds iterations";
            self.key_error(&words.at.key("duration"), "a level ends by `iterations` or by `duration`, not both", help);
        }
        let each = match words.duration().filter(|_| raw.iterations.is_none()) {
            Some(text) => LevelEnd::Duration(self.bounded(words, "duration", Some(text), TEN_MINUTES)),
            None => LevelEnd::Iterations {
                iterations: raw.iterations.unwrap_or(1),
                max_duration: self.bounded(words, "max_duration", raw.max_duration.as_ref(), TEN_MINUTES),
            },
        };
        let pause = self.duration(&words.at.key("pause"), raw.pause.as_ref(), Duration::ZERO, Duration::ZERO);
        Executor::SteppedVus { levels, each, together: self.together(words), pause }
    }

    pub(super) fn users(&mut self, words: &Words<'_>) -> Executor {
        let raw = words.raw;
        self.needed(words, "users", raw.users.is_some(), "how many there are at the peak", "users: 1000");
        let users = raw.users.unwrap_or(1);
        self.users_within(&words.at.key("users"), &format!("`users: {users}`"), users, words.policy);
        let spawn_rate = raw.spawn_rate.as_ref().and_then(|text| units::parse_rate(&text.0).ok());
        let spawn_rate = spawn_rate.unwrap_or(Rate { count: 1.0, per: Duration::from_secs(1) });
        let hold = raw.hold_for.as_ref();
        self.needed(words, "hold_for", hold.is_some(), "how long all of them stay, which is measured", "hold_for: 5m");
        let hold_for = self.bounded(words, "hold_for", hold, Duration::from_secs(1));
        let ramp_down =
            self.duration(&words.at.key("ramp_down"), raw.ramp_down.as_ref(), Duration::ZERO, Duration::ZERO);
        Executor::Users { users, spawn_rate, hold_for, ramp_down }
    }

    /// The one number of users.
    fn vus(&mut self, words: &Words<'_>) -> u32 {
        let at = words.at.key("vus");
        let vus = match &words.raw.vus {
            Some(raw::Vus::One(vus)) => *vus,
            Some(raw::Vus::Levels(levels)) => {
                let name = words.name;
                self.error(
                    &at,
                    format!("`vus` is a list, and {name} has one number of users"),
                    "write `vus: 10`, or `executor: stepped-vus` for one level after the other",
                );
                levels.first().copied().unwrap_or(1)
            }
            None => {
                self.needed(words, "vus", false, "how many users there are", "vus: 10");
                1
            }
        };
        self.users_within(&at, &format!("`vus: {vus}`"), vus, words.policy);
        vus
    }

    /// Whether users leave a barrier at the same instant.
    fn together(&mut self, words: &Words<'_>) -> bool {
        match &words.raw.start {
            Some(raw::Start::Text(text)) if text == "together" => true,
            Some(_) => {
                let help = "write `start: together`, or leave it out";
                self.error(&words.at.key("start"), "users start together, or one by one", help);
                false
            }
            None => false,
        }
    }

    /// Stages whose targets are of one kind; `help` says what to write where one is of the other.
    pub(super) fn stages<T>(
        &mut self,
        words: &Words<'_>,
        help: &str,
        read: impl Fn(&raw::Amount) -> Option<T>,
    ) -> Vec<(Duration, T)> {
        let stages = words.raw.stages.as_deref();
        let example = "stages: [{duration: 1m, target: …}]";
        self.needed(words, "stages", stages.is_some(), "where it goes", example);
        let mut out = Vec::new();
        let at = words.at.key("stages");
        for (index, stage) in stages.unwrap_or_default().iter().enumerate() {
            let at = at.index(index);
            let duration = self.duration(&at.key("duration"), Some(&stage.duration), Duration::ZERO, Duration::ZERO);
            if let Some(target) = read(&stage.target) {
                out.push((duration, target));
            } else {
                let name = words.name;
                let kind = if matches!(stage.target, raw::Amount::Users(_)) { "users" } else { "a rate" };
                let other = if kind == "users" { "rates" } else { "users" };
                let message = format!("`target` is {kind} here, and {name} goes through {other}");
                self.error(&at.key("target"), message, help);
            }
        }
        out
    }
}
