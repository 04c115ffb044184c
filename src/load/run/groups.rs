//! The load of a run: its groups one after the other or side by side, all of it as often as it is repeated.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::{JoinError, JoinHandle, spawn_local};

use super::Run;
use crate::{
    load::{
        executor,
        plan::{self, outline::group_outline, users::Users},
        stop::Cause,
        user::Shared,
    },
    model::{
        clock,
        labels::Labels,
        outcome::DropReason,
        scenario::{Arrangement, Executor, Group},
    },
};

/// What is judged: from the one instant until before the other; `None` = the load itself is the bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Option<Instant>,
    pub(super) to: Option<Instant>,
}

impl Window {
    /// How much of the time between two instants lies within.
    pub(super) fn overlap(self, begin: Instant, end: Instant) -> Duration {
        let from = self.from.map_or(begin, |from| begin.max(from));
        let to = self.to.map_or(end, |to| end.min(to));
        to.saturating_duration_since(from)
    }

    /// Of groups that begin together: from when the last user of all has come until the first of any leaves. Kinds of users
    /// that are never all there at once are judged throughout.
    pub(super) fn of<'a>(groups: impl Iterator<Item = &'a Group>, begun: Instant, warm: Option<Instant>) -> Self {
        let (mut from, mut to) = (None, None);
        for group in groups {
            if let Executor::Users { users, spawn_rate, hold_for, ramp_down } = group.load.executor {
                let plan = Users::new(users, spawn_rate, hold_for, ramp_down);
                from = from.max(Some(begun + plan.all_there()));
                let ends = begun + plan.hold_ends();
                to = Some(to.map_or(ends, |to: Instant| to.min(ends)));
            }
        }
        if to.is_some_and(|to| from.is_some_and(|from| from >= to)) {
            (from, to) = (None, None);
        }
        Self { from: from.max(warm), to }
    }
}

/// What an executor found, or why it could not go on.
type Ended = io::Result<Option<Value>>;

impl Run {
    /// The whole load, as often as it is repeated.
    pub(super) async fn repetitions(&self, groups: &[Rc<Shared>]) -> io::Result<()> {
        let repeat = self.request.scenario.repeat;
        let times = repeat.times.max(1);
        // A load that is all there is ends with the run's own stop.
        let only = groups.len() == 1 && times == 1;
        for repetition in 1..=times {
            if repetition > 1 {
                tokio::select! {
                    () = tokio::time::sleep(repeat.pause) => {}
                    () = self.stop.wait_over() => {}
                }
            }
            let part = |shared: &Rc<Shared>| {
                if only {
                    return shared.clone();
                }
                let mut group = shared.group.clone();
                if times > 1 {
                    let labels = group.labels.with("repeat", repetition.to_string());
                    group = Arc::new(Group { labels, ..Group::clone(&group) });
                }
                shared.of_load(shared.stop.part(), group)
            };
            let parts: Vec<_> = groups.iter().map(part).collect();
            match self.request.scenario.arrangement {
                Arrangement::Sequence => self.in_sequence(&parts).await?,
                Arrangement::SideBySide => self.side_by_side(&parts).await?,
            }
        }
        Ok(())
    }

    async fn in_sequence(&self, parts: &[Rc<Shared>]) -> io::Result<()> {
        for shared in parts {
            if self.stop.is_over() {
                self.leave_out(shared);
                continue;
            }
            let begun = clock::mono();
            self.open_window(std::iter::once(&*shared.group), begun);
            if let Executor::Search(spec) = &shared.group.load.executor {
                let found = self.search(shared, spec).await?;
                // A search that came to an end without a line found that nothing is sustained.
                let line = found["line"].as_f64().or_else(|| (found["end"] != "stopped").then_some(0.0));
                self.current.borrow_mut().findings.safe_rate = line;
                self.findings.borrow_mut().search = Some(found);
            } else {
                self.ended(self.execute(shared, begun).await)?;
            }
            self.phase_ended(&shared.group.labels);
        }
        Ok(())
    }

    async fn side_by_side(&self, parts: &[Rc<Shared>]) -> io::Result<()> {
        if self.stop.is_over() {
            for shared in parts {
                self.leave_out(shared);
            }
            return Ok(());
        }
        let begun = clock::mono();
        self.open_window(parts.iter().map(|shared| &*shared.group), begun);
        let tasks: Vec<_> = parts.iter().map(|shared| self.execute(shared, begun)).collect();
        let mut all = Ok(());
        for task in tasks {
            if let Err(error) = self.ended(task.await) {
                all = Err(error);
            }
        }
        all
    }

    /// Begins the load of one group in a task of its own, so that what it waits for wakes nobody else.
    fn execute(&self, shared: &Rc<Shared>, begun: Instant) -> JoinHandle<Ended> {
        let (shared, grace) = (shared.clone(), plan::group_grace(&self.request.scenario, &shared.group));
        spawn_local(async move { executor::execute(&shared, begun, grace).await })
    }

    fn ended(&self, ended: Result<Ended, JoinError>) -> io::Result<()> {
        match ended {
            Ok(found) => self.found(found?),
            Err(_panicked) => self.recorder.crash(),
        }
        Ok(())
    }

    /// Everything that was answered in a phase is known before it is said to be over.
    fn phase_ended(&self, labels: &Labels) {
        let after = self.request.scenario.recovery.as_ref().map(|spec| &spec.after);
        if after.is_none() || labels.get("phase") != after {
            return;
        }
        self.flush();
        let now = Duration::from_secs_f64(self.since_load());
        self.recovery.borrow_mut().iter_mut().for_each(|recovery| recovery.phase_ended(now));
    }

    fn found(&self, found: Option<Value>) {
        let Some(found) = found else { return };
        let count = |key: &str| found[key].as_u64().unwrap_or_default();
        let (released, kept) = (count("released"), count("not_released"));
        if kept > 0 {
            let why = found["why_not_released"].as_str().unwrap_or_default();
            let all = released + kept;
            let places = if all == 1 { "place was" } else { "places were" };
            self.leaves_changed(format!("{kept} of {all} {places} not released: {why}"));
        }
        self.findings.borrow_mut().limit = Some(found);
    }

    /// What the schedule's timeout leaves no time for was planned all the same, where the plan is a number.
    fn leave_out(&self, shared: &Shared) {
        if self.stop.cause() == Some(Cause::Timeout) {
            let planned = group_outline(&shared.group).iterations.unwrap_or(0);
            self.recorder.drop_many(DropReason::Deadline, planned);
        }
    }

    fn open_window<'a>(&self, groups: impl Iterator<Item = &'a Group>, begun: Instant) {
        self.flush();
        let warmup = self.request.scenario.warmup;
        let warm = self.load_started.get().filter(|_| !warmup.is_zero()).map(|started| started + warmup);
        let window = Window::of(groups, begun, warm);
        self.recorder.set_window(window.from, window.to);
        self.window.set(window);
    }
}
