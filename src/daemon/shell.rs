//! The shell around the control loop: waits for whatever comes first, hands it in, carries out what comes out.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc, oneshot, watch},
};

use super::{
    boot,
    committer::Job,
    control::Control,
    crew::{Crew, FAREWELL},
    event::{Effect, Event, Start},
    pause::Switch,
    view::Frame,
};
use crate::{
    load::{
        gate::Gate,
        plan::grace,
        run::{self, RunEvent, RunHandle, RunRequest},
    },
    model::{
        Name,
        clock::{self, Clock},
        scenario::Scenario,
        settings::Settings,
    },
    store::Store,
    telemetry::{own::OwnStats, process::ProcessReader, series::Snapshot},
    web::{self, Command, WebState, view::StatusView},
};

/// A start waits for its ledger row to be durable, but not for a slow disk.
const START_WAITS: Duration = Duration::from_millis(20);

/// Page, metrics, watchdog and heartbeat.
const BEAT: Duration = Duration::from_secs(1);

/// Events taken in before the loop looks at the time again.
const TURN: usize = 256;

/// Runs that have not ended this long after a signal are cut, whatever their grace: systemd and Kubernetes kill a
/// process 45 s after they asked it to end (deploy/), and a run that is killed is not kept.
const STOP_PATIENCE: Duration = Duration::from_secs(35);

/// Commands and events that may wait; whoever sends more waits.
const COMMANDS: usize = 64;
const EVENTS: usize = 4096;

/// A daemon, started and about to loop.
pub struct Daemon {
    control: Control,
    clock: Arc<dyn Clock>,
    settings: Settings,
    policy: Arc<crate::model::settings::Policy>,
    gate: Arc<Gate>,
    switch: Switch,
    store: Store,
    frame: Frame,
    /// Where the page is.
    pub address: SocketAddr,
    runs: HashMap<Name, RunHandle>,
    run_events: (mpsc::Sender<RunEvent>, mpsc::Receiver<RunEvent>),
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    commands: mpsc::Receiver<Command>,
    replies: HashMap<u64, web::Reply<String>>,
    next_ticket: u64,
    crew: Crew,
    status: watch::Sender<Arc<StatusView>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    own: Arc<OwnStats>,
    process: Option<ProcessReader>,
    first: Vec<Effect>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("address", &self.address).field("control", &self.control).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Opens the store, binds the page, starts the threads. Call it on a tokio runtime; nothing is sent before
    /// [`Daemon::run`].
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let opened = Store::open(&settings.daemon.data_dir, clock.now().wall)
            .with_context(|| format!("failed to open the data directory {}", settings.daemon.data_dir.display()))?;
        opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let store = opened.store;
        store.hurry(clock.now().wall).await.context("failed to read the outbox")?;
        let gate = Gate::new(&settings.policy);
        let switch = Switch::new(settings.daemon.pause_file.clone(), gate.clone());
        let now = clock.now();
        let frame = Frame { started_at: now.wall, timezone: settings.daemon.timezone.clone() };
        let (mut control, first) = boot::control(&settings, &store, switch.reason(), now).await?;
        let (status, status_seen) = watch::channel(Arc::new(control.view(&frame, now)));
        let (snapshot, snapshot_seen) = watch::channel(control.snapshot(now));
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let events = mpsc::channel(EVENTS);
        let own = Arc::new(OwnStats::default());
        let state = WebState {
            status: status_seen,
            metrics: snapshot_seen,
            commands: commands_in,
            own: own.clone(),
            clock: clock.clone(),
        };
        let crew = Crew::start(&settings, &store, state, &events.0).await?;
        tokio::spawn(switch.clone().watch(events.0.clone()));
        Ok(Self {
            control,
            policy: Arc::new(settings.policy.clone()),
            gate,
            switch,
            store,
            frame,
            address: crew.address(),
            runs: HashMap::new(),
            run_events: mpsc::channel(EVENTS),
            events,
            commands,
            replies: HashMap::new(),
            next_ticket: 0,
            crew,
            status,
            snapshot,
            own,
            process: ProcessReader::new(),
            first,
            clock,
            settings,
        })
    }

    /// Loops until a signal to stop has been carried out, or `stop` is notified.
    pub async fn run(mut self, stop: Arc<Notify>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut pause = signal(SignalKind::user_defined1())?;
        let mut resume = signal(SignalKind::user_defined2())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut beat = tokio::time::interval(BEAT);
        let first = std::mem::take(&mut self.first);
        self.carry_out(first).await;
        tell_systemd(&[sd_notify::NotifyState::Ready]);
        let (mut patience, mut deadline) = (None, None);
        loop {
            let event = tokio::select! {
                biased;
                _ = terminate.recv() => Some(Event::Stop),
                _ = interrupt.recv() => Some(Event::Stop),
                () = stop.notified() => Some(Event::Stop),
                _ = pause.recv() => Some(self.pause("SIGUSR1")),
                _ = resume.recv() => self.resume(),
                _ = hangup.recv() => {
                    tracing::warn!("SIGHUP: the configuration is read at the start only; restart to apply a new one");
                    None
                }
                Some(command) = self.commands.recv() => self.command(command),
                Some(event) = self.run_events.1.recv() => Some(Event::Run(event)),
                Some(event) = self.events.1.recv() => Some(event),
                _ = beat.tick() => {
                    self.beat();
                    if let Some(who) = self.crew.missing() {
                        anyhow::bail!("{who} has ended by itself; see the log. The process ends, so that it is started anew");
                    }
                    Some(Event::Wake)
                }
                () = until(self.control.next_wake(), self.clock.as_ref()) => Some(Event::Wake),
                () = until_deadline(patience) => {
                    tracing::warn!(runs = self.runs.len(), "cutting what is still unanswered, so that its runs are kept");
                    patience = None;
                    Some(Event::Stop)
                }
                () = until_deadline(deadline) => break,
            };
            if matches!(event, Some(Event::Stop)) && deadline.is_none() {
                tracing::info!(runs = self.runs.len(), "stopping: nothing new is sent, what is in flight may finish");
                tell_systemd(&[sd_notify::NotifyState::Stopping]);
                let (now, longest) = (clock::mono(), self.longest_stop());
                patience = Some(now + longest.min(STOP_PATIENCE));
                deadline = Some(now + longest.min(STOP_PATIENCE) + FAREWELL);
            }
            if self.turn(event).await {
                break;
            }
        }
        self.farewell().await;
        Ok(())
    }

    /// How long runs may take to end once they are told to: the grace of the requests in flight, then the hooks.
    fn longest_stop(&self) -> Duration {
        let stop = |scenario: &Arc<Scenario>| {
            let hooks = if scenario.after.is_empty() { Duration::ZERO } else { run::HOOKS_AFTER_STOP };
            grace(scenario) + hooks
        };
        self.settings.scenarios.iter().map(stop).max().unwrap_or_default()
    }

    /// Hands in `event` and what else has come meanwhile; true when everything is over.
    async fn turn(&mut self, event: Option<Event>) -> bool {
        let mut next = event;
        for _ in 0..TURN {
            let Some(event) = next.take() else { break };
            let effects = self.control.handle(event, self.clock.now());
            if self.carry_out(effects).await {
                return true;
            }
            next = self.run_events.1.try_recv().ok().map(Event::Run).or_else(|| self.events.1.try_recv().ok());
        }
        if let Some(event) = next {
            let effects = self.control.handle(event, self.clock.now());
            return self.carry_out(effects).await;
        }
        false
    }

    /// Carries out effects in order; true when one of them was the end.
    async fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        let starts = effects.iter().any(|effect| matches!(effect, Effect::Start(_)));
        let mut over = false;
        for effect in effects {
            match effect {
                Effect::Commit(batch) => {
                    self.crew.trace(&batch.runs);
                    let (done, durable) = oneshot::channel();
                    let _gone = self.crew.commits.send(Job { batch: *batch, done: Some(done) }).await.is_err();
                    if starts {
                        let _late = tokio::time::timeout(START_WAITS, durable).await.is_err();
                    }
                }
                Effect::Start(start) => over |= Box::pin(self.launch(*start)).await,
                Effect::Drain(run_id) => self.with_run(&run_id, RunHandle::drain),
                Effect::Cut(run_id) => self.with_run(&run_id, RunHandle::cut),
                Effect::Reply { ticket, result } => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        let _gone = reply.send(result.map(|run_id| run_id.to_string())).is_err();
                    }
                }
                Effect::Reap(run_id) => {
                    if let Some(handle) = self.runs.remove(&run_id) {
                        tokio::task::spawn_blocking(move || handle.join());
                    }
                }
                Effect::Log(line) => tracing::info!("{line}"),
                Effect::Warn(line) => tracing::warn!("{line}"),
                Effect::Exit => over = true,
            }
        }
        over
    }

    fn with_run(&self, run_id: &Name, order: impl Fn(&RunHandle)) {
        if let Some(handle) = self.runs.get(run_id) {
            order(handle);
        }
    }

    async fn launch(&mut self, start: Start) -> bool {
        let run_id = start.run_id.clone();
        let request = RunRequest {
            run_id: start.run_id,
            scenario: start.scenario,
            trigger: start.trigger,
            due: start.due,
            history: start.history,
            policy: self.policy.clone(),
            gate: self.gate.clone(),
            redactor: self.settings.redact.clone(),
            clock: self.clock.clone(),
            samples: None,
        };
        match run::spawn(request, self.run_events.0.clone()) {
            Ok(handle) => {
                self.runs.insert(run_id, handle);
                false
            }
            Err(error) => {
                let event = Event::Lost { run_id, error: format!("failed to start a thread: {error}") };
                let effects = self.control.handle(event, self.clock.now());
                self.carry_out(effects).await
            }
        }
    }

    fn pause(&self, reason: &str) -> Event {
        if let Err(error) = self.switch.throw(reason) {
            tracing::error!(%error, "load is paused, but the file that keeps it so over a restart cannot be written");
        }
        Event::Pause { reason: self.switch.reason().unwrap_or_else(|| reason.to_owned()) }
    }

    fn resume(&self) -> Option<Event> {
        match self.switch.release() {
            Ok(()) => Some(Event::Resume),
            Err(error) => {
                tracing::error!(%error, "failed to remove the pause file; load stays paused");
                None
            }
        }
    }

    fn command(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Trigger { scenario, reply } => {
                self.next_ticket += 1;
                self.replies.insert(self.next_ticket, reply);
                return Some(Event::Trigger { ticket: self.next_ticket, scenario: scenario.into() });
            }
            Command::Pause { reason, reply } => {
                let event = self.pause(&reason);
                let _gone = reply.send(Ok(())).is_err();
                return Some(event);
            }
            Command::Resume { reply } => {
                let event = self.resume();
                let result = if event.is_some() { Ok(()) } else { Err("the pause file cannot be removed".to_owned()) };
                let _gone = reply.send(result).is_err();
                return event;
            }
            Command::Runs { scenario, limit, reply } => {
                let store = self.store.clone();
                tokio::spawn(async move {
                    let runs = store.recent_runs(scenario.map(Into::into), limit).await;
                    let _gone = reply.send(runs.map_err(|error| error.to_string())).is_err();
                });
            }
            Command::Run { id, reply } => {
                let store = self.store.clone();
                tokio::spawn(async move {
                    let run = store.run(&id).await;
                    let _gone = reply.send(run.map_err(|error| error.to_string())).is_err();
                });
            }
            Command::Mail { id, reply } => {
                let store = self.store.clone();
                tokio::spawn(async move {
                    let mail = store.mail(id).await;
                    let _gone = reply.send(mail.map_err(|error| error.to_string())).is_err();
                });
            }
        }
        None
    }

    /// Once a second: what the page and the metrics show, the watchdog, and runs that ended without a word.
    fn beat(&mut self) {
        let now = self.clock.now();
        if let Some(stats) = self.process.as_ref().and_then(ProcessReader::read) {
            self.control.process(&stats, &self.own);
        }
        self.snapshot.send_replace(self.control.snapshot(now));
        self.status.send_replace(Arc::new(self.control.view(&self.frame, now)));
        tell_systemd(&[sd_notify::NotifyState::Watchdog]);
        if self.run_events.1.is_empty() {
            for (run_id, _) in self.runs.iter().filter(|(_, handle)| handle.is_finished()) {
                let event =
                    Event::Lost { run_id: run_id.clone(), error: "its thread panicked; see the log".to_owned() };
                let _later = self.events.0.try_send(event).is_err();
            }
        }
    }

    /// Writes and sends what is left, within two seconds.
    async fn farewell(self) {
        let now = self.clock.now();
        let mut control = self.control;
        self.status.send_replace(Arc::new(control.view(&self.frame, now)));
        self.snapshot.send_replace(control.snapshot(now));
        self.crew.farewell().await;
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "failed to close the database cleanly");
        }
        tracing::info!("stopped");
    }
}

async fn until(at: Option<jiff::Timestamp>, clock: &dyn Clock) {
    let wait = at.map_or(BEAT, |at| Duration::try_from(at.duration_since(clock.now().wall)).unwrap_or_default());
    tokio::time::sleep(wait.min(BEAT)).await;
}

async fn until_deadline(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _nobody = sd_notify::notify(state).is_err();
}
