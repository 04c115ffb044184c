//! Loads whose arrivals do not wait for answers.

use std::time::Duration;

use super::{Lower, Words};
use crate::{
    config::raw,
    model::{
        scenario::{Arrivals, BurstGap, Executor, RateStage},
        units::{self, Rate},
    },
};

/// So much of a second's worth of the policy's rate, and at least ten requests, may leave at once.
const AT_ONCE: f64 = 0.1;

fn spread(raw: &raw::Load) -> Arrivals {
    match raw.arrivals {
        Some(raw::Arrivals::Poisson) => Arrivals::Poisson,
        Some(raw::Arrivals::Uniform) | None => Arrivals::Uniform,
    }
}

impl Lower<'_> {
    pub(super) fn constant_rate(&mut self, words: &Words<'_>) -> Executor {
        let raw = words.raw;
        self.needed(words, "rate", raw.rate.is_some(), "how many iterations start per time", "rate: 10/s");
        let rate = raw.rate.as_ref().and_then(|text| units::parse_rate(&text.0).ok());
        let rate = rate.unwrap_or(Rate { count: 1.0, per: Duration::from_secs(1) });
        self.rate_within(&words.at.key("rate"), rate, words.policy);
        let duration = self.planned(words, "how long it goes on");
        // A duration of nothing has been noted.
        let some =
            words.duration().is_some_and(|text| units::parse_duration(&text.0).is_ok_and(|long| !long.is_zero()));
        if raw.rate.is_some() && some && rate.per_second() * duration.as_secs_f64() < 1.0 {
            self.error(
                &words.at.key("duration"),
                "nothing is sent: the duration ends before the first arrival is due",
                "write a longer `duration` or a higher `rate`",
            );
        }
        Executor::ConstantArrivalRate { rate, duration, arrivals: spread(raw) }
    }

    pub(super) fn ramping_rate(&mut self, words: &Words<'_>) -> Executor {
        let start_at = words.at.key("start_rate");
        let start_rate = words.raw.start_rate.as_ref().and_then(|text| units::parse_level(&text.0).ok());
        let start_rate = start_rate.unwrap_or(Rate { count: 0.0, per: Duration::from_secs(1) });
        self.rate_within(&start_at, start_rate, words.policy);
        let stages = self.stages(words, "write `target: 50/s`, or `executor: ramping-vus` for users", |amount| {
            if let raw::Amount::Rate(text) = amount { units::parse_level(&text.0).ok() } else { None }
        });
        let at = words.at.key("stages");
        let (mut from, mut planned) = (start_rate.per_second(), 0.0);
        for (index, (length, target)) in stages.iter().enumerate() {
            self.rate_within(&at.index(index).key("target"), *target, words.policy);
            planned += f64::midpoint(from, target.per_second()) * length.as_secs_f64();
            from = target.per_second();
        }
        if !stages.is_empty() && planned < 1.0 {
            let help = "write longer stages or higher rates";
            self.key_error(&at, "nothing is sent: the stages end before the first arrival is due", help);
        }
        let stages = stages.into_iter().map(|(duration, target)| RateStage { duration, target }).collect();
        Executor::RampingArrivalRate { start_rate, stages, arrivals: spread(words.raw) }
    }

    pub(super) fn burst(&mut self, words: &Words<'_>) -> Executor {
        let raw = words.raw;
        self.needed(words, "size", raw.size.is_some(), "how many leave at the same instant", "size: 50");
        let size = raw.size.unwrap_or(1);
        self.size_within(words, size);
        let gap = self.gap(words);
        let repeat = match (raw.repeat, gap, words.duration()) {
            (Some(repeat), ..) => repeat,
            (None, Some(BurstGap::Every(every)), Some(text)) => {
                let within = self.bounded(words, "duration", Some(text), every);
                u64::try_from(within.as_nanos().div_ceil(every.as_nanos().max(1))).unwrap_or(u64::MAX)
            }
            (None, Some(_), _) => {
                let help = "write `repeat: 10`, or `every: 10s` with `duration: 10m`";
                self.error(&words.at.key("executor"), "`repeat` is missing: how many bursts are there?", help);
                1
            }
            (None, None, _) => 1,
        };
        if let (Some(repeat), Some(_)) = (raw.repeat, &raw.duration) {
            let help = format!("remove `duration`, or `repeat: {repeat}`");
            self.key_error(&words.at.key("duration"), "bursts are counted by `repeat` or bounded by `duration`", help);
        }
        if gap.is_none() && repeat > 1 {
            let help = "write `every: 10s` from start to start, or `pause: 10s` from end to start";
            self.error(&words.at.key("repeat"), "what lies between the bursts?", help);
        }
        Executor::Burst { size, repeat, gap: gap.unwrap_or(BurstGap::Pause(Duration::ZERO)) }
    }

    fn gap(&mut self, words: &Words<'_>) -> Option<BurstGap> {
        let (raw, at) = (words.raw, words.at);
        if let (Some(_), Some(_)) = (&raw.every, &raw.pause) {
            let help = "`every` is from start to start, `pause` from end to start: remove one of them";
            self.key_error(&at.key("pause"), "bursts have `every` or `pause`, not both", help);
        }
        let least = Duration::from_millis(1);
        let every = raw.every.as_ref().map(|text| self.duration(&at.key("every"), Some(text), least, least).max(least));
        let pause = raw.pause.as_ref();
        let pause = pause.map(|text| self.duration(&at.key("pause"), Some(text), Duration::ZERO, Duration::ZERO));
        every.map(BurstGap::Every).or_else(|| pause.map(BurstGap::Pause))
    }

    /// A burst is not held back: what the policy would drop of each is refused.
    fn size_within(&mut self, words: &Words<'_>, size: u32) {
        let (policy, at) = (words.policy, words.at.key("size"));
        let at_once = (policy.max_rate * AT_ONCE).max(10.0).floor();
        if size > policy.max_concurrency {
            let most = policy.max_concurrency;
            self.error(
                &at,
                format!("`size: {size}` is above the policy's {most} unanswered requests at once"),
                format!("write `size: {most}` or less, or `policy: {{max_concurrency: {size}}}` if you may"),
            );
        } else if f64::from(size) > at_once {
            let (most, needed) = (policy.max_rate, size.saturating_mul(10));
            self.error(
                &at,
                format!("`size: {size}` at once is above the policy's {most}/s, which lets {at_once} leave at once"),
                format!("write `size: {at_once}` or less, or `policy: {{max_rate: {needed}/s}}` if you may"),
            );
        }
    }
}
