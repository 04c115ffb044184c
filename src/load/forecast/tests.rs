//! What is foretold is what happens: each load is carried out on a made-up target with a clock that waits for nobody, and
//! its counts are held against the forecast.

mod agreement;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{Forecast, forecast};
use crate::{
    config,
    load::{
        host::Host,
        tests::{Bench, answer, answers_after, group, scenario},
    },
    model::{
        scenario::{Arrivals, BurstGap, Connections, Executor, Group, LevelEnd, RateStage, Scenario, VuStage},
        settings::Policy,
        units::Rate,
    },
};

/// The loads of the five guides, as they are written.
const LOADS: &[&str] = &[
    "{executor: probe}",
    "{executor: per-vu-iterations, vus: 10, iterations: 1, start: together, max_duration: 60s}",
    "{executor: per-vu-iterations, vus: 10, iterations: 50, max_duration: 15m}",
    "{executor: shared-iterations, vus: 7, iterations: 101}",
    "{executor: stepped-vus, vus: [1, 5, 10, 20, 50], iterations: 1, start: together, pause: 2s}",
    "{executor: stepped-vus, vus: [1, 3], duration: 5s}",
    "{executor: constant-arrival-rate, rate: 10/s, duration: 300s, arrivals: uniform, max_in_flight: 500}",
    "{executor: constant-arrival-rate, rate: 30/m, duration: 10m, arrivals: poisson}",
    "{executor: constant-arrival-rate, rate: 10/m, duration: 1h, identities: 5}",
    "{executor: burst, size: 50, repeat: 10, every: 10s}",
    "{executor: burst, size: 20, repeat: 5, pause: 500ms}",
    "{executor: constant-vus, vus: 5, duration: 30s}",
    "{executor: users, users: 100, spawn_rate: 10/s, hold_for: 20s, ramp_down: 5s}",
];

fn loaded(load: &str, steps: &str) -> Scenario {
    let text = format!(
        "version: 1\ntargets: {{t: {{base_url: \"http://127.0.0.1:9\"}}}}\n\
         scenarios: {{s: {{load: {load}, steps: {steps}}}}}\n"
    );
    match config::load_text(&text, &config::Options::default()) {
        Ok(loaded) => Scenario::clone(&loaded.settings.scenarios[0]),
        Err(report) => panic!("{report}"),
    }
}

fn generous() -> Policy {
    Policy { max_rate: 1e9, max_concurrency: 1_000_000, ..Policy::default() }
}

fn of_group(group: &Group) -> Forecast {
    let mut scenario = scenario();
    scenario.groups = vec![Arc::new(group.clone())];
    forecast(&scenario, &generous())
}

/// Carries a group out and holds it against its forecast.
async fn agrees(group: Group, steps: u64) {
    let what = format!("{:?}", group.load.executor);
    let foretold = of_group(&group);
    let ran = Bench::new(group, answers_after(50)).run().await;
    let (sent, dropped) = ran.counts();
    assert!(foretold.requests.covers(sent + dropped), "{what}: {} requests, not {sent} + {dropped}", foretold.requests);
    assert_eq!(dropped, 0, "{what}");
    assert!(foretold.iterations.covers(sent / steps), "{what}: {} iterations, not {sent}", foretold.iterations);
    if let Some(length) = foretold.duration {
        assert!(ran.took <= length + foretold.grace, "{what}: {:?} is longer than {length:?}", ran.took);
    }
    let by_level = foretold.parts.iter().filter(|part| part.name.starts_with("level="));
    if foretold.iterations.is_exact() && foretold.parts.len() > 1 {
        let expected: Vec<String> = by_level
            .map(|part| format!("{}={}", part.name.trim_start_matches("level="), part.iterations.least * steps))
            .collect();
        if !expected.is_empty() {
            assert_eq!(ran.by("level"), expected.join(" "), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_foretold_is_what_happens() {
    for load in LOADS {
        for (steps, count) in [("[{get: /}]", 1), ("[{get: /a}, {get: /b}, {get: /c}]", 3)] {
            let scenario = loaded(load, steps);
            agrees(Group::clone(&scenario.groups[0]), count).await;
        }
    }
}

/// A load that ends with its iterations, or along a plan, is known to the unit; the others have a bound.
#[test]
fn what_can_be_known_is_known() {
    for load in LOADS {
        let foretold = forecast(&loaded(load, "[{get: /a}, {get: /b}]"), &Policy::default());
        let by_time = load.contains("-vus, vus: 5") || load.contains("users:") || load.contains("duration: 5s");
        assert_eq!(foretold.iterations.is_exact(), !by_time, "{load}");
        assert_eq!(foretold.requests.is_exact(), !by_time, "{load}");
        assert!(foretold.requests.most.is_some(), "{load}");
        assert!(foretold.concurrency > 0 && foretold.connections > 0 && foretold.memory > 0, "{load}");
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    (1u32..4000, prop_oneof![Just(1u64), Just(60)])
        .prop_map(|(centi, per)| Rate { count: f64::from(centi) / 100.0, per: Duration::from_secs(per) })
}

fn lengths() -> impl Strategy<Value = Duration> {
    (1u64..20_000).prop_map(Duration::from_millis)
}

/// Loads whose plan says how many, to the unit.
fn exact() -> impl Strategy<Value = Executor> {
    let arrivals = || prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)];
    let stages = proptest::collection::vec((lengths(), rates()), 1..5);
    let every = (1u32..30, 1u64..8, lengths());
    prop_oneof![
        (1u32..20, 1u64..20, any::<bool>()).prop_map(|(vus, iterations, together)| Executor::PerVuIterations {
            vus,
            iterations,
            together,
            max_duration: Duration::from_hours(1)
        }),
        (1u32..20, 1u64..200).prop_map(|(vus, iterations)| Executor::SharedIterations {
            vus,
            iterations,
            max_duration: Duration::from_hours(1)
        }),
        (rates(), lengths(), arrivals()).prop_map(|(rate, duration, arrivals)| Executor::ConstantArrivalRate {
            rate,
            duration,
            arrivals
        }),
        (rates(), stages, arrivals()).prop_map(|(start_rate, stages, arrivals)| {
            let stages = stages.into_iter().map(|(duration, target)| RateStage { duration, target }).collect();
            Executor::RampingArrivalRate { start_rate, stages, arrivals }
        }),
        (every, any::<bool>()).prop_map(|((size, repeat, gap), pause)| {
            let gap = if pause { BurstGap::Pause(gap) } else { BurstGap::Every(gap) };
            Executor::Burst { size, repeat, gap }
        }),
        proptest::collection::vec(1u32..20, 1..5).prop_map(|levels| Executor::SteppedVus {
            levels,
            each: LevelEnd::Iterations { iterations: 3, max_duration: Duration::from_hours(1) },
            together: false,
            pause: Duration::from_millis(10),
        }),
    ]
}

/// Loads that go on for a time.
fn by_time() -> impl Strategy<Value = Executor> {
    let stages = proptest::collection::vec((lengths(), 0u32..10), 1..4);
    prop_oneof![
        (1u32..10, lengths()).prop_map(|(vus, duration)| Executor::ConstantVus { vus, duration }),
        (0u32..10, stages).prop_map(|(start_vus, stages)| Executor::RampingVus {
            start_vus,
            stages: stages.into_iter().map(|(duration, target)| VuStage { duration, target }).collect(),
            graceful_ramp_down: Duration::from_secs(30),
        }),
    ]
}

fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_plan_is_carried_out_to_the_unit(executor in exact(), ms in 0u64..500) {
        paused(async move {
            let group = group(executor);
            let foretold = of_group(&group);
            assert!(foretold.iterations.is_exact(), "{foretold:?}");
            let total: u64 = foretold.parts.iter().map(|part| part.iterations.least).sum();
            assert_eq!(foretold.iterations.least, total);
            let (sent, dropped) = Bench::new(group, answers_after(ms)).run().await.counts();
            assert_eq!((foretold.requests.least, foretold.requests.most), (sent + dropped, Some(sent + dropped)));
        });
    }

    #[test]
    fn every_other_plan_is_bounded(executor in by_time(), ms in 1u64..500) {
        paused(async move {
            let mut group = group(executor);
            group.think = Some(crate::model::scenario::Think::Constant(Duration::from_millis(100)));
            let foretold = of_group(&group);
            let (sent, dropped) = Bench::new(group, answers_after(ms)).run().await.counts();
            assert!(foretold.requests.covers(sent + dropped), "{} is not {}", foretold.requests, sent + dropped);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn failures_keep_within_the_forecast() {
    let group = Group::clone(&loaded(LOADS[6], "[{get: /a}, {get: /b}]").groups[0]);
    let foretold = of_group(&group);
    let fake = crate::load::fake::Fake::new(|n| answer(20, if n % 3 == 0 { 500 } else { 200 }));
    let (sent, dropped) = Bench::new(group, fake).run().await.counts();
    assert!(sent + dropped < foretold.requests.least, "steps that are not reached are not planned");
    assert!(sent + dropped >= foretold.iterations.least);
}

#[test]
fn connections_and_concurrency_follow_the_plan() {
    let of = |load: &str| forecast(&loaded(load, "[{get: /, timeout: 2s}]"), &generous());
    let check = |load: &str, concurrency: u64, connections: u64| {
        let foretold = of(load);
        assert_eq!((foretold.concurrency, foretold.connections), (concurrency, connections), "{load}");
    };
    check("{executor: constant-vus, vus: 50, duration: 1m}", 50, 50);
    check("{executor: constant-vus, vus: 50, duration: 1m, connections: 20}", 50, 20);
    // Ten a second for two seconds each, and one that starts while the first still lasts.
    check("{executor: constant-arrival-rate, rate: 10/s, duration: 1m}", 21, 21);
    check("{executor: constant-arrival-rate, rate: 10/s, duration: 1m, max_in_flight: 5}", 5, 5);
    check("{executor: constant-arrival-rate, rate: 10/s, duration: 500ms}", 5, 5);
}

#[test]
fn what_the_host_cannot_carry_is_refused_with_the_arithmetic() {
    let host = Host {
        files: Some(1024),
        open: 10,
        ports: 28_232,
        port_rest: Duration::from_mins(1),
        memory: Some(1_000_000_000),
    };
    let of = |executor: Executor, reuse: bool| {
        let mut scenario = scenario();
        let own = group(executor);
        scenario.groups = vec![Arc::new(own)];
        let mut target = (*scenario.target).clone();
        target.http.reuse = reuse;
        scenario.target = Arc::new(target);
        forecast(&scenario, &generous())
    };
    let users = |vus| Executor::ConstantVus { vus, duration: Duration::from_mins(1) };
    let rate = |count| Executor::ConstantArrivalRate {
        rate: Rate { count, per: Duration::from_secs(1) },
        duration: Duration::from_mins(5),
        arrivals: Arrivals::Uniform,
    };
    let said = |host: &Host, foretold: &Forecast| {
        host.shortages(foretold).into_iter().map(|shortage| shortage.what).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(said(&host, &of(users(960), true)), "");
    insta::assert_snapshot!(said(&host, &of(users(961), true)), @"open files: 961 connections and 64 for itself are 1025, and the limit is 1024");
    insta::assert_snapshot!(said(&Host { files: None, ..host }, &of(users(60_000), true)), @"local ports: 60000 connections to one destination, and ip_local_port_range has 28232");
    insta::assert_snapshot!(said(&Host { files: None, memory: None, ..host }, &of(rate(500.0), false)), @"local ports: 500/s with a connection for each request hold 30000 for 60 s after they are closed, and ip_local_port_range has 28232");
    assert_eq!(said(&Host { files: None, memory: None, ..host }, &of(rate(450.0), false)), "", "27,000 rest");
    let soon = Host { files: None, memory: None, port_rest: Duration::from_secs(1), ..host };
    assert_eq!(said(&soon, &of(rate(500.0), false)), "");
    let mut pooled = scenario();
    let mut own = group(users(60_000));
    own.load.connections = Connections::Pool(100);
    pooled.groups = vec![Arc::new(own)];
    let foretold = forecast(&pooled, &generous());
    assert_eq!((foretold.concurrency, foretold.connections), (60_000, 100));
}
