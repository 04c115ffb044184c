//! What a streamed answer adds to the judgement of a request: its figures are variables, and it must be whole.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    http::{
        classify::Landing,
        scope::Scope,
        streaming::{StreamFault, StreamMeter},
    },
    measure::stream::StreamSample,
    model::outcome::{Classified, Outcome, fail},
};

/// A streamed answer that ended, in full or not.
#[derive(Debug)]
pub(super) struct Streamed {
    sample: StreamSample,
    whole: Result<(), StreamFault>,
}

impl Streamed {
    /// The answer ended at `at`, from the origin that the meter was fed with.
    pub(super) fn ended(meter: StreamMeter, at: Duration) -> Self {
        let (sample, whole) = meter.finish(at);
        Self { sample, whole }
    }

    /// A scope in which its figures are variables, where nothing was captured by their names.
    pub(super) fn scope(&self, scope: &Arc<Scope>, service: Option<Duration>) -> Arc<Scope> {
        let mut scope = Scope::clone(scope);
        for (name, value) in self.figures(service) {
            scope.captures.entry(name.into()).or_insert(value);
        }
        scope.into()
    }

    fn figures(&self, service: Option<Duration>) -> Vec<(&'static str, Value)> {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let tokens = self.sample.tokens();
        let speed = service.filter(|service| *service > Duration::ZERO && tokens > 0);
        let found = [
            ("ttft", seconds(self.sample.first_token)),
            ("tpot", seconds(self.sample.tpot())),
            ("itl", self.sample.gaps.mean()),
            ("tokens_per_s", speed.map(|service| tokens as f64 / service.as_secs_f64())),
        ];
        let times = found.into_iter().filter_map(|(name, value)| Some((name, value?.into())));
        times.chain([("tokens", tokens.into()), ("stalls", self.sample.stalls.into())]).collect()
    }

    /// An answer that is not whole is a failure, whatever its status says.
    pub(super) fn land(&self, landing: &mut Landing) {
        if let (Outcome::Ok, Err(fault)) = (landing.class.outcome, &self.whole) {
            let class = Classified { outcome: Outcome::Failed, reason: fail::PROTOCOL.into() };
            *landing = Landing { class, detail: fault.to_string() };
        }
    }

    /// For the histograms.
    pub(super) fn into_sample(self) -> Box<StreamSample> {
        Box::new(self.sample)
    }
}

#[cfg(test)]
mod tests;
