//! Whole loads on a made-up target: groups, repetitions, windows, the search.

use std::{cell::Cell, cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Run, RunEvent, RunRequest, beside};
use crate::{
    http::dial::Dialer,
    load::{
        fake::Fake,
        feeds::Takes,
        gate::Gate,
        perform::Transport,
        stop::{Cause, Stop},
        tests::{answer, answers_after, get, group, scenario},
        user::Shared,
    },
    model::{
        clock::{self, Clock, SystemClock},
        expr::Threshold,
        labels::Labels,
        run::{EventResult, RunSummary, Trigger, Verdict},
        scenario::{
            Arrangement, Arrivals, Executor, Group, LimitSpec, RecoverySpec, Repeat, Scenario, SearchSpec,
            SearchVariable, Step, TimedEvent,
        },
        settings::{Policy, Redactor},
        units::Rate,
    },
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rate(count: f64, seconds: u64) -> Executor {
    let rate = Rate { count, per: s(1) };
    Executor::ConstantArrivalRate { rate, duration: s(seconds), arrivals: Arrivals::Uniform }
}

fn labelled(dimension: &str, value: &str, executor: Executor) -> Arc<Group> {
    Arc::new(Group { labels: Labels::one(dimension, value), ..group(executor) })
}

/// Runs a scenario against a made-up target; `meanwhile` is given the run while it goes on.
async fn run(change: impl FnOnce(&mut Scenario), fake: Fake, meanwhile: impl AsyncFnOnce(&Run)) -> RunSummary {
    let mut scenario = scenario();
    scenario.thresholds.clear();
    change(&mut scenario);
    let policy = Policy { max_rate: 1e9, max_concurrency: 100_000, ..Policy::default() };
    let fake = Rc::new(fake);
    let (summary, _) = Box::pin(on_fake(scenario, policy, &fake, meanwhile)).await;
    assert_eq!(fake.counts().0, summary.sent);
    summary
}

/// Runs the whole of a scenario, hooks and all, against a made-up target; its document and how many series it kept.
pub(crate) async fn carried_out(scenario: Scenario, policy: Policy, fake: &Rc<Fake>) -> (RunSummary, u64) {
    Box::pin(on_fake(scenario, policy, fake, async |_| {})).await
}

async fn on_fake(
    scenario: Scenario,
    policy: Policy,
    fake: &Rc<Fake>,
    meanwhile: impl AsyncFnOnce(&Run),
) -> (RunSummary, u64) {
    let policy = Arc::new(policy);
    let now = SystemClock.now();
    let request = RunRequest {
        run_id: "r".into(),
        scenario: Arc::new(scenario),
        trigger: Trigger::Manual,
        due: now.wall,
        history: Arc::default(),
        policy: policy.clone(),
        gate: Gate::new(&policy),
        redactor: Redactor::new(Vec::new()),
        clock: Arc::new(SystemClock),
        samples: None,
    };
    let (events, mut told) = mpsc::channel::<RunEvent>(4096);
    let run = Run::new(request, events);
    let scenario = run.request.scenario.clone();
    let shared = |group: &Arc<Group>, stop: Stop| {
        Rc::new(Shared {
            scenario: scenario.clone(),
            group: group.clone(),
            constants: scenario.constants.clone().into(),
            literals: crate::http::request::Literals::default(),
            transport: Transport::Fake(fake.clone()),
            probers: Rc::default(),
            samples: None,
            network: None,
            gate: run.request.gate.clone(),
            recorder: run.recorder.clone(),
            plan: stop.clone(),
            stop,
            clock: run.request.clock.clone(),
            redactor: run.request.redactor.clone(),
            run_id: run.request.run_id.clone(),
            inherited: RefCell::default(),
            started: Cell::new(clock::mono()),
            count: run.count.clone(),
            metrics: crate::load::metrics::Metrics::default(),
            takes: Takes::of(&run.feeds, group),
        })
    };
    let hooks = shared(&scenario.groups[0], Stop::default());
    let groups: Vec<_> = scenario.groups.iter().map(|group| shared(group, run.stop.clone())).collect();
    let dialer = Dialer::new(&scenario.target, policy).expect("no certificates");
    let drain = async { while told.recv().await.is_some() {} };
    let side = async { tokio::join!(run.second_by_second(), meanwhile(&run), drain) };
    let whole = async {
        run.hooks(&hooks, &scenario.before, || false).await.expect("they go well");
        for shared in &groups {
            shared.inherited.replace(hooks.inherited.borrow().clone());
        }
        run.load(&groups, &hooks, dialer).await.expect("a timer");
        run.undo_events(&hooks).await;
        run.put_back(&hooks).await;
    };
    beside(side, whole).await;
    run.flush();
    let ended = run.request.clock.now();
    let mut all = run.earlier.borrow().clone();
    all.merge(&run.current.borrow());
    (run.summary(now, ended, 0.0, None), all.series.len() as u64)
}

async fn quietly(change: impl FnOnce(&mut Scenario), fake: Fake) -> RunSummary {
    run(change, fake, async |_| {}).await
}

fn sent(run: &RunSummary) -> Vec<(&str, u64)> {
    run.groups.iter().map(|(name, group)| (name.as_str(), group.sent)).collect()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn phases_follow_each_other() {
    let run = quietly(
        |scenario| {
            scenario.groups = vec![
                labelled("phase", "baseline", rate(2.0, 60)),
                labelled("phase", "overload", Executor::ConstantVus { vus: 10, duration: s(10) }),
                labelled("phase", "after", rate(2.0, 120)),
            ];
        },
        answers_after(999),
    )
    .await;
    let sent = sent(&run);
    assert_eq!((sent[0], sent[1].0, sent[2].0), (("phase=after", 240), "phase=baseline", "phase=overload"));
    assert_eq!(sent[1].1, 120);
    assert!((100..=110).contains(&sent[2].1), "{sent:?}");
    assert!((190.0..194.0).contains(&run.duration_s), "{}", run.duration_s);
    assert_eq!((run.planned, run.outcomes.ok), (run.sent, run.sent));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn kinds_of_users_go_side_by_side() {
    let run = quietly(
        |scenario| {
            scenario.arrangement = Arrangement::SideBySide;
            scenario.groups = vec![labelled("user", "short", rate(5.0, 30)), labelled("user", "long", rate(0.5, 60))];
        },
        answers_after(500),
    )
    .await;
    assert_eq!(sent(&run), [("user=long", 30), ("user=short", 150)]);
    assert!((60.0..62.0).contains(&run.duration_s), "{}", run.duration_s);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn all_of_it_is_repeated() {
    let run = quietly(
        |scenario| {
            let max_duration = s(600);
            scenario.repeat = Repeat { times: 5, pause: s(10) };
            scenario.groups = vec![Arc::new(group(Executor::PerVuIterations {
                vus: 10,
                iterations: 1,
                together: true,
                max_duration,
            }))];
        },
        answers_after(1000),
    )
    .await;
    let by = ["repeat=1", "repeat=2", "repeat=3", "repeat=4", "repeat=5"].map(|name| (name, 10));
    assert_eq!(sent(&run), by);
    assert!((45.0..46.0).contains(&run.duration_s), "{}", run.duration_s);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_outside_of_the_window_is_in_the_ledger_but_not_judged() {
    let check = async |change: &dyn Fn(&mut Scenario), all, judged, window: f64| {
        let run = quietly(change, answers_after(100)).await;
        let measured = run.measured.expect("a window");
        assert_eq!((run.sent, measured.sent), (all, judged));
        assert!((measured.window_s - window).abs() <= 1.0, "{}", measured.window_s);
    };
    check(
        &|scenario| {
            scenario.warmup = s(20);
            scenario.groups = vec![Arc::new(group(rate(10.0, 60)))];
        },
        600,
        400,
        40.0,
    )
    .await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_an_abort_leaves_undone_was_not_planned_but_what_the_timeout_does_was() {
    let phases = |scenario: &mut Scenario| {
        scenario.groups = vec![labelled("phase", "a", rate(10.0, 30)), labelled("phase", "b", rate(10.0, 30))];
        scenario.repeat = Repeat { times: 2, pause: s(1) };
    };
    let check = async |cause, at, planned| {
        let run = run(phases, answers_after(10), async |run: &Run| {
            tokio::time::sleep(Duration::from_millis(at)).await;
            run.stop.drain(cause);
        })
        .await;
        assert_eq!(run.planned, planned, "{cause:?} {at}");
        assert_eq!(run.sent, run.outcomes.ok + run.outcomes.interrupted);
    };
    check(Cause::Timeout, 45_000, 1200).await;
    check(Cause::Timeout, 5_050, 1200).await;
    check(Cause::Person, 5_050, 51).await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_threshold_that_ends_the_run_is_told_with_its_time() {
    let check = async |fails_after: u64, expected: Option<&str>| {
        let begun = clock::mono();
        let fake = Fake::new(move |_| {
            let at = clock::mono().saturating_duration_since(begun).as_secs();
            answer(10, if at >= fails_after { 500 } else { 200 })
        });
        let change = |scenario: &mut Scenario| {
            scenario.groups = vec![Arc::new(group(rate(10.0, 30)))];
            let threshold = crate::judge::parse_threshold("count(failed) == 0").expect("a threshold");
            scenario.thresholds = vec![Threshold { abort_on_fail: true, ..threshold }];
        };
        let run = quietly(change, fake).await;
        assert_eq!(run.reasons.get(1).map(String::as_str), expected, "{:?}", run.reasons);
        assert_eq!(run.aborted.is_some(), expected.is_some());
        run
    };
    let told = "ended early, 6 s into its load: count(failed) == 0 has `abort_on_fail`";
    assert!(check(5, Some(told)).await.planned < 80);
    // Nothing is left to be ended.
    assert_eq!(check(30, None).await.planned, 300);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_breached_in_the_grace_ends_nothing() {
    let fake = Fake::new(move |n| match n {
        45 => answer(2_000, 500),
        46.. => answer(600_000, 200),
        _ => answer(10, 200),
    });
    let change = |scenario: &mut Scenario| {
        scenario.groups = vec![Arc::new(group(rate(10.0, 5)))];
        let threshold = crate::judge::parse_threshold("count(failed) == 0").expect("a threshold");
        scenario.thresholds = vec![Threshold { abort_on_fail: true, ..threshold }];
    };
    let run = quietly(change, fake).await;
    assert_eq!((run.aborted.is_some(), run.verdict.as_str()), (false, "fail"), "{:?}", run.reasons);
    assert_eq!((run.outcomes.ok, run.outcomes.failed, run.outcomes.interrupted), (44, 6, 0), "nothing is taken back");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_event_that_outlives_the_load_does_not_lengthen_it() {
    let fake = Fake::watching(|_, request| {
        let ms = if request.uri().path() == "/event" { 20_000 } else { 10 };
        (answer(ms, 200), ::http::HeaderMap::new())
    });
    let mut scenario = scenario();
    scenario.thresholds.clear();
    scenario.groups = vec![Arc::new(group(rate(10.0, 10)))];
    let act = Step { timeout: Some(s(60)), ..get("event", "/event") };
    scenario.events = vec![TimedEvent { at: s(8), act, undo: Some(get("undo", "/undo")) }];
    let policy = Policy { max_rate: 1e9, max_concurrency: 100_000, ..Policy::default() };
    let (run, _) = carried_out(scenario, policy, &Rc::new(fake)).await;
    assert!((28.0..29.0).contains(&run.duration_s), "{}", run.duration_s);
    assert!((9.8..10.2).contains(&run.throughput_per_s), "{}", run.throughput_per_s);
    let undone = run.events[0].undo.as_ref().map(|undo| undo.result);
    assert_eq!((run.events[0].result, undone), (EventResult::Ok, Some(EventResult::Ok)));
}

fn search(sustain: &[&str]) -> Executor {
    Executor::Search(Box::new(SearchSpec {
        variable: SearchVariable::Rate,
        start: 5.0,
        max: 2000.0,
        factor: 2.0,
        precision: 0.05,
        measure: s(30),
        cooldown: s(20),
        confirm: s(60),
        deadline: s(3600),
        sustain: sustain.iter().map(|text| crate::judge::parse_threshold(text).expect("a threshold")).collect(),
    }))
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_breaking_point_is_found() {
    // Up to a hundred a second are answered in 10 ms, all above that are rejected.
    let state = Rc::new(RefCell::new((clock::mono(), 0.0f64)));
    let fake = Fake::new(move |_| {
        let (last, tokens) = *state.borrow();
        let now = clock::mono();
        let tokens = (tokens + (now - last).as_secs_f64() * 100.0).min(10.0);
        let room = tokens >= 1.0;
        state.replace((now, if room { tokens - 1.0 } else { tokens }));
        answer(10, if room { 200 } else { 429 })
    });
    let change = |scenario: &mut Scenario| scenario.groups = vec![Arc::new(group(search(&["rate(ok) >= 99%"])))];
    let run = quietly(change, fake).await;
    let found = run.search.expect("findings");
    let line = found["line"].as_f64().expect("a line");
    assert!((94.0..=102.0).contains(&line), "{found:#}");
    assert_eq!(found["end"], "found");
    assert!(found["broke"]["why"].as_str().is_some_and(|why| why.contains("rate(ok)")), "{found:#}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_search_that_is_stopped_has_found_nothing() {
    let change = |scenario: &mut Scenario| scenario.groups = vec![Arc::new(group(search(&[])))];
    let run = run(change, answers_after(10), async |run: &Run| {
        tokio::time::sleep(s(100)).await;
        run.stop.drain(Cause::Person);
    })
    .await;
    let found = run.search.expect("findings");
    assert_eq!((&found["line"], &found["end"]), (&serde_json::Value::Null, &"stopped".into()));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_limit_says_what_it_held() {
    let limit = LimitSpec {
        hold: 3,
        over: 1,
        free: 1,
        cycles: 2,
        per_user: None,
        bystanders: 0,
        race: 0,
        acquire: vec![get("acquire", "/acquire")],
        release: Vec::new(),
    };
    let change = |scenario: &mut Scenario| scenario.groups = vec![Arc::new(group(Executor::Limit(Box::new(limit))))];
    let run = quietly(change, answers_after(10)).await;
    assert_eq!(run.limit.expect("findings")["cycles"], 2);
    assert_eq!(run.planned, 10);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_not_released_or_undone_fails_even_a_run_that_was_stopped() {
    let check = async |limit: bool, stopped: bool, expected: &str| {
        let held = LimitSpec {
            hold: 3,
            over: 0,
            free: 0,
            cycles: 1,
            per_user: None,
            bystanders: 0,
            race: 0,
            acquire: vec![get("acquire", "/acquire")],
            release: vec![get("release", "/release")],
        };
        let change = |scenario: &mut Scenario| {
            if limit {
                scenario.groups = vec![Arc::new(group(Executor::Limit(Box::new(held))))];
            } else {
                scenario.groups = vec![Arc::new(group(rate(1.0, 60)))];
                scenario.events =
                    vec![TimedEvent { at: s(1), act: get("break", "/break"), undo: Some(get("mend", "/mend")) }];
            }
        };
        // The places are granted; what follows is not answered well.
        let begun = clock::mono();
        let fake = Fake::new(move |_| {
            let at = clock::mono().saturating_duration_since(begun);
            answer(1000, if at < if limit { s(1) } else { s(2) } { 200 } else { 404 })
        });
        let mut whole = scenario();
        whole.thresholds.clear();
        change(&mut whole);
        let policy = Policy { max_rate: 1e9, max_concurrency: 100_000, ..Policy::default() };
        let meanwhile = async |run: &Run| {
            tokio::time::sleep(Duration::from_millis(if limit { 500 } else { 3500 })).await;
            if stopped {
                run.stop.drain(Cause::Person);
            }
        };
        let (run, _) = Box::pin(on_fake(whole, policy, &Rc::new(fake), meanwhile)).await;
        assert_eq!((run.verdict, run.was_stopped()), (Verdict::Fail, stopped), "{:?}", run.reasons);
        assert!(run.reasons.iter().any(|reason| reason.starts_with(expected)), "{:?}", run.reasons);
        assert!(!stopped || run.reasons[0].starts_with(expected), "{:?}", run.reasons);
    };
    let released = "1 of 1 place was not released: `release` did not end ok (status)";
    check(true, true, released).await;
    check(true, false, released).await;
    check(false, true, "the undoing of the event at 1 s: `mend` did not end ok (status)").await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_recovery_after_a_phase_is_timed() {
    // Slow while it is overloaded and for 20 s more.
    let begun = clock::mono();
    let fake = Fake::new(move |_| {
        let at = clock::mono().saturating_duration_since(begun).as_secs();
        answer(10, if (30..80).contains(&at) { 429 } else { 200 })
    });
    let change = |scenario: &mut Scenario| {
        scenario.groups = vec![
            labelled("phase", "baseline", rate(5.0, 30)),
            labelled("phase", "overload", rate(50.0, 30)),
            labelled("phase", "after", rate(5.0, 60)),
        ];
        scenario.recovery = Some(RecoverySpec {
            after: "overload".into(),
            until: vec![crate::judge::parse_threshold("rate(rejected) == 0%").expect("a threshold")],
            hold: s(10),
            within: s(30),
        });
    };
    let run = quietly(change, fake).await;
    let recovery = run.recovery_s.expect("it recovered");
    assert!((18.5..=22.5).contains(&recovery), "{recovery}");
}
