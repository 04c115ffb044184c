use super::{super::evaluate_tests::OK, *};
use crate::{
    judge::{
        evaluate,
        evaluate_tests::{REJECTED, record},
        sentence,
    },
    measure::data::Findings,
};

fn spec(until: &[&str]) -> RecoverySpec {
    RecoverySpec {
        after: "overload".into(),
        until: until.iter().map(|src| parse_threshold(src).expect(src)).collect(),
        hold: Duration::from_secs(3),
        within: Duration::from_secs(30),
    }
}

/// One second of 10 answers in a phase.
fn second(phase: &str, ms: u64, rejected: u64) -> RunData {
    let mut data = RunData::default();
    for n in 0..10 {
        let end = if n < rejected { REJECTED } else { OK };
        record(&mut data, "chat", Some(("phase", phase)), end, ms);
    }
    data
}

/// Baseline of 100 ms for 5 s, overload for 5 s, then the given seconds.
fn recovered(until: &[&str], after: &[(u64, u64)]) -> Recovery {
    let mut recovery = Recovery::new(&spec(until), Arc::default());
    let baseline = std::iter::repeat_n(second("baseline", 100, 0), 5);
    let overload = std::iter::repeat_n(second("overload", 5000, 8), 5);
    let later = after.iter().map(|(ms, rejected)| second("recovery", *ms, *rejected));
    for (n, data) in baseline.chain(overload).chain(later).enumerate() {
        if n == 10 {
            recovery.phase_ended(Duration::from_secs(10));
        }
        recovery.push(&data, Duration::from_secs(1), Duration::from_secs(n as u64 + 1));
    }
    recovery.phase_ended(Duration::from_secs(10));
    recovery
}

#[test]
fn it_is_reached_where_the_first_full_stretch_began() {
    let until = ["p95(latency) < 1.2 * p95(latency{phase=baseline})", "rate(rejected) == 0%"];
    let check = |after: &[(u64, u64)], expected: Option<u64>| {
        assert_eq!(recovered(&until, after).reached(), expected.map(Duration::from_secs), "{after:?}");
    };
    let (well, slow, full) = ((100, 0), (900, 0), (100, 1));
    check(&[well; 3], Some(0));
    check(&[well; 2], None);
    check(&[slow, full, well, well, well], Some(2));
    check(&[well, well, full, well, well, well, full], Some(3));
    check(&[slow; 10], None);
}

#[test]
fn a_run_that_does_not_recover_fails() {
    let until = ["rate(rejected) == 0%"];
    let lost = recovered(&until, &[(100, 1); 40]);
    assert_eq!((lost.finding(), lost.is_lost(Duration::from_secs(43))), (Some(f64::INFINITY), false));
    assert!(lost.is_lost(Duration::from_secs(44)));
    let idle = recovered(&until, &[]);
    assert_eq!(Recovery::new(&spec(&until), Arc::default()).finding(), None);
    assert_eq!(idle.finding(), None, "the run ended too soon to tell");
    let cut_short = recovered(&until, &[(100, 1); 31]);
    assert_eq!(cut_short.finding(), None);

    let threshold = recovery_threshold(&spec(&until));
    let history = History::default();
    let judged = |recovery_s| {
        let mut data = second("recovery", 1, 0);
        data.findings = Findings { recovery_s, ..Findings::default() };
        let evidence = Evidence { data: &data, history: &history, windows: None, clock_steps: 0 };
        sentence(&threshold, &evaluate(&threshold, &evidence))
    };
    insta::assert_snapshot!(judged(Some(f64::INFINITY)), @"recovery <= 30s is breached: the target did not recover");
    insta::assert_snapshot!(judged(Some(12.0)), @"recovery <= 30s holds: 12 s");
    insta::assert_snapshot!(judged(Some(45.0)), @"recovery <= 30s is breached: 45 s");
    insta::assert_snapshot!(judged(None), @"recovery <= 30s has no data: the run ended before that could be told");
}

#[test]
fn seconds_without_answers_are_not_well() {
    let mut recovery = recovered(&["rate(rejected) == 0%"], &[]);
    for n in 11..20 {
        recovery.push(&RunData::default(), Duration::from_secs(1), Duration::from_secs(n));
    }
    assert_eq!(recovery.reached(), None);
}
