//! Streams, custom metrics, iterations by label, spreads, gauges, grades and `while`.

use std::{sync::Arc, time::Duration};

use super::{
    evaluate_tests::{OK, REJECTED, judged, past, record},
    *,
};
use crate::{
    measure::{
        data::{Findings, Iterations, RunData, Sample, SeriesKey, StatPoint},
        dist::Dist,
        stream::StreamSample,
    },
    model::{
        expr::Threshold,
        labels::Labels,
        outcome::{Classified, Outcome},
        run::{GroupStats, IterationCounts, MetricSummary, RunSummary, StreamSummary, ThresholdResult, TimeStats},
        units::Unit,
    },
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn key(step: &str, labels: Labels) -> SeriesKey {
    SeriesKey { step: step.into(), labels }
}

/// 11 tokens each 100 ms after a first one at `ttft`; service time = latency.
fn stream(data: &mut RunData, ttft: u64, outcome: Outcome, stalls: u64) {
    let mut gaps = Dist::default();
    (0..10).for_each(|_| gaps.record(0.1));
    let ended = ms(ttft + 1000);
    let stream = StreamSample {
        first_token: Some(ms(ttft)),
        last_token: Some(ended),
        ended,
        events: 12,
        chunks: 11,
        usage: None,
        gaps,
        stalls,
    };
    let sample = Sample {
        class: Classified { outcome, reason: "".into() },
        status: Some(200),
        latency: Some(ended),
        service_time: Some(ended),
        timing: [None; 6],
        bytes: (0, 0),
        reused: None,
        reconnected: false,
        stream: Some(Box::new(stream)),
    };
    data.record(&key("chat", Labels::default()), &sample);
}

fn iterations(data: &mut RunData, labels: Labels, completed: u64, failed: u64, ms: u64, span: (f64, f64)) {
    let mut all = Iterations {
        counts: IterationCounts { completed, failed, interrupted: 0 },
        span: Some(span),
        ..Iterations::default()
    };
    (0..completed).for_each(|_| all.time.record(Duration::from_millis(ms)));
    data.iterations.insert(labels, all);
}

fn run() -> RunData {
    let mut data = RunData { window: Duration::from_secs(10), ..RunData::default() };
    (1..=10).for_each(|n| stream(&mut data, n * 100, Outcome::Ok, 0));
    stream(&mut data, 30_000, Outcome::Failed, 2);
    iterations(&mut data, Labels::one("user", "a").with("level", "1"), 10, 0, 1000, (0.0, 4.0));
    iterations(&mut data, Labels::one("user", "b").with("level", "1"), 30, 0, 1000, (0.5, 5.0));
    iterations(&mut data, Labels::one("user", "a").with("level", "2"), 10, 10, 3000, (6.0, 26.0));
    for (turn, hits) in [("1", 0), ("2", 8), ("3", 10)] {
        let key = key("chat", Labels::one("turn", turn));
        (0..10).for_each(|n| data.custom.rate(&"hit".into(), &key, n < hits));
        data.custom.trend(&"wait".into(), &key, f64::from(hits));
    }
    for n in 0..20_u32 {
        let mut point = |name: &str, every: u32, value: f64| {
            if n % every == 0 {
                data.stats.entry(name.into()).or_default().push(StatPoint { at: f64::from(n), value });
            }
        };
        point("queued", 1, f64::from(n));
        point("queue_limit", 5, 10.0);
        point("done", 1, f64::from(100 + n % 10));
        point("refused", 1, f64::from(n % 7));
    }
    data.findings = Findings { safe_rate: Some(80.0), recovery_s: None };
    data
}

fn history() -> History {
    let units = [("wait".into(), Unit::Seconds), ("queued".into(), Unit::Count)].into();
    History { units, counters: ["done".into(), "refused".into()].into(), ..History::default() }
}

#[test]
fn values_units_and_results() {
    use ThresholdResult::{Fail, NoData, Pass};
    let (data, history) = (run(), history());
    let cases: &[(&str, Option<f64>, &str, ThresholdResult)] = &[
        ("p50(ttft) <= 500ms", Some(0.5), "s", Pass),
        ("max(ttft) < 1s", Some(1.0), "s", Fail),
        ("p99(itl) < 150ms", Some(0.1), "s", Pass),
        ("avg(tpot) < 50ms", Some(0.1), "s", Fail),
        ("count(tokens) == 110", Some(110.0), "", Pass),
        ("rps(tokens) > 10/s", Some(11.0), "1/s", Pass),
        ("avg(tokens) >= 11", Some(11.0), "", Pass),
        ("max(tokens_per_s) > 20", Some(10.0), "", Fail),
        ("max(tokens_per_s{step=chat}) > 5/s", Some(10.0), "1/s", Pass),
        ("p95(ttft{step=other}) < 1s", None, "s", NoData),
        ("count(stalls) == 0", Some(2.0), "", Fail),
        ("count(iterations) == 50", Some(50.0), "", Pass),
        ("count(iterations{outcome=failed}) == 10", Some(10.0), "", Pass),
        ("rate(iterations) >= 99%", Some(50.0 / 60.0), "ratio", Fail),
        ("rate(iterations{level=1}) == 100%", Some(1.0), "ratio", Pass),
        ("rps(iterations) >= 5/s", Some(5.0), "1/s", Pass),
        ("rps(iterations{level=1}) >= 8/s", Some(8.0), "1/s", Pass),
        ("max(iteration{level=last}) < 2s", Some(3.0), "s", Fail),
        ("elapsed < 30s", Some(26.0), "s", Pass),
        ("elapsed{level=first} <= 5s", Some(5.0), "s", Pass),
        ("elapsed{level>1} <= 5s", Some(20.0), "s", Fail),
        ("elapsed{level=7} <= 5s", None, "s", NoData),
        ("elapsed{level=last} < 2 * elapsed{level=first}", Some(20.0), "s", Fail),
        ("count(tokens) / elapsed > 4/s", Some(110.0 / 26.0), "1/s", Pass),
        ("rate(hit) > 50%", Some(0.6), "ratio", Pass),
        ("rate(hit{turn>1}) >= 90%", Some(0.9), "ratio", Pass),
        ("count(hit{turn=first}) == 0", Some(0.0), "", Pass),
        ("rate(hit{turn=7}) > 50%", None, "ratio", NoData),
        ("max(wait) < 5s", Some(10.0), "s", Fail),
        ("fairness(iterations, by=user) > 0.9", Some(2500.0 / (2.0 * 1300.0)), "", Pass),
        ("fairness(iterations, by=user) > 99%", Some(2500.0 / (2.0 * 1300.0)), "ratio", Fail),
        ("variation(avg(iteration), by=level) < 50%", Some(1.0), "ratio", Fail),
        ("variation(avg(iteration), by=repeat) < 50%", None, "ratio", NoData),
        ("share(queued >= 90% * queue_limit) < 50%", Some(0.55), "ratio", Fail),
        ("share(queued < 5) <= 25%", Some(0.25), "ratio", Pass),
        ("share(nothing > 5) <= 25%", None, "ratio", NoData),
        ("restarts(done) == 1", Some(1.0), "", Pass),
        ("restarts(target) == 0", Some(2.0), "", Fail),
        ("safe_rate >= 50/s", Some(80.0), "1/s", Pass),
        ("safe_rate >= 100", Some(80.0), "", Fail),
        ("recovery < 30s", None, "s", NoData),
        ("ratio(increase(refused), increase(done)) <= 5%", Some(17.0 / 118.0), "ratio", Fail),
    ];
    for (src, value, unit, result) in cases {
        let report = judged(src, &data, &history);
        let near = match (report.value, *value) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 0.011 * f64::abs(expected),
            (found, expected) => found == expected,
        };
        assert!(near && report.unit == *unit && report.result == *result, "{src}: {report:#?}");
    }
}

#[test]
fn a_custom_metric_may_stand_for_a_figure_of_streams() {
    let mut data = RunData::default();
    data.custom.trend(&"tokens_per_s".into(), &key("chat", Labels::default()), 42.0);
    assert_eq!(judged("max(tokens_per_s) > 20", &data, &history()).value, Some(42.0));
}

#[test]
fn failures_are_counted_by_status() {
    let mut data = RunData::default();
    record(&mut data, "a", None, OK, 1);
    record(&mut data, "a", None, (Outcome::Failed, "expect", 200), 1);
    record(&mut data, "a", None, (Outcome::Failed, "status", 500), 1);
    record(&mut data, "a", None, (Outcome::Rejected, "status_503", 503), 1);
    let value = |src: &str| judged(src, &data, &history()).value;
    assert_eq!(value("count(failed{status=5xx}) == 0"), Some(1.0));
    assert_eq!(value("rate(failed{status!=5xx}) == 0%"), Some(0.25));
    assert_eq!(value("count(requests{status=5xx}) == 0"), Some(2.0));
}

#[test]
fn grades() {
    use ThresholdResult::{Fail, Pass, Warn};
    let result = |seconds: f64, warn: Option<&str>, fail: Option<&str>| {
        let mut data = RunData::default();
        record(&mut data, "a", None, OK, 1);
        iterations(&mut data, Labels::default(), 1, 0, 1, (0.0, seconds));
        let mut threshold = parse_graded("elapsed", "< 25s", warn, fail).expect("good");
        threshold.hint = Some("scale up".into());
        let history = history();
        let report = evaluate(&threshold, &Evidence { data: &data, history: &history, windows: None, clock_steps: 0 });
        (report.result, sentence(&threshold, &report))
    };
    for (seconds, warn, fail, expected) in [
        (20.0, Some("< 35s"), Some("> 40s"), Pass),
        (30.0, Some("< 35s"), Some("> 40s"), Warn),
        (37.0, Some("< 35s"), Some("> 40s"), Warn),
        (41.0, Some("< 35s"), Some("> 40s"), Fail),
        (30.0, Some("< 35s"), None, Warn),
        (37.0, Some("< 35s"), None, Fail),
        (37.0, None, Some("> 40s"), Warn),
        (30.0, None, None, Fail),
    ] {
        assert_eq!(result(seconds, warn, fail).0, expected, "{seconds} {warn:?} {fail:?}");
    }
    insta::assert_snapshot!(result(30.0, Some("< 35s"), None).1, @"elapsed < 25s (warn < 35s) is short of a pass: 30 s (scale up)");
    insta::assert_snapshot!(result(50.0, None, Some("> 40s")).1, @"elapsed < 25s (fail > 40s) is breached: 50 s (scale up)");
    insta::assert_snapshot!(result(5.0, None, Some("> 40s")).1, @"elapsed < 25s (fail > 40s) holds: 5 s");
}

/// A second with 10 answers, some rejected; the gauge is read every other second.
fn second(n: u32, used: f64, rejected: u64) -> RunData {
    let mut data = RunData::default();
    (0..10).for_each(|i| record(&mut data, "a", None, if i < rejected { REJECTED } else { OK }, 10));
    if n.is_multiple_of(2) {
        data.stats.entry("pool_used".into()).or_default().push(StatPoint { at: f64::from(n), value: used });
    }
    data
}

fn only_while(src: &str, abort_on_fail: bool) -> Threshold {
    let held = parse_held("pool_used < 95%").expect("good");
    Threshold { only_while: Some(held), abort_on_fail, ..parse_threshold(src).expect(src) }
}

#[test]
fn only_the_seconds_count_in_which_the_condition_holds() {
    use ThresholdResult::{Fail, NoData, Pass};
    let check = |threshold: &Threshold, seconds: &[(f64, u64)]| {
        let mut windows = WindowJudge::new(std::slice::from_ref(threshold), Arc::default());
        assert!(!windows.is_idle());
        let mut aborted = false;
        for (n, (used, rejected)) in seconds.iter().enumerate() {
            let elapsed = Duration::from_secs(n as u64 + 1);
            aborted |= windows.push(&second(n as u32, *used, *rejected), elapsed).is_some();
        }
        let (data, history) = (RunData::default(), history());
        let windows = Some(&windows);
        let report = evaluate(threshold, &Evidence { data: &data, history: &history, windows, clock_steps: 0 });
        (report.result, report.value, aborted)
    };
    let threshold = only_while("rate(rejected) == 0%", false);
    assert_eq!(check(&threshold, &[(0.5, 0), (0.5, 0), (0.99, 5), (0.99, 5)]), (Pass, Some(0.0), false));
    assert_eq!(check(&threshold, &[(0.5, 0), (0.5, 2), (0.99, 5), (0.99, 5)]), (Fail, Some(0.1), false));
    assert_eq!(check(&threshold, &[(0.99, 5), (0.99, 5)]), (NoData, None, false));
    assert_eq!(check(&threshold, &[]), (NoData, None, false));
    let aborts = only_while("rate(rejected) == 0%", true);
    assert_eq!(check(&aborts, &[(0.5, 0), (0.5, 2), (0.99, 5)]), (Fail, Some(0.1), true));
    let over = only_while("rate(rejected) == 0% over 2s", false);
    assert_eq!(check(&over, &[(0.5, 0), (0.5, 0), (0.99, 5), (0.99, 5)]), (Pass, Some(0.0), false));
    let none = Evidence { data: &RunData::default(), history: &history(), windows: None, clock_steps: 0 };
    assert_eq!(evaluate(&threshold, &none).result, NoData);
}

#[test]
fn streams_and_custom_metrics_are_judged_in_windows() {
    let threshold = parse_threshold("max(ttft) < 1s over 2s").expect("good");
    let rate = parse_threshold("rate(hit) > 50% over 2s").expect("good");
    let mut windows = WindowJudge::new(&[threshold, rate], Arc::default());
    for n in 1..=3 {
        let mut data = RunData::default();
        stream(&mut data, n * 500, Outcome::Ok, 0);
        data.custom.rate(&"hit".into(), &key("chat", Labels::default()), true);
        windows.push(&data, Duration::from_secs(n));
    }
    assert_eq!(
        windows.breached("max_ttft").map(|breach| (breach.at, breach.report.value)),
        Some((ms(2000), Some(1.0)))
    );
    assert_eq!(windows.latest("rate_hit").and_then(|report| report.value), Some(1.0));
}

#[test]
fn baselines_are_read_from_documents() {
    let times = |p95: f64| TimeStats { count: 10, p95, mean: p95, max: p95, ..TimeStats::default() };
    let group = |completed: u64, elapsed_s: f64| GroupStats {
        iterations: IterationCounts { completed, failed: 0, interrupted: 0 },
        iteration_s: times(elapsed_s),
        elapsed_s: Some(elapsed_s),
        ..GroupStats::default()
    };
    let run = |n: f64| RunSummary {
        elapsed_s: Some(10.0 * n),
        streams: Some(StreamSummary { ttft_s: times(n), tokens_total: 7, ..StreamSummary::default() }),
        metrics: [
            ("hit".to_owned(), MetricSummary::Rate { count: 8, of: 10, ratio: Some(0.8) }),
            ("wait".to_owned(), MetricSummary::Trend { unit: "s".to_owned(), values: times(2.0 * n) }),
        ]
        .into(),
        groups: [("user=a".to_owned(), group(10, 4.0)), ("user=b".to_owned(), group(30, 5.0))].into(),
        search: Some(serde_json::json!({"line": 100.0})),
        recovery_s: Some(3.0 * n),
        ..past(1.0, 0.0)
    };
    let history = History { good: vec![run(1.0), run(2.0), run(3.0)], ..history() };
    let data = super::measure_tests::run();
    let check = |src: &str, limit: Option<f64>| {
        let report = judged(src, &data, &history);
        let skipped = report.result == ThresholdResult::Skipped;
        assert_eq!((report.limit.filter(|_| !skipped), skipped), (limit, limit.is_none()), "{src}: {report:#?}");
    };
    check("elapsed < 2 * baseline(elapsed)", Some(40.0));
    check("elapsed{user=a} < baseline(elapsed{user=a})", Some(4.0));
    check("p95(ttft) < baseline(p95(ttft))", Some(2.0));
    check("count(tokens) > baseline(count(tokens))", Some(7.0));
    check("rate(hit) >= baseline(rate(hit)) - 5pp", Some(0.8 - 0.05));
    check("p95(wait) < baseline(p95(wait))", Some(4.0));
    check("p95(wait{turn>1}) < baseline(p95(wait{turn>1}))", None);
    check("count(iterations{user=b}) >= baseline(count(iterations{user=b}))", Some(30.0));
    check("p95(iteration{user=b}) <= baseline(p95(iteration{user=b}))", Some(5.0));
    check("fairness(iterations, by=user) >= baseline(fairness(iterations, by=user))", Some(1600.0 / 2000.0));
    check("safe_rate >= 85% * baseline(safe_rate)", Some(85.0));
}
