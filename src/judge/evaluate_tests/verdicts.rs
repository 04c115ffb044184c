//! Verdicts, the implicit thresholds, and when the generator is to be trusted.

use super::*;
use crate::{judge::Nature, model::scenario::LimitSpec};

fn with(src: &str, result: ThresholdResult) -> (crate::model::expr::Threshold, ThresholdReport) {
    let threshold = parse_threshold(src).expect(src);
    let mut report = judged(src, &run(), &history());
    report.result = result;
    (threshold, report)
}

#[test]
fn the_first_match_decides_the_verdict() {
    use ThresholdResult::{Fail, NoData, Pass, Skipped};
    let late = ["the generator was late".to_owned()];
    let check = |interrupted, thresholds: &[(&str, ThresholdResult)], invalid: &[String], sent, expected: Verdict| {
        let judged: Vec<_> = thresholds.iter().map(|(src, result)| with(src, *result)).collect();
        let (found, reasons) = verdict(interrupted, &judged, invalid, sent);
        assert_eq!(found, expected, "{thresholds:?}: {reasons:?}");
        assert_eq!(reasons.is_empty(), expected == Verdict::Pass, "{reasons:?}");
    };
    let (outcome, time) = ("rate(rejected) <= 5%", "p95(latency) < 2s");
    check(true, &[(outcome, Fail)], &late, 5, Verdict::Interrupted);
    check(false, &[(outcome, Fail), (time, NoData)], &[], 5, Verdict::Fail);
    check(false, &[(outcome, Fail), (time, Fail)], &late, 5, Verdict::Fail);
    check(false, &[(outcome, Pass), (time, Fail)], &late, 5, Verdict::Invalid);
    check(false, &[(outcome, Pass), (time, Fail)], &[], 5, Verdict::Fail);
    check(false, &[(outcome, NoData), (time, Fail)], &[], 5, Verdict::Fail);
    check(false, &[(outcome, Pass), (time, NoData)], &late, 5, Verdict::Invalid);
    check(false, &[(outcome, Pass), (time, NoData)], &[], 5, Verdict::NoData);
    check(false, &[(outcome, Pass), (time, Skipped)], &[], 5, Verdict::Pass);
    check(false, &[(outcome, Pass)], &[], 0, Verdict::NoData);
    check(false, &[], &[], 0, Verdict::NoData);
    check(false, &[], &[], 1, Verdict::Pass);
    let (_, reasons) = verdict(false, &[with(outcome, Fail), with(time, Fail)], &late, 5);
    assert_eq!(
        reasons,
        ["rate(rejected) <= 5% is breached: 12.9 %", "latency and throughput say nothing: the generator was late"]
    );
}

fn limit() -> LimitSpec {
    LimitSpec {
        hold: 10,
        over: 1,
        free: 1,
        cycles: 1,
        per_user: None,
        bystanders: 0,
        race: 0,
        acquire: Vec::new(),
        release: Vec::new(),
    }
}

#[test]
fn a_dead_target_fails_whatever_the_thresholds_are() {
    let mut dead = RunData::default();
    (0..5).for_each(|_| record(&mut dead, "a", None, (Outcome::Failed, "connect", 0), 1));
    for own in [&[][..], &["p95(latency) < 2s"], &["rate(rejected) <= 5%"], &["count(dropped) == 0"]] {
        for nature in [Nature::Probe, Nature::Load, Nature::Overload, Nature::Limit(&limit())] {
            let mut all: Vec<_> = own.iter().map(|src| parse_threshold(src).expect(src)).collect();
            all.extend(implicit_thresholds(&all, nature));
            let history = History::default();
            let evidence = Evidence { data: &dead, history: &history, windows: None, clock_steps: 0 };
            let judged: Vec<_> = all
                .into_iter()
                .map(|one| {
                    let report = evaluate(&one, &evidence);
                    (one, report)
                })
                .collect();
            assert_eq!(verdict(false, &judged, &["late".to_owned()], 5).0, Verdict::Fail, "{own:?} {nature:?}");
        }
    }
}

#[test]
fn implicit_thresholds_hold_until_an_outcome_is_named() {
    let check = |own: &[&str], nature, expected: &[&str]| {
        let own: Vec<_> = own.iter().map(|src| parse_threshold(src).expect(src)).collect();
        let added = implicit_thresholds(&own, nature);
        let sources: Vec<&str> = added.iter().map(|threshold| &*threshold.source).collect();
        assert_eq!(sources, expected, "{own:?}");
        assert!(added.iter().all(|threshold| threshold.implicit));
    };
    check(&[], Nature::Probe, &["rate(ok) == 100%", "count(ok) > 0"]);
    check(&[], Nature::Load, &["rate(ok) >= 99%", "rate(dropped) <= 1%", "count(ok) > 0"]);
    check(&["p95(latency) < 2s"], Nature::Load, &["rate(ok) >= 99%", "rate(dropped) <= 1%", "count(ok) > 0"]);
    check(&["count(dropped) == 0"], Nature::Load, &["rate(ok) >= 99%", "count(ok) > 0"]);
    check(&["rate(rejected) <= 5%"], Nature::Load, &["count(ok) > 0"]);
    check(&["count(failed) == 0"], Nature::Probe, &["count(ok) > 0"]);
    check(&[], Nature::Overload, &["count(ok) > 0"]);
    let limit = limit();
    let parts = ["rate(ok{part=hold}) == 100%", "rate(rejected{part=over}) == 100%", "rate(ok{part=retry}) == 100%"];
    check(&[], Nature::Limit(&limit), &[&parts[..], &["count(ok) > 0"]].concat());
    let beside = LimitSpec { over: 0, bystanders: 2, ..limit.clone() };
    check(
        &["p95(latency) < 2s"],
        Nature::Limit(&beside),
        &[parts[0], "rate(ok{part=bystander}) == 100%", parts[2], "count(ok) > 0"],
    );
    check(&["count(ok{part=hold}) == 10"], Nature::Limit(&limit), &["count(ok) > 0"]);
    check(&["count(ok) == 10"], Nature::Load, &[]);
    check(&["count(ok{step=a}) == 10"], Nature::Load, &["count(ok) > 0"]);
    let named = crate::model::expr::Threshold {
        name: "rate_ok".into(),
        ..parse_threshold("p95(latency) < 1s").expect("parses")
    };
    assert_eq!(&*implicit_thresholds(&[named], Nature::Probe)[0].name, "implicit_rate_ok");
}

#[test]
fn a_generator_is_trusted_until_it_was_late() {
    use crate::model::{
        scenario::{Arrivals, Connections, Executor, Load},
        units::Rate,
    };
    let load = |executor| Load {
        executor,
        max_in_flight: 1,
        connections: Connections::PerVu,
        graceful_stop: Duration::ZERO,
        identities: None,
    };
    let slow = Rate { count: 30.0, per: Duration::from_mins(1) };
    let slow = load(Executor::ConstantArrivalRate {
        rate: slow,
        duration: Duration::from_mins(1),
        arrivals: Arrivals::Uniform,
    });
    assert_eq!(&*default_valid_if(&slow)[1].source, "p99(send_lag) <= 200ms");
    let valid_if = default_valid_if(&load(Executor::Probe { attempts: 1 }));
    assert_eq!(&*valid_if[1].source, "p99(send_lag) <= 50ms");
    let history = History::default();
    let reasons = |data: &RunData, clock_steps| {
        invalid_reasons(&valid_if, &Evidence { data, history: &history, windows: None, clock_steps })
    };
    let mut data = RunData::default();
    assert_eq!(reasons(&data, 0), [""; 0]);
    (0..99).for_each(|_| data.send_lag.record(Duration::from_millis(80)));
    assert_eq!(reasons(&data, 0), [""; 0]);
    data.send_lag.record(Duration::from_millis(80));
    assert_eq!(reasons(&data, 0), ["p99(send_lag) <= 50ms is breached: 80 ms"]);
    assert_eq!(reasons(&data, 1).len(), 2);
}

#[test]
fn a_condition_on_the_generator_is_not_a_threshold_of_the_same_name() {
    let over = parse_threshold("max(send_lag) <= 50ms over 1s").expect("parses");
    let own = parse_threshold("max(send_lag) <= 10s").expect("parses");
    assert_eq!(over.name, own.name);
    let mut data = RunData::default();
    data.send_lag.record(Duration::from_millis(80));
    let mut windows = super::WindowJudge::new(&[over], std::sync::Arc::default());
    windows.push(&data, Duration::from_secs(1));
    let history = History::default();
    let evidence = Evidence { data: &data, history: &history, windows: Some(&windows), clock_steps: 0 };
    assert_eq!(invalid_reasons(&[own], &evidence), [""; 0]);
}

#[test]
fn exit_codes() {
    assert_eq!(Verdict::ALL.map(exit_code), [0, 99, 111, 112, 105]);
}

proptest! {
    #[test]
    fn a_share_is_a_share(ok in 0..50_u32, rejected in 0..50_u32, failed in 0..50_u32) {
        let mut data = RunData::default();
        (0..ok).for_each(|_| record(&mut data, "a", None, OK, 1));
        (0..rejected).for_each(|_| record(&mut data, "a", None, REJECTED, 1));
        (0..failed).for_each(|_| record(&mut data, "a", None, TIMEOUT, 1));
        let rate = |what: &str| judged(&format!("rate({what}) >= 0%"), &data, &History::default()).value;
        match (rate("ok"), rate("rejected"), rate("failed")) {
            (Some(ok), Some(rejected), Some(failed)) => {
                prop_assert!([ok, rejected, failed].iter().all(|share| (0.0..=1.0).contains(share)));
                prop_assert!((ok + rejected + failed - 1.0).abs() < 1e-9);
            }
            none => prop_assert!(none == (None, None, None) && ok + rejected + failed == 0),
        }
        let all = judged("rate(ok) == 100%", &data, &History::default()).result == ThresholdResult::Pass;
        prop_assert_eq!(all, ok > 0 && rejected + failed == 0);
    }
}
