//! The laws of the ledger over a million iterations, or over as many as `PLIMSOLL_LEDGER` says: every load model, a target
//! with every kind of fault, aborts at any moment.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    load::{
        fake::{Fake, FakeAnswer},
        plan::outline::group_outline,
        stop::Cause,
        tests::{Bench, answer, group},
    },
    model::{
        outcome::{DropReason, fail},
        scenario::{Arrivals, BurstGap, Executor, LevelEnd, RateStage, Think, VuStage},
        units::Rate,
    },
};

/// Iterations where nothing else is said.
const ITERATIONS: u64 = 1_000_000;
/// What goes wrong without an answer.
const REASONS: [&str; 7] =
    [fail::DNS, fail::CONNECT, fail::TLS, fail::TIMEOUT, fail::RESET, fail::PROTOCOL, fail::BODY_LIMIT];

/// Each load model, with about 10,000 iterations.
fn executor(random: &mut SmallRng) -> Executor {
    let s = Duration::from_secs;
    let rate = |count| Rate { count, per: s(1) };
    let vus = random.random_range(1..=200);
    match random.random_range(0..10) {
        0 => Executor::PerVuIterations {
            vus,
            iterations: 10_000 / u64::from(vus),
            together: random.random(),
            max_duration: s(600),
        },
        1 => Executor::SharedIterations { vus, iterations: 10_000, max_duration: s(600) },
        2 => Executor::ConstantVus { vus, duration: s(20) },
        3 => Executor::RampingVus {
            start_vus: 1,
            stages: vec![VuStage { duration: s(10), target: vus }, VuStage { duration: s(10), target: 0 }],
            graceful_ramp_down: s(1),
        },
        4 => Executor::SteppedVus {
            levels: vec![1, 40, 90],
            each: LevelEnd::Iterations { iterations: 75, max_duration: s(60) },
            together: random.random(),
            pause: s(1),
        },
        5 => Executor::ConstantArrivalRate { rate: rate(1000.0), duration: s(10), arrivals: Arrivals::Uniform },
        6 => Executor::ConstantArrivalRate { rate: rate(1000.0), duration: s(10), arrivals: Arrivals::Poisson },
        7 => Executor::RampingArrivalRate {
            start_rate: rate(0.0),
            stages: vec![RateStage { duration: s(10), target: rate(2000.0) }],
            arrivals: Arrivals::Uniform,
        },
        8 => Executor::Burst { size: 500, repeat: 20, gap: BurstGap::Every(s(1)) },
        _ => Executor::Users { users: vus, spawn_rate: rate(50.0), hold_for: s(8), ramp_down: s(4) },
    }
}

/// What the n-th request meets: mostly an answer.
fn meets(n: u64, seed: u64) -> FakeAnswer {
    // A cheap and even scatter.
    let dice = (n ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let after = Duration::from_millis(dice % 97);
    match dice % 20 {
        0 => FakeAnswer { after, result: Err(REASONS[(dice / 20) as usize % REASONS.len()]) },
        1 => answer(dice % 50, 500),
        2 => answer(dice % 50, 429),
        3 => answer(dice % 50, 503),
        // Later than anybody waits for.
        4 if dice % 400 == 4 => answer(90_000, 200),
        _ => FakeAnswer { after, ..answer(0, 200) },
    }
}

/// One run; gives its iterations.
async fn hold(random: &mut SmallRng) -> u64 {
    let (seed, executor) = (random.random(), executor(random));
    let mut group = group(executor);
    group.load.max_in_flight = random.random_range(20..=1000);
    group.load.graceful_stop = Duration::from_millis(random.random_range(0..3000));
    group.think = random.random_bool(0.3).then_some(Think::Constant(Duration::from_millis(20)));
    let abort = random.random_bool(0.5).then(|| {
        let cause = [Cause::Person, Cause::Abort, Cause::Timeout][random.random_range(0..3)];
        let after = |random: &mut SmallRng, most| Duration::from_millis(random.random_range(0..most));
        (cause, after(random, 25_000), after(random, 2_000))
    });
    let bench = Bench::new(group, Fake::new(move |n| meets(n, seed)));
    let stop = bench.shared.stop.clone();
    let ran = bench
        .run_beside(async move {
            if let Some((cause, drained, cut)) = abort {
                tokio::time::sleep(drained).await;
                stop.drain(cause);
                tokio::time::sleep(cut).await;
                stop.cut();
            }
        })
        .await;
    let case = format!("{:?} {abort:?} {seed}", bench.shared.group.load.executor);
    let (sent, dropped) = ran.counts();
    let (reached, answered) = bench.fake.counts();
    let total = ran.judged.total();
    let counts = total.counts();
    assert_eq!(ran.outside.sent(), 0, "{case}");
    assert_eq!(counts.ok + counts.rejected + counts.failed + counts.interrupted, sent, "{case}");
    assert_eq!(reached, sent, "{case}: what was sent reached the target, and nothing else did");
    let status = total.failed_status.values().sum::<u64>();
    assert_eq!(counts.ok + counts.rejected + status, answered, "{case}: what it answered was counted");
    assert_eq!(total.reasons.values().sum::<u64>(), counts.rejected + counts.failed, "{case}");
    assert_eq!(DropReason::ALL.iter().map(|reason| ran.dropped(*reason)).sum::<u64>(), dropped, "{case}");
    let stopped = abort.filter(|(cause, ..)| *cause != Cause::Timeout);
    assert!(stopped.is_some() || counts.interrupted == 0, "{case}");
    if let (Some(planned), None) = (group_outline(&bench.shared.group).iterations, stopped) {
        assert_eq!(sent + dropped, planned, "{case}");
    }
    assert_eq!((bench.shared.recorder.active(), ran.judged.samples_lost), (0, 0), "{case}");
    sent + dropped
}

#[test]
fn the_ledger_is_exact_over_all_of_them() {
    let wanted = std::env::var("PLIMSOLL_LEDGER").map_or(ITERATIONS, |text| text.parse().expect("a number"));
    let mut random = SmallRng::seed_from_u64(wanted);
    let (mut done, mut runs) = (0, 0);
    while done < wanted {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        done += runtime.expect("a runtime").block_on(hold(&mut random));
        runs += 1;
    }
    println!("{done} iterations in {runs} runs");
}
