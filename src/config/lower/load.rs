//! `load`: the load models with their numbers, which keys belong to which of them, and whether the policy allows so much.

mod closed;
mod length;
mod open;
mod special;
mod words;

use std::time::Duration;

pub(super) use self::length::{length, of as length_of, surely};
pub(crate) use self::words::keys_of;

use super::{At, Lower, target::connections};
use crate::{
    config::raw,
    model::{
        expr::Threshold,
        scenario::{Connections, Executor, Load, Step, Target},
        settings::Policy,
        units,
    },
};

/// What a load takes from its scenario.
pub(super) struct Within<'a> {
    /// Whose connections it uses.
    pub(super) target: Option<&'a Target>,
    /// The longest request timeout of its steps: the grace is never below it, so that each request ends answered or
    /// timed out.
    pub(super) longest: Duration,
    /// What may be loaded, and how hard.
    pub(super) policy: &'a Policy,
    /// The scenario's `duration`, for loads without their own.
    pub(super) duration: Option<&'a raw::DurationText>,
    /// The scenario's `acquire`.
    pub(super) acquire: &'a [Step],
    /// The scenario's `release`.
    pub(super) release: &'a [Step],
    /// The scenario's `sustain`.
    pub(super) sustain: &'a [Threshold],
}

/// A load while it is lowered.
#[derive(Clone, Copy)]
struct Words<'a> {
    at: &'a At,
    raw: &'a raw::Load,
    policy: &'a Policy,
    /// Its executor's word.
    name: &'static str,
    /// The scenario's `duration`, where the load has none of its own.
    duration: Option<&'a raw::DurationText>,
}

impl<'a> Words<'a> {
    /// Its length, its own or the scenario's.
    fn duration(&self) -> Option<&'a raw::DurationText> {
        self.raw.duration.as_ref().or(self.duration)
    }
}

impl Lower<'_> {
    pub(super) fn load(&mut self, at: &At, raw: &raw::Load, within: &Within<'_>) -> Load {
        use raw::ExecutorWord as Word;
        self.foreign_keys(at, raw.executor);
        let policy = within.policy;
        let words = Words { at, raw, policy, name: words::of(raw.executor).0, duration: within.duration };
        let executor = match raw.executor {
            Word::Probe => Executor::Probe { attempts: raw.attempts.unwrap_or(1) },
            Word::PerVuIterations => self.per_vu(&words),
            Word::SharedIterations => self.shared(&words),
            Word::ConstantVus => self.constant_vus(&words),
            Word::RampingVus => self.ramping_vus(&words),
            Word::SteppedVus => self.stepped_vus(&words),
            Word::ConstantArrivalRate => self.constant_rate(&words),
            Word::RampingArrivalRate => self.ramping_rate(&words),
            Word::Burst => self.burst(&words),
            Word::Users => self.users(&words),
            Word::Limit => self.limit(&words, within),
            Word::Search => self.search(&words, within.sustain),
        };
        let max_in_flight = self.max_in_flight(&words, &executor);
        let held = raw.connections.map(connections);
        let held = held.or_else(|| within.target.and_then(|target| target.http.connections));
        let (grace_at, grace) = (at.key("graceful_stop"), raw.graceful_stop.as_ref());
        let grace = self.duration(&grace_at, grace, Duration::from_secs(30), Duration::ZERO);
        Load {
            executor,
            max_in_flight,
            connections: held.unwrap_or(Connections::PerVu),
            graceful_stop: grace.max(within.longest),
            identities: raw.identities,
        }
    }

    fn max_in_flight(&mut self, words: &Words<'_>, executor: &Executor) -> u32 {
        let most = words.policy.max_concurrency;
        // All of a burst leaves at once: the default lets it.
        let size = if let Executor::Burst { size, .. } = executor { *size } else { 0 };
        let Some(written) = words.raw.max_in_flight else { return most.min(size.max(1000)) };
        let at = words.at.key("max_in_flight");
        if written > most {
            self.error(
                &at,
                format!("`max_in_flight: {written}` is above the policy's {most}"),
                format!("write `max_in_flight: {most}`, or `policy: {{max_concurrency: {written}}}` if you may"),
            );
        } else if written < size {
            self.warning(
                &at,
                format!("of each burst of {size} at least {} are dropped: no more are let in flight", size - written),
                format!("write `max_in_flight: {size}` or leave it out"),
            );
        }
        written
    }

    /// Notes a number without which the load makes no sense, unless it is there and wrong.
    fn needed(&mut self, words: &Words<'_>, key: &str, there: bool, why: &str, example: &str) {
        if !there && self.node(&words.at.key(key)).is_none() {
            let name = words.name;
            self.error(
                &words.at.key("executor"),
                format!("`{key}` is missing: {name} says {why}"),
                format!("write `{example}`"),
            );
        }
    }

    /// The planned length, its own or the scenario's; at least 1 ms.
    fn planned(&mut self, words: &Words<'_>, why: &str) -> Duration {
        let text = words.duration();
        self.needed(words, "duration", text.is_some(), why, "duration: 5m");
        self.bounded(words, "duration", text, Duration::from_secs(1))
    }

    /// A length of the load, at least 1 ms, held against the policy.
    fn bounded(
        &mut self,
        words: &Words<'_>,
        key: &str,
        text: Option<&raw::DurationText>,
        default: Duration,
    ) -> Duration {
        let at = words.at.key(key);
        let least = Duration::from_millis(1);
        let length = self.duration(&at, text, default.min(words.policy.max_duration), least);
        self.within_policy(&at, text, length, words.policy);
        length.max(least)
    }

    fn within_policy(&mut self, at: &At, text: Option<&raw::DurationText>, planned: Duration, policy: &Policy) {
        if let Some(text) = text.filter(|_| planned > policy.max_duration) {
            let key = Self::last_key(at);
            let most = units::human_seconds(policy.max_duration.as_secs_f64());
            let text = &text.0;
            self.error(
                at,
                format!("`{key}: {text}` is above the policy's {most}"),
                format!("write a shorter run, or `policy: {{max_duration: {text}}}` if you may"),
            );
        }
    }

    /// More users than the policy lets send at once take turns: that is said, for it is another load than the one meant.
    fn users_within(&mut self, at: &At, shown: &str, users: u32, policy: &Policy) {
        let most = policy.max_concurrency;
        if users > most {
            self.warning(
                at,
                format!("{shown} is above the policy's {most} unanswered requests at once: users will wait their turn"),
                format!("write {most} or less, or `policy: {{max_concurrency: {users}}}` if you may"),
            );
        }
    }

    /// An open load is not held back, so what the policy forbids is refused.
    fn rate_within(&mut self, at: &At, rate: units::Rate, policy: &Policy) {
        let (key, most) = (Self::last_key(at), policy.max_rate);
        if rate.per_second() > most {
            self.error(
                at,
                format!("`{key}: {rate}` is above the policy's {most}/s"),
                format!("write `{key}: {most}/s` or less, or `policy: {{max_rate: {rate}}}` if you may"),
            );
        }
    }
}
