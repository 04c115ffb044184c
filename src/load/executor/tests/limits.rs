use std::{cell::Cell, rc::Rc, time::Duration};

use serde_json::json;

use crate::{
    load::{
        fake::{Fake, FakeAnswer},
        stop::Cause,
        tests::{Bench, answer, get, group},
    },
    model::{
        scenario::{Executor, LimitSpec},
        settings::Policy,
    },
};

fn spec() -> LimitSpec {
    LimitSpec {
        hold: 10,
        over: 1,
        free: 1,
        cycles: 1,
        per_user: None,
        bystanders: 0,
        race: 0,
        acquire: vec![get("acquire", "/acquire")],
        release: vec![get("release", "/release")],
    }
}

/// A target with room for so many. It cannot see paths: who acquires and who releases is told by the order, so the test
/// counts what is held by itself.
fn places(room: i64, sequence: &'static [char]) -> (Fake, Rc<Cell<i64>>) {
    let held = Rc::new(Cell::new(0));
    let ours = held.clone();
    let fake = Fake::new(move |n| -> FakeAnswer {
        match sequence.get(n as usize - 1).copied().unwrap_or('r') {
            'a' if ours.get() < room => {
                ours.set(ours.get() + 1);
                answer(10, 200)
            }
            'a' => answer(10, 429),
            _ => {
                ours.set(ours.get() - 1);
                answer(10, 200)
            }
        }
    });
    (fake, held)
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_filled_exceeded_freed_and_taken_again() {
    let (fake, held) = places(10, &['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'r', 'a']);
    let ran = Bench::new(group(Executor::Limit(Box::new(spec()))), fake).run().await;
    assert_eq!(ran.by("part"), "hold=10 over=1 retry=1");
    let rejected: Vec<_> = ran.judged.series.iter().filter(|(_, s)| s.counts().rejected > 0).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].0.labels.get("part").map(|part| &**part), Some("over"));
    let hooks = ran.judged.hooks;
    assert_eq!((hooks.ok, hooks.failed, held.get()), (11, 0, 0), "all that was acquired was released");
    assert_eq!(ran.found, Some(json!({"cycles": 1, "held_at_once": 10, "released": 11, "not_released": 0})));
}

#[tokio::test(start_paused = true)]
async fn whatever_was_acquired_is_released_after_an_abort_at_any_moment() {
    for stop_at in (0..200).step_by(7) {
        let (fake, held) = places(10, &['a'; 10]);
        let bench = Bench::new(group(Executor::Limit(Box::new(LimitSpec { over: 0, free: 0, ..spec() }))), fake);
        let stop = bench.shared.stop.clone();
        let ran = bench
            .run_beside(async move {
                tokio::time::sleep(Duration::from_millis(stop_at)).await;
                stop.drain(Cause::Person);
            })
            .await;
        let acquired = ran.judged.counts().ok;
        let hooks = ran.judged.hooks;
        assert_eq!((hooks.ok, hooks.failed), (acquired, 0), "{stop_at}");
        if acquired == 10 {
            assert_eq!(held.get(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn releases_that_hang_are_given_up_five_seconds_after_an_abort() {
    let fake = Fake::new(|n| if n <= 10 { answer(10, 200) } else { answer(600_000, 200) });
    let bench = Bench::new(group(Executor::Limit(Box::new(LimitSpec { over: 0, free: 0, ..spec() }))), fake);
    let stop = bench.shared.stop.clone();
    let ran = bench
        .run_beside(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.drain(Cause::Person);
        })
        .await;
    assert!(ran.took < Duration::from_millis(5600), "{:?}", ran.took);
    assert_eq!(ran.found.expect("findings")["not_released"], 10);
}

#[tokio::test(start_paused = true)]
async fn each_user_has_a_limit_and_bystanders_have_none_of_it() {
    let fake = Fake::new(|_| answer(10, 200));
    let spec = LimitSpec { hold: 3, per_user: Some(4), bystanders: 2, race: 6, ..spec() };
    let ran = Bench::new(group(Executor::Limit(Box::new(spec))), fake).run().await;
    assert_eq!(ran.by("part"), "bystander=2 hold=12 over=4 race=24 retry=4");
    assert_eq!(ran.judged.hooks.ok, 46);
}

#[tokio::test(start_paused = true)]
async fn releases_keep_to_the_caps_also_after_a_stop_and_under_the_kill_switch() {
    for stopped in [false, true] {
        let fake = Fake::new(|_| answer(100, 200));
        let policy = Policy { max_rate: 1e9, max_concurrency: 4, ..Policy::default() };
        let limit = LimitSpec { hold: 40, over: 0, free: 0, ..spec() };
        let bench = Bench::with(group(Executor::Limit(Box::new(limit))), fake, &policy);
        let (fake, stop, gate) = (bench.fake.clone(), bench.shared.stop.clone(), bench.shared.gate.clone());
        let ran = bench
            .run_beside(async move {
                tokio::time::sleep(Duration::from_millis(4250)).await;
                if stopped {
                    gate.set_paused(true);
                    stop.drain(Cause::Person);
                }
            })
            .await;
        assert_eq!((ran.judged.counts().ok, ran.judged.hooks.ok), (40, 40), "{stopped}");
        assert_eq!(fake.peak(), 4, "{stopped}");
    }
}
