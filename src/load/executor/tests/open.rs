use std::time::Duration;

use proptest::prelude::*;

use crate::{
    load::{
        plan::outline::group_outline,
        tests::{Bench, answers_after, get, group},
    },
    model::{
        labels::Labels,
        outcome::DropReason,
        scenario::{Arrivals, BurstGap, Executor, RateStage},
        units::Rate,
    },
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn per_second(count: f64) -> Rate {
    Rate { count, per: s(1) }
}

#[tokio::test(start_paused = true)]
async fn arrivals_are_as_many_as_planned() {
    for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
        let constant = Executor::ConstantArrivalRate { rate: per_second(50.0), duration: s(20), arrivals };
        let ran = Bench::new(group(constant), answers_after(30)).run().await;
        assert_eq!(ran.counts(), (1000, 0), "{arrivals:?}");
        assert!(ran.took >= s(20) && ran.took < s(21), "{:?}", ran.took);
        let stages = vec![
            RateStage { duration: s(10), target: per_second(100.0) },
            RateStage { duration: s(0), target: per_second(10.0) },
            RateStage { duration: s(10), target: per_second(10.0) },
        ];
        let ramp = Executor::RampingArrivalRate { start_rate: per_second(0.0), stages, arrivals };
        let bench = Bench::new(group(ramp), answers_after(30));
        let ran = bench.run().await;
        assert_eq!(ran.counts(), (600, 0), "{arrivals:?}");
        assert_eq!(bench.fake.counts(), (600, 600));
    }
}

#[tokio::test(start_paused = true)]
async fn arrivals_that_find_no_slot_are_dropped() {
    let mut group =
        group(Executor::ConstantArrivalRate { rate: per_second(10.0), duration: s(10), arrivals: Arrivals::Uniform });
    group.load.max_in_flight = 3;
    let ran = Bench::new(group, answers_after(1000)).run().await;
    // Three slots, each taken for a second: three of ten in each second.
    let dropped = ran.dropped(DropReason::MaxInFlight);
    assert_eq!(ran.counts().0 + dropped, 100);
    assert!((28..=33).contains(&ran.counts().0), "{:?}", ran.counts());
}

#[tokio::test(start_paused = true)]
async fn bursts_leave_at_once_and_are_labelled() {
    let every = Executor::Burst { size: 50, repeat: 4, gap: BurstGap::Every(s(10)) };
    let ran = Bench::new(group(every), answers_after(15_000)).run().await;
    assert_eq!(ran.by("burst"), "1=50 2=50 3=50 4=50");
    // The last begins at 30 s and takes 15: bursts overlap.
    assert!(ran.took >= s(45) && ran.took < s(46), "{:?}", ran.took);
    let pause = Executor::Burst { size: 20, repeat: 3, gap: BurstGap::Pause(s(10)) };
    let ran = Bench::new(group(pause), answers_after(15_000)).run().await;
    assert_eq!((ran.by("burst"), ran.counts()), ("1=20 2=20 3=20".to_owned(), (60, 0)));
    assert!(ran.took >= s(65) && ran.took < s(66), "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn latency_counts_from_the_planned_instant() {
    let executor = Executor::Burst { size: 10, repeat: 1, gap: BurstGap::Every(s(1)) };
    let ran = Bench::new(group(executor), answers_after(200)).run().await;
    let latency = ran.judged.total().latency[0].stats();
    assert!(latency.max < 0.205, "{latency:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_outline_and_the_run_agree_to_the_unit(
        first in 0.0f64..200.0,
        stages in proptest::collection::vec((0u64..8000, 0.0f64..200.0), 1..5),
        bursts in (1u32..50, 1u64..6, 0u64..3000),
        poisson: bool,
        which in 0usize..4,
    ) {
        let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Uniform };
        let ms = Duration::from_millis;
        let executor = match which {
            0 => Executor::ConstantArrivalRate { rate: per_second(first + 0.1), duration: ms(stages[0].0 + 1), arrivals },
            1 => {
                let stages = stages.iter().map(|(length, rate)| RateStage { duration: ms(*length), target: per_second(*rate) });
                Executor::RampingArrivalRate { start_rate: per_second(first), stages: stages.collect(), arrivals }
            }
            2 => Executor::Burst { size: bursts.0, repeat: bursts.1, gap: BurstGap::Every(ms(bursts.2)) },
            _ => Executor::Burst { size: bursts.0, repeat: bursts.1, gap: BurstGap::Pause(ms(bursts.2)) },
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let group = group(executor);
            let outline = group_outline(&group);
            let ran = Bench::new(group, answers_after(3)).run().await;
            prop_assert_eq!(Some(ran.counts().0), outline.iterations);
            prop_assert_eq!(ran.counts().1, 0);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_of_an_open_load_leave_as_they_came() {
    let rate = Executor::ConstantArrivalRate { rate: per_second(10.0), duration: s(5), arrivals: Arrivals::Uniform };
    let burst = Executor::Burst { size: 3, repeat: 5, gap: BurstGap::Pause(s(1)) };
    for (executor, iterations) in [(rate, 50), (burst, 15)] {
        let mut group = group(executor);
        (group.on_start, group.on_stop) = (vec![get("hello", "/")], vec![get("goodbye", "/")]);
        let bench = Bench::new(group, answers_after(250));
        let ran = bench.run().await;
        assert_eq!(ran.counts(), (iterations, 0));
        let greetings = bench.fake.counts().0 - iterations;
        assert!(greetings >= 6 && greetings.is_multiple_of(2), "as many goodbyes as hellos: {greetings}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_of_the_whole_plan() {
    let rate = Executor::ConstantArrivalRate { rate: per_second(10.0), duration: s(1), arrivals: Arrivals::Uniform };
    let mut group = group(rate);
    group.labels = Labels::one("phase", "short");
    let bench = Bench::new(group, answers_after(5));
    let ran = bench.run().await;
    // The tenth arrival comes after 900 ms, and the second is not over.
    let all = ran.judged.all_iterations();
    let span = all.span.map(|(first, last)| last - first).expect("there were iterations");
    assert!((0.9..0.95).contains(&span), "{span}");
    let seconds = all.seconds().expect("there were iterations");
    assert!((seconds - 1.0).abs() < 0.005, "{seconds}");
}
