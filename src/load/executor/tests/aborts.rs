//! Aborts at any moment: the ledger is exact, and the run ends.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    load::{
        stop::Cause,
        tests::{Bench, answers_after, group},
    },
    model::{
        scenario::{Arrivals, BurstGap, Executor, LevelEnd, Think, VuStage},
        units::Rate,
    },
};

fn executors() -> Vec<Executor> {
    let s = Duration::from_secs;
    let rate = Rate { count: 20.0, per: s(1) };
    vec![
        Executor::PerVuIterations { vus: 5, iterations: 20, together: true, max_duration: s(600) },
        Executor::SharedIterations { vus: 5, iterations: 100, max_duration: s(600) },
        Executor::ConstantVus { vus: 5, duration: s(20) },
        Executor::RampingVus {
            start_vus: 1,
            stages: vec![VuStage { duration: s(10), target: 9 }, VuStage { duration: s(10), target: 0 }],
            graceful_ramp_down: s(30),
        },
        Executor::SteppedVus {
            levels: vec![1, 4, 9],
            each: LevelEnd::Iterations { iterations: 4, max_duration: s(600) },
            together: true,
            pause: s(1),
        },
        Executor::ConstantArrivalRate { rate, duration: s(10), arrivals: Arrivals::Uniform },
        Executor::ConstantArrivalRate { rate, duration: s(10), arrivals: Arrivals::Poisson },
        Executor::Burst { size: 10, repeat: 5, gap: BurstGap::Every(s(3)) },
        Executor::Burst { size: 10, repeat: 5, gap: BurstGap::Pause(s(1)) },
        Executor::Users { users: 20, spawn_rate: rate, hold_for: s(8), ramp_down: s(4) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_is_exact_and_the_run_ends(
        which in 0usize..10,
        stop_at in 0u64..30_000,
        cut_after in 0u64..3_000,
        takes in 1u64..4_000,
        cause in prop_oneof![Just(Cause::Person), Just(Cause::Abort), Just(Cause::Timeout)],
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let executor = executors()[which].clone();
            let mut group = group(executor);
            group.think = Some(Think::Constant(Duration::from_millis(100)));
            let bench = Bench::new(group, answers_after(takes));
            let stop = bench.shared.stop.clone();
            let ran = bench.run_beside(async move {
                tokio::time::sleep(Duration::from_millis(stop_at)).await;
                stop.drain(cause);
                tokio::time::sleep(Duration::from_millis(cut_after)).await;
                stop.cut();
            }).await;
            let counts = ran.judged.counts();
            let (sent, dropped) = ran.counts();
            let (seen, answered) = bench.fake.counts();
            prop_assert_eq!(counts.ok + counts.rejected + counts.failed + counts.interrupted, sent);
            prop_assert_eq!(seen, sent);
            prop_assert_eq!(counts.ok, answered, "whatever was answered was counted");
            prop_assert!(cause == Cause::Timeout || counts.failed == 0, "cut by a person is not the target's doing");
            prop_assert!(cause != Cause::Timeout || counts.interrupted == 0);
            if let (Some(planned), Cause::Timeout) = (crate::load::plan::outline::group_outline(&bench.shared.group).iterations, cause) {
                prop_assert_eq!(sent + dropped, planned, "what the timeout left no time for was planned");
            }
            prop_assert!(bench.shared.recorder.active() == 0);
            Ok(())
        })?;
    }
}
