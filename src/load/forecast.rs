//! What a run will do, in numbers and as a timeline, before anything is sent (pure): exact where the plan says so, bounds
//! where it depends on how soon the target answers. The same plans are carried out by the executors.

mod beside;
mod count;
mod labels;
mod parts;
mod steps;

use std::{collections::BTreeMap, time::Duration};

pub use count::Count;
pub use labels::Planned;
pub use parts::{Part, Shape};

use self::{
    labels::Kept,
    parts::Point,
    steps::{Sends, body_bytes, longest},
};
use super::plan::{self, limit::Limit, outline::group_outline};
use crate::model::{
    scenario::{Action, Arrangement, BurstGap, Connections, Executor, FeedEnd, FeedOrder, Group, Scenario},
    settings::Policy,
};

/// What a run will do.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// In order; of the first repetition.
    pub parts: Vec<Part>,
    /// Iterations of all repetitions, those included that our own caps drop.
    pub iterations: Count,
    /// Requests, sent and dropped, where every answer is ok.
    pub requests: Count,
    /// Tries of the same request on top where answers are not ok, at most; `None` = nothing bounds them.
    pub again: Option<u64>,
    /// Of the requests, those that our own caps drop however soon the target answers, at least.
    pub dropped: u64,
    /// `policy.max_rate` is below what an open load sends: more may be dropped.
    pub exceeds: bool,
    /// Polls before the last one of each step with `until`; beside the requests, as in the document of a run.
    pub polls: Count,
    /// What is sent before, after and around the load, releases included, where every answer is ok; in no rate.
    pub hooks: Count,
    /// What is planned under each label, as in the document of a run: `level=2`, `burst=3`; the first thousand.
    pub groups: BTreeMap<String, Planned>,
    /// Planned length at most; the grace comes on top. `None` = it ends with its last answer.
    pub duration: Option<Duration>,
    /// It may end sooner: with its iterations.
    pub sooner: bool,
    /// When its last part ends at the latest, the grace of each part included.
    pub ends: Option<Duration>,
    /// How long requests may take after the planned end of a part.
    pub grace: Duration,
    /// Unanswered requests at once, at most.
    pub concurrency: u64,
    /// Connections open at once, at most; one for the target's figures or the hooks included.
    pub connections: u64,
    /// A connection is opened for each request: so many per second, where the load is open.
    pub opened_per_s: Option<f64>,
    /// Bytes of the request bodies of one iteration at most, where they are known, of the largest task.
    pub body_bytes: Option<u64>,
    /// Series that the run keeps: one for each step and each of its labels.
    pub series: Count,
    /// Memory that users, connections and distributions take at the peak, in bytes; measured, not exact.
    pub memory: u64,
}

/// A user with its connection: resident memory grew by 6.0 to 7.2 kB for each of 500, 1,000 and 2,000; rounded up.
pub const USER_BYTES: u64 = 8 * 1024;
/// TLS on top of it: buffers and session.
pub const TLS_BYTES: u64 = 40 * 1024;
/// A distribution: the bounds and precision of `measure::hist`.
pub const HIST_BYTES: u64 = 11 * 1024;
/// Distributions of one series: latency and service time by outcome, and the parts of a request; this second's and the run's.
const HISTS: u64 = 2 * 12;

/// What `scenario` will do where `policy` bounds it.
pub fn forecast(scenario: &Scenario, policy: &Policy) -> Forecast {
    let mut all = Sum::default();
    let (mut begin, mut end) = (Point::START, Point::START);
    for group in &scenario.groups {
        let mut own = parts::of(scenario, group, policy);
        let rows = last_row(scenario, group);
        for part in &mut own.parts {
            part.iterations.least = part.iterations.least.min(rows.unwrap_or(u64::MAX));
        }
        all.add(scenario, group, &own.parts, rows, policy);
        let most = group_concurrency(scenario, group);
        let held = group_connections(scenario, group, most);
        if scenario.arrangement == Arrangement::Sequence {
            (all.concurrency, all.connections) = (all.concurrency.max(most), all.connections.max(held));
        } else {
            (all.concurrency, all.connections) = (all.concurrency + most, all.connections + held);
            begin = Point::START;
        }
        all.parts.extend(own.parts.into_iter().map(|part| part.after(begin)));
        begin = begin.plus(own.end);
        end = end.max(begin);
    }
    all.finish(scenario, end)
}

/// The sums of the groups so far.
#[derive(Debug, Default)]
struct Sum {
    parts: Vec<Part>,
    iterations: Count,
    requests: Count,
    again: Count,
    dropped: u64,
    exceeds: bool,
    polls: Count,
    hooks: Count,
    kept: Kept,
    concurrency: u64,
    connections: u64,
}

impl Sum {
    fn add(&mut self, scenario: &Scenario, group: &Group, parts: &[Part], rows: Option<u64>, policy: &Policy) {
        let mut iterations: Count = parts.iter().map(|part| part.iterations).sum();
        iterations.least = iterations.least.min(rows.unwrap_or(u64::MAX));
        let sends = Sends::of_iteration(group);
        let caps = Caps::of(scenario, group, policy);
        let dropped = caps.dropped(iterations, group, policy);
        // What is dropped is one request, whatever would have followed.
        let started = |all: Count| caps.started(all);
        let sent = started(iterations).times(sends.requests);
        let requests = Count {
            least: if caps.exceeded { iterations.least } else { sent.least + caps.sure(iterations) },
            most: sent.most.map(|most| most.saturating_add(caps.sure(iterations)).max(iterations.most.unwrap_or(0))),
        };
        // A probe that is tried again is tried as a whole.
        let attempts =
            if let Executor::Probe { attempts } = group.load.executor { u64::from(attempts.max(1)) } else { 1 };
        let tried = Count::exactly(attempts);
        let again = Count::at_most(sends.again).times(tried).plus(sends.requests.times(Count::exactly(attempts - 1)));
        let beside = beside::of_group(group, iterations);
        self.iterations = self.iterations.plus(iterations);
        self.requests = self.requests.plus(requests);
        self.dropped += dropped;
        self.exceeds |= caps.exceeded;
        self.again = self.again.plus(again.times(iterations));
        self.polls = self.polls.plus(sends.polls.times(iterations).times(tried)).plus(beside.polls);
        self.hooks = self.hooks.plus(beside.hooks);
        self.kept.add(scenario, group, parts, started);
    }

    fn finish(self, scenario: &Scenario, end: Point) -> Forecast {
        let repetitions = scenario.repeat.times.max(1);
        let times = Count::exactly(u64::from(repetitions));
        let outline = plan::outline(scenario);
        let grace = plan::grace(scenario);
        let pauses = scenario.repeat.pause.saturating_mul(repetitions - 1);
        let ends = end.latest.map(|latest| latest.saturating_mul(repetitions).saturating_add(pauses));
        let limit = scenario.schedule.timeout.map(|timeout| timeout.saturating_add(grace));
        let (before, after) = (beside::of_steps(&scenario.before), beside::of_steps(&scenario.after));
        let sure = end.earliest.saturating_mul(repetitions).saturating_add(pauses);
        let events = beside::of_events(&scenario.events, sure);
        let around = scenario.events.len() as u64
            + u64::from(scenario.target.stats.is_some() || !scenario.before.is_empty() || !scenario.after.is_empty());
        let series = self.kept.series();
        let user = USER_BYTES + if scenario.target.base.https { TLS_BYTES } else { 0 };
        let users = self.concurrency.max(self.connections);
        Forecast {
            parts: self.parts,
            iterations: self.iterations.times(times),
            requests: self.requests.times(times),
            again: self.again.times(times).most,
            dropped: self.dropped.saturating_mul(u64::from(repetitions)),
            exceeds: self.exceeds,
            polls: self.polls.times(times).plus(before.polls).plus(after.polls).plus(events.polls),
            hooks: self.hooks.times(times).plus(before.hooks).plus(after.hooks).plus(events.hooks),
            groups: self.kept.groups,
            duration: outline.duration,
            sooner: end.earliest < end.at,
            ends: ends.into_iter().chain(limit).min(),
            grace,
            concurrency: self.concurrency,
            connections: self.connections + around,
            opened_per_s: outline.rate_per_s.filter(|_| !scenario.target.http.reuse),
            body_bytes: scenario
                .groups
                .iter()
                .map(|group| body_bytes(group))
                .try_fold(0, |most, own| Some(own?.max(most))),
            series,
            memory: users * user + series.most.unwrap_or(0) * HISTS * HIST_BYTES,
        }
    }
}

/// What our own caps do to a group.
#[derive(Debug, Clone, Copy)]
struct Caps {
    /// Of each burst, those beyond `max_in_flight`: of how many, so many.
    over: (u64, u64),
    /// `policy.max_rate` is below what the plan sends.
    exceeded: bool,
}

impl Caps {
    fn of(scenario: &Scenario, group: &Group, policy: &Policy) -> Self {
        let rate = |group: &Group| {
            let each = Sends::of_iteration(group).requests.most.unwrap_or(u64::MAX) as f64;
            group_outline(group).rate_per_s.unwrap_or(0.0) * each
        };
        let open = |group: &Group| {
            use Executor::{Burst, ConstantArrivalRate, RampingArrivalRate, Search};
            matches!(
                group.load.executor,
                Burst { .. } | ConstantArrivalRate { .. } | RampingArrivalRate { .. } | Search(_)
            )
        };
        let together = match scenario.arrangement {
            Arrangement::Sequence => rate(group) + burst_rate(group, policy),
            Arrangement::SideBySide => {
                scenario.groups.iter().map(|each| rate(each) + burst_rate(each, policy)).sum::<f64>()
            }
        };
        let over = match group.load.executor {
            Executor::Burst { size, .. } => (u64::from(size), u64::from(size.saturating_sub(group.load.max_in_flight))),
            _ => (1, 0),
        };
        Self { over, exceeded: open(group) && together > policy.max_rate }
    }

    /// Iterations that are certainly dropped.
    fn sure(&self, iterations: Count) -> u64 {
        iterations.least / self.over.0.max(1) * self.over.1
    }

    /// Iterations that come past the caps.
    fn started(&self, iterations: Count) -> Count {
        let sure = self.sure(iterations);
        let started = Count { least: iterations.least - sure, most: iterations.most.map(|most| most - sure) };
        if self.exceeded { started.or_none() } else { started }
    }

    /// Requests that are dropped at least; of each iteration it is one at most.
    fn dropped(&self, iterations: Count, group: &Group, policy: &Policy) -> u64 {
        let sure = self.sure(iterations);
        if !self.exceeded {
            return sure;
        }
        let each = Sends::of_iteration(group).requests.least.max(1);
        let length = group_outline(group).duration.map(|length| length.saturating_add(group.load.graceful_stop));
        let admitted = length.map_or(f64::INFINITY, |length| parts::most_admitted(policy, length)) / each as f64;
        iterations.least.saturating_sub(admitted.ceil() as u64).max(sure)
    }
}

/// Requests per second that bursts ask of the gate: all of one burst at once where that is more than may leave at once.
fn burst_rate(group: &Group, policy: &Policy) -> f64 {
    let Executor::Burst { size, repeat, gap } = &group.load.executor else { return 0.0 };
    let each = Sends::of_iteration(group).requests.most.unwrap_or(u64::MAX) as f64 * f64::from(*size);
    let at_once = (policy.max_rate * 0.1).max(10.0);
    let (BurstGap::Every(gap) | BurstGap::Pause(gap)) = gap;
    let again = if *repeat > 1 { each / gap.as_secs_f64().max(1e-9) } else { 0.0 };
    if each > at_once { f64::INFINITY } else { again }
}

/// Rows of the feed that ends the load of a group when they are all taken; 0 where others take of them too.
fn last_row(scenario: &Scenario, group: &Group) -> Option<u64> {
    let ends = scenario.data.iter().filter(|(_, feed)| feed.on_end == FeedEnd::Stop && feed.order != FeedOrder::Random);
    let read = ends.filter(|(name, _)| {
        let reads = |path: &String| path == "data" || path.split('.').nth(1) == Some(&***name);
        group.steps().any(|step| step.reads("data").iter().any(reads))
    });
    let rows = read.map(|(_, feed)| feed.rows.len() as u64).min()?;
    let alone = scenario.groups.len() == 1 && scenario.repeat.times <= 1 && group.tasks.len() == 1;
    Some(if alone { rows } else { 0 })
}

/// Unanswered requests at once: of an open load no more than start while one iteration may last.
fn group_concurrency(scenario: &Scenario, group: &Group) -> u64 {
    let outline = group_outline(group);
    // Who has no iteration left to do still leaves.
    let sharers = matches!(group.load.executor, Executor::SharedIterations { .. });
    let leave = if group.on_stop.is_empty() || !sharers { 0 } else { u64::from(outline.concurrency) };
    let most = outline.iterations.unwrap_or(u64::MAX).max(leave).min(u64::from(outline.concurrency));
    let timeout = scenario.target.http.timeout;
    let of_iteration = group.tasks.iter().map(|task| longest(&task.steps, timeout)).max().unwrap_or_default();
    let time = of_iteration.saturating_add(longest(&group.on_start, timeout));
    match (&group.load.executor, outline.rate_per_s) {
        (Executor::Burst { size, gap: BurstGap::Every(every), .. }, _) => {
            let bursts = u64::try_from(time.as_nanos() / every.as_nanos().max(1)).unwrap_or(u64::MAX);
            most.min(bursts.saturating_add(1).saturating_mul(u64::from(*size)))
        }
        (Executor::Limit(spec), _) => u64::from(Limit::from(&**spec).concurrency()),
        (_, Some(rate)) => most.min(((rate * time.as_secs_f64()).ceil() as u64).saturating_add(1)),
        _ => most,
    }
}

/// Connections of a group whose users have `most` requests unanswered.
fn group_connections(scenario: &Scenario, group: &Group, most: u64) -> u64 {
    let users = match &group.load.executor {
        Executor::Limit(spec) => most.max(u64::from(Limit::from(&**spec).held())),
        _ => most,
    };
    let held = match group.load.connections {
        Connections::PerVu => users,
        Connections::Pool(size) => users.min(u64::from(size)),
    };
    // What is no HTTP request has a connection of its own.
    let asks = |action: fn(&Action) -> bool| group.steps().any(|step| action(&step.action));
    let http = asks(|action| matches!(action, Action::Http(_))) || scenario.groups.is_empty();
    let probes = if asks(|action| matches!(action, Action::Probe(_))) { most } else { 0 };
    if http { held + probes } else { probes }
}

#[cfg(test)]
mod tests;
