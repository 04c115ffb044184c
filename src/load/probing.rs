//! A step that is no HTTP request: asked, timed and judged as one.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::{HeaderMap, StatusCode};

use super::{
    answer::Judged,
    perform::{Failure, Performed, refusal},
    user::Shared,
};
use crate::{
    http::{
        classify::Landing,
        exchange::{self, Answer},
        scope::Scope,
        tls::{Tls, TlsError},
    },
    measure::data::Sample,
    model::{
        clock,
        outcome::{Classified, Outcome, fail},
        scenario::{Action, ProbeSpec, Scenario, Step},
        settings::Policy,
    },
    probe::{Prober, Progress, Reply},
};

/// What does the probes of a scenario, one for each step that is one.
#[derive(Debug, Default)]
pub struct Probers(Vec<Prober>);

impl Probers {
    /// Makes them ready. Blocks on reading certificates.
    pub fn new(scenario: &Scenario, policy: &Arc<Policy>) -> Result<Rc<Self>, TlsError> {
        let steps = scenario.before.iter().chain(scenario.steps()).chain(&scenario.after);
        let specs = steps.filter_map(|step| match &step.action {
            Action::Http(_) => None,
            Action::Probe(spec) => Some(spec),
        });
        let probers = specs.map(|spec| Prober::new(spec, &scenario.target, policy));
        Ok(Rc::new(Self(probers.collect::<Result<_, _>>()?)))
    }

    /// The certificates that they see.
    pub fn tls(&self) -> impl Iterator<Item = Tls> {
        self.0.iter().filter_map(Prober::tls)
    }
}

impl Shared {
    /// Asks once and judges the answer. Counts nothing.
    pub(super) async fn probe(
        &self,
        spec: &Arc<ProbeSpec>,
        step: &Step,
        scope: &Arc<Scope>,
        intended: Instant,
    ) -> Performed {
        let handed = clock::mono();
        let progress = Progress::default();
        let timeout = step.timeout.unwrap_or(self.scenario.target.http.timeout);
        let result = tokio::select! {
            biased;
            result = self.ask(spec, scope, &progress) => result,
            () = tokio::time::sleep_until((handed + timeout).into()) => Err(timed_out(&progress, timeout)),
            () = self.stop.wait_cut() => Err(self.cut_off()),
        };
        let ended = result.as_ref().map_or_else(|_| clock::mono(), |reply| reply.ended);
        let meter = progress.meter.take();
        let times = meter.as_ref().map(|meter| exchange::times(meter, ended)).unwrap_or_default();
        let latency = ended.saturating_duration_since(intended);
        let refused = result.as_ref().err().and_then(refusal);
        let status = result.as_ref().ok().and_then(|reply| reply.status);
        let Judged { landing, captured, body, until, custom } = match result {
            Ok(reply) => self.judge(step, scope, answer(reply), latency, times).await,
            Err(failure) => {
                let class = Classified { outcome: failure.outcome, reason: failure.reason.into() };
                Judged::from(Landing { class, detail: failure.detail })
            }
        };
        let dial = progress.dial.get();
        let sample = Sample {
            class: landing.class.clone(),
            status: status.map(|status| status.as_u16()),
            latency: Some(latency),
            service_time: times.service,
            timing: [None, dial.dns, dial.connect, dial.tls, times.ttfb, times.transfer],
            bytes: times.bytes,
            reused: dial.connect.map(|_| false),
            reconnected: false,
            stream: None,
        };
        let (asked, retry_after) = (None, None);
        Performed { landing, sample, refused, handed, ended, asked, body, captured, until, retry_after, custom }
    }

    async fn ask(&self, spec: &Arc<ProbeSpec>, scope: &Arc<Scope>, progress: &Progress) -> Result<Reply, Failure> {
        let prober = self.probers.0.iter().find(|prober| prober.does(spec)).expect("there is one for each step");
        prober.ask(scope, progress).await.map_err(|error| Failure {
            outcome: error.outcome,
            reason: error.reason,
            detail: error.detail,
            status: None,
        })
    }
}

/// What is judged. Where no HTTP was spoken the step's `ok: any` lets every status through.
fn answer(reply: Reply) -> Answer {
    let Reply { status, headers, body, ended } = reply;
    let headers: HeaderMap = headers;
    let length = body.len() as u64;
    Answer { status: status.unwrap_or(StatusCode::OK), headers, body, length, ended }
}

fn timed_out(progress: &Progress, timeout: Duration) -> Failure {
    let doing = match &*progress.meter.borrow() {
        None => "a connection",
        Some(meter) if meter.first_read().is_none() => "the first byte of the answer",
        Some(_) => "the rest of the answer",
    };
    let detail = format!("no complete answer within {timeout:?}: still waiting for {doing}");
    Failure { outcome: Outcome::Failed, reason: fail::TIMEOUT, detail, status: None }
}
