//! Everything that was measured in a run, or in a second of it: the workers fill one each, the run merges them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    custom::Custom,
    hist::Hist,
    stream::{StreamSample, StreamSeries},
};
use crate::model::{
    Name,
    labels::Labels,
    outcome::{CLIENT_ABORT, Classified, DropReason, OTHER_REASON, Outcome, fail},
    run::{HookCounts, IterationCounts, OutcomeCounts},
};

/// Reasons of an outcome beside the built-in ones, and different statuses, kept by name in a series; the rest is folded
/// into `other`.
pub const MAX_REASONS: usize = 32;

/// The parts of a request's time, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Waiting for a connection of the pool.
    Blocked,
    /// Name resolution.
    Dns,
    /// TCP connect.
    Connect,
    /// TLS handshake.
    Tls,
    /// First byte written to first byte of the answer.
    Ttfb,
    /// First byte to last byte of the answer.
    Transfer,
}

impl Timing {
    /// All parts, in order.
    pub const ALL: [Self; 6] = [Self::Blocked, Self::Dns, Self::Connect, Self::Tls, Self::Ttfb, Self::Transfer];

    /// The word used in selectors, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Ttfb => "ttfb",
            Self::Transfer => "transfer",
        }
    }
}

/// What a series is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Name of the step.
    pub step: Name,
    /// Dimensions within the run: `level=2`, `part=over`, `stage=violations`.
    pub labels: Labels,
}

/// The requests of one step (and group).
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Sent requests by [`Outcome::index`].
    pub outcomes: [u64; 4],
    /// Intended instant to last byte, by [`Outcome::index`]; interrupted ones have no latency.
    pub latency: [Hist; 3],
    /// First byte written to last byte read, by [`Outcome::index`].
    pub service_time: [Hist; 3],
    /// By [`Timing`]; a reused connection records no dns, connect and tls.
    pub timing: [Hist; 6],
    /// Reasons of rejected and failed requests.
    pub reasons: BTreeMap<(Outcome, Name), u64>,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Failed requests by status.
    pub failed_status: BTreeMap<u16, u64>,
    /// Bytes of requests and of answers, bodies and heads as far as known.
    pub bytes: (u64, u64),
    /// Connections opened and reused.
    pub connections: (u64, u64),
    /// Requests that were sent once more, because the target had closed the kept connection they went over.
    pub reconnects: u64,
    /// Its streamed answers.
    pub stream: Option<Box<StreamSeries>>,
}

impl Series {
    /// Counts by outcome.
    pub fn counts(&self) -> OutcomeCounts {
        let [ok, rejected, failed, interrupted] = self.outcomes;
        OutcomeCounts { ok, rejected, failed, interrupted }
    }

    /// Sent requests.
    pub fn sent(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Records one finished request.
    pub fn record(&mut self, sample: &Sample) {
        let index = sample.class.outcome.index();
        self.outcomes[index] += 1;
        if index < 3 {
            if let Some(time) = sample.latency {
                self.latency[index].record(time);
            }
            if let Some(time) = sample.service_time {
                self.service_time[index].record(time);
            }
        }
        for (hist, time) in self.timing.iter_mut().zip(sample.timing) {
            if let Some(time) = time {
                hist.record(time);
            }
        }
        if !sample.class.reason.is_empty() {
            self.add_reason(sample.class.outcome, &sample.class.reason, 1);
        }
        if let Some(status) = sample.status {
            add_status(&mut self.status, status, 1);
            if sample.class.outcome == Outcome::Failed {
                add_status(&mut self.failed_status, status, 1);
            }
        }
        if let Some(stream) = &sample.stream {
            let ok = sample.class.outcome == Outcome::Ok;
            self.stream.get_or_insert_default().record(stream, ok, sample.service_time);
        }
        self.bytes = (self.bytes.0 + sample.bytes.0, self.bytes.1 + sample.bytes.1);
        match sample.reused {
            Some(true) => self.connections.1 += 1,
            Some(false) => self.connections.0 += 1,
            None => {}
        }
        self.reconnects += u64::from(sample.reconnected);
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.outcomes, &other.outcomes);
        self.latency.iter_mut().zip(&other.latency).for_each(|(ours, theirs)| ours.merge(theirs));
        self.service_time.iter_mut().zip(&other.service_time).for_each(|(ours, theirs)| ours.merge(theirs));
        self.timing.iter_mut().zip(&other.timing).for_each(|(ours, theirs)| ours.merge(theirs));
        for ((outcome, reason), count) in &other.reasons {
            self.add_reason(*outcome, reason, *count);
        }
        for (status, count) in &other.status {
            add_status(&mut self.status, *status, *count);
        }
        for (status, count) in &other.failed_status {
            add_status(&mut self.failed_status, *status, *count);
        }
        if let Some(theirs) = &other.stream {
            self.stream.get_or_insert_default().merge(theirs);
        }
        self.bytes = (self.bytes.0 + other.bytes.0, self.bytes.1 + other.bytes.1);
        self.connections = (self.connections.0 + other.connections.0, self.connections.1 + other.connections.1);
        self.reconnects += other.reconnects;
    }

    fn add_reason(&mut self, outcome: Outcome, reason: &Name, count: u64) {
        let key = (outcome, reason.clone());
        if let Some(seen) = self.reasons.get_mut(&key) {
            *seen += count;
        } else if is_built_in(reason) || self.named(outcome) < MAX_REASONS {
            self.reasons.insert(key, count);
        } else {
            *self.reasons.entry((outcome, OTHER_REASON.into())).or_default() += count;
        }
    }

    /// Reasons of an outcome that the target made up.
    fn named(&self, outcome: Outcome) -> usize {
        self.reasons.keys().filter(|(of, reason)| *of == outcome && !is_built_in(reason)).count()
    }
}

/// Status 0 stands for "other".
fn add_status(counts: &mut BTreeMap<u16, u64>, status: u16, count: u64) {
    let known = counts.contains_key(&status) || counts.len() < MAX_REASONS;
    *counts.entry(if known { status } else { 0 }).or_default() += count;
}

/// Reasons that thresholds name without having seen them: whatever else a target answers, they have a count of their own.
fn is_built_in(reason: &str) -> bool {
    fail::ALL.contains(&reason) || [CLIENT_ABORT, OTHER_REASON].contains(&reason)
}

fn add<const N: usize>(ours: &mut [u64; N], theirs: &[u64; N]) {
    ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
}

/// One finished request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// How it ended.
    pub class: Classified,
    /// Status, if there was an answer.
    pub status: Option<u16>,
    /// Intended instant to last byte; `None` if there was nothing to send.
    pub latency: Option<Duration>,
    /// First byte written to last byte read; `None` if nothing was written.
    pub service_time: Option<Duration>,
    /// By [`Timing`]; `None` where the part did not happen.
    pub timing: [Option<Duration>; 6],
    /// Bytes sent and received.
    pub bytes: (u64, u64),
    /// Whether it went over a connection that had carried one before; `None` if it got none.
    pub reused: Option<bool>,
    /// Whether it was sent once more, because the target had closed the kept connection it went over.
    pub reconnected: bool,
    /// What was measured of it, if it is a stream.
    pub stream: Option<Box<StreamSample>>,
}

/// The iterations of one set of labels.
#[derive(Debug, Clone, Default)]
pub struct Iterations {
    /// By how they ended.
    pub counts: IterationCounts,
    /// Length of completed ones, think time between steps included.
    pub time: Hist,
    /// Seconds from the start of the load to when the first was intended and the last ended.
    pub span: Option<(f64, f64)>,
    /// Seconds from the start of the load to when its plan began and was over, where that is so much time and not so many
    /// iterations: the last arrival of a second comes before the second is over.
    pub plan: Option<(f64, f64)>,
}

impl Iterations {
    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.time.merge(&other.time);
    }

    /// The same without the times.
    pub fn merge_counts(&mut self, other: &Self) {
        self.counts.completed += other.counts.completed;
        self.counts.failed += other.counts.failed;
        self.counts.interrupted += other.counts.interrupted;
        self.span = around(self.span, other.span);
        self.plan = around(self.plan, other.plan);
    }

    /// Seconds that a count per second is divided by: from the first intended instant to the last end, and the whole plan
    /// at least. `None` without iterations.
    pub fn seconds(&self) -> Option<f64> {
        let (first, last) = around(Some(self.span?), self.plan)?;
        Some((last - first).max(0.0))
    }
}

/// From the earlier beginning to the later end.
fn around(ours: Option<(f64, f64)>, theirs: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (ours, theirs) {
        (Some((first, last)), Some((their_first, their_last))) => Some((first.min(their_first), last.max(their_last))),
        (ours, theirs) => ours.or(theirs),
    }
}

/// A reading of one of the target's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatPoint {
    /// Seconds since the start of the run.
    pub at: f64,
    /// In the base unit.
    pub value: f64,
}

/// The readings of one of the target's figures; at most [`StatSeries::MAX`], then every other one is dropped.
#[derive(Debug, Clone, Default)]
pub struct StatSeries {
    /// In order of time.
    pub points: Vec<StatPoint>,
    /// Readings that failed.
    pub failed: u64,
    /// The readings before the first value held everything but this figure: a counter that nothing had been counted in.
    pub unborn: bool,
    stride: u32,
    skipped: u32,
}

impl StatSeries {
    /// Readings kept of one run.
    pub const MAX: usize = 4096;

    /// Counts a reading that failed; `lacking`: it went well, and the figure was not in it.
    pub fn fail(&mut self, lacking: bool) {
        if self.points.is_empty() {
            self.unborn = lacking && (self.unborn || self.failed == 0);
        }
        self.failed += 1;
    }

    /// Adds what `other` holds, which was read later.
    pub fn merge(&mut self, other: &Self) {
        if self.points.is_empty() {
            self.unborn = match (self.failed, other.failed) {
                (0, _) => other.unborn,
                (_, 0) => self.unborn,
                _ => self.unborn && other.unborn,
            };
        }
        other.points.iter().for_each(|point| self.push(*point));
        self.failed += other.failed;
    }

    /// Adds a reading; a long run is thinned out evenly, its last reading always kept.
    pub fn push(&mut self, point: StatPoint) {
        if self.points.len() >= Self::MAX {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride = self.stride * 2 + 1;
        }
        if self.skipped < self.stride && self.points.len() > 1 {
            self.skipped += 1;
            *self.points.last_mut().expect("has two points") = point;
        } else {
            self.skipped = 0;
            self.points.push(point);
        }
    }
}

/// What a load itself found out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Findings {
    /// The highest load that a search found sustained, in the unit of its variable: per second, or users.
    pub safe_rate: Option<f64>,
    /// Seconds until the target had recovered.
    pub recovery_s: Option<f64>,
}

impl Findings {
    /// What it says, or else what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { safe_rate: self.safe_rate.or(other.safe_rate), recovery_s: self.recovery_s.or(other.recovery_s) }
    }
}

/// Everything measured; additive, so that seconds make a run and workers make a whole.
#[derive(Debug, Clone, Default)]
pub struct RunData {
    /// Requests by step and group.
    pub series: BTreeMap<SeriesKey, Series>,
    /// Planned but never sent, by [`DropReason`] (its position in `ALL`).
    pub dropped: [u64; 4],
    /// Iterations by their labels.
    pub iterations: BTreeMap<Labels, Iterations>,
    /// Our own lateness.
    pub send_lag: Hist,
    /// Custom metrics.
    pub custom: Custom,
    /// What the load itself found out.
    pub findings: Findings,
    /// The target's own figures, by name. Times count from the start of the run, in whichever second they were read.
    pub stats: BTreeMap<Name, StatSeries>,
    /// Hook requests.
    pub hooks: HookCounts,
    /// Requests of steps with `until` before their final answer: sent, but in no count and no rate.
    pub polls: u64,
    /// Length of the measured window.
    pub window: Duration,
    /// Samples that could not be recorded.
    pub samples_lost: u64,
}

impl RunData {
    /// Records one finished request.
    pub fn record(&mut self, key: &SeriesKey, sample: &Sample) {
        if !self.series.contains_key(key) {
            self.series.insert(key.clone(), Series::default());
        }
        self.series.get_mut(key).expect("just inserted").record(sample);
    }

    /// Counts one planned request that was never sent.
    pub fn drop_one(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Whether nothing was counted; a window in which nothing was is nothing.
    pub fn is_empty(&self) -> bool {
        self.planned() == 0
            && self.iterations.is_empty()
            && self.custom.is_empty()
            && self.stats.is_empty()
            && self.hooks == HookCounts::default()
            && self.polls == 0
            && self.samples_lost == 0
    }

    /// Sent requests.
    pub fn sent(&self) -> u64 {
        self.series.values().map(Series::sent).sum()
    }

    /// Dropped requests.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Planned requests: sent + dropped.
    pub fn planned(&self) -> u64 {
        self.sent() + self.dropped()
    }

    /// Counts by outcome over all steps.
    pub fn counts(&self) -> OutcomeCounts {
        let mut sum = Series::default().outcomes;
        self.series.values().for_each(|series| add(&mut sum, &series.outcomes));
        let [ok, rejected, failed, interrupted] = sum;
        OutcomeCounts { ok, rejected, failed, interrupted }
    }

    /// All steps and groups as one series.
    pub fn total(&self) -> Series {
        let mut total = Series::default();
        self.series.values().for_each(|series| total.merge(series));
        total
    }

    /// The iterations of all labels.
    pub fn all_iterations(&self) -> Iterations {
        let mut all = Iterations::default();
        self.iterations.values().for_each(|iterations| all.merge(iterations));
        all
    }

    /// Adds everything that `other` holds, its window too (seconds follow each other; for workers set it once).
    pub fn merge(&mut self, other: &Self) {
        for (key, series) in &other.series {
            self.series.entry(key.clone()).or_default().merge(series);
        }
        add(&mut self.dropped, &other.dropped);
        for (labels, iterations) in &other.iterations {
            self.iterations.entry(labels.clone()).or_default().merge(iterations);
        }
        self.send_lag.merge(&other.send_lag);
        self.custom.merge(&other.custom);
        self.findings = self.findings.or(other.findings);
        for (name, theirs) in &other.stats {
            self.stats.entry(name.clone()).or_default().merge(theirs);
        }
        self.hooks.ok += other.hooks.ok;
        self.hooks.failed += other.hooks.failed;
        self.polls += other.polls;
        self.window += other.window;
        self.samples_lost += other.samples_lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(outcome: Outcome, reason: &str, status: u16) -> Sample {
        Sample {
            class: Classified { outcome, reason: reason.into() },
            status: Some(status),
            latency: Some(Duration::from_millis(10)),
            service_time: Some(Duration::from_millis(9)),
            timing: [None, None, None, None, Some(Duration::from_millis(8)), Some(Duration::from_millis(1))],
            bytes: (100, 200),
            reused: Some(true),
            reconnected: false,
            stream: None,
        }
    }

    #[test]
    fn the_ledger_adds_up_after_merging() {
        let key = SeriesKey { step: "generate".into(), labels: Labels::default() };
        let mut whole = RunData::default();
        for second in 0..3 {
            let mut data = RunData { window: Duration::from_secs(1), ..RunData::default() };
            data.record(&key, &sample(Outcome::Ok, "", 200));
            data.record(&key, &sample(Outcome::Rejected, "status_429", 429));
            if second == 1 {
                data.drop_one(DropReason::MaxInFlight);
            }
            whole.merge(&data);
        }
        assert_eq!((whole.planned(), whole.sent(), whole.dropped()), (7, 6, 1));
        assert_eq!(whole.counts(), OutcomeCounts { ok: 3, rejected: 3, failed: 0, interrupted: 0 });
        let total = whole.total();
        assert_eq!(total.latency[0].count(), 3);
        assert_eq!(total.reasons[&(Outcome::Rejected, "status_429".into())], 3);
        assert_eq!(whole.window, Duration::from_secs(3));
    }

    #[test]
    fn reasons_and_statuses_are_bounded() {
        let key = SeriesKey { step: "s".into(), labels: Labels::default() };
        let mut data = RunData::default();
        for n in 0..100u16 {
            data.record(&key, &sample(Outcome::Failed, &format!("reason{n}"), 400 + n));
        }
        let series = &data.series[&key];
        assert_eq!(series.reasons.len(), MAX_REASONS + 1);
        assert_eq!(series.reasons.values().sum::<u64>(), 100);
        assert_eq!(series.status.values().sum::<u64>(), 100);
        assert!(series.status.len() <= MAX_REASONS + 1);
    }

    #[test]
    fn names_from_the_target_hide_no_built_in_reason() {
        let key = SeriesKey { step: "s".into(), labels: Labels::default() };
        let mut data = RunData::default();
        for n in 0..100 {
            data.record(&key, &sample(Outcome::Rejected, &format!("queue{n}"), 503));
            data.record(&key, &sample(Outcome::Failed, &format!("error{n}"), 500));
        }
        for reason in fail::ALL {
            data.record(&key, &sample(Outcome::Failed, reason, 500));
        }
        let mut twice = data.clone();
        twice.merge(&data);
        let reasons = &twice.series[&key].reasons;
        for reason in fail::ALL {
            assert_eq!(reasons.get(&(Outcome::Failed, reason.into())), Some(&2), "{reason}");
        }
        let other = |outcome| reasons[&(outcome, "other".into())];
        assert_eq!((other(Outcome::Rejected), other(Outcome::Failed)), (136, 136));
        assert_eq!(reasons.len(), 2 * (MAX_REASONS + 1) + fail::ALL.len());
    }

    #[test]
    fn a_long_run_of_readings_is_thinned_and_keeps_its_ends() {
        let mut stats = StatSeries::default();
        for n in 0..20_000u32 {
            stats.push(StatPoint { at: f64::from(n), value: f64::from(n) });
        }
        assert!(stats.points.len() <= StatSeries::MAX);
        assert_eq!(stats.points.first().map(|point| point.at), Some(0.0));
        assert_eq!(stats.points.last().map(|point| point.at), Some(19_999.0));
        assert!(stats.points.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}
