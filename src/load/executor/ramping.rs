//! Users along stages: who is taken away may finish its iteration within the grace of the ramp.

use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::spawn_local};

use super::{
    closed::{Life, live},
    crew::{Crew, cut_after, race},
};
use crate::{
    load::{plan::vus::VuRamp, stop::Stop},
    model::{clock, labels::Labels},
};

/// A user as the stages see it; the user itself is a task.
struct Vu {
    /// Its own end.
    stop: Stop,
    /// Closes when the user is gone.
    gone: watch::Receiver<()>,
}

/// Users along `plan`; one that is taken away has `graceful` to finish.
pub(super) async fn ramping(crew: &Rc<Crew>, plan: VuRamp, graceful: Duration) -> io::Result<()> {
    let pacer = crew.pacer()?;
    let stop = &crew.shared.stop;
    // In order of their numbers; those beyond `wanted` are on their way out.
    let mut vus: Vec<Vu> = Vec::new();
    let mut wanted = 0;
    for level in plan.levels() {
        let at = crew.begun + level.at;
        tokio::select! {
            biased;
            () = stop.wait_over() => {}
            rung = pacer.wait_until(at) => rung?,
        }
        if stop.is_over() {
            break;
        }
        let now = level.vus as usize;
        for vu in &vus[now.min(wanted)..wanted] {
            vu.stop.end_of_plan();
        }
        for index in wanted..now {
            let before = vus.get(index).map(|vu| vu.gone.clone());
            let vu = come(crew, index as u64 + 1, at, graceful, before);
            if index < vus.len() { vus[index] = vu } else { vus.push(vu) }
        }
        wanted = now;
    }
    let over = async {
        tokio::select! {
            _ = pacer.wait_until(crew.begun + plan.length()) => stop.end_of_plan(),
            () = stop.wait_over() => {}
        }
        cut_after(stop, crew.grace).await;
    };
    let landed = async {
        stop.wait_over().await;
        crew.all_landed().await;
    };
    race(over, landed).await;
    Ok(())
}

/// A user comes; where the one of the same number is still about to leave, it waits for that.
fn come(crew: &Rc<Crew>, vu: u64, at: Instant, graceful: Duration, before: Option<watch::Receiver<()>>) -> Vu {
    let stop = crew.shared.stop.part();
    let shared = crew.shared.part(stop.clone(), crew.shared.group.clone());
    let (here, gone) = watch::channel(());
    let aboard = Crew::board(crew);
    spawn_local(async move {
        let mut first = at;
        let _here = here;
        if let Some(mut before) = before.filter(|before| before.has_changed().is_ok()) {
            let _gone = before.changed().await.is_err();
            first = clock::mono();
        }
        let life = Life { vu, first, until: None, labels: Labels::default(), more: Rc::new(|_| true) };
        let taken_away = async {
            shared.stop.wait_over().await;
            // The end of all is followed by the grace of all.
            if !aboard.crew.shared.stop.is_over() {
                tokio::time::sleep(graceful).await;
                shared.stop.cut();
            }
        };
        race(taken_away, live(&aboard.crew, &shared, life)).await;
    });
    Vu { stop, gone }
}
