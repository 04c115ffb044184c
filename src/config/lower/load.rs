//! `load`: which keys belong to which executor, and whether the policy allows so much.

use std::time::Duration;

use super::{At, Lower, target::connections};
use crate::{
    config::raw,
    model::{
        scenario::{Arrivals, Connections, Executor, Load, Target},
        settings::Policy,
        units::{self, Rate},
    },
};

impl Lower<'_> {
    /// `longest` is the longest request timeout of the scenario's steps: the grace is never below it, so that each
    /// request ends answered or timed out.
    pub(super) fn load(
        &mut self,
        at: &At,
        raw: &raw::Load,
        target: Option<&Target>,
        longest: Duration,
        policy: &Policy,
    ) -> Load {
        self.foreign_keys(at, raw);
        let executor = match raw.executor {
            raw::ExecutorWord::Probe => Executor::Probe { attempts: raw.attempts.unwrap_or(1) },
            raw::ExecutorWord::PerVuIterations => self.per_vu(at, raw, policy),
            raw::ExecutorWord::ConstantArrivalRate => self.arrivals(at, raw, policy),
        };
        let max_in_flight = raw.max_in_flight.unwrap_or_else(|| policy.max_concurrency.min(1000));
        if max_in_flight > policy.max_concurrency {
            let most = policy.max_concurrency;
            self.error(
                &at.key("max_in_flight"),
                format!("`max_in_flight: {max_in_flight}` is above the policy's {most}"),
                format!("write `max_in_flight: {most}`, or `policy: {{max_concurrency: {max_in_flight}}}` if you may"),
            );
        }
        let held = raw.connections.map(connections).or_else(|| target.and_then(|target| target.http.connections));
        let grace = self.duration(
            &at.key("graceful_stop"),
            raw.graceful_stop.as_ref(),
            Duration::from_secs(30),
            Duration::ZERO,
        );
        Load {
            executor,
            max_in_flight,
            connections: held.unwrap_or(Connections::PerVu),
            graceful_stop: grace.max(longest),
            identities: None,
        }
    }

    fn per_vu(&mut self, at: &At, raw: &raw::Load, policy: &Policy) -> Executor {
        let vus = raw.vus.unwrap_or(1);
        if raw.vus.is_none() && self.node(&at.key("vus")).is_none() {
            self.error(
                &at.key("executor"),
                "`vus` is missing: per-vu-iterations says how many users there are",
                "write `vus: 10`",
            );
        }
        if vus > policy.max_concurrency {
            let most = policy.max_concurrency;
            self.error(
                &at.key("vus"),
                format!("`vus: {vus}` is above the policy's {most} at once"),
                format!("write `vus: {most}` or less, or `policy: {{max_concurrency: {vus}}}` if you may"),
            );
        }
        let default = Duration::from_mins(10).min(policy.max_duration);
        let max_at = at.key("max_duration");
        let max_duration = self.duration(&max_at, raw.max_duration.as_ref(), default, Duration::from_millis(1));
        self.within_policy(&max_at, raw.max_duration.as_ref(), max_duration, policy);
        let (iterations, together) = (raw.iterations.unwrap_or(1), raw.start.is_some());
        Executor::PerVuIterations { vus, iterations, together, max_duration }
    }

    fn arrivals(&mut self, at: &At, raw: &raw::Load, policy: &Policy) -> Executor {
        let executor = at.key("executor");
        let rate = match &raw.rate {
            Some(text) => units::parse_rate(&text.0).ok(),
            None if self.node(&at.key("rate")).is_some() => None,
            None => {
                self.error(
                    &executor,
                    "`rate` is missing: constant-arrival-rate says how many iterations start per time",
                    "write `rate: 10/s`",
                );
                None
            }
        };
        let rate = rate.unwrap_or(Rate { count: 1.0, per: Duration::from_secs(1) });
        if rate.per_second() > policy.max_rate {
            let most = policy.max_rate;
            self.error(
                &at.key("rate"),
                format!("`rate: {rate}` is above the policy's {most}/s"),
                format!("write `rate: {most}/s` or less, or `policy: {{max_rate: {rate}}}` if you may"),
            );
        }
        if raw.duration.is_none() && self.node(&at.key("duration")).is_none() {
            self.error(
                &executor,
                "`duration` is missing: constant-arrival-rate says how long it goes on",
                "write `duration: 5m`",
            );
        }
        let duration_at = at.key("duration");
        let duration =
            self.duration(&duration_at, raw.duration.as_ref(), Duration::from_secs(1), Duration::from_millis(1));
        self.within_policy(&duration_at, raw.duration.as_ref(), duration, policy);
        if raw.rate.is_some() && raw.duration.is_some() && rate.per_second() * duration.as_secs_f64() < 1.0 {
            self.error(
                &duration_at,
                "nothing is sent: the duration ends before the first arrival is due",
                "write a longer `duration` or a higher `rate`",
            );
        }
        Executor::ConstantArrivalRate { rate, duration, arrivals: Arrivals::Uniform }
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

    /// Keys of another executor: they would be ignored, and the load would not be what was meant.
    fn foreign_keys(&mut self, at: &At, raw: &raw::Load) {
        use raw::ExecutorWord::{ConstantArrivalRate, PerVuIterations, Probe};
        let keys = [
            ("attempts", raw.attempts.is_some(), Probe),
            ("vus", raw.vus.is_some(), PerVuIterations),
            ("iterations", raw.iterations.is_some(), PerVuIterations),
            ("start", raw.start.is_some(), PerVuIterations),
            ("max_duration", raw.max_duration.is_some(), PerVuIterations),
            ("rate", raw.rate.is_some(), ConstantArrivalRate),
            ("duration", raw.duration.is_some(), ConstantArrivalRate),
            ("arrivals", raw.arrivals.is_some(), ConstantArrivalRate),
        ];
        let word = |executor| match executor {
            Probe => "probe",
            PerVuIterations => "per-vu-iterations",
            ConstantArrivalRate => "constant-arrival-rate",
        };
        for (key, there, owner) in keys {
            if there && owner != raw.executor {
                let takes: Vec<&str> =
                    keys.iter().filter(|(_, _, owner)| *owner == raw.executor).map(|(key, ..)| *key).collect();
                self.key_error(
                    &at.key(key),
                    format!("`{key}` belongs to {}, not to {}", word(owner), word(raw.executor)),
                    format!(
                        "{} takes {}, connections, max_in_flight and graceful_stop",
                        word(raw.executor),
                        takes.join(", ")
                    ),
                );
            }
        }
    }
}
