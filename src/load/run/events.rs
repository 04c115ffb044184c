//! What is done beside the load: each event at its moment, and what puts it back in order when the load is over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
};

use super::{HOOKS_AFTER_STOP, Run};
use crate::{
    http::scope::Scope,
    load::{
        flow::Tally,
        recorder::Recorder,
        stop::Stop,
        user::{Shared, Turn, User},
    },
    model::{
        clock,
        run::{EventReport, EventResult, UndoReport},
        scenario::TimedEvent,
        units::human_seconds,
    },
};

/// An event and what became of it.
#[derive(Debug)]
pub(super) struct Happening {
    event: TimedEvent,
    /// When it began, after the start of the load.
    begun: Cell<Option<Duration>>,
    done: RefCell<Option<Result<(), String>>>,
    undone: RefCell<Option<Result<(), String>>>,
    /// What it kept of its answer.
    scope: RefCell<Option<Arc<Scope>>>,
}

impl Happening {
    pub(super) fn all(events: &[TimedEvent]) -> Rc<[Self]> {
        let of = |event: &TimedEvent| Self {
            event: event.clone(),
            begun: Cell::default(),
            done: RefCell::default(),
            undone: RefCell::default(),
            scope: RefCell::default(),
        };
        events.iter().map(of).collect()
    }

    /// Does it, through the gate.
    async fn happen(&self, shared: &Shared, since: Duration) {
        self.begun.set(Some(since));
        let mut scope = Arc::new(shared.scope_of(&Turn::of(0, 0), 0));
        let act = std::slice::from_ref(&self.event.act);
        let done = shared.hooks(act, &mut scope, &mut User::default(), Tally::UserHook).await;
        self.done.replace(Some(done.map_err(|why| why.unwrap_or_else(|| "the run was stopped".to_owned()))));
        self.scope.replace(Some(scope));
    }

    /// What did not go well when it was done, in words.
    fn trouble(&self) -> Option<String> {
        let why = self.done.borrow().as_ref().and_then(|done| done.as_ref().err().cloned())?;
        Some(format!("the event at {}: {why}", human_seconds(self.event.at.as_secs_f64())))
    }

    /// How its undoing ended.
    fn undone(&self, run: &Run, done: Result<(), String>) {
        if let Err(why) = &done {
            let at = human_seconds(self.event.at.as_secs_f64());
            run.leaves_changed(format!("the undoing of the event at {at}: {why}"));
        }
        self.undone.replace(Some(done));
    }

    fn report(&self) -> EventReport {
        let result = |done: &RefCell<Option<Result<(), String>>>| match &*done.borrow() {
            None => (EventResult::NotReached, None),
            Some(Ok(())) => (EventResult::Ok, None),
            Some(Err(why)) => (EventResult::Failed, Some(why.clone())),
        };
        let (outcome, detail) = result(&self.done);
        EventReport {
            at_s: self.event.at.as_secs_f64(),
            begun_s: self.begun.get().map(|begun| begun.as_secs_f64()),
            step: self.event.act.name.to_string(),
            result: outcome,
            detail,
            undo: self.event.undo.as_ref().map(|undo| {
                let (result, detail) = result(&self.undone);
                UndoReport { step: undo.name.to_string(), result, detail }
            }),
        }
    }
}

/// Events on their way.
pub(super) struct Events {
    over: watch::Sender<bool>,
    happenings: Vec<JoinHandle<()>>,
}

impl Events {
    /// The load is over: what has not begun is left out, and what has is waited for.
    pub(super) async fn ended(self, recorder: &Recorder) {
        self.over.send_replace(true);
        for happening in self.happenings {
            if happening.await.is_err() {
                recorder.crash();
            }
        }
    }
}

impl Run {
    /// The events beside a load that begins at `start`. One that has begun is done to its end, also when the load is over
    /// before: `shared` has a stop of its own.
    pub(super) fn begin_events(&self, shared: &Rc<Shared>, start: Instant) -> Events {
        let (over, ended) = watch::channel(false);
        let happenings = (0..self.happenings.len())
            .map(|index| {
                let (all, shared, stop) = (self.happenings.clone(), shared.clone(), self.stop.clone());
                let ended = ended.clone();
                spawn_local(async move { one(&all[index], &shared, &stop, start, ended).await })
            })
            .collect();
        Events { over, happenings }
    }

    /// Undoes what was begun, the last first; each has as long as it needs, and a few seconds after a stop.
    pub(super) async fn undo_events(&self, shared: &Rc<Shared>) {
        for happening in self.happenings.iter().rev() {
            let Some(undo) = happening.event.undo.as_ref().filter(|_| happening.begun.get().is_some()) else {
                continue;
            };
            if self.stop.is_at_once() {
                happening.undone(self, Err("the run was cut".to_owned()));
                continue;
            }
            let mut scope = match happening.scope.take() {
                Some(scope) => scope,
                None => Arc::new(shared.scope_of(&Turn::of(0, 0), 0)),
            };
            let mut user = User::default();
            self.hooking.set(true);
            let hook = shared.hooks(std::slice::from_ref(undo), &mut scope, &mut user, Tally::RunHook);
            let done = self.in_time(hook).await;
            self.hooking.set(false);
            let done = done.unwrap_or_else(|| Err(Some(format!("`{}` took too long", undo.name))));
            happening.undone(self, done.map_err(|why| why.unwrap_or_else(|| "it was cut".to_owned())));
        }
    }

    /// What of it did not go well: then the run was not the one that was asked for.
    pub(super) fn event_trouble(&self) -> Option<String> {
        let mut all = self.happenings.iter().filter_map(Happening::trouble);
        let first = all.next()?;
        let more = all.count();
        Some(if more == 0 { first } else { format!("{first} (and {more} more: see the events)") })
    }

    /// Those that the load left no time for, of a run that nobody stopped.
    pub(super) fn events_not_reached(&self) -> Option<String> {
        let left = self.happenings.iter().filter(|happening| happening.begun.get().is_none());
        let left: Vec<String> = left.map(|happening| human_seconds(happening.event.at.as_secs_f64())).collect();
        let stopped = left.is_empty() || self.stop.cause().is_some();
        (!stopped).then(|| format!("the load was over before the events at {}", left.join(", ")))
    }

    /// For the document of the run.
    pub(super) fn event_reports(&self) -> Vec<EventReport> {
        self.happenings.iter().map(Happening::report).collect()
    }
}

/// One event at its moment; `stop` is the run's.
async fn one(happening: &Happening, shared: &Shared, stop: &Stop, start: Instant, mut ended: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = ended.wait_for(|over| *over) => return,
        () = stop.wait_draining() => return,
        () = tokio::time::sleep_until((start + happening.event.at).into()) => {}
    }
    let since = clock::mono().saturating_duration_since(start);
    let out_of_time = out_of_time(stop);
    tokio::select! {
        biased;
        () = happening.happen(shared, since) => {}
        () = out_of_time => {
            shared.recorder.hook(false);
            happening.done.replace(Some(Err(format!("`{}` was cut when the run was stopped", happening.event.act.name))));
        }
    }
}

/// Some seconds after a stop, or at once.
async fn out_of_time(stop: &Stop) {
    stop.wait_hurried().await;
    tokio::select! {
        () = tokio::time::sleep(HOOKS_AFTER_STOP) => {}
        () = stop.wait_at_once() => {}
    }
}
