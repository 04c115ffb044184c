//! Bursts: many arrivals at the same instant, again and again, each burst labelled with its number.

use std::{io, rc::Rc, time::Duration};

use super::{
    crew::{Crew, cut_after, race},
    open::{Slots, arrive, leave},
};
use crate::{
    load::{plan::burst::Bursts, stop::Cause},
    model::{clock, labels::Labels, outcome::DropReason, scenario::BurstGap},
};

/// A burst that others wait for is given up after this long, as k6's iterations are.
const LONGEST: Duration = Duration::from_mins(10);

/// Bursts after `plan`.
pub(super) async fn bursts(crew: &Rc<Crew>, plan: Bursts) -> io::Result<()> {
    let pacer = crew.pacer()?;
    let shared = &crew.shared;
    let slots = Slots::new(shared.group.load.max_in_flight);
    let mut ended = Duration::ZERO;
    for index in 0.. {
        let Some(offset) = plan.start(index, ended) else { break };
        let due = crew.begun + offset;
        tokio::select! {
            biased;
            () = shared.stop.wait_over() => {}
            waited = pacer.wait_until(due) => waited?,
        }
        if shared.stop.is_over() {
            if shared.stop.cause() == Some(Cause::Timeout) {
                shared.recorder.drop_many(DropReason::Deadline, plan.total() - index * u64::from(plan.size));
            }
            break;
        }
        let labels = Labels::one("burst", (index + 1).to_string());
        for _ in 0..plan.size {
            arrive(crew, &slots, (due, clock::mono()), &labels);
        }
        if matches!(plan.gap, BurstGap::Pause(_)) {
            settle(crew).await;
            ended = clock::mono().saturating_duration_since(crew.begun);
        }
    }
    match plan.length() {
        Some(length) => crew.land(crew.begun + length).await,
        None => shared.stop.end_of_plan(),
    }
    leave(crew, &slots).await;
    Ok(())
}

/// Until the burst has had its last answer.
async fn settle(crew: &Rc<Crew>) {
    let stop = &crew.shared.stop;
    let over = async {
        tokio::select! {
            () = tokio::time::sleep(LONGEST) => stop.end_of_plan(),
            () = stop.wait_over() => {}
        }
        cut_after(stop, crew.grace).await;
    };
    race(over, crew.all_landed()).await;
}
