//! One run, from its first hook to its judged document, on a thread of its own.
//!
//! The thread owns everything the run needs; outside it there are orders going in (a `watch`) and events coming out (a
//! bounded channel). A slow reader never slows the load: what it cannot take is kept and sent with the next second.

mod conclusion;
mod events;
mod groups;
mod hooks;
mod parts;
mod readings;
mod search;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use events::Happening;
pub use hooks::HOOKS_AFTER_STOP;
use jiff::Timestamp;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    watch,
};

use super::{
    feeds::Feeds,
    gate::Gate,
    judging,
    metrics::Metrics,
    poller::Poller,
    probing::Probers,
    recorder::{Recorder, Taken},
    samples::Samples,
    stop::{Cause, Order, Stop},
    user::{Shared, Turn},
};
use crate::{
    http::{dial::Dialer, tls::Tls},
    judge::{History, Recovery, WindowJudge},
    measure::data::RunData,
    model::{
        Name,
        clock::{self, Clock, Now},
        run::{Aborted, RunSummary, Trigger},
        scenario::{Connections, Executor, Scenario},
        settings::{Policy, Redactor},
    },
};

/// Threads beside the run's own, for look-ups and large bodies.
const BLOCKING: usize = 16;

/// The reading before the load delays it no longer than this.
const FIRST_READING: Duration = Duration::from_secs(2);

/// The reading after the load is waited for no longer than this, and less when a person waits too.
const LAST_READING: Duration = Duration::from_secs(5);
const READING_AFTER_STOP: Duration = Duration::from_secs(1);

/// A wall clock that moves this far against the monotonic one has been set.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// A run to be started.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Unique.
    pub run_id: Name,
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// What started it.
    pub trigger: Trigger,
    /// The instant it was planned for.
    pub due: Timestamp,
    /// Earlier runs of the scenario.
    pub history: Arc<History>,
    /// What may be loaded.
    pub policy: Arc<Policy>,
    /// Below which nothing leaves.
    pub gate: Arc<Gate>,
    /// For what is quoted.
    pub redactor: Redactor,
    /// Of the machine.
    pub clock: Arc<dyn Clock>,
    /// Who wants to know of each request; mostly nobody.
    pub samples: Option<Samples>,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum RunEvent {
    /// What was measured since the last such event.
    Second {
        /// Its scenario.
        scenario: Name,
        /// Its id.
        run_id: Name,
        /// The counts.
        data: Box<RunData>,
        /// Requests in flight.
        active: u64,
    },
    /// The run is over; nothing follows.
    Ended(Box<RunSummary>),
}

/// A run in progress.
#[derive(Debug)]
pub struct RunHandle {
    /// Its id.
    pub run_id: Name,
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl RunHandle {
    /// Starts nothing new from now on; what is in flight may finish within the grace.
    pub fn drain(&self) {
        self.orders
            .send_if_modified(|order| *order == Order::Run && std::mem::replace(order, Order::Drain) == Order::Run);
    }

    /// Gives up what is in flight.
    pub fn cut(&self) {
        self.orders.send_replace(Order::Cut);
    }

    /// Whether its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread. Blocks; call it after `Ended` was seen.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the panic hook, and the run's end by the missing `Ended`.
            let _panicked = thread.join().is_err();
        }
    }
}

/// Starts `request` on a thread of its own. Fails if the machine has no thread left.
pub fn spawn(request: RunRequest, events: mpsc::Sender<RunEvent>) -> io::Result<RunHandle> {
    let (orders, inbox) = watch::channel(Order::Run);
    let run_id = request.run_id.clone();
    let thread = std::thread::Builder::new().name(format!("run-{}", request.scenario.name)).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                runtime.block_on(conduct(request, inbox, events));
                // A resolver that hangs keeps a thread of its own; nobody who joins this one waits for it.
                runtime.shutdown_background();
            }
            Err(error) => {
                tracing::error!(scenario = &*request.scenario.name, %error, "failed to start a runtime for the run");
            }
        }
    })?;
    Ok(RunHandle { run_id, orders, thread: Some(thread) })
}

async fn conduct(request: RunRequest, orders: watch::Receiver<Order>, events: mpsc::Sender<RunEvent>) {
    let started = request.clock.now();
    let cpu = judging::cpu_seconds();
    let run = Run::new(request, events);
    let stop = run.stop.clone();
    let side = async {
        tokio::join!(stop.follow(orders), run.second_by_second(), run.time_limit());
    };
    let trouble = Box::pin(beside(side, run.whole())).await;
    run.flush();
    run.send_rest().await;
    let ended = run.request.clock.now();
    let summary = run.summary(started, ended, cpu, trouble);
    let _nobody_listens = run.events.send(RunEvent::Ended(Box::new(summary))).await.is_err();
}

/// Polls `side` while `work` goes on, and returns with `work`.
async fn beside<T>(side: impl Future, work: impl Future<Output = T>) -> T {
    let forever = async {
        side.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = forever => unreachable!("it never ends"),
    }
}

/// Whether an attempt of a probe went well: every step of it.
fn all_ok(data: &RunData) -> bool {
    let counts = data.counts();
    counts.ok > 0 && counts.ok == counts.answered() && data.dropped() == 0
}

fn recovery(request: &RunRequest) -> Option<Recovery> {
    request.scenario.recovery.as_ref().map(|spec| Recovery::new(spec, request.history.clone()))
}

fn windows(request: &RunRequest) -> WindowJudge {
    WindowJudge::new(&request.scenario.thresholds, request.history.clone())
}

/// The run within its thread.
struct Run {
    request: RunRequest,
    stop: Stop,
    recorder: Rc<Recorder>,
    events: mpsc::Sender<RunEvent>,
    /// What the listener has not taken yet.
    unsent: RefCell<RunData>,
    /// Counts of a probe's earlier attempts: in the ledger, not judged.
    earlier: RefCell<RunData>,
    current: RefCell<RunData>,
    windows: RefCell<WindowJudge>,
    /// Watches whether the target is well again after a phase.
    recovery: RefCell<Option<Recovery>>,
    /// When in the load the attempt began that the windows judge.
    attempt_began: Cell<f64>,
    /// A breach ends nothing: another attempt follows, or the load is over.
    goes_on: Cell<bool>,
    /// What ended the run early.
    aborted: RefCell<Option<Aborted>>,
    last: Cell<Now>,
    load_started: Cell<Option<std::time::Instant>>,
    /// The measured window is open: from the start of the load to its last answer.
    measuring: Cell<bool>,
    clock_steps: Cell<u64>,
    /// Iterations so far, of all groups.
    count: Rc<Cell<u64>>,
    /// A hook was sent, or the load begun.
    begun: Cell<bool>,
    /// A hook is on its way.
    hooking: Cell<bool>,
    /// What is judged lies between the two; `None` where the load itself is the bound.
    window: Cell<groups::Window>,
    /// Of the stage of a search, what was measured so far.
    stage: RefCell<Option<RunData>>,
    findings: RefCell<Findings>,
    /// What is done beside the load.
    happenings: Rc<[Happening]>,
    /// What leaves the target other than it was, in words: what was not undone, not released, not put back in order.
    left_changed: RefCell<Vec<String>>,
    /// The rows of data, which all groups take from.
    feeds: Rc<Feeds>,
    metrics: Metrics,
    /// Know the certificates that were shown last.
    tls: RefCell<Vec<Tls>>,
    probers: RefCell<Rc<Probers>>,
    /// When which end of it was noted.
    certificate: Cell<Option<(std::time::Instant, Timestamp)>>,
}

/// What executors found that look for something.
#[derive(Debug, Clone, Default)]
struct Findings {
    limit: Option<serde_json::Value>,
    search: Option<serde_json::Value>,
}

impl Run {
    fn new(request: RunRequest, events: mpsc::Sender<RunEvent>) -> Self {
        let last = Cell::new(request.clock.now());
        Self {
            stop: Stop::default(),
            recorder: Rc::default(),
            events,
            unsent: RefCell::default(),
            earlier: RefCell::default(),
            current: RefCell::default(),
            windows: RefCell::new(windows(&request)),
            recovery: RefCell::new(recovery(&request)),
            attempt_began: Cell::new(0.0),
            goes_on: Cell::new(false),
            aborted: RefCell::default(),
            last,
            load_started: Cell::new(None),
            measuring: Cell::new(false),
            clock_steps: Cell::new(0),
            count: Rc::default(),
            begun: Cell::new(false),
            hooking: Cell::new(false),
            tls: RefCell::default(),
            probers: RefCell::default(),
            certificate: Cell::new(None),
            window: Cell::default(),
            stage: RefCell::default(),
            findings: RefCell::default(),
            happenings: Happening::all(&request.scenario.events),
            left_changed: RefCell::default(),
            metrics: Metrics::of(&request.scenario),
            feeds: Feeds::new(&request.scenario.data, request.scenario.seed),
            request,
        }
    }

    /// Hooks, load, readings, hooks. Returns what kept the load from being run at all.
    async fn whole(&self) -> Option<String> {
        let scenario = &self.request.scenario;
        let dialer = match self.prepare() {
            Ok(dialer) => dialer,
            Err(error) => return Some(error.to_string()),
        };
        let readings = dialer.another();
        let aside = |stop| Rc::new(self.shared(&scenario.groups[0], stop, Connections::PerVu, dialer.another()));
        let (hooks, events) = (aside(Stop::default()), aside(Stop::default()));
        let groups = self.groups(&dialer);
        if self.request.gate.is_paused() {
            self.stop.drain(Cause::Person);
        }
        let before = self.hooks(&hooks, &scenario.before, || self.stop.is_over());
        let mut trouble = self.in_time(before).await.and_then(Result::err);
        if trouble.is_none() && !self.stop.is_over() {
            for shared in groups.iter().chain([&events]) {
                shared.inherited.replace(hooks.inherited.borrow().clone());
            }
            self.begun.set(true);
            if let Err(error) = Box::pin(self.load(&groups, &events, readings)).await {
                let why = format!("failed to make a timer: {error}; raise the limit of open files (LimitNOFILE)");
                trouble = Some(why);
            }
            self.load_started.get().into_iter().for_each(|start| hooks.started.set(start));
        }
        // What follows may need the descriptors of connections that nobody uses any more.
        drop((groups, events));
        self.undo_events(&hooks).await;
        // What was never begun leaves nothing to put back in order.
        if self.begun.get() {
            self.put_back(&hooks).await;
        }
        trouble
    }

    async fn load(&self, groups: &[Rc<Shared>], events: &Rc<Shared>, dialer: Dialer) -> io::Result<()> {
        let scenario = &self.request.scenario;
        let mut poller = Poller::with(&scenario.target, dialer, groups[0].scope(&Turn::of(0, 0)));
        groups[0].count.set(0);
        if let Some(poller) = &mut poller {
            let readings = poller.read_within(FIRST_READING).await;
            self.keep(readings, 0.0);
        }
        self.flush();
        let start = clock::mono();
        self.load_started.set(Some(start));
        for shared in groups.iter().chain([events]) {
            shared.started.set(start);
        }
        self.measuring.set(true);
        self.last.set(self.request.clock.now());
        let events = self.begin_events(events, start);
        let done = Box::pin(self.attempts(groups, &mut poller)).await;
        // The load is what is measured: an event that outlives it does not make it longer.
        self.measuring.set(false);
        tokio::join!(events.ended(&self.recorder), self.last_reading(poller.filter(|_| done.is_ok())));
        done
    }

    /// What the target says of itself once it has settled.
    async fn last_reading(&self, poller: Option<Poller>) {
        let Some(mut poller) = poller else { return };
        tokio::select! {
            () = tokio::time::sleep(poller.spec().settle) => {}
            () = self.stop.wait_hurried() => {}
        }
        if !self.stop.is_at_once() {
            let patience = if self.stop.is_draining() { READING_AFTER_STOP } else { LAST_READING };
            let readings = poller.read_within(patience).await;
            self.keep(readings, self.since_load());
        }
    }

    /// The load, a probe's until it goes well.
    async fn attempts(&self, groups: &[Rc<Shared>], poller: &mut Option<Poller>) -> io::Result<()> {
        let attempts = match groups {
            [only] => {
                if let Executor::Probe { attempts } = only.group.load.executor {
                    attempts.max(1)
                } else {
                    1
                }
            }
            _ => 1,
        };
        for attempt in 1..=attempts {
            self.goes_on.set(attempt < attempts);
            let readings = async {
                if let Some(poller) = &mut *poller {
                    self.poll(poller).await;
                }
            };
            Box::pin(beside(readings, self.repetitions(groups))).await?;
            self.goes_on.set(true);
            self.flush();
            if attempt == attempts || self.stop.is_over() || all_ok(&self.current.borrow()) {
                break;
            }
            // What the target says of itself is about the run, not about an attempt: it stays with what is judged.
            let mut failed = self.current.take();
            self.current.borrow_mut().stats = std::mem::take(&mut failed.stats);
            self.earlier.borrow_mut().merge(&failed);
            self.windows.replace(windows(&self.request));
            self.attempt_began.set(self.since_load());
        }
        Ok(())
    }

    async fn second_by_second(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.flush();
        }
    }

    /// Ends the run after the schedule's `timeout`.
    async fn time_limit(&self) {
        if let Some(limit) = self.request.scenario.schedule.timeout {
            tokio::time::sleep(limit).await;
            self.stop.drain(Cause::Timeout);
        }
    }

    /// Takes what was recorded since the last call, judges the windows with it and passes it on.
    fn flush(&self) {
        let now = self.request.clock.now();
        let before = self.last.replace(now);
        let elapsed = now.mono.saturating_duration_since(before.mono);
        let walled = now.wall.duration_since(before.wall).as_secs_f64();
        if (walled - elapsed.as_secs_f64()).abs() > CLOCK_STEP.as_secs_f64() {
            self.clock_steps.set(self.clock_steps.get() + 1);
        }
        if self.measuring.get() {
            self.note_certificate();
        }
        let Taken { judged: mut data, outside } = self.recorder.take();
        self.earlier.borrow_mut().merge(&outside);
        self.unsent.borrow_mut().merge(&outside);
        data.window =
            if self.measuring.get() { self.window.get().overlap(before.mono, now.mono) } else { Duration::ZERO };
        if let Some(stage) = &mut *self.stage.borrow_mut() {
            stage.merge(&data);
        }
        self.current.borrow_mut().merge(&data);
        self.unsent.borrow_mut().merge(&data);
        if self.measuring.get() {
            if let Some(recovery) = &mut *self.recovery.borrow_mut() {
                recovery.push(&data, elapsed, Duration::from_secs_f64(self.since_load()));
            }
            let elapsed = (self.since_load() - self.attempt_began.get()).max(0.0);
            let abort = self.windows.borrow_mut().push(&data, Duration::from_secs_f64(elapsed));
            if let Some(abort) = abort.filter(|_| !self.goes_on.get()) {
                self.abort(&abort);
            }
        }
        let event = RunEvent::Second {
            scenario: self.request.scenario.name.clone(),
            run_id: self.request.run_id.clone(),
            data: Box::new(self.unsent.take()),
            active: self.recorder.active(),
        };
        if let Err(TrySendError::Full(RunEvent::Second { data, .. })) = self.events.try_send(event) {
            self.unsent.replace(*data);
        }
    }

    /// What a slow listener has not taken: it is waited for now that there is no load to slow.
    async fn send_rest(&self) {
        let rest = self.unsent.take();
        if !rest.is_empty() {
            let event = RunEvent::Second {
                scenario: self.request.scenario.name.clone(),
                run_id: self.request.run_id.clone(),
                data: Box::new(rest),
                active: 0,
            };
            let _nobody_listens = self.events.send(event).await.is_err();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
