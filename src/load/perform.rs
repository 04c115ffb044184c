//! One request, from its template to its judged answer. Every request of a run goes through [`Shared::perform`].

mod failure;

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use self::failure::{Failure, refusal};
use self::failure::{gone, no_first_byte};
use super::{
    answer::{self, Judged},
    fake::Fake,
    flow::retry_after,
    patience::Waited,
    pool::{Connector, Lease, Wait},
    stop::Cause,
    streamed::Streamed,
    user::{Shared, User},
};
use crate::{
    http::{
        body::Room,
        capture,
        classify::Landing,
        conn::Conn,
        cookies::Place,
        exchange::{self, Answer, ExchangeTimes, Keep, Sink, Want},
        gzip,
        request::{self, Outgoing},
        scope::Scope,
        stream::Meter,
        streaming::StreamMeter,
    },
    measure::data::Sample,
    model::{
        Name, clock,
        expr::Expect,
        outcome::{Classified, DropReason, Outcome, fail},
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
    pub(super) asked: Option<Rc<Outgoing>>,
    pub(super) body: bytes::Bytes,
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
    /// Whether anything was to be sent: it could be put together.
    pub(super) fn was_put_together(&self) -> bool {
        self.sample.latency.is_some()
    }

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
    reconnected: Cell<bool>,
    /// How long its client waits from when it may leave; `None` = as long as it takes.
    patience: Option<Duration>,
}

/// A request on its way, and what it has come to so far.
struct Sent {
    request: Rc<Outgoing>,
    intended: Instant,
    handed: Instant,
    /// When its last byte came, or it was given up.
    ended: Instant,
    progress: Progress,
    meter: Option<StreamMeter>,
}

impl Shared {
    /// Sends the step's request and judges the answer. Counts nothing. Its client is gone `gone_after` it left, if at all.
    pub async fn perform(
        &self,
        step: &Step,
        scope: &Arc<Scope>,
        intended: Instant,
        user: &mut User,
        gone_after: Option<Duration>,
    ) -> Performed {
        let target = &self.scenario.target;
        let spec = match &step.action {
            Action::Http(spec) => spec,
            Action::Probe(spec) => return Box::pin(self.probe(spec, step, scope, intended)).await,
        };
        let cookies = |path: &str| user.jar.header(self.place(path), self.clock.now().wall);
        let request = if self.group.cookies {
            request::build_with(spec, target, scope, cookies).map(Rc::new)
        } else {
            self.literals.get(spec, target, scope)
        };
        let request = match request {
            Ok(request) => request,
            Err(why) => return unsendable(&why),
        };
        let handed = clock::mono();
        let mut meter = step.stream.as_ref().map(StreamMeter::new);
        let mut feed = |piece: &[u8], at: Instant| {
            if let Some(meter) = &mut meter {
                meter.feed(piece, at.saturating_duration_since(intended));
            }
        };
        let sink = step.stream.is_some().then_some(&mut feed as Sink<'_>);
        let want = Want { sink, ..self.want(step) };
        let progress = Progress { patience: gone_after, ..Progress::default() };
        let timeout = step.timeout.unwrap_or(target.http.timeout);
        let User { conn, patience, jar, .. } = user;
        let result = {
            let attempt = pin!(self.attempt(&request, want, handed, conn, &progress));
            match patience.wait(&self.stop, handed + timeout, attempt).await {
                Waited::Done(result) => result,
                Waited::TimedOut => Err(timed_out(&progress, timeout)),
                Waited::Cut => Err(self.cut_off()),
            }
        };
        // All of it has come: decoding it is no time of the target's.
        let ended = result.as_ref().map_or_else(|_| clock::mono(), |answer| answer.ended);
        let result = match result {
            Ok(answer) if target.http.gzip => {
                Box::pin(gzip::decode(answer, target.http.max_body, self.room())).await.map_err(Failure::from)
            }
            result => result,
        };
        if let (true, Ok(answer)) = (self.group.cookies, &result) {
            let path = request.uri().path_and_query().map_or("/", ::http::uri::PathAndQuery::as_str);
            jar.keep(&answer.headers, self.place(path), self.clock.now().wall);
        }
        let sent = Sent { request, intended, handed, ended, progress, meter };
        self.land(step, scope, sent, result).await
    }

    /// What a request comes to once it has ended.
    async fn land(&self, step: &Step, scope: &Arc<Scope>, sent: Sent, result: Result<Answer, Failure>) -> Performed {
        let Sent { request, intended, handed, ended, progress, meter } = sent;
        let conn = progress.conn.take();
        let times = conn.as_ref().map(|(meter, _)| exchange::times(meter, ended)).unwrap_or_default();
        let latency = ended.saturating_duration_since(intended);
        let refused = result.as_ref().err().and_then(refusal);
        let status = result.as_ref().map_or_else(|failure| failure.status, |answer| Some(answer.status));
        let retry_after = match &result {
            Ok(answer) => retry_after(step, &answer.headers, || self.clock.now().wall),
            Err(_) => None,
        };
        // An answer that is no 2xx is no stream; of one that was cut, what came of it counts.
        let streams = status.is_none_or(|status| status.is_success());
        let streamed = meter.filter(|_| streams).map(|meter| Streamed::ended(meter, latency));
        let with_figures = streamed.as_ref().map(|streamed| streamed.scope(scope, times.service));
        let Judged { mut landing, captured, body, until, mut custom } = match result {
            Ok(answer) => self.judge(step, with_figures.as_ref().unwrap_or(scope), answer, latency, times).await,
            Err(failure) => {
                let class = Classified { outcome: failure.outcome, reason: failure.reason.into() };
                Judged::from(Landing { class, detail: failure.detail })
            }
        };
        if let Some(streamed) = &streamed {
            streamed.land(&mut landing);
            if landing.class.outcome != Outcome::Ok {
                custom.clear();
            }
        }
        let Wait { blocked, dial, .. } = progress.wait.get();
        let sample = Sample {
            class: landing.class.clone(),
            status: status.map(|status| status.as_u16()),
            latency: Some(latency),
            service_time: times.service,
            timing: [blocked, dial.dns, dial.connect, dial.tls, times.ttfb, times.transfer],
            bytes: times.bytes,
            reused: conn.map(|(_, reused)| reused),
            reconnected: progress.reconnected.get(),
            stream: streamed.map(Streamed::into_sample),
        };
        let asked = Some(request);
        Performed { landing, sample, refused, handed, ended, asked, body, captured, until, retry_after, custom }
    }

    /// What of the step's answer somebody looks at.
    fn want(&self, step: &Step) -> Want<'static> {
        let target = &self.scenario.target;
        let conditions = || target.classify.iter().filter_map(|rule| rule.when.as_ref()).chain(&step.expect);
        let until = step.until.as_ref().map(|until| &until.condition);
        let all = target.http.gzip
            || conditions().chain(until).any(Expect::needs_body)
            || step.capture.iter().any(capture::needs_body)
            || self.metrics.need_body();
        let headers = target.http.gzip
            || self.group.cookies
            || conditions().chain(until).next().is_some()
            || !(step.capture.is_empty() && target.classify.is_empty() && self.metrics.is_empty());
        let body = if all { Keep::All } else { Keep::Start };
        let room = if all { self.room() } else { None };
        Want { body, headers, max_body: target.http.max_body, room, sink: None }
    }

    /// Where long bodies find room.
    fn room(&self) -> Option<Room> {
        match &self.transport {
            Transport::Net(connector) => Some(connector.bodies().clone()),
            Transport::Fake(_) => None,
        }
    }

    async fn attempt(
        &self,
        request: &Outgoing,
        mut want: Want<'_>,
        handed: Instant,
        kept: &mut Option<Conn>,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let connector = match &self.transport {
            Transport::Net(connector) => connector,
            Transport::Fake(fake) => {
                self.far_away().await;
                let answer = tokio::select! {
                    biased;
                    answer = fake.answer(request.request()) => answer?,
                    failure = gone(progress.patience) => return Err(failure),
                };
                if let Some(sink) = want.sink {
                    sink(&answer.body, answer.ended);
                }
                return Ok(answer);
            }
        };
        // What is rare is boxed: every request moves the whole of what it might have to wait for.
        let mut lease = match connector.at_hand(kept, &progress.wait) {
            Some(lease) => lease,
            None => Box::pin(self.lease(connector, handed, kept, progress)).await?,
        };
        if self.network.is_some() {
            Box::pin(self.far_away()).await;
            if !lease.conn.usable() {
                lease = Box::pin(connector.renew(lease, kept, &progress.wait)).await?;
            }
        }
        loop {
            let reused = lease.conn.is_reused();
            progress.conn.replace(Some((lease.conn.meter(), reused)));
            let http = &self.scenario.target.http;
            let exchanged = if http.first_byte_timeout.is_none() && progress.patience.is_none() {
                exchange::exchange(&mut lease.conn, request, want.again()).await
            } else {
                let meter = lease.conn.meter();
                tokio::select! {
                    biased;
                    answer = exchange::exchange(&mut lease.conn, request, want.again()) => answer,
                    failure = no_first_byte(http.first_byte_timeout, &meter) => return Err(failure),
                    failure = gone(progress.patience) => return Err(failure),
                }
            };
            match exchanged {
                Ok(answer) => {
                    connector.give_back(lease, kept);
                    return Ok(answer);
                }
                // Once: over a shared connection the second one has carried requests too.
                Err(error) if !progress.reconnected.get() && error.may_repeat(request.method(), reused) => {
                    progress.reconnected.set(true);
                    lease = Box::pin(connector.renew(lease, kept, &progress.wait)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What lies between us and the target, as the scenario has it.
    async fn far_away(&self) {
        let delay = self.network.as_ref().map_or(Duration::ZERO, |network| network.delay());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    async fn lease(
        &self,
        connector: &Connector,
        handed: Instant,
        kept: &mut Option<Conn>,
        progress: &Progress,
    ) -> Result<Lease, Failure> {
        // Whoever still waits for a connection when the run is stopped has sent nothing yet, and no longer will.
        tokio::select! {
            biased;
            () = self.stop.wait_draining() => Err(self.kept_back(&progress.wait.get())),
            lease = connector.lease(kept, handed, &progress.wait) => lease.map_err(Failure::from),
        }
    }

    pub(super) async fn judge(
        &self,
        step: &Step,
        scope: &Arc<Scope>,
        answer: Answer,
        latency: Duration,
        times: ExchangeTimes,
    ) -> Judged {
        let times = (latency, times.service.unwrap_or_default());
        if answer.body.len() <= INLINE_BODY {
            let rules = &self.scenario.target.classify;
            answer::judge(step, rules, scope, answer, times, &self.redactor, &self.metrics)
        } else {
            Box::pin(self.judge_aside(step, scope, answer, times)).await
        }
    }

    /// A large body is judged beside the run's thread: parsing it would make everybody else late.
    async fn judge_aside(&self, step: &Step, scope: &Arc<Scope>, full: Answer, times: (Duration, Duration)) -> Judged {
        let rules = self.scenario.target.classify.clone();
        let (step, scope, redactor) = (step.clone(), scope.clone(), self.redactor.clone());
        let metrics = self.metrics.clone();
        let judged = move || answer::judge(&step, &rules, &scope, full, times, &redactor, &metrics);
        match tokio::task::spawn_blocking(judged).await {
            Ok(judged) => judged,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    pub(super) fn cut_off(&self) -> Failure {
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

    /// Ends a request that was handed over and has not left. Where the schedule leaves it no time while it waits for its
    /// turn, it was not sent; a connection that does not come about is the target's doing, and what a person stops is
    /// interrupted.
    fn kept_back(&self, wait: &Wait) -> Failure {
        let failure = self.cut_off();
        if self.stop.cause() != Some(Cause::Timeout) || wait.has_its_turn {
            return failure;
        }
        let detail =
            "still waiting for a connection of the pool when the schedule's `timeout` ended the run".to_owned();
        Failure { reason: DropReason::Deadline.as_str(), detail, ..failure }
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
}

/// A request whose template cannot be filled in, mostly for want of a value that no earlier answer held. It failed, as a
/// connection that does not come about does; the target never saw it, so there is no latency.
pub(super) fn unsendable(why: &str) -> Performed {
    let class = Classified { outcome: Outcome::Failed, reason: fail::CAPTURE.into() };
    let detail = format!("not sent: {why}");
    let now = clock::mono();
    let sample = Sample {
        class: class.clone(),
        status: None,
        latency: None,
        service_time: None,
        timing: [None; 6],
        bytes: (0, 0),
        reused: None,
        reconnected: false,
        stream: None,
    };
    Performed {
        landing: Landing { class, detail },
        sample,
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
    progress.conn.borrow().iter().for_each(|(meter, _)| meter.note_time_out());
    let detail = format!("no complete answer within {timeout:?}: still waiting for {doing}");
    Failure { outcome: Outcome::Failed, reason: fail::TIMEOUT, detail, status: None }
}
