//! What a virtual user does: one step, one iteration. Every request of a run goes through [`Shared::perform`].

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::{Method, StatusCode, Uri};

use super::{
    answer::{self, Judged},
    gate::{Gate, Permit, Refusal},
    pool::{Connector, Wait},
    recorder::{IterationEnd, Recorder},
    stop::Stop,
};
use crate::{
    http::{
        capture,
        classify::Landing,
        conn::Conn,
        dial,
        exchange::{self, Answer, ExchangeTimes, Keep},
        request,
        scope::{Prepared, Scope},
        stream::Meter,
    },
    measure::data::{Sample, SeriesKey},
    model::{
        Name,
        clock::{self, Clock},
        outcome::{Classified, DropReason, Outcome, fail},
        run::FailureSample,
        scenario::{Scenario, Step},
        settings::Redactor,
    },
};

/// Everything the users of one run share.
#[derive(Debug)]
pub struct Shared {
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// Its constants.
    pub constants: Prepared,
    /// Connections.
    pub connector: Rc<Connector>,
    /// Below which nothing leaves.
    pub gate: Arc<Gate>,
    /// Where measurements go.
    pub recorder: Rc<Recorder>,
    /// When to end.
    pub stop: Stop,
    /// Reads `now` for templates.
    pub clock: Arc<dyn Clock>,
    /// For what is quoted.
    pub redactor: Redactor,
    /// Of the run.
    pub run_id: Name,
    /// Series of each step.
    pub keys: Vec<SeriesKey>,
    /// Kept of the answers to `before:`.
    pub inherited: RefCell<BTreeMap<Name, serde_json::Value>>,
    /// When the load started.
    pub started: Cell<Instant>,
    /// Iterations so far.
    pub count: Cell<u64>,
}

/// Whether arrivals wait for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// The next iteration waits for the last: a refusal of the gate makes it wait.
    Closed,
    /// The same, but no longer than one request may take: a probe tells soon how things stand.
    Probe,
    /// A refusal of the gate drops the request.
    Open,
}

/// How a step left its iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepEnd {
    Ok,
    NotOk,
    /// The run is over: no further step.
    Over,
}

/// A body up to this long is parsed on the run's thread, a longer one beside it.
pub const INLINE_BODY: usize = 64 * 1024;

/// Our timer rings up to this late by its nature; what goes beyond is our lateness, not the user's thinking.
const TICK: Duration = Duration::from_millis(2);

/// One request, done.
#[derive(Debug)]
pub struct Performed {
    /// Where it landed.
    pub landing: Landing,
    /// For the histograms.
    pub sample: Sample,
    /// Why nothing was sent: the policy refused it, or this machine is short of something.
    pub refused: Option<DropReason>,
    /// When it was handed to the queue for a connection, and when it ended.
    handed: Instant,
    ended: Instant,
    /// What was asked for; `None` if it could not be put together.
    asked: Option<(Method, Uri)>,
    body: bytes::Bytes,
    captured: Vec<(Name, serde_json::Value)>,
}

/// How far a request came; filled in as it goes, so that a cut request still tells where its time went.
#[derive(Default)]
struct Progress {
    wait: Cell<Wait>,
    conn: RefCell<Option<(Rc<Meter>, bool)>>,
}

struct Failure {
    outcome: Outcome,
    reason: &'static str,
    detail: String,
    status: Option<StatusCode>,
}

impl Shared {
    /// A scope for the next iteration of `vu`.
    pub fn scope(&self, vu: u64, iteration: u64) -> Scope {
        self.count.set(self.count.get() + 1);
        Scope {
            constants: self.constants.clone(),
            run_id: self.run_id.clone(),
            vu,
            iteration,
            n: self.count.get(),
            captures: self.inherited.borrow().clone(),
            seed: self.scenario.seed,
            clock: self.clock.clone(),
        }
    }

    /// One iteration, intended to start at `intended`. The user's connection is kept in `kept`.
    pub async fn iterate(
        &self,
        scope: Scope,
        mut intended: Instant,
        kept: &mut Option<Conn>,
        model: Model,
    ) -> IterationEnd {
        let start = intended;
        let mut scope = Arc::new(scope);
        let mut end = IterationEnd::Completed;
        for (index, step) in self.scenario.steps.iter().enumerate() {
            let (step_end, ended) = self.step(index, step, &mut scope, intended, kept, model).await;
            match step_end {
                StepEnd::Ok => {}
                StepEnd::NotOk if step.continue_on_fail => {}
                StepEnd::Over if self.stop.interrupts() => {
                    end = IterationEnd::Interrupted;
                    break;
                }
                StepEnd::NotOk | StepEnd::Over => {
                    end = IterationEnd::Failed;
                    break;
                }
            }
            intended = match step.think {
                Some(think) => self.think(ended + think).await,
                None => ended,
            };
        }
        self.recorder.iteration(end, clock::mono().saturating_duration_since(start));
        end
    }

    /// Waits until `due`, or until no further step may start; when the next step is intended.
    async fn think(&self, due: Instant) -> Instant {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.stop.wait_draining() => {}
        }
        let woken = clock::mono();
        if woken.saturating_duration_since(due) > TICK { due } else { woken }
    }

    /// How the step left its iteration, and when it ended.
    async fn step(
        &self,
        index: usize,
        step: &Step,
        scope: &mut Arc<Scope>,
        intended: Instant,
        kept: &mut Option<Conn>,
        model: Model,
    ) -> (StepEnd, Instant) {
        if self.stop.is_draining() {
            return (StepEnd::Over, clock::mono());
        }
        let patience = step.request.timeout.unwrap_or(self.scenario.target.http.timeout);
        let (permit, intended) = match self.admit(intended, model, patience).await {
            Ok(admitted) => admitted,
            Err(end) => return (end, clock::mono()),
        };
        let in_flight = (permit, self.recorder.enter());
        let done = self.perform(step, scope, intended, kept).await;
        drop(in_flight);
        if let Some(reason) = done.refused {
            self.recorder.drop_one(reason);
            self.note(step, &done, Outcome::Failed);
            return (StepEnd::NotOk, done.ended);
        }
        self.recorder.sample(&self.keys[index], &done.sample, done.handed.saturating_duration_since(intended));
        let outcome = done.landing.class.outcome;
        self.note(step, &done, outcome);
        if !done.captured.is_empty() {
            Arc::make_mut(scope).captures.extend(done.captured);
        }
        let end = match outcome {
            Outcome::Ok => StepEnd::Ok,
            Outcome::Rejected | Outcome::Failed => StepEnd::NotOk,
            Outcome::Interrupted => StepEnd::Over,
        };
        (end, done.ended)
    }

    /// Passes the gate. A closed load waits there, and is intended from when it may go; a probe waits no longer than
    /// `patience`; an open load is dropped.
    async fn admit(
        &self,
        mut intended: Instant,
        model: Model,
        patience: Duration,
    ) -> Result<(Permit, Instant), StepEnd> {
        let give_up = (model == Model::Probe).then(|| clock::mono() + patience);
        loop {
            let wait = match self.gate.admit(clock::mono()) {
                Ok(permit) => return Ok((permit, intended)),
                Err(Refusal::Paused) => {
                    self.stop.drain(super::stop::Cause::Person);
                    return Err(StepEnd::Over);
                }
                Err(_) if model == Model::Open || give_up.is_some_and(|at| clock::mono() >= at) => {
                    self.recorder.drop_one(DropReason::Policy);
                    return Err(StepEnd::NotOk);
                }
                Err(Refusal::Rate(wait)) => wait.max(Duration::from_millis(1)),
                Err(Refusal::Concurrency) => Duration::from_millis(5),
            };
            self.recorder.throttled();
            let wait = give_up.map_or(wait, |at| wait.min(at.saturating_duration_since(clock::mono())));
            tokio::select! {
                () = tokio::time::sleep(wait) => intended = clock::mono(),
                () = self.stop.wait_draining() => {
                    if !self.stop.interrupts() {
                        self.recorder.drop_one(DropReason::Deadline);
                    }
                    return Err(StepEnd::Over);
                }
            }
        }
    }

    /// Sends the step's request and judges the answer. Counts nothing.
    pub async fn perform(
        &self,
        step: &Step,
        scope: &Arc<Scope>,
        intended: Instant,
        kept: &mut Option<Conn>,
    ) -> Performed {
        let target = &self.scenario.target;
        let request = match request::build(&step.request, target, scope) {
            Ok(request) => request,
            Err(detail) => return unsendable(detail, intended),
        };
        let asked = Some((request.method().clone(), request.uri().clone()));
        let handed = clock::mono();
        let keep = if step.expect.iter().any(crate::model::expr::Expect::needs_body)
            || step.capture.iter().any(capture::needs_body)
            || target.classify.iter().any(|rule| rule.when.as_ref().is_some_and(crate::model::expr::Expect::needs_body))
        {
            Keep::All
        } else {
            Keep::Start
        };
        let wanted = exchange::Want { body: keep, headers: true, max_body: target.http.max_body, sink: None };
        let progress = Progress::default();
        let timeout = step.request.timeout.unwrap_or(target.http.timeout);
        let result = tokio::select! {
            biased;
            result = self.attempt(request, wanted, handed, kept, &progress) => result,
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
        let (landing, captured, body) = match result {
            Ok(answer) => self.judge(step, scope, answer, latency, times).await,
            Err(failure) => {
                let class = Classified { outcome: failure.outcome, reason: failure.reason.into() };
                (Landing { class, detail: failure.detail }, Vec::new(), bytes::Bytes::new())
            }
        };
        let wait = progress.wait.get();
        let sample = Sample {
            class: landing.class.clone(),
            status: status.map(|status| status.as_u16()),
            latency,
            service_time: times.service,
            timing: [wait.blocked, wait.dial.dns, wait.dial.connect, wait.dial.tls, times.ttfb, times.transfer],
            bytes: times.bytes,
            reused: conn.map(|(_, reused)| reused),
        };
        Performed { landing, sample, refused, handed, ended, asked, body, captured }
    }

    async fn attempt(
        &self,
        request: request::Outgoing,
        want: exchange::Want<'_>,
        handed: Instant,
        kept: &mut Option<Conn>,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let failed = |reason, detail, status| Failure { outcome: Outcome::Failed, reason, detail, status };
        // Whoever still waits for a connection when the run is stopped has sent nothing yet, and no longer will.
        let lease = tokio::select! {
            biased;
            () = self.stop.wait_draining() => return Err(self.cut_off()),
            lease = self.connector.lease(kept, handed, &progress.wait) => lease,
        };
        let mut lease = lease.map_err(|error| failed(error.reason, error.detail, None))?;
        progress.conn.replace(Some((lease.conn.meter(), lease.conn.is_reused())));
        let answer = exchange::exchange(&mut lease.conn, &request, want)
            .await
            .map_err(|error| failed(error.reason, error.detail, error.status))?;
        self.connector.give_back(lease, kept);
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

    fn line(&self, step: &Step, done: &Performed) -> String {
        let base = &self.scenario.target.base;
        match &done.asked {
            Some((method, uri)) => {
                format!("{method} {}://{}{uri}", if base.https { "https" } else { "http" }, base.authority())
            }
            None => format!("{} {base}{}", step.request.method, step.request.path.source()),
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
fn unsendable(detail: String, intended: Instant) -> Performed {
    let class = Classified { outcome: Outcome::Failed, reason: fail::CAPTURE.into() };
    let now = clock::mono();
    let latency = now.saturating_duration_since(intended);
    let (timing, bytes) = ([None; 6], (0, 0));
    Performed {
        landing: Landing { class: class.clone(), detail },
        sample: Sample { class, status: None, latency, service_time: None, timing, bytes, reused: None },
        refused: None,
        handed: now,
        ended: now,
        asked: None,
        body: bytes::Bytes::new(),
        captured: Vec::new(),
    }
}

impl Performed {
    /// What was kept of the answer.
    pub fn captured(self) -> Vec<(Name, serde_json::Value)> {
        self.captured
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
