//! What to start and what to skip, over all scenarios: the heart of the control loop, as a pure function of the time.
//!
//! The law: each due instant ends as exactly one [`Decision::Start`] or one skip, whatever the clock, the machine or
//! the operator does. Two rules make it hold over a crash as well. An instant that waits for a run to end is always the
//! newest one known, so that the ledger's latest instant tells a restart from where on nothing was decided. And of
//! several instants found at once only the newest may start: load is never caught up in a burst.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Plan,
    missed::{BUDGET, passed},
};
use crate::model::{
    Name,
    schedule::{Misfire, Overlap, ScheduleSpec},
};

/// An instant found later than this was missed: the machine slept, the clock stepped, or nobody was there.
pub const LATE: SignedDuration = SignedDuration::from_secs(60);

/// A clock that goes back by up to this waits until it has caught up, so that nothing runs twice. Beyond it the clock
/// was wrong before, and a monitor that stays silent until then would be worse: the schedule starts anew.
pub const BACK: SignedDuration = SignedDuration::from_hours(1);

/// A scenario on the agenda.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name; unique.
    pub name: Name,
    /// When it is due.
    pub plan: Plan,
    /// How overlap and misfires are handled.
    pub spec: ScheduleSpec,
    /// The latest instant in the ledger; `None` for a scenario that was never due.
    pub last_due: Option<Timestamp>,
}

/// Why a due instant did not start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// A run of the same scenario was going on.
    Overlap,
    /// Nobody was there: the process was down or asleep, or the clock stepped over it.
    Downtime,
    /// The kill switch was on.
    Paused,
    /// A limit of this machine or of the policy; decided by the control loop.
    Capacity,
    /// The daemon was stopping.
    Shutdown,
}

impl SkipReason {
    /// All reasons, for pre-created metrics.
    pub const ALL: [Self; 5] = [Self::Overlap, Self::Downtime, Self::Paused, Self::Capacity, Self::Shutdown];

    /// The word in the ledger, in metrics and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Downtime => "downtime",
            Self::Paused => "paused",
            Self::Capacity => "capacity",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A due instant (or, bounded, many) that starts nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The scenario.
    pub scenario: Name,
    /// The instant.
    pub due: Timestamp,
    /// Why.
    pub reason: SkipReason,
    /// Further instants just before `due` that this one stands for; 0 unless more than 1,000 were missed. A lower bound
    /// when counting would take too long.
    pub more: u64,
}

impl Skip {
    /// For the ledger: the reason, and how many more: "downtime" or "downtime (and 86400 more)".
    pub fn ledger_text(&self) -> String {
        match self.more {
            0 => self.reason.as_str().to_owned(),
            more => format!("{} (and {more} more)", self.reason.as_str()),
        }
    }
}

/// What the control loop has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start a run and say so with [`Agenda::started`] before the next question to the agenda.
    Start {
        /// The scenario.
        scenario: Name,
        /// The instant it was due; goes to the ledger.
        due: Timestamp,
        /// Start this long after now.
        delay: Duration,
    },
    /// Stop these runs; once they have ended, [`Agenda::ended`] returns the start that replaces them.
    Stop {
        /// The scenario.
        scenario: Name,
        /// Run ids; repeated at the next due instant if they have not ended by then.
        runs: Vec<Name>,
    },
    /// Start nothing; goes to the ledger.
    Skip(Skip),
}

#[derive(Debug)]
struct Item {
    entry: Entry,
    running: Vec<Name>,
    /// Waits for `running` to end.
    waiting: Option<Timestamp>,
}

/// The planner over all scenarios.
#[derive(Debug)]
pub struct Agenda {
    items: Vec<Item>,
    by_name: HashMap<Name, usize>,
    /// The next due instant of each item that has one.
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
    paused: bool,
    /// The latest time seen.
    latest: Timestamp,
}

impl Agenda {
    /// Plans from `now` on. The skips are what was missed since each scenario's last due instant; what may still be
    /// started (`run_once`, or a restart within [`LATE`]) is due at once.
    pub fn new(entries: Vec<Entry>, now: Timestamp) -> (Self, Vec<Skip>) {
        let mut agenda =
            Self { items: Vec::new(), by_name: HashMap::new(), heap: BinaryHeap::new(), paused: false, latest: now };
        let mut skips = Vec::new();
        let mut budget = BUDGET;
        for (index, entry) in entries.into_iter().enumerate() {
            let from = entry.last_due.filter(|due| due.duration_since(now) <= BACK).unwrap_or(now);
            let item = Item { entry, running: Vec::new(), waiting: None };
            let next = match item.entry.plan.next(from) {
                Some(first) if first <= now => item.catch_up(first, now, &mut budget, &mut skips),
                next => next,
            };
            agenda.heap.extend(next.map(|next| Reverse((next, index))));
            agenda.by_name.insert(item.entry.name.clone(), index);
            agenda.items.push(item);
        }
        (agenda, skips)
    }

    /// When [`Agenda::due`] has something next; ask at least once a second all the same, so that steps of the clock are
    /// noticed.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// The next due instant of each scenario that has one, for pages and metrics.
    pub fn upcoming(&self) -> impl Iterator<Item = (&Name, Timestamp)> {
        self.heap.iter().map(|Reverse((due, index))| (&self.items[*index].entry.name, *due))
    }

    /// Everything that has come due, decided.
    pub fn due(&mut self, now: Timestamp) -> Vec<Decision> {
        if self.latest.duration_since(now) > BACK {
            self.plan_anew(now);
        }
        self.latest = self.latest.max(now);
        let mut decisions = Vec::new();
        let mut budget = BUDGET;
        while let Some(Reverse((first, index))) = self.heap.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.heap.pop();
            let item = &mut self.items[index];
            let passed = passed(&item.entry.plan, first, now, &mut budget);
            let reason = if self.paused { SkipReason::Paused } else { SkipReason::Downtime };
            decisions.extend(passed.older.iter().map(|(due, more)| Decision::Skip(item.skip(*due, reason, *more))));
            item.decide(passed.newest, now, self.paused, &mut decisions);
            let next = item.entry.plan.next(passed.newest);
            self.heap.extend(next.map(|next| Reverse((next, index))));
        }
        decisions
    }

    /// The clock was set back far: what it said before counts no more.
    fn plan_anew(&mut self, now: Timestamp) {
        self.latest = now;
        self.heap = (self.items.iter().enumerate())
            .filter_map(|(index, item)| Some(Reverse((item.entry.plan.next(now)?, index))))
            .collect();
    }

    /// A run has started, whatever started it; every start counts for overlap.
    pub fn started(&mut self, name: &str, run: Name) {
        if let Some(item) = self.item(name) {
            item.running.push(run);
        }
    }

    /// A run has ended, or could not be started. Returns the fate of the instant that waited for it, if one did.
    pub fn ended(&mut self, name: &str, run: &str) -> Option<Decision> {
        let paused = self.paused;
        let item = self.item(name)?;
        item.running.retain(|running| **running != *run);
        if !item.running.is_empty() {
            return None;
        }
        let due = item.waiting.take()?;
        Some(if paused {
            Decision::Skip(item.skip(due, SkipReason::Paused, 0))
        } else {
            Decision::Start { scenario: item.entry.name.clone(), due, delay: Duration::ZERO }
        })
    }

    /// Runs of a scenario that have started and not ended.
    pub fn running(&self, name: &str) -> &[Name] {
        self.by_name.get(name).map_or(&[], |index| &self.items[*index].running)
    }

    /// While paused, each due instant is skipped.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The daemon stops: nothing waits any longer. Ask for nothing after this.
    pub fn shutdown(&mut self) -> Vec<Skip> {
        self.heap.clear();
        self.items
            .iter_mut()
            .filter_map(|item| item.waiting.take().map(|due| item.skip(due, SkipReason::Shutdown, 0)))
            .collect()
    }

    fn item(&mut self, name: &str) -> Option<&mut Item> {
        self.by_name.get(name).map(|index| &mut self.items[*index])
    }
}

impl Item {
    fn skip(&self, due: Timestamp, reason: SkipReason, more: u64) -> Skip {
        Skip { scenario: self.entry.name.clone(), due, reason, more }
    }

    /// True if an instant can start only as a misfire.
    fn too_late(&self, due: Timestamp, now: Timestamp) -> bool {
        self.entry.spec.misfire == Misfire::Skip && now.duration_since(due) > LATE
    }

    /// After downtime: everything is skipped but what may still start; returns the next instant for the heap.
    fn catch_up(&self, first: Timestamp, now: Timestamp, budget: &mut u32, skips: &mut Vec<Skip>) -> Option<Timestamp> {
        let passed = passed(&self.entry.plan, first, now, budget);
        skips.extend(passed.older.iter().map(|(due, more)| self.skip(*due, SkipReason::Downtime, *more)));
        if self.too_late(passed.newest, now) {
            skips.push(self.skip(passed.newest, SkipReason::Downtime, 0));
            return self.entry.plan.next(passed.newest);
        }
        Some(passed.newest)
    }

    fn decide(&mut self, due: Timestamp, now: Timestamp, paused: bool, decisions: &mut Vec<Decision>) {
        if paused {
            let waited = self.waiting.take();
            let skips = waited.into_iter().chain([due]).map(|due| self.skip(due, SkipReason::Paused, 0));
            return decisions.extend(skips.map(Decision::Skip));
        }
        // Where one waits already, the newer one takes its place however late it is.
        if self.waiting.is_none() && self.too_late(due, now) {
            return decisions.push(Decision::Skip(self.skip(due, SkipReason::Downtime, 0)));
        }
        let overlap = self.entry.spec.overlap;
        if self.running.is_empty() || overlap == Overlap::Allow {
            let delay = self.entry.plan.jitter_for(due);
            return decisions.push(Decision::Start { scenario: self.entry.name.clone(), due, delay });
        }
        if overlap == Overlap::Skip {
            return decisions.push(Decision::Skip(self.skip(due, SkipReason::Overlap, 0)));
        }
        if let Some(older) = self.waiting.replace(due) {
            decisions.push(Decision::Skip(self.skip(older, SkipReason::Overlap, 0)));
        }
        if overlap == Overlap::Replace {
            let runs = self.running.clone();
            decisions.push(Decision::Stop { scenario: self.entry.name.clone(), runs });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::model::schedule::Due;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn secs(secs: i64) -> SignedDuration {
        SignedDuration::from_secs(secs)
    }

    fn entry(name: &str, spec: &ScheduleSpec, last_due: Option<Timestamp>) -> Entry {
        let plan = crate::schedule::compile(spec, name).expect("a plan");
        Entry { name: name.into(), plan, spec: spec.clone(), last_due }
    }

    fn cron(expr: &str, overlap: Overlap, misfire: Misfire) -> ScheduleSpec {
        let due = Due::Cron { expr: expr.into(), zone: "UTC".into() };
        ScheduleSpec { due, overlap, misfire, ..ScheduleSpec::manual() }
    }

    /// One line per decision: what, and minutes after the start of 2026.
    fn lines(decisions: &[Decision]) -> Vec<String> {
        let minutes = |due: Timestamp| due.duration_since(at("2026-01-01T00:00:00Z")).as_mins();
        decisions
            .iter()
            .map(|decision| match decision {
                Decision::Start { due, .. } => format!("start {}", minutes(*due)),
                Decision::Stop { runs, .. } => format!("stop {}", runs.join(",")),
                Decision::Skip(skip) => format!("skip {} {}", minutes(skip.due), skip.ledger_text()),
            })
            .collect()
    }

    fn one(overlap: Overlap, misfire: Misfire) -> Agenda {
        let spec = cron("* * * * *", overlap, misfire);
        Agenda::new(vec![entry("probe", &spec, None)], at("2026-01-01T00:00:30Z")).0
    }

    #[test]
    fn overlap() {
        let check = |overlap, expected: &[&str]| {
            let mut agenda = one(overlap, Misfire::Skip);
            let mut seen = lines(&agenda.due(at("2026-01-01T00:01:00Z")));
            agenda.started("probe", "a".into());
            seen.extend(lines(&agenda.due(at("2026-01-01T00:02:00Z"))));
            seen.extend(lines(&agenda.due(at("2026-01-01T00:03:00Z"))));
            seen.push("a ends".to_owned());
            seen.extend(lines(agenda.ended("probe", "a").as_slice()));
            assert_eq!(agenda.ended("probe", "a"), None, "{overlap:?}: nothing waits any more");
            assert_eq!(seen, expected, "{overlap:?}");
        };
        check(Overlap::Skip, &["start 1", "skip 2 overlap", "skip 3 overlap", "a ends"]);
        check(Overlap::Allow, &["start 1", "start 2", "start 3", "a ends"]);
        check(Overlap::Queue, &["start 1", "skip 2 overlap", "a ends", "start 3"]);
        check(Overlap::Replace, &["start 1", "stop a", "skip 2 overlap", "stop a", "a ends", "start 3"]);
    }

    #[test]
    fn late_wakes() {
        let check = |misfire, wake: &str, expected: &[&str]| {
            let mut agenda = one(Overlap::Skip, misfire);
            assert_eq!(lines(&agenda.due(at(wake))), expected, "{misfire:?} {wake}");
        };
        check(Misfire::Skip, "2026-01-01T00:00:59Z", &[]);
        check(Misfire::Skip, "2026-01-01T00:01:59Z", &["start 1"]);
        // Only the newest starts; the minute before was missed.
        check(Misfire::Skip, "2026-01-01T00:02:00Z", &["skip 1 downtime", "start 2"]);
        check(Misfire::RunOnce, "2026-01-01T00:03:59Z", &["skip 1 downtime", "skip 2 downtime", "start 3"]);
        let mut daily = Agenda::new(
            vec![
                entry("skip", &cron("0 0 * * *", Overlap::Skip, Misfire::Skip), None),
                entry("once", &cron("0 0 * * *", Overlap::Skip, Misfire::RunOnce), None),
            ],
            at("2025-12-31T23:00:00Z"),
        )
        .0;
        assert_eq!(lines(&daily.due(at("2026-01-01T06:00:00Z"))), ["skip 0 downtime", "start 0"]);
    }

    #[test]
    fn downtime() {
        let check = |expr, misfire, last: &str, now: &str, expected: &[&str]| {
            let spec = cron(expr, Overlap::Skip, misfire);
            let (mut agenda, skips) = Agenda::new(vec![entry("probe", &spec, Some(at(last)))], at(now));
            let mut seen = lines(&skips.into_iter().map(Decision::Skip).collect::<Vec<_>>());
            seen.extend(lines(&agenda.due(at(now))));
            assert_eq!(seen, expected, "{expr} {misfire:?}");
        };
        let (last, now) = ("2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z");
        check("0 * * * *", Misfire::Skip, last, now, &["skip 60 downtime", "skip 120 downtime", "skip 180 downtime"]);
        check("0 * * * *", Misfire::RunOnce, last, now, &["skip 60 downtime", "skip 120 downtime", "start 180"]);
        // A short restart loses nothing.
        check("0 * * * *", Misfire::Skip, last, "2026-01-01T01:00:20Z", &["start 60"]);
        // The ledger is ahead of a clock that was set back a little, and a lot.
        check("* * * * *", Misfire::Skip, "2026-01-01T00:10:00Z", "2026-01-01T00:05:00Z", &[]);
        check("* * * * *", Misfire::Skip, "2027-01-01T00:00:00Z", "2026-01-01T00:05:00Z", &[]);
    }

    #[test]
    fn a_year_of_downtime_is_bounded() {
        let check = |due, missed: u64| {
            let spec = ScheduleSpec { due, misfire: Misfire::RunOnce, ..ScheduleSpec::manual() };
            let (last, now) = (at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
            let (mut agenda, skips) = Agenda::new(vec![entry("probe", &spec, Some(last))], now);
            assert_eq!(skips.len(), 1000);
            assert!(skips.is_sorted_by(|a, b| a.due < b.due));
            let starts = agenda.due(now);
            assert!(matches!(starts.as_slice(), [Decision::Start { .. }]), "{starts:?}");
            skips.iter().map(|skip| 1 + skip.more).sum::<u64>() + 1 - missed
        };
        assert_eq!(check(Due::Every(Duration::from_secs(1)), 365 * 86_400), 0);
        let cron = |expr: &str| Due::Cron { expr: expr.into(), zone: "UTC".into() };
        assert_eq!(check(cron("*/5 * * * *"), 365 * 288), 0);
    }

    #[test]
    fn a_clock_set_back() {
        let mut agenda = one(Overlap::Allow, Misfire::Skip);
        assert_eq!(lines(&agenda.due(at("2026-01-01T00:02:00Z"))), ["skip 1 downtime", "start 2"]);
        assert!(agenda.due(at("2026-01-01T00:00:00Z")).is_empty());
        assert!(agenda.due(at("2026-01-01T00:02:00Z")).is_empty());
        assert_eq!(lines(&agenda.due(at("2026-01-01T00:03:00Z"))), ["start 3"]);
        // A day back: the clock was wrong before; silence until tomorrow would be worse.
        assert!(agenda.due(at("2025-12-31T00:00:00Z")).is_empty());
        assert_eq!(agenda.next_wake(), Some(at("2025-12-31T00:01:00Z")));
    }

    #[test]
    fn ten_thousand_at_once() {
        let spec = cron("0 12 * * *", Overlap::Skip, Misfire::Skip);
        let first = entry("0", &spec, None);
        let entries = (0..10_000).map(|index| Entry { name: index.to_string().into(), ..first.clone() }).collect();
        let (mut agenda, skips) = Agenda::new(entries, at("2026-01-01T00:00:00Z"));
        assert!(skips.is_empty());
        let noon = at("2026-01-01T12:00:00Z");
        assert_eq!(agenda.next_wake(), Some(noon));
        let begin = crate::model::clock::mono();
        let decisions = agenda.due(noon);
        let took = begin.elapsed();
        let names: BTreeSet<&str> = decisions
            .iter()
            .map(|decision| match decision {
                Decision::Start { scenario, due, .. } if *due == noon => &**scenario,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((names.len(), decisions.len()), (10_000, 10_000));
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(agenda.next_wake(), Some(at("2026-01-02T12:00:00Z")));
    }

    #[test]
    fn paused_and_shut_down() {
        let mut agenda = one(Overlap::Queue, Misfire::Skip);
        agenda.started("probe", "by hand".into());
        assert!(agenda.due(at("2026-01-01T00:01:00Z")).is_empty(), "it waits");
        agenda.set_paused(true);
        assert_eq!(lines(&agenda.due(at("2026-01-01T00:02:00Z"))), ["skip 1 paused", "skip 2 paused"]);
        agenda.set_paused(false);
        assert!(agenda.due(at("2026-01-01T00:03:00Z")).is_empty(), "it waits");
        assert_eq!(agenda.running("probe"), ["by hand".into()]);
        let skips: Vec<_> = agenda.shutdown().into_iter().map(Decision::Skip).collect();
        assert_eq!(lines(&skips), ["skip 3 shutdown"]);
        assert_eq!(agenda.next_wake(), None);
    }

    /// What happens to a daemon.
    #[derive(Debug, Clone)]
    enum Event {
        /// Time goes on, by seconds; negative when the clock is set back.
        Pass(i64),
        EndRuns,
        Pause(bool),
        /// Killed, and started again this many seconds later.
        Crash(i64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            6 => (0_i64..120).prop_map(Event::Pass),
            2 => (-1500_i64..0).prop_map(Event::Pass),
            2 => (60_i64..600).prop_map(Event::Pass),
            1 => (0_i64..200_000).prop_map(Event::Pass),
            2 => Just(Event::EndRuns),
            1 => any::<bool>().prop_map(Event::Pause),
            1 => (0_i64..200_000).prop_map(Event::Crash),
        ];
        prop::collection::vec(event, 1..40)
    }

    fn schedule() -> impl Strategy<Value = ScheduleSpec> {
        let due = prop_oneof![
            // A few minutes let one instant wait, the next be late, and a crash follow.
            prop_oneof![1_u64..10, 61_u64..300, 61_u64..300, 300_u64..4000]
                .prop_map(|secs| Due::Every(Duration::from_secs(secs))),
            prop::sample::select(vec!["* * * * *", "*/7 1,2 * * *", "30 2 * * *", "*/20 * * * * *", "0 3 * * 1"])
                .prop_map(|expr| Due::Cron { expr: expr.into(), zone: "Europe/Berlin".into() }),
        ];
        let overlap = prop::sample::select(vec![Overlap::Skip, Overlap::Allow, Overlap::Queue, Overlap::Replace]);
        let misfire = prop::sample::select(vec![Misfire::Skip, Misfire::RunOnce]);
        (due, overlap, misfire).prop_map(|(due, overlap, misfire)| ScheduleSpec {
            due,
            overlap,
            misfire,
            ..ScheduleSpec::manual()
        })
    }

    /// A daemon with a ledger that outlives it.
    struct Daemon {
        specs: Vec<ScheduleSpec>,
        agenda: Agenda,
        /// Instants with the number of further ones each stands for.
        ledger: BTreeMap<Name, Vec<(Timestamp, u64)>>,
        running: Vec<(Name, Name)>,
    }

    impl Daemon {
        fn boot(specs: Vec<ScheduleSpec>, ledger: BTreeMap<Name, Vec<(Timestamp, u64)>>, now: Timestamp) -> Self {
            let entries = specs.iter().enumerate().map(|(index, spec)| {
                let name = index.to_string();
                entry(&name, spec, ledger.get(&*name).and_then(|rows| rows.iter().map(|row| row.0).max()))
            });
            let (agenda, skips) = Agenda::new(entries.collect(), now);
            let mut daemon = Self { specs, agenda, ledger, running: Vec::new() };
            for skip in skips {
                daemon.carry_out(Decision::Skip(skip));
            }
            daemon.wake(now);
            daemon
        }

        fn wake(&mut self, now: Timestamp) {
            self.agenda.due(now).into_iter().for_each(|decision| self.carry_out(decision));
        }

        fn carry_out(&mut self, decision: Decision) {
            let (scenario, due, more) = match decision {
                Decision::Stop { .. } => return,
                Decision::Start { scenario, due, .. } => {
                    let run = Name::from(due.to_string());
                    self.agenda.started(&scenario, run.clone());
                    self.running.push((scenario.clone(), run));
                    (scenario, due, 0)
                }
                Decision::Skip(skip) => (skip.scenario, skip.due, skip.more),
            };
            self.ledger.entry(scenario).or_default().push((due, more));
        }

        fn end_runs(&mut self) {
            for (scenario, run) in std::mem::take(&mut self.running) {
                if let Some(decision) = self.agenda.ended(&scenario, &run) {
                    self.carry_out(decision);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Nothing is lost and nothing happens twice.
        #[test]
        fn each_due_instant_ends_as_one_start_or_skip(
            specs in prop::collection::vec(schedule(), 1..4),
            events in events(),
        ) {
            // Before a change of the clock in Berlin, with one row each so that a restart knows from where on it counts.
            let start = at("2026-03-28T22:00:00Z");
            let ledger = (0..specs.len()).map(|index| (Name::from(index.to_string()), vec![(start, 0)])).collect();
            let mut daemon = Daemon::boot(specs, ledger, start);
            let (mut now, mut latest) = (start, start);
            let mut paused = false;
            for event in events {
                match event {
                    // Further back than BACK, the clock is taken as corrected, and instants do come again.
                    Event::Pass(by) => now = (now + secs(by)).max(latest - BACK),
                    Event::EndRuns => daemon.end_runs(),
                    Event::Pause(on) => paused = on,
                    Event::Crash(after) => {
                        now += secs(after);
                        daemon = Daemon::boot(daemon.specs, daemon.ledger, now);
                    }
                }
                latest = latest.max(now);
                daemon.agenda.set_paused(paused);
                daemon.wake(now);
            }
            for skip in daemon.agenda.shutdown() {
                daemon.carry_out(Decision::Skip(skip));
            }
            for (index, spec) in daemon.specs.iter().enumerate() {
                let name = index.to_string();
                let mut rows = daemon.ledger[&*name].clone();
                rows.sort();
                let plan = entry(&name, spec, None).plan;
                let mut cursor = start;
                for (due, more) in rows.into_iter().skip(1) {
                    for _ in 0..more {
                        cursor = plan.next(cursor).expect("due");
                    }
                    prop_assert_eq!(plan.next(cursor), Some(due), "{:?} after {}", spec.due, cursor);
                    cursor = due;
                }
            }
        }
    }
}
