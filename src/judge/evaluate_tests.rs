//! Thresholds against made-up runs.

mod verdicts;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    measure::data::{RunData, Sample, SeriesKey, StatPoint},
    model::{
        Name,
        labels::Labels,
        outcome::{Classified, DropReason, Outcome},
        run::{OutcomeCounts, RunSummary, StatSummary, ThresholdReport, ThresholdResult, TimeStats, Verdict},
        units::Unit,
    },
};

pub(super) fn record(data: &mut RunData, step: &str, group: Option<(&str, &str)>, end: (Outcome, &str, u16), ms: u64) {
    let key = SeriesKey {
        step: step.into(),
        labels: group.map_or_else(Labels::default, |(name, value)| Labels::one(name, value)),
    };
    let latency = Duration::from_millis(ms);
    let sample = Sample {
        class: Classified { outcome: end.0, reason: end.1.into() },
        status: (end.2 > 0).then_some(end.2),
        latency: Some(latency),
        service_time: Some(latency / 2),
        timing: [Some(latency / 4), None, None, None, Some(latency / 2), None],
        bytes: (0, 0),
        reused: None,
        reconnected: false,
        stream: None,
    };
    data.record(&key, &sample);
    data.send_lag.record(Duration::from_micros(100));
}

pub(super) const OK: (Outcome, &str, u16) = (Outcome::Ok, "", 200);
pub(super) const REJECTED: (Outcome, &str, u16) = (Outcome::Rejected, "status_429", 429);
pub(super) const TIMEOUT: (Outcome, &str, u16) = (Outcome::Failed, "timeout", 0);
const BROKEN: (Outcome, &str, u16) = (Outcome::Failed, "status", 500);

/// 100 ms, 200 ms, … 10 s ok in `a`; 20 rejections in 1 ms and 5 time-outs in `b`; levels 1, 2 and 10; 10 s long.
fn run() -> RunData {
    let mut data = RunData { window: Duration::from_secs(10), ..RunData::default() };
    for n in 1..=100 {
        record(&mut data, "a", None, OK, n * 100);
    }
    for _ in 0..20 {
        record(&mut data, "b", None, REJECTED, 1);
    }
    for _ in 0..5 {
        record(&mut data, "b", None, TIMEOUT, 60_000);
    }
    for (level, ok, broken) in [("1", 10, 0), ("2", 9, 1), ("10", 8, 2)] {
        let ms = 100 * level.parse::<u64>().expect("a number");
        (0..ok).for_each(|_| record(&mut data, "c", Some(("level", level)), OK, ms));
        (0..broken).for_each(|_| record(&mut data, "c", Some(("level", level)), BROKEN, 5));
    }
    (0..2).for_each(|_| data.drop_one(DropReason::MaxInFlight));
    data.drop_one(DropReason::Generator);
    let iterations = data.iterations.entry(Labels::default()).or_default();
    iterations.counts.completed = 127;
    iterations.time.record(Duration::from_secs(3));
    for n in 0..40_u32 {
        let point = |value: f64| StatPoint { at: f64::from(n), value };
        data.stats.entry("memory".into()).or_default().push(point(1e9 + 1e6 * f64::from(n)));
        data.stats.entry("queued".into()).or_default().push(point(f64::from(n % 3)));
        data.stats.entry("target_rejected".into()).or_default().push(point(f64::from(if n < 30 {
            200 + n
        } else {
            n - 30
        })));
        data.stats.entry("used".into()).or_default().push(point(0.5 + 0.01 * f64::from(n)));
    }
    data
}

fn history() -> History {
    let units =
        [("memory", Unit::Bytes), ("queued", Unit::Count), ("target_rejected", Unit::Count), ("used", Unit::Ratio)];
    History { units: units.map(|(name, unit)| (Name::from(name), unit)).into(), ..History::default() }
}

pub(super) fn judged(src: &str, data: &RunData, history: &History) -> ThresholdReport {
    let threshold = parse_threshold(src).unwrap_or_else(|error| panic!("{src}: {error:?}"));
    evaluate(&threshold, &Evidence { data, history, windows: None, clock_steps: 0 })
}

/// Value (within 1.1 %), unit and result of each expression on [`run`].
fn check_values(cases: &[(&str, Option<f64>, &str, ThresholdResult)]) {
    let (data, history) = (run(), history());
    for (src, value, unit, result) in cases {
        let report = judged(src, &data, &history);
        let near = match (report.value, *value) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 0.011 * expected.abs(),
            (found, expected) => found == expected,
        };
        assert!(near && report.unit == *unit && report.result == *result, "{src}: {report:#?}");
    }
}

#[test]
fn times_are_over_ok_unless_selected() {
    use ThresholdResult::{Fail, NoData, Pass};
    check_values(&[
        ("p50(latency{step=a}) < 2s", Some(5.0), "s", Fail),
        ("max(latency) <= 10s", Some(10.0), "s", Pass),
        ("max(latency{outcome=failed}) < 10s", Some(60.0), "s", Fail),
        ("p95(latency{outcome=rejected}) < 200ms", Some(0.001), "s", Pass),
        ("avg(service_time{step=a}) < 3s", Some(2.525), "s", Pass),
        ("min(timing{timing=blocked,step=a}) > 20ms", Some(0.025), "s", Pass),
        ("max(timing{timing=dns}) > 20ms", None, "s", NoData),
        ("p99(send_lag) < 5ms", Some(0.0001), "s", Pass),
        ("p95(iteration) < 2s", Some(3.0), "s", Fail),
        ("p95(latency{step=nobody}) < 2s", None, "s", NoData),
        ("max(latency{level=last}) < 3 * max(latency{level=first})", Some(1.0), "s", Fail),
        ("max(latency{level=2}) <= 2 * max(latency{level=first})", Some(0.2), "s", Pass),
        ("max(latency{level!=10,step=c}) <= 200ms", Some(0.2), "s", Pass),
        ("max(latency{step=~/[bc]/}) <= 1s", Some(1.0), "s", Pass),
        ("max(latency{step=~/c./}) <= 1s", None, "s", NoData),
    ]);
}

#[test]
fn counts_within_selectors() {
    use ThresholdResult::{Fail, Pass};
    check_values(&[
        ("count(ok) == 127", Some(127.0), "", Pass),
        ("count(requests) == 155", Some(155.0), "", Pass),
        ("count(planned) == 158", Some(158.0), "", Pass),
        ("count(failed{reason=timeout}) == 0", Some(5.0), "", Fail),
        ("count(failed{reason!=timeout}) == 3", Some(3.0), "", Pass),
        ("count(failed{step=a}) == 0", Some(0.0), "", Pass),
        ("count(failed{step=nobody}) == 0", Some(0.0), "", Pass),
        ("count(rejected) >= 5", Some(20.0), "", Pass),
        ("count(requests{status=5xx}) == 0", Some(3.0), "", Fail),
        ("count(requests{status=429}) == 20", Some(20.0), "", Pass),
        ("count(dropped) == 0", Some(3.0), "", Fail),
        ("count(dropped{reason=generator}) == 1", Some(1.0), "", Pass),
        ("count(iterations) == 127", Some(127.0), "", Pass),
        ("count(clock_steps) == 0", Some(0.0), "", Pass),
    ]);
}

#[test]
fn shares_within_selectors() {
    use ThresholdResult::{Fail, NoData, Pass};
    check_values(&[
        ("rate(rejected) <= 5%", Some(20.0 / 155.0), "ratio", Fail),
        ("rate(ok{level=last}) >= 80%", Some(0.8), "ratio", Pass),
        ("rate(ok{level=last}) >= rate(ok{level=first}) - 20pp", Some(0.8), "ratio", Pass),
        ("rate(ok{level=last}) >= rate(ok{level=first}) - 19pp", Some(0.8), "ratio", Fail),
        ("rate(ok{level=1}) == 100%", Some(1.0), "ratio", Pass),
        ("rate(ok) == 100%", Some(127.0 / 155.0), "ratio", Fail),
        ("rate(requests{status=429}) < 20%", Some(20.0 / 155.0), "ratio", Pass),
        ("rate(dropped) < 1%", Some(3.0 / 158.0), "ratio", Fail),
        ("rate(ok{step=nobody}) == 100%", None, "ratio", NoData),
    ]);
}

#[test]
fn rates_per_second() {
    use ThresholdResult::{Fail, Pass};
    check_values(&[("rate(requests) > 15/s", Some(15.5), "1/s", Pass), ("rps(ok) > 13/s", Some(12.7), "1/s", Fail)]);
}

#[test]
fn stats_of_the_target() {
    use ThresholdResult::{Fail, NoData, Pass};
    check_values(&[
        ("last(memory) < 1GB", Some(1.039e9), "B", Fail),
        ("first(memory) >= 1GB", Some(1e9), "B", Pass),
        ("growth(memory) < 5%", Some(0.036), "ratio", Pass),
        ("growth(memory) < 30MB", Some(36e6), "B", Fail),
        ("slope(memory) < 1MB/h", Some(1e6), "B/s", Fail),
        ("slope(queued) <= 0/min", Some(0.0), "1/s", Pass),
        ("max(queued) == 2", Some(2.0), "", Pass),
        ("avg(used) < 90%", Some(0.695), "ratio", Pass),
        ("med(queued) == 1", Some(1.0), "", Pass),
        ("increase(target_rejected) <= 100", Some(38.0), "", Pass),
        ("increase(target_rejected since last_run) <= 10", Some(38.0), "", Fail),
        ("last(unread) < 5", None, "", NoData),
    ]);
}

#[test]
fn calculations_and_the_past() {
    use ThresholdResult::{Fail, NoData, Skipped};
    check_values(&[
        ("drift(p95(latency)) < 10%", None, "ratio", NoData),
        ("p95(latency) < 1.5 * baseline(p95(latency))", None, "s", Skipped),
        ("count(rejected) / count(requests) < 10%", Some(20.0 / 155.0), "ratio", Fail),
        ("count(ok) / count(dropped{reason=policy}) > 10%", None, "ratio", NoData),
    ]);
}

#[test]
fn nothing_measured_is_never_a_pass() {
    let (data, history) = (RunData::default(), history());
    for src in [
        "count(ok) > 0",
        "count(failed) == 0",
        "rate(ok) == 100%",
        "rate(failed) < 1%",
        "p95(latency) < 2s",
        "rate(requests) < 100/s",
        "count(dropped) == 0",
        "rate(dropped) < 1%",
        "last(memory) < 1GB",
        "increase(target_rejected) <= 100",
        "growth(memory) < 5%",
    ] {
        assert_eq!(judged(src, &data, &history).result, ThresholdResult::NoData, "{src}");
    }
}

#[test]
fn margins() {
    let (data, history) = (run(), history());
    let check = |src: &str, expected: Option<f64>| {
        let found = judged(src, &data, &history).margin_ratio;
        let near = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 0.011,
            (found, expected) => found == expected,
        };
        assert!(near, "{src}: {found:?}");
    };
    check("max(latency) < 20s", Some(0.5));
    check("max(latency) < 5s", Some(-1.0));
    check("count(ok) >= 100", Some(0.27));
    check("count(ok) >= 254", Some(-0.5));
    check("count(dropped) <= 0", Some(-1.0));
    check("count(failed{step=a}) == 0", Some(0.0));
    check("count(ok) != 0", None);
}

#[test]
fn shares_compare_as_counts() {
    let history = History::default();
    let mut data = RunData::default();
    (0..19).for_each(|_| record(&mut data, "a", None, OK, 1));
    record(&mut data, "a", None, TIMEOUT, 1);
    for (src, holds) in [
        ("rate(ok) >= 95%", true),
        ("rate(ok) == 95%", true),
        ("rate(ok) > 95%", false),
        ("rate(failed) <= 5%", true),
        ("rate(failed) < 5%", false),
        ("rate(rejected) == 0%", true),
        ("rate(failed) != 0%", true),
        ("100% == rate(ok)", false),
    ] {
        assert_eq!(judged(src, &data, &history).result == ThresholdResult::Pass, holds, "{src}");
    }
}

#[test]
fn too_few_samples_are_no_data() {
    let (data, history) = (run(), history());
    for (src, min_samples, result) in [
        ("p95(latency) < 20s", 127, ThresholdResult::Pass),
        ("p95(latency) < 20s", 128, ThresholdResult::NoData),
        ("rate(ok) > 1%", 156, ThresholdResult::NoData),
        ("last(memory) > 0GB", 41, ThresholdResult::NoData),
    ] {
        let threshold = crate::model::expr::Threshold { min_samples, ..parse_threshold(src).expect(src) };
        let evidence = Evidence { data: &data, history: &history, windows: None, clock_steps: 0 };
        assert_eq!(evaluate(&threshold, &evidence).result, result, "{src} {min_samples}");
    }
}

/// A past run with a p95 of `p95` seconds and the counter at `rejected`.
pub(super) fn past(p95: f64, rejected: f64) -> RunSummary {
    let text = format!(
        r#"{{"schema":"plimsoll/run/1","run_id":"r","scenario":"s","target":"t","trigger":"cron","due_at":"2026-01-01T00:00:00Z",
        "started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","duration_s":1,"verdict":"pass","reasons":[],
        "planned":20,"sent":20,"dropped":{{}},"outcomes":{{"ok":19,"rejected":1,"failed":0,"interrupted":0}},"rejected":{{}},"failed":{{}},
        "status":{{}},"iterations":{{"completed":1,"failed":0,"interrupted":0}},"iteration_s":{0},"throughput_per_s":1,
        "latency_s":{{"ok":{0}}},"service_time_s":{{}},"send_lag_s":{0},"timing_s":{{}},"steps":{{}},"groups":{{}},"stats":{{}},
        "thresholds":[],"generator":{{"valid":true,"cpu_ratio":0,"rss_bytes":0,"open_fds":0,"samples_lost":0,"clock_steps":0,"reasons":[]}},
        "limit":null,"recovery_s":null,"search":null,"plan":null,"config_hash":"","version":"","seed":1}}"#,
        serde_json::to_string(&TimeStats { count: 1, p95, ..TimeStats::default() }).expect("is JSON")
    );
    let mut run: RunSummary = serde_json::from_str(&text).expect("is a run");
    let stat = StatSummary {
        unit: String::new(),
        samples: 1,
        failed: 0,
        first: None,
        last: Some(rejected),
        min: None,
        max: None,
        growth_ratio: None,
        slope_per_s: None,
        trend: "none".to_owned(),
    };
    run.stats.insert("target_rejected".to_owned(), stat);
    run
}

#[test]
fn past_runs_count() {
    let data = run();
    let good = vec![past(1.0, 0.0), past(30.0, 0.0), past(8.0, 0.0)];
    let history = History { previous: Some(past(1.0, 50.0)), good, ..history() };
    let report = judged("max(latency) <= 1.5 * baseline(p95(latency))", &data, &history);
    assert_eq!((report.result, report.limit), (ThresholdResult::Pass, Some(12.0)));
    let report = judged("rate(rejected) <= 2 * baseline(rate(rejected))", &data, &history);
    assert_eq!((report.result, report.limit), (ThresholdResult::Fail, Some(0.1)));
    // 200 ok and 10 rejected in 20 s each time: 10.5 answered per second, not the 10 that were ok.
    let good = vec![OutcomeCounts { ok: 200, rejected: 10, ..OutcomeCounts::default() }; 3].into_iter();
    let good = good.map(|outcomes| RunSummary { outcomes, throughput_per_s: 10.0, ..past(1.0, 0.0) }).collect();
    let paced = History { good, ..History::default() };
    let limit = |src: &str| judged(src, &data, &paced).limit;
    assert_eq!(limit("rps(requests) >= baseline(rps(requests))"), Some(10.5));
    assert_eq!(limit("rps(ok) >= baseline(rps(ok))"), Some(10.0));
    let none = RunSummary { outcomes: OutcomeCounts::default(), throughput_per_s: 0.0, ..past(1.0, 0.0) };
    let none = History { good: vec![none; 3], ..History::default() };
    assert_eq!(judged("rps(ok) >= baseline(rps(ok))", &data, &none).result, ThresholdResult::Skipped);
    // From 50 at the end of the run before to 229, then a restart and on to 9.
    assert_eq!(judged("increase(target_rejected since last_run) <= 100", &data, &history).value, Some(188.0));
    assert_eq!(judged("increase(target_rejected) <= 100", &data, &history).value, Some(38.0));
}

#[test]
fn sentences() {
    let (data, history) = (run(), history());
    let check = |src: &str, expected: &str| {
        let threshold = parse_threshold(src).expect(src);
        assert_eq!(sentence(&threshold, &judged(src, &data, &history)), expected);
    };
    check("rate(rejected) <= 5%", "rate(rejected) <= 5% is breached: 12.9 %");
    check("max(latency) < 2s", "max(latency) < 2s is breached: 10 s");
    check("count(failed{reason=timeout}) == 0", "count(failed{reason=timeout}) == 0 is breached: 5");
    check("last(memory) < 1GB", "last(memory) < 1GB is breached: 1.04 GB");
    check("p95(latency{step=nobody}) < 2s", "p95(latency{step=nobody}) < 2s has no data");
    check("count(ok) > 0", "count(ok) > 0 holds: 127");
    check(
        "max(latency{level=last}) < 3 * max(latency{level=first})",
        "max(latency{level=last}) < 3 * max(latency{level=first}) is breached: 1 s, the limit being 300 ms",
    );
    let mut many = RunData::default();
    (0..9999).for_each(|_| record(&mut many, "a", None, OK, 1));
    record(&mut many, "a", None, TIMEOUT, 1);
    let threshold = parse_threshold("rate(ok) == 100%").expect("parses");
    let said = sentence(&threshold, &judged("rate(ok) == 100%", &many, &history));
    assert_eq!(said, "rate(ok) == 100% is breached: 99.99 %");
}

#[test]
fn a_counter_that_was_born_in_the_run_began_at_0() {
    let check = |readings: &[Option<f64>], lacking: bool, expected: Option<f64>| {
        // Second by second, as a run tells it.
        let mut data = RunData::default();
        for (n, reading) in (0_u32..).zip(readings) {
            let mut second = RunData::default();
            let series = second.stats.entry("target_rejected".into()).or_default();
            match reading {
                Some(value) => series.push(StatPoint { at: f64::from(n), value: *value }),
                None => series.fail(lacking),
            }
            data.merge(&second);
        }
        let found = judged("increase(target_rejected) <= 100", &data, &history());
        assert_eq!(found.value, expected, "{readings:?}");
    };
    check(&[None, Some(5.0)], true, Some(5.0));
    check(&[None, None, Some(5.0), Some(8.0)], true, Some(8.0));
    check(&[Some(5.0), None, Some(8.0)], true, Some(3.0));
    // Whether there was one before is not known.
    check(&[None, Some(5.0)], false, None);
    check(&[None, Some(5.0), Some(8.0)], false, Some(3.0));
    check(&[None, None], true, None);
}
