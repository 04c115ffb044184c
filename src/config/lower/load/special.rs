//! Loads that look for something: `limit` for what the target lets one hold, `search` for what it sustains.

use std::time::Duration;

use super::{Lower, Within, Words};
use crate::{
    config::raw,
    model::{
        expr::Threshold,
        scenario::{Executor, LimitSpec, SearchSpec, SearchVariable},
        units,
    },
};

impl Lower<'_> {
    pub(super) fn limit(&mut self, words: &Words<'_>, within: &Within<'_>) -> Executor {
        let (raw, at) = (words.raw, words.at);
        self.needed(words, "hold", raw.hold.is_some(), "how many may be held at once", "hold: 10");
        let (hold, over, free) =
            (raw.hold.unwrap_or(1), raw.over.unwrap_or(1), raw.free.unwrap_or(1).min(hold_of(raw)));
        if raw.free.is_some_and(|free| free > hold) {
            self.error(
                &at.key("free"),
                format!("{hold} are held: no more can be freed"),
                format!("write `free: {hold}`"),
            );
        }
        let per_user = raw.per.map(|raw::PerWord::User| raw.users.unwrap_or(1));
        if raw.users.is_some() && per_user.is_none() {
            let help = "write `per: user` if each user has a limit of its own, or remove `users`";
            self.key_error(&at.key("users"), "`users` says whose limits are tried: it goes with `per: user`", help);
        }
        if raw.bystanders.unwrap_or(0) > 0 && per_user.is_none() {
            let help = "write `per: user`, or remove `bystanders`: under a limit for all they would be rejected too";
            self.key_error(
                &at.key("bystanders"),
                "bystanders have limits of their own: they go with `per: user`",
                help,
            );
        }
        let users = per_user.unwrap_or(1);
        let peak = hold.saturating_add(over).max(raw.race.unwrap_or(0)).saturating_mul(users);
        self.users_within(&at.key("hold"), &format!("trying {peak} at once"), peak, words.policy);
        Executor::Limit(Box::new(LimitSpec {
            hold,
            over,
            free,
            cycles: raw.cycles.unwrap_or(1),
            per_user,
            bystanders: raw.bystanders.unwrap_or(0),
            race: raw.race.unwrap_or(0),
            acquire: within.acquire.to_vec(),
            release: within.release.to_vec(),
        }))
    }

    pub(super) fn search(&mut self, words: &Words<'_>, sustain: &[Threshold]) -> Executor {
        let (raw, at, policy) = (words.raw, words.at, words.policy);
        let variable = match raw.variable {
            Some(raw::VariableWord::Vus) => SearchVariable::Vus,
            Some(raw::VariableWord::Rate) | None => SearchVariable::Rate,
        };
        let start = raw.start.as_ref().and_then(|start| {
            let amount = match start {
                raw::Start::Users(users) => raw::Amount::Users(*users),
                raw::Start::Text(text) => raw::Amount::Rate(raw::LevelText(text.clone())),
            };
            self.amount(words, "start", variable, &amount)
        });
        let example = if variable == SearchVariable::Rate { "start: 5/s" } else { "start: 10" };
        self.needed(words, "start", raw.start.is_some(), "with which load it begins", example);
        let (cap, cap_name) = match variable {
            SearchVariable::Rate => (policy.max_rate, format!("{}/s", policy.max_rate)),
            SearchVariable::Vus => (f64::from(policy.max_concurrency), policy.max_concurrency.to_string()),
        };
        let max = raw.max.as_ref().and_then(|max| self.amount(words, "max", variable, max));
        if max.is_some_and(|max| max > cap) {
            let help = format!("write `max: {cap_name}` or less; the policy is the outer bound");
            self.error(&at.key("max"), format!("`max` is above the policy's {cap_name}"), help);
        }
        let (start, max) = (start.unwrap_or(1.0), max.unwrap_or(cap));
        if start > max {
            let key = if raw.max.is_some() { "max" } else { "start" };
            self.error(&at.key(key), "the search begins above its `max`", "write a lower `start` or a higher `max`");
        }
        let factor = raw.factor.unwrap_or(2.0);
        if !(factor > 1.0 && factor <= 10.0) {
            let message = format!("`factor: {factor}` is not above 1 and at most 10");
            self.error(&at.key("factor"), message, "write `factor: 2`: each load is twice the last one");
        }
        let precision = raw.precision.as_ref().and_then(|text| units::parse_quantity(&text.0).ok());
        let second = Duration::from_secs(1);
        let (measure, cooldown) = (raw.measure.as_ref(), raw.cooldown.as_ref());
        let measure = self.duration(&at.key("measure"), measure, Duration::from_secs(30), second);
        let cooldown = self.duration(&at.key("cooldown"), cooldown, Duration::from_secs(20), Duration::ZERO);
        let deadline = self.bounded(words, "deadline", raw.deadline.as_ref(), Duration::from_mins(30));
        let confirm = raw.confirm.as_ref();
        let confirm = self.duration(&at.key("confirm"), confirm, Duration::from_mins(1), Duration::ZERO);
        if deadline < measure {
            let help = "write a longer `deadline`, or a shorter `measure`";
            self.error(&at.key("deadline"), "the search ends before its first load was measured", help);
        }
        Executor::Search(Box::new(SearchSpec {
            variable,
            start,
            max,
            factor,
            precision: precision.map_or(0.05, |precision| precision.value),
            measure,
            cooldown,
            confirm,
            deadline,
            sustain: sustain.into(),
        }))
    }

    /// A load of a search: a rate or users, as it varies.
    fn amount(&mut self, words: &Words<'_>, key: &str, variable: SearchVariable, amount: &raw::Amount) -> Option<f64> {
        let at = words.at.key(key);
        match (variable, amount) {
            (SearchVariable::Vus, raw::Amount::Users(users)) if *users > 0 => Some(f64::from(*users)),
            (SearchVariable::Vus, _) => {
                let help = format!("write `{key}: 10`, or `variable: rate` for a rate such as 5/s");
                self.error(&at, format!("`{key}` is a number of users here"), help);
                None
            }
            (SearchVariable::Rate, raw::Amount::Users(users)) => {
                let help = format!("write `{key}: {users}/s`, or `variable: vus` for users");
                self.error(&at, format!("`{key}` is a rate here: it has a unit"), help);
                None
            }
            (SearchVariable::Rate, raw::Amount::Rate(text)) => match units::parse_rate(&text.0) {
                Ok(rate) => Some(rate.per_second()),
                Err(help) => {
                    self.error(&at, format!("`{}` is not a rate", crate::config::check::short(&text.0)), help);
                    None
                }
            },
        }
    }
}

fn hold_of(raw: &raw::Load) -> u32 {
    raw.hold.unwrap_or(1)
}
