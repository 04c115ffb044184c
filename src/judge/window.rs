//! Judges during the run: thresholds `over W [for H]`, those that abort the run, and the course of the run for `drift`.
//! Fed once a second with that second's measurements, of which it keeps only what its thresholds ask for; memory is
//! bounded, because old seconds are merged into at most 120 buckets per window.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    evaluate::{Evidence, History, judge, sentence},
    gauges,
    needs::Needs,
};
use crate::{
    measure::data::RunData,
    model::{
        Name,
        expr::{Measure, Threshold},
        run::{ThresholdReport, ThresholdResult},
    },
};

/// Most buckets of a window.
const BUCKETS: u32 = 120;

/// Windows that `drift` looks at.
const COURSE: usize = 20;

/// Slices of the run that are kept for `drift`; beyond it each two become one.
const SLICES: usize = 4 * COURSE;

/// A reason to end the run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// Name of the threshold.
    pub threshold: Name,
    /// In words.
    pub reason: String,
}

/// A breach found during the run; it stands whatever comes later.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// When it was certain, since the start of the run.
    pub at: Duration,
    /// As judged then.
    pub report: ThresholdReport,
}

/// Judges during the run.
#[derive(Debug)]
pub struct WindowJudge {
    rules: Vec<Rule>,
    course: Option<Course>,
    history: Arc<History>,
    elapsed: Duration,
}

impl WindowJudge {
    /// A judge of those thresholds that are judged during the run; the others are passed over.
    pub fn new(thresholds: &[Threshold], history: Arc<History>) -> Self {
        let drifts = |threshold: &&Threshold| {
            let drift = |side: &Measure| side.any(&|part| matches!(part, Measure::Drift(_)));
            drift(&threshold.left) || drift(&threshold.right)
        };
        let drifting: Vec<&Threshold> = thresholds.iter().filter(drifts).collect();
        let course = (!drifting.is_empty()).then(|| Course::new(Needs::of(&drifting)));
        let is_during = |threshold: &&Threshold| {
            threshold.over.is_some() || threshold.abort_on_fail || threshold.only_while.is_some()
        };
        let during = thresholds.iter().filter(is_during);
        Self { rules: during.map(Rule::new).collect(), course, history, elapsed: Duration::ZERO }
    }

    /// Whether there is nothing to judge during the run: it need not be fed.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.course.is_none()
    }

    /// Takes in what was measured since the last call; `elapsed` is the time since the start of the run. The first
    /// breach of a threshold that aborts is told once.
    pub fn push(&mut self, second: &RunData, elapsed: Duration) -> Option<Abort> {
        let length = elapsed.saturating_sub(self.elapsed);
        self.elapsed = elapsed;
        if let Some(course) = &mut self.course {
            course.push(second, length);
        }
        let mut abort = None;
        for rule in &mut self.rules {
            let found = rule.push(second, length, elapsed, &self.history);
            abort = abort.or(found);
        }
        abort
    }

    /// The breach of a threshold, if one was found.
    pub fn breached(&self, name: &str) -> Option<&Breach> {
        self.rule(name)?.breach.as_ref()
    }

    /// What a threshold last came to; `None` before its window was full.
    pub fn latest(&self, name: &str) -> Option<&ThresholdReport> {
        self.rule(name)?.latest.as_ref()
    }

    /// What was measured in the seconds in which the `while` of a threshold held.
    pub(super) fn held(&self, name: &str) -> Option<RunData> {
        Some(self.rule(name)?.window.merged())
    }

    /// The time since the start of the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| *rule.threshold.name == *name)
    }

    /// The run in at most 20 parts of about the same length, for `drift`.
    pub(super) fn course(&self) -> Vec<RunData> {
        self.course.as_ref().map(Course::parts).unwrap_or_default()
    }
}

/// A breach that has not lasted long enough to be one: its value stands, a distance to the limit it has none.
pub(super) fn not_held(report: ThresholdReport) -> ThresholdReport {
    ThresholdReport { result: ThresholdResult::Pass, margin_ratio: None, ..report }
}

/// One threshold that is judged during the run.
#[derive(Debug)]
struct Rule {
    threshold: Threshold,
    needs: Needs,
    window: Window,
    /// The last readings of the gauges that its `while` names.
    readings: BTreeMap<Name, f64>,
    /// Since when it is breached without a break.
    since: Option<Duration>,
    latest: Option<ThresholdReport>,
    breach: Option<Breach>,
}

impl Rule {
    fn new(threshold: &Threshold) -> Self {
        Self {
            threshold: threshold.clone(),
            needs: Needs::of(&[threshold]),
            window: Window::new(threshold.over),
            readings: BTreeMap::new(),
            since: None,
            latest: None,
            breach: None,
        }
    }

    fn push(&mut self, second: &RunData, length: Duration, elapsed: Duration, history: &History) -> Option<Abort> {
        if self.breach.is_some() || !self.counts(second) {
            return None;
        }
        let full = self.window.add(self.needs.strip(second, length));
        let at_the_end = self.threshold.over.is_none() && !self.threshold.abort_on_fail;
        if !full || at_the_end || elapsed < self.threshold.delay_abort_eval {
            return None;
        }
        let data = self.window.merged();
        let evidence = Evidence { data: &data, history, windows: None, clock_steps: 0 };
        let report = judge(&self.threshold, &evidence);
        if report.result != ThresholdResult::Fail {
            self.since = None;
            self.latest = Some(report);
            return None;
        }
        let since = *self.since.get_or_insert(elapsed);
        if elapsed.saturating_sub(since) < self.threshold.hold {
            self.latest = Some(not_held(report));
            return None;
        }
        self.latest = Some(report.clone());
        let reason = sentence(&self.threshold, &report);
        self.breach = Some(Breach { at: elapsed, report });
        self.window.clear();
        self.threshold.abort_on_fail.then(|| Abort { threshold: self.threshold.name.clone(), reason })
    }

    /// Whether a second counts: its `while` holds by the last readings known in it.
    fn counts(&mut self, second: &RunData) -> bool {
        let Some(held) = &self.threshold.only_while else { return true };
        for (name, series) in &second.stats {
            if let Some(point) = series.points.last() {
                self.readings.insert(name.clone(), point.value);
            }
        }
        gauges::holds(held, &|name| self.readings.get(name).copied()).unwrap_or(false)
    }
}

/// The last seconds, or all of them.
#[derive(Debug)]
pub(super) struct Window {
    over: Option<Duration>,
    /// Without `over`, one bucket with the run so far.
    buckets: VecDeque<RunData>,
}

impl Window {
    pub(super) fn new(over: Option<Duration>) -> Self {
        Self { over, buckets: VecDeque::new() }
    }

    /// What is in it.
    pub(super) fn merged(&self) -> RunData {
        merged(&self.buckets)
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Adds a second; whether the window is full.
    pub(super) fn add(&mut self, second: RunData) -> bool {
        let Some(over) = self.over else {
            self.append(second, Duration::MAX);
            return true;
        };
        self.append(second, over / BUCKETS);
        let mut span: Duration = self.buckets.iter().map(|bucket| bucket.window).sum();
        while let Some(rest) = self.buckets.front().map(|front| span.saturating_sub(front.window))
            && rest >= over
        {
            span = rest;
            self.buckets.pop_front();
        }
        span >= over
    }

    /// Merges a second into the last bucket as long as that stays within `width`.
    fn append(&mut self, second: RunData, width: Duration) {
        match self.buckets.back_mut() {
            Some(last) if last.window.saturating_add(second.window) <= width => last.merge(&second),
            _ => self.buckets.push_back(second),
        }
    }
}

/// The run in slices of equal length, which doubles as the run grows.
#[derive(Debug)]
struct Course {
    needs: Needs,
    slices: Vec<RunData>,
    /// Seconds (calls) in a slice, and in the last one so far.
    width: u32,
    filled: u32,
}

impl Course {
    fn new(needs: Needs) -> Self {
        Self { needs, slices: Vec::new(), width: 1, filled: 0 }
    }

    fn push(&mut self, second: &RunData, length: Duration) {
        let second = self.needs.strip(second, length);
        match self.slices.last_mut() {
            Some(last) if self.filled < self.width => last.merge(&second),
            _ => {
                if self.slices.len() == SLICES {
                    self.halve();
                }
                self.slices.push(second);
                self.filled = 0;
            }
        }
        self.filled += 1;
    }

    fn halve(&mut self) {
        self.slices = merge_chunks(&self.slices, 2);
        self.width *= 2;
    }

    /// At most [`COURSE`] parts.
    fn parts(&self) -> Vec<RunData> {
        let mut parts: Vec<RunData> = Vec::with_capacity(COURSE);
        let count = self.slices.len().clamp(1, COURSE);
        for (index, slice) in self.slices.iter().enumerate() {
            if index * count / self.slices.len() == parts.len() {
                parts.push(slice.clone());
            } else if let Some(last) = parts.last_mut() {
                last.merge(slice);
            }
        }
        parts
    }
}

fn merged<'a>(parts: impl IntoIterator<Item = &'a RunData>) -> RunData {
    let mut sum = RunData::default();
    parts.into_iter().for_each(|part| sum.merge(part));
    sum
}

fn merge_chunks(slices: &[RunData], size: usize) -> Vec<RunData> {
    slices.chunks(size).map(merged).collect()
}
