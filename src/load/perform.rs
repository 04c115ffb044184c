//! One request, from its template to its judged answer. Every request of a run goes through [`Shared::perform`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::{Method, StatusCode, Uri};

use super::{
    answer::{self, Judged},
    custom::{self, Answered},
    fake::Fake,
    flow::retry_after,
    pool::{Connector, Wait},
    streamed::Streamed,
    user::{Shared, User},
};
use crate::{
    http::{
        capture,
        classify::Landing,
        cookies::Place,
        dial,
        exchange::{self, Answer, ExchangeTimes, Keep, Sink, Want},
        request,
        scope::Scope,
        stream::Meter,
        streaming::StreamMeter,
    },
    measure::data::Sample,
    model::{
        Name, clock,
        expr::Expect,
        metric::CustomMetric,
        outcome::{Classified, DropReason, Outcome, fail},
        run::FailureSample,
        scenario::{Action, Step},
    },
};

/// How requests leave.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Over connections to the target.
    Net(Rc<Connector>),
    /// To a made-up target in this process.
    Fake(Rc<Fake>),
}

/// A body up to this long is parsed on the run's thread, a longer one beside it.
pub const INLINE_BODY: usize = 64 * 1024;

/// One request, done.
#[derive(Debug)]
pub struct Performed {
    /// Where it landed.
    pub landing: Landing,
    /// For the histograms.
    pub sample: Sample,
    /// Why nothing was sent: the policy refused it, or this machine is short of something.
    pub refused: Option<DropReason>,
    /// When it was handed to the queue for a connection.
    pub handed: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What was asked for; `None` if it could not be put together.
    asked: Option<(Method, Uri)>,
    body: bytes::Bytes,
    /// What was kept of the answer.
    pub captured: Vec<(Name, serde_json::Value)>,
    /// Whether the step's `until` holds, or why not; `None` if it has none, or there was no answer.
    pub until: Option<Result<(), String>>,
    /// The pause that the answer asks for, where the step obeys it.
    pub retry_after: Option<Duration>,
    /// What the custom metrics record of it, each by its place among them.
    pub custom: Vec<(usize, f64)>,
}

impl Performed {
    /// Ends it otherwise than its answer said.
    pub(super) fn fail(&mut self, class: Classified, detail: String) {
        self.sample.class = class.clone();
        self.landing = Landing { class, detail };
    }
}

/// How far a request came; filled in as it goes, so that a cut request still tells where its time went.
#[derive(Default)]
struct Progress {
    wait: Cell<Wait>,
    conn: RefCell<Option<(Rc<Meter>, bool)>>,
}

pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) status: Option<StatusCode>,
}

impl Shared {
    /// Sends the step's request and judges the answer. Counts nothing.
    pub async fn perform(&self, step: &Step, scope: &Arc<Scope>, intended: Instant, user: &mut User) -> Performed {
        let target = &self.scenario.target;
        let Action::Http(spec) = &step.action;
        let cookies = |path: &str| {
            let place = self.place(path);
            if self.group.cookies { user.jar.header(place, self.clock.now().wall) } else { None }
        };
        let request = match request::build_with(spec, target, scope, cookies) {
            Ok(request) => request,
            Err(detail) => return unsendable(detail, intended),
        };
        let asked = Some((request.method().clone(), request.uri().clone()));
        let handed = clock::mono();
        let mut meter = step.stream.as_ref().map(StreamMeter::new);
        let mut feed = |piece: &[u8], at: Instant| {
            if let Some(meter) = &mut meter {
                meter.feed(piece, at.saturating_duration_since(intended));
            }
        };
        let sink = step.stream.is_some().then_some(&mut feed as Sink<'_>);
        let wanted = Want { body: self.keeps(step), headers: true, max_body: target.http.max_body, sink };
        let progress = Progress::default();
        let timeout = step.timeout.unwrap_or(target.http.timeout);
        let result = tokio::select! {
            biased;
            result = self.attempt(request, wanted, handed, user, &progress) => result,
            () = tokio::time::sleep_until((handed + timeout).into()) => Err(timed_out(&progress, timeout)),
            () = self.stop.wait_cut() => Err(self.cut_off()),
        };
        let ended = result.as_ref().map_or_else(|_| clock::mono(), |answer| answer.ended);
        let conn = progress.conn.take();
        let times = conn.as_ref().map(|(meter, _)| exchange::times(meter, ended)).unwrap_or_default();
        let latency = ended.saturating_duration_since(intended);
        let refused = match &result {
            Err(failure) if failure.reason == dial::POLICY => Some(DropReason::Policy),
            Err(failure) if failure.reason == dial::GENERATOR => Some(DropReason::Generator),
            _ => None,
        };
        let status = result.as_ref().map_or_else(|failure| failure.status, |answer| Some(answer.status));
        let answered = result.as_ref().ok();
        if let (true, Some(answer), Some((_, uri))) = (self.group.cookies, answered, &asked) {
            let path = uri.path_and_query().map_or("/", ::http::uri::PathAndQuery::as_str);
            user.jar.keep(&answer.headers, self.place(path), self.clock.now().wall);
        }
        let retry_after = answered.and_then(|answer| retry_after(step, &answer.headers, || self.clock.now().wall));
        // An answer that is no 2xx is no stream; of one that was cut, what came of it counts.
        let streams = status.is_none_or(|status| status.is_success());
        let streamed = meter.filter(|_| streams).map(|meter| Streamed::ended(meter, latency));
        let (Judged { landing, captured, body, until }, custom) =
            self.land(step, scope, result, (latency, times), streamed.as_ref()).await;
        let wait = progress.wait.get();
        let sample = Sample {
            class: landing.class.clone(),
            status: status.map(|status| status.as_u16()),
            latency,
            service_time: times.service,
            timing: [wait.blocked, wait.dial.dns, wait.dial.connect, wait.dial.tls, times.ttfb, times.transfer],
            bytes: times.bytes,
            reused: conn.map(|(_, reused)| reused),
            stream: streamed.map(Streamed::into_sample),
        };
        Performed { landing, sample, refused, handed, ended, asked, body, captured, until, retry_after, custom }
    }

    /// How much of a step's answers is looked at.
    fn keeps(&self, step: &Step) -> Keep {
        let all = step.expect.iter().any(Expect::needs_body)
            || step.until.as_ref().is_some_and(|until| until.condition.needs_body())
            || step.capture.iter().any(capture::needs_body)
            || self.scenario.metrics.iter().any(CustomMetric::needs_body)
            || self.scenario.target.classify.iter().any(|rule| rule.when.as_ref().is_some_and(Expect::needs_body));
        if all { Keep::All } else { Keep::Start }
    }

    /// Where the request landed, and what the custom metrics record of it.
    async fn land(
        &self,
        step: &Step,
        scope: &Arc<Scope>,
        result: Result<Answer, Failure>,
        (latency, times): (Duration, ExchangeTimes),
        streamed: Option<&Streamed>,
    ) -> (Judged, Vec<(usize, f64)>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => {
                let class = Classified { outcome: failure.outcome, reason: failure.reason.into() };
                return (Judged::from(Landing { class, detail: failure.detail }), Vec::new());
            }
        };
        let with_figures = streamed.map(|streamed| streamed.scope(scope, times.service));
        let scope = with_figures.as_ref().unwrap_or(scope);
        let metrics = &self.scenario.metrics;
        let head = (!metrics.is_empty()).then(|| (answer.status, answer.headers.clone()));
        let mut judged = self.judge(step, scope, answer, latency, times).await;
        if let Some(streamed) = streamed {
            streamed.land(&mut judged.landing);
        }
        let Some((status, headers)) = head.filter(|_| judged.landing.class.outcome == Outcome::Ok) else {
            return (judged, Vec::new());
        };
        let times = (latency, times.service.unwrap_or_default());
        let (body, captured) = (&*judged.body, &*judged.captured);
        let answered = Answered { status, headers: &headers, body, captured, times };
        let custom = custom::measured(metrics, step, scope, &answered);
        (judged, custom)
    }

    async fn attempt(
        &self,
        request: request::Outgoing,
        want: Want<'_>,
        handed: Instant,
        user: &mut User,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let failed = |reason, detail, status| Failure { outcome: Outcome::Failed, reason, detail, status };
        let connector = match &self.transport {
            Transport::Net(connector) => connector,
            Transport::Fake(fake) => {
                let answer = fake.answer(request.request()).await?;
                want.sink.into_iter().for_each(|sink| sink(&answer.body, answer.ended));
                return Ok(answer);
            }
        };
        // Whoever still waits for a connection when the run is stopped has sent nothing yet, and no longer will.
        let lease = tokio::select! {
            biased;
            () = self.stop.wait_draining() => return Err(self.cut_off()),
            lease = connector.lease(&mut user.conn, handed, &progress.wait) => lease,
        };
        let mut lease = lease.map_err(|error| failed(error.reason, error.detail, None))?;
        progress.conn.replace(Some((lease.conn.meter(), lease.conn.is_reused())));
        let answer = exchange::exchange(&mut lease.conn, &request, want)
            .await
            .map_err(|error| failed(error.reason, error.detail, error.status))?;
        connector.give_back(lease, &mut user.conn);
        Ok(answer)
    }

    /// A large body is judged beside the run's thread: parsing it would make everybody else late.
    async fn judge(
        &self,
        step: &Step,
        scope: &Arc<Scope>,
        full: Answer,
        latency: Duration,
        times: ExchangeTimes,
    ) -> Judged {
        let times = (latency, times.service.unwrap_or_default());
        let rules = &self.scenario.target.classify;
        if full.body.len() <= INLINE_BODY {
            return answer::judge(step, rules, scope, full, times, &self.redactor);
        }
        let (step, rules, scope, redactor) = (step.clone(), rules.clone(), scope.clone(), self.redactor.clone());
        let judged = move || answer::judge(&step, &rules, &scope, full, times, &redactor);
        match tokio::task::spawn_blocking(judged).await {
            Ok(judged) => judged,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn cut_off(&self) -> Failure {
        if self.stop.interrupts() {
            let detail = "cut when the run was stopped".to_owned();
            return Failure { outcome: Outcome::Interrupted, reason: "", detail, status: None };
        }
        let detail = if self.stop.cause().is_some() {
            "still unanswered when the schedule's `timeout` ended the run"
        } else {
            "still unanswered when the grace after the planned duration was over"
        };
        let detail = detail.to_owned();
        Failure { outcome: Outcome::Failed, reason: fail::UNFINISHED, detail, status: None }
    }

    /// Ends a poll as the end of the run would have ended it, had it been on its way.
    pub(super) fn give_up(&self, done: &mut Performed) {
        let failure = self.cut_off();
        done.fail(Classified { outcome: failure.outcome, reason: failure.reason.into() }, failure.detail);
    }

    fn place<'a>(&'a self, path: &'a str) -> Place<'a> {
        let base = &self.scenario.target.base;
        Place { host: &base.host, path, https: base.https }
    }

    fn line(&self, step: &Step, done: &Performed) -> String {
        let base = &self.scenario.target.base;
        match &done.asked {
            Some((method, uri)) => {
                format!("{method} {}://{}{uri}", if base.https { "https" } else { "http" }, base.authority())
            }
            None => {
                step.http().map_or_else(String::new, |spec| format!("{} {base}{}", spec.method, spec.path.source()))
            }
        }
    }

    /// Remembers the first request that did not go well.
    pub fn note(&self, step: &Step, done: &Performed, outcome: Outcome) {
        self.recorder.failure(outcome, || FailureSample {
            step: step.name.to_string(),
            outcome: outcome.as_str().to_owned(),
            reason: done.landing.class.reason.to_string(),
            request: clip(&self.redactor.redact(&self.line(step, done)), 500),
            status: done.sample.status,
            detail: clip(&self.redactor.redact(&done.landing.detail), 300),
            body: clip(&self.redactor.redact(&String::from_utf8_lossy(&done.body)), 1024),
            at_s: clock::mono().saturating_duration_since(self.started.get()).as_secs_f64(),
        });
    }
}

/// A request whose template cannot be filled in, mostly for want of a value that no earlier answer held.
pub(super) fn unsendable(detail: String, intended: Instant) -> Performed {
    let class = Classified { outcome: Outcome::Failed, reason: fail::CAPTURE.into() };
    let now = clock::mono();
    let latency = now.saturating_duration_since(intended);
    let (timing, bytes) = ([None; 6], (0, 0));
    Performed {
        landing: Landing { class: class.clone(), detail },
        sample: Sample { class, status: None, latency, service_time: None, timing, bytes, reused: None, stream: None },
        refused: None,
        handed: now,
        ended: now,
        asked: None,
        body: bytes::Bytes::new(),
        captured: Vec::new(),
        until: None,
        retry_after: None,
        custom: Vec::new(),
    }
}

fn timed_out(progress: &Progress, timeout: Duration) -> Failure {
    let doing = match &*progress.conn.borrow() {
        None => "a connection",
        Some((meter, _)) if meter.first_read().is_none() => "the first byte of the answer",
        Some(_) => "the end of the answer",
    };
    let detail = format!("no complete answer within {timeout:?}: still waiting for {doing}");
    Failure { outcome: Outcome::Failed, reason: fail::TIMEOUT, detail, status: None }
}

/// At most `max` bytes, control characters replaced.
fn clip(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
