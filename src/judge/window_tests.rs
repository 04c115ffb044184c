//! Judging during the run.

use std::{sync::Arc, time::Duration};

use super::{
    evaluate_tests::{OK, TIMEOUT, record},
    *,
};
use crate::{
    measure::data::{RunData, StatPoint},
    model::{expr::Threshold, run::ThresholdResult},
};

fn threshold(src: &str, abort_on_fail: bool, delay: u64) -> Threshold {
    let delay_abort_eval = Duration::from_secs(delay);
    Threshold { abort_on_fail, delay_abort_eval, ..parse_threshold(src).expect(src) }
}

/// A second with ten requests, `failed` of them so, of `ms` each.
fn second(failed: u64, ms: u64) -> RunData {
    let mut data = RunData::default();
    for n in 0..10 {
        record(&mut data, "a", None, if n < failed { TIMEOUT } else { OK }, ms);
    }
    data
}

/// Feeds a second per entry; the second of the abort, the judge.
fn feed(threshold: &Threshold, failed: impl IntoIterator<Item = u64>) -> (Option<u64>, WindowJudge) {
    let mut judge = WindowJudge::new(std::slice::from_ref(threshold), Arc::default());
    let mut aborted = None;
    for (at, failed) in (1..).zip(failed) {
        if let Some(abort) = judge.push(&second(failed, 10), Duration::from_secs(at)) {
            assert!(aborted.is_none() && abort.threshold == threshold.name, "{abort:?}");
            aborted = Some(at);
        }
    }
    (aborted, judge)
}

fn repeat(parts: &[(u64, usize)]) -> Vec<u64> {
    parts.iter().flat_map(|(failed, seconds)| std::iter::repeat_n(*failed, *seconds)).collect()
}

#[test]
fn windows_are_judged_once_full_and_breached_once_held() {
    let check = |src: &str, failed: &[(u64, usize)], breach: Option<u64>| {
        let threshold = threshold(src, false, 0);
        let (aborted, judge) = feed(&threshold, repeat(failed));
        assert_eq!(aborted, None);
        let at = judge.breached(&threshold.name).map(|breach| breach.at.as_secs());
        assert_eq!(at, breach, "{src} {failed:?}");
    };
    let plain = "rate(failed) < 10% over 10s";
    check(plain, &[(10, 9)], None);
    check(plain, &[(10, 10)], Some(10));
    check(plain, &[(0, 30), (1, 30)], Some(40));
    // Sticky: it stands though all is well later.
    check(plain, &[(0, 10), (10, 1), (0, 60)], Some(11));
    let held = "rate(failed) < 10% over 10s for 20s";
    check(held, &[(0, 10), (10, 1), (0, 60)], None);
    check(held, &[(0, 10), (10, 30)], Some(31));
    check(held, &[(10, 60)], Some(30));
    check("rate(failed) < 10% over 10m", &[(1, 599)], None);
    check("rate(failed) < 10% over 10m", &[(1, 601)], Some(600));
}

#[test]
fn long_windows_stay_small_and_right() {
    let threshold = threshold("count(requests) <= 18150 over 30m", false, 0);
    let (_, judge) = feed(&threshold, repeat(&[(0, 3600)]));
    assert!(judge.breached(&threshold.name).is_none());
    let value = judge.latest(&threshold.name).and_then(|report| report.value).expect("full");
    // Half an hour at 10/s, and up to one bucket of 15 s.
    assert!((18_000.0..=18_150.0).contains(&value), "{value}");
}

#[test]
fn aborts_look_at_the_run_so_far() {
    let check = |src: &str, delay, failed: &[(u64, usize)], expected: Option<u64>| {
        assert_eq!(feed(&threshold(src, true, delay), repeat(failed)).0, expected, "{src} {failed:?}");
    };
    check("rate(failed) < 10%", 0, &[(0, 10), (10, 10)], Some(12));
    check("rate(failed) < 10%", 30, &[(0, 10), (10, 10)], None);
    check("rate(failed) < 10%", 15, &[(0, 10), (10, 10)], Some(15));
    check("rate(failed) < 10% over 5s", 0, &[(0, 10), (10, 10)], Some(11));
    check("rate(failed) < 10%", 0, &[(0, 100)], None);
}

#[test]
fn the_end_of_the_run_believes_the_windows() {
    let src = "rate(failed) < 10% over 10s";
    let all = threshold(src, false, 0);
    let result = |failed: &[(u64, usize)]| {
        let (_, judge) = feed(&all, repeat(failed));
        let (data, history) = (second(0, 1), History::default());
        let report =
            evaluate(&all, &Evidence { data: &data, history: &history, windows: Some(&judge), clock_steps: 0 });
        (report.result, report.value)
    };
    // A run shorter than the window is one window, judged as a whole at its end.
    assert_eq!(result(&[(10, 5)]), (ThresholdResult::Pass, Some(0.0)));
    assert_eq!(result(&[(0, 20)]), (ThresholdResult::Pass, Some(0.0)));
    assert_eq!(result(&[(10, 10), (0, 50)]), (ThresholdResult::Fail, Some(1.0)));
}

#[test]
fn a_breach_that_was_not_held_is_none_at_the_end_of_the_run() {
    let check = |src: &str, failed: &[(u64, usize)], expected: ThresholdResult| {
        let held = threshold(src, false, 0);
        let (_, judge) = feed(&held, repeat(failed));
        let mut data = RunData::default();
        for failed in repeat(failed) {
            data.merge(&second(failed, 10));
        }
        let history = History::default();
        let evidence = Evidence { data: &data, history: &history, windows: Some(&judge), clock_steps: 0 };
        let report = evaluate(&held, &evidence);
        assert_eq!(report.result, expected, "{src} {failed:?}: {report:?}");
        assert!(
            report.value.is_some()
                && report.margin_ratio.is_none_or(|margin| margin >= 0.0 || expected == ThresholdResult::Fail)
        );
    };
    let held = "rate(failed) < 10% over 10s for 20s";
    check(held, &[(0, 30), (10, 5)], ThresholdResult::Pass);
    check(held, &[(0, 30), (10, 20)], ThresholdResult::Pass);
    check(held, &[(0, 30), (10, 21)], ThresholdResult::Fail);
    // Shorter than the window, and than the hold.
    check(held, &[(10, 5)], ThresholdResult::Pass);
    let short_hold = "rate(failed) < 10% over 1m for 20s";
    check(short_hold, &[(10, 19)], ThresholdResult::Pass);
    check(short_hold, &[(10, 20)], ThresholdResult::Fail);
    check(short_hold, &[(0, 50)], ThresholdResult::Pass);
}

#[test]
fn drift_follows_the_course_of_the_run() {
    let drifting = threshold("drift(p95(latency)) < 10%", false, 0);
    let drift = |seconds: u64, ms: &dyn Fn(u64) -> u64| {
        let mut judge = WindowJudge::new(std::slice::from_ref(&drifting), Arc::default());
        for at in 1..=seconds {
            judge.push(&second(0, ms(at)), Duration::from_secs(at));
        }
        let (data, history) = (second(0, 1), History::default());
        evaluate(&drifting, &Evidence { data: &data, history: &history, windows: Some(&judge), clock_steps: 0 })
    };
    let flat = drift(1000, &|_| 100);
    assert_eq!(flat.result, ThresholdResult::Pass);
    assert!(flat.value.expect("enough").abs() < 0.01, "{flat:?}");
    let rising = drift(1000, &|at| 100 + at / 10);
    assert_eq!(rising.result, ThresholdResult::Fail);
    // Between the middles of the first and the last of 20 windows.
    assert!((rising.value.expect("enough") - 0.9).abs() < 0.02, "{rising:?}");
    assert_eq!(drift(9, &|_| 100).result, ThresholdResult::NoData);
}

#[test]
fn stats_are_judged_within_the_window() {
    let threshold = threshold("increase(errors) <= 5 over 10s", false, 0);
    let mut judge = WindowJudge::new(std::slice::from_ref(&threshold), Arc::default());
    for at in 1..=60_u32 {
        let mut data = RunData::default();
        let value = if at < 30 { 0.0 } else { f64::from(at - 29) };
        data.stats.entry("errors".into()).or_default().push(StatPoint { at: f64::from(at), value });
        judge.push(&data, Duration::from_secs(u64::from(at)));
    }
    assert_eq!(judge.breached(&threshold.name).map(|breach| breach.at.as_secs()), Some(35));
}

#[test]
fn nothing_to_judge_is_idle() {
    let judge = |src: &str| WindowJudge::new(&[threshold(src, false, 0)], Arc::default());
    assert!(judge("p95(latency) < 1s").is_idle());
    assert!(!judge("p95(latency) < 1s over 1m").is_idle());
    assert!(!judge("drift(p95(latency)) < 10%").is_idle());
}
