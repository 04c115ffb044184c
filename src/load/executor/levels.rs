//! Stepped users: one level after the other, each labelled with its number.

use std::{rc::Rc, time::Duration};

use super::{
    closed::{self, Closed},
    crew::Crew,
};
use crate::{
    load::stop::Cause,
    model::{labels::Labels, outcome::DropReason, scenario::LevelEnd},
};

/// The levels, with a pause between the end of one and the start of the next.
pub(super) async fn levels(crew: &Rc<Crew>, levels: &[u32], each: LevelEnd, together: bool, pause: Duration) {
    let stop = &crew.shared.stop;
    for (index, vus) in levels.iter().enumerate() {
        if index > 0 && !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.wait_over() => {}
            }
        }
        if stop.is_over() {
            if let (LevelEnd::Iterations { iterations, .. }, Some(Cause::Timeout)) = (each, stop.cause()) {
                let users: u64 = levels[index..].iter().map(|vus| u64::from(*vus)).sum();
                crew.shared.recorder.drop_many(DropReason::Deadline, users * iterations);
            }
            return;
        }
        let level = crew.part();
        let labels = Labels::one("level", (index + 1).to_string());
        match each {
            LevelEnd::Iterations { iterations, max_duration } => {
                let plan = Closed::new(*vus, max_duration).together(together).labelled(labels);
                closed::per_vu(&level, plan, iterations).await;
            }
            LevelEnd::Duration(length) => {
                closed::constant(&level, Closed::new(*vus, length).together(together).labelled(labels)).await;
            }
        }
    }
}
