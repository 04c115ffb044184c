//! Each request of a run by itself, for those who want to look at them: `--samples` and `--verbose`.
//!
//! A run tells nobody of single requests unless it is asked to. Then each goes into a queue with a bound, and never
//! waits there: what finds it full is counted as lost, since a slow disk must not slow the load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{perform::Performed, user::Shared};
use crate::{
    http::scope::Scope,
    measure::data::{Sample, Timing},
    model::{Name, labels::Labels, outcome::Outcome, scenario::Step},
};

/// Requests that wait to be written at most.
pub const QUEUE: usize = 65_536;

/// Which requests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// Those that were rejected or failed.
    NotOk,
}

/// Where a run tells of its requests.
#[derive(Debug, Clone)]
pub struct Samples {
    queue: Sender<Row>,
    lost: Arc<AtomicU64>,
    wanted: Wanted,
}

/// The other end.
#[derive(Debug)]
pub struct Rows {
    queue: Receiver<Row>,
    lost: Arc<AtomicU64>,
}

/// A queue for the requests of a run.
pub fn queue(wanted: Wanted) -> (Samples, Rows) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let lost = Arc::<AtomicU64>::default();
    (Samples { queue: sender, lost: lost.clone(), wanted }, Rows { queue: receiver, lost })
}

/// One request.
#[derive(Debug)]
pub struct Row {
    /// When it was intended, by the wall clock.
    pub at: Timestamp,
    /// The same, after the start of the load.
    pub since: Duration,
    /// Of the scenario.
    pub scenario: Name,
    /// Of the run.
    pub run_id: Name,
    /// Its step.
    pub step: Name,
    /// Dimensions of its series: `level=2`, `phase=overload`.
    pub labels: Labels,
    /// The user, or the slot of an arrival.
    pub vu: u64,
    /// Of this user.
    pub iteration: u64,
    /// What was measured.
    pub sample: Sample,
    /// Our own lateness.
    pub send_lag: Duration,
    /// Of one that was not ok: request and what happened, in words, without secrets.
    pub detail: Option<(String, String)>,
}

impl Samples {
    /// Whether somebody wants to know of a request that ended so.
    pub fn wants(&self, outcome: Outcome) -> bool {
        self.wanted == Wanted::All || matches!(outcome, Outcome::Rejected | Outcome::Failed)
    }

    /// Tells of one.
    pub fn tell(&self, row: Row) {
        if self.queue.try_send(row).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Rows {
    /// The next one; blocks. `None` when the run is over.
    pub fn recv(&mut self) -> Option<Row> {
        self.queue.blocking_recv()
    }

    /// How many found the queue full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Tells of a request of the load, if somebody wants to know.
    pub(super) fn tell(&self, step: &Step, labels: &Labels, scope: &Scope, done: &Performed, intended: Instant) {
        let outcome = done.landing.class.outcome;
        let Some(samples) = self.samples.as_ref().filter(|samples| samples.wants(outcome)) else { return };
        samples.tell(Row {
            at: self.clock.now().wall_at(intended),
            since: intended.saturating_duration_since(self.started.get()),
            scenario: self.scenario.name.clone(),
            run_id: self.run_id.clone(),
            step: step.name.clone(),
            labels: labels.clone(),
            vu: scope.vu,
            iteration: scope.iteration,
            sample: done.sample.clone(),
            send_lag: done.handed.saturating_duration_since(intended),
            detail: (outcome != Outcome::Ok).then(|| self.in_words(step, done)),
        });
    }
}

/// As it stands in a line of NDJSON; what did not happen is left out.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    t_s: f64,
    scenario: &'a str,
    run_id: &'a str,
    step: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    labels: Map<String, Value>,
    vu: u64,
    iteration: u64,
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_time_s: Option<f64>,
    send_lag_s: f64,
    timing_s: Map<String, Value>,
    bytes_sent: u64,
    bytes_read: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl Row {
    /// A line of NDJSON, without the line end.
    pub fn line(&self) -> String {
        let sample = &self.sample;
        let timing = Timing::ALL.iter().zip(sample.timing);
        let timing = timing.filter_map(|(timing, time)| Some((timing.as_str().to_owned(), seconds(time?).into())));
        let line = Line {
            at: format!("{:.6}", self.at),
            t_s: seconds(self.since),
            scenario: &self.scenario,
            run_id: &self.run_id,
            step: &self.step,
            labels: self.labels.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect(),
            vu: self.vu,
            iteration: self.iteration,
            outcome: sample.class.outcome.as_str(),
            reason: &sample.class.reason,
            status: sample.status,
            latency_s: sample.latency.map(seconds),
            service_time_s: sample.service_time.map(seconds),
            send_lag_s: seconds(self.send_lag),
            timing_s: timing.collect(),
            bytes_sent: sample.bytes.0,
            bytes_read: sample.bytes.1,
            reused: sample.reused,
            ttft_s: sample.stream.as_ref().and_then(|stream| stream.first_token).map(seconds),
            tokens: sample.stream.as_ref().map(|stream| stream.tokens()),
            detail: self.detail.as_ref().map(|(_, detail)| detail.as_str()),
        };
        serde_json::to_string(&line).expect("it is text and numbers")
    }
}

/// To the microsecond: what a clock can tell.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::Classified;

    fn row(outcome: Outcome) -> Row {
        let ms = Duration::from_millis;
        Row {
            at: "2026-11-21T12:00:00.123456Z".parse().expect("a timestamp"),
            since: ms(1500),
            scenario: "sustained".into(),
            run_id: "r".into(),
            step: "generate".into(),
            labels: Labels::one("phase", "overload"),
            vu: 3,
            iteration: 7,
            sample: Sample {
                class: Classified { outcome, reason: "status_429".into() },
                status: Some(429),
                latency: Some(ms(20)),
                service_time: Some(ms(18)),
                timing: [None, None, Some(Duration::from_micros(250)), None, Some(ms(17)), Some(ms(1))],
                bytes: (120, 64),
                reused: Some(false),
                reconnected: false,
                stream: None,
            },
            send_lag: Duration::from_micros(40),
            detail: Some(("POST http://localhost/".into(), "status 429".into())),
        }
    }

    #[test]
    fn a_line_of_ndjson() {
        insta::assert_snapshot!(row(Outcome::Rejected).line(), @r#"{"at":"2026-11-21T12:00:00.123456Z","t_s":1.5,"scenario":"sustained","run_id":"r","step":"generate","labels":{"phase":"overload"},"vu":3,"iteration":7,"outcome":"rejected","reason":"status_429","status":429,"latency_s":0.02,"service_time_s":0.018,"send_lag_s":0.00004,"timing_s":{"connect":0.00025,"ttfb":0.017,"transfer":0.001},"bytes_sent":120,"bytes_read":64,"reused":false,"detail":"status 429"}"#);
    }

    #[test]
    fn what_finds_the_queue_full_is_counted() {
        let (samples, mut rows) = queue(Wanted::All);
        for _ in 0..QUEUE + 3 {
            samples.tell(row(Outcome::Ok));
        }
        assert_eq!(rows.lost(), 3);
        drop(samples);
        let mut told = 0;
        while rows.recv().is_some() {
            told += 1;
        }
        assert_eq!(told, QUEUE);
    }

    #[test]
    fn who_asks_for_trouble_is_told_of_nothing_else() {
        let (samples, _rows) = queue(Wanted::NotOk);
        let told: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| samples.wants(*outcome)).collect();
        assert_eq!(told, [Outcome::Rejected, Outcome::Failed]);
    }
}
