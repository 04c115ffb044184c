use std::time::Duration;

use proptest::prelude::*;

use crate::{
    http::dial,
    load::{
        fake::{Fake, FakeAnswer},
        tests::{Bench, answer, answers_after, get, group},
    },
    model::{
        clock,
        outcome::{DropReason, Outcome},
        scenario::{Executor, Group, LevelEnd, Task, Think, VuStage},
        units::Rate,
    },
};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn iterations_are_as_many_as_planned() {
    let check = async |executor, sent, took| {
        let ran = Bench::new(group(executor), answers_after(1000)).run().await;
        assert_eq!(ran.counts(), (sent, 0));
        assert!(ran.took >= s(took) && ran.took < s(took + 1), "{:?}", ran.took);
    };
    let max_duration = s(600);
    check(Executor::PerVuIterations { vus: 7, iterations: 3, together: true, max_duration }, 21, 3).await;
    check(Executor::PerVuIterations { vus: 7, iterations: 3, together: false, max_duration }, 21, 3).await;
    check(Executor::SharedIterations { vus: 7, iterations: 22, max_duration }, 22, 4).await;
    check(Executor::SharedIterations { vus: 30, iterations: 22, max_duration }, 22, 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_duration_leaves_undone_is_dropped() {
    let max_duration = Duration::from_millis(2500);
    for executor in [
        Executor::PerVuIterations { vus: 5, iterations: 10, together: false, max_duration },
        Executor::SharedIterations { vus: 5, iterations: 50, max_duration },
    ] {
        let ran = Bench::new(group(executor), answers_after(1000)).run().await;
        assert_eq!((ran.counts(), ran.dropped(DropReason::Deadline)), ((15, 35), 35));
    }
}

#[tokio::test(start_paused = true)]
async fn users_go_on_until_the_time_is_up_and_finish() {
    let ran = Bench::new(group(Executor::ConstantVus { vus: 10, duration: s(60) }), answers_after(999)).run().await;
    // Timers ring on whole milliseconds, so an iteration is a second at most.
    let sent = ran.counts().0;
    assert!((600..=610).contains(&sent), "{sent}");
    assert_eq!(ran.judged.counts().ok, sent);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_taken_away_leaves_as_properly_as_any_other() {
    let stages = vec![VuStage { duration: s(5), target: 3 }, VuStage { duration: s(0), target: 1 }];
    let stages = [stages, vec![VuStage { duration: s(10), target: 1 }]].concat();
    let executor = Executor::RampingVus { start_vus: 3, stages, graceful_ramp_down: s(0) };
    let mut group = group(executor);
    (group.on_start, group.on_stop) = (vec![get("hello", "/")], vec![get("goodbye", "/")]);
    let bench = Bench::new(group, answers_after(400));
    let ran = bench.run().await;
    // Two are cut out of their iterations.
    assert_eq!((ran.judged.counts().failed, ran.judged.hooks.ok, ran.judged.hooks.failed), (2, 6, 0));
}

#[tokio::test(start_paused = true)]
async fn pacing_does_not_drift() {
    let constant = Executor::ConstantVus { vus: 4, duration: s(3600) };
    let check = async |think, least, most| {
        let ran = Bench::new(Group { think: Some(think), ..group(constant.clone()) }, answers_after(700)).run().await;
        assert!((least..=most).contains(&ran.counts().0), "{think:?}: {:?}", ran.counts());
    };
    check(Think::Pacing(s(5)), 2880, 2880).await;
    check(Think::Throughput(Rate { count: 12.0, per: s(60) }), 2880, 2880).await;
    check(Think::Constant(Duration::from_millis(4300)), 2875, 2884).await;
    check(Think::Between(s(3), s(5)), 2980, 3150).await;
    check(Think::Poisson(s(4)), 2880, 3260).await;
    // Asked for more than can be had: as fast as the target answers.
    check(Think::Pacing(Duration::from_millis(100)), 20_500, 20_600).await;
}

#[tokio::test(start_paused = true)]
async fn levels_follow_each_other_with_a_label_each() {
    let each = LevelEnd::Iterations { iterations: 2, max_duration: s(600) };
    let levels = Executor::SteppedVus { levels: vec![1, 5, 10], each, together: true, pause: s(2) };
    let ran = Bench::new(group(levels), answers_after(500)).run().await;
    assert_eq!((ran.by("level"), ran.counts()), ("1=2 2=10 3=20".to_owned(), (32, 0)));
    assert!(ran.took >= s(7) && ran.took < Duration::from_millis(7100), "{:?}", ran.took);
    let levels =
        Executor::SteppedVus { levels: vec![1, 3], each: LevelEnd::Duration(s(10)), together: false, pause: s(0) };
    let ran = Bench::new(group(levels), answers_after(1000)).run().await;
    assert_eq!(ran.by("level"), "1=10 2=30");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_users_follows_the_stages() {
    let stage = |seconds, target| VuStage { duration: s(seconds), target };
    let stages = vec![stage(10, 10), stage(10, 10), stage(10, 0), stage(5, 0)];
    let executor = Executor::RampingVus { start_vus: 0, stages, graceful_ramp_down: s(30) };
    let bench = Bench::new(group(executor), answers_after(100));
    let recorder = bench.shared.recorder.clone();
    let watch = async move {
        let begun = clock::mono();
        for (at, users) in [(1500, 1), (5500, 5), (15_500, 10), (25_500, 5), (31_000, 0)] {
            tokio::time::sleep_until((begun + Duration::from_millis(at)).into()).await;
            assert_eq!(recorder.active(), users, "{at}");
        }
    };
    let ran = bench.run_beside(watch).await;
    // The area below the line is 200 s of users with ten iterations a second each.
    assert!((1960..=2010).contains(&ran.counts().0), "{:?}", ran.counts());
    assert!(ran.took >= s(35) && ran.took < s(36), "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn who_is_taken_away_has_the_grace_of_the_ramp() {
    let stage = |seconds, target| VuStage { duration: s(seconds), target };
    let stages = vec![stage(10, 5), stage(0, 0), stage(60, 0)];
    let graceful_ramp_down = s(3);
    let executor = Executor::RampingVus { start_vus: 5, stages, graceful_ramp_down };
    let ran = Bench::new(group(executor), answers_after(8000)).run().await;
    // Each had one answer at 8 s, and was cut 3 s after 10 s.
    let total = ran.judged.total();
    assert_eq!((total.counts().ok, total.counts().failed), (5, 5));
    assert_eq!(total.reasons.get(&(Outcome::Failed, "unfinished".into())), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_come_stay_and_go() {
    let rate = Rate { count: 10.0, per: s(1) };
    let executor = Executor::Users { users: 1000, spawn_rate: rate, hold_for: s(300), ramp_down: s(30) };
    let task = |name: &str, weight, needs: &[&str]| Task {
        name: name.into(),
        weight,
        needs: needs.iter().map(|need| (*need).into()).collect(),
        steps: vec![get(name, "/")],
    };
    let tasks = vec![
        task("start", 40, &[]),
        task("followup", 25, &[]),
        task("agents", 15, &[]),
        task("health", 10, &[]),
        task("rag", 5, &[]),
        task("history", 5, &[]),
    ];
    let think = Some(Think::Between(s(1), s(5)));
    let bench = Bench::new(Group { tasks, think, ..group(executor) }, answers_after(200));
    let recorder = bench.shared.recorder.clone();
    let begun = bench.shared.started.get();
    recorder.set_window(Some(begun + Duration::from_millis(99_900)), Some(begun + Duration::from_millis(399_900)));
    let ran = bench.run().await;
    assert!(ran.took <= Duration::from_millis(430_200) && ran.took > s(420), "{:?}", ran.took);
    // A thousand users with an iteration each 3.2 s for 300 s.
    let judged = ran.judged.sent() as f64;
    assert!((judged - 93_750.0).abs() < 1000.0, "{judged}");
    for (name, share) in
        [("start", 0.40), ("followup", 0.25), ("agents", 0.15), ("health", 0.10), ("rag", 0.05), ("history", 0.05)]
    {
        let sent: u64 = ran.judged.series.iter().filter(|(key, _)| &*key.step == name).map(|(_, s)| s.sent()).sum();
        assert!((sent as f64 / judged - share).abs() < 0.002, "{name}: {sent}");
    }
    assert!(ran.outside.sent() > 20_000 && ran.judged.dropped() == 0);
    assert_eq!(ran.counts().0, bench.fake.counts().1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_come_at_their_rate() {
    let rate = Rate { count: 10.0, per: s(1) };
    let executor = Executor::Users { users: 1000, spawn_rate: rate, hold_for: s(100), ramp_down: s(0) };
    // Nobody is answered before all are there: who has come is in flight.
    let bench = Bench::new(group(executor), answers_after(150_000));
    let recorder = bench.shared.recorder.clone();
    let watch = async move {
        let begun = clock::mono();
        for tenth in 0..1000 {
            tokio::time::sleep_until((begun + Duration::from_millis(100 * tenth + 50)).into()).await;
            assert_eq!(recorder.active(), tenth + 1, "the n-th comes at n tenths of a second");
        }
    };
    let ran = bench.run_beside(watch).await;
    assert!(ran.counts().0 >= 1000, "{:?}", ran.counts());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_user_does_not_hang_the_run() {
    let fake = Fake::new(|n| if n == 5 { panic!("made up") } else { answer(100, 200) });
    let executor = Executor::PerVuIterations { vus: 3, iterations: 4, together: false, max_duration: s(60) };
    let bench = Bench::new(group(executor), fake);
    let ran = bench.run().await;
    assert_eq!(bench.shared.recorder.crash_count(), 1);
    // The crashed one sent one request that nobody knows the end of, and leaves the rest of its iterations.
    let (sent, dropped) = ran.counts();
    assert_eq!((sent + dropped, ran.judged.samples_lost), (11, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn faults_of_every_kind_leave_the_ledger_exact(seed in 1u64..1000, vus in 1u32..20, iterations in 1u64..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let fake = Fake::new(move |n| match (n * seed) % 7 {
                0 => answer(90_000, 200),
                1 => answer(10, 500),
                2 => answer(10, 429),
                3 => crate::load::fake::FakeAnswer { after: Duration::from_millis(5), result: Err("reset") },
                _ => answer(n % 50 + 1, 200),
            });
            let executor = Executor::PerVuIterations { vus, iterations, together: false, max_duration: s(100) };
            let bench = Bench::new(group(executor), fake);
            let ran = bench.run().await;
            let (sent, dropped) = ran.counts();
            prop_assert_eq!(sent + dropped, u64::from(vus) * iterations);
            let counts = ran.judged.counts();
            prop_assert_eq!(counts.ok + counts.rejected + counts.failed + counts.interrupted, sent);
            let (seen, answered) = bench.fake.counts();
            prop_assert_eq!(seen, sent);
            prop_assert!(answered <= sent && counts.interrupted == 0);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_does_not_ask_again_at_once() {
    let refused = || Fake::new(|_| FakeAnswer { result: Err(dial::GENERATOR), ..answer(1, 200) });
    let ran = Bench::new(group(Executor::ConstantVus { vus: 3, duration: s(10) }), refused()).run().await;
    let dropped = ran.dropped(DropReason::Generator);
    assert!(ran.counts().0 == 0 && (290..=300).contains(&dropped), "{dropped}");
}
