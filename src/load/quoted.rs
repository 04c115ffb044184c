//! What is told of a request that did not go well: in words, bounded, and without secrets.

use super::{perform::Performed, user::Shared};
use crate::model::{
    clock,
    outcome::Outcome,
    run::FailureSample,
    scenario::{Action, Step},
};

impl Shared {
    fn line(&self, step: &Step, done: &Performed) -> String {
        let base = &self.scenario.target.base;
        match &done.asked {
            Some(request) => {
                let scheme = if base.https { "https" } else { "http" };
                format!("{} {scheme}://{}{}", request.method(), base.authority(), request.uri())
            }
            None => match &step.action {
                Action::Http(spec) => format!("{} {base}{}", spec.method, spec.path.source()),
                Action::Probe(spec) => spec.to_string(),
            },
        }
    }

    /// Remembers the first request that did not go well.
    pub fn note(&self, step: &Step, done: &Performed, outcome: Outcome) {
        self.recorder.failure(outcome, || {
            let (request, detail) = self.in_words(step, done);
            FailureSample {
                step: step.name.to_string(),
                outcome: outcome.as_str().to_owned(),
                reason: done.landing.class.reason.to_string(),
                request,
                status: done.sample.status,
                detail,
                body: clip(&self.redactor.redact(&String::from_utf8_lossy(&done.body)), 1024),
                at_s: clock::mono().saturating_duration_since(self.started.get()).as_secs_f64(),
            }
        });
    }

    /// The request and what happened to it, without secrets, at most 500 and 300 bytes.
    pub(super) fn in_words(&self, step: &Step, done: &Performed) -> (String, String) {
        let plain = |text: &str, most| clip(&self.redactor.redact(text), most);
        (plain(&self.line(step, done), 500), plain(&done.landing.detail, 300))
    }
}

/// At most `max` bytes, control characters replaced.
fn clip(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
