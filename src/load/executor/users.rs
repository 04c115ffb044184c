//! Locust's users: spawned one by one, together while it is measured, gone one by one.

use std::{io, rc::Rc};

use tokio::task::spawn_local;

use super::{
    closed::{Life, live},
    crew::Crew,
};
use crate::{load::plan::users::Users, model::labels::Labels};

/// Users that come and go as planned; each leaves after the iteration that it is in.
pub(super) async fn users(crew: &Rc<Crew>, plan: Users) -> io::Result<()> {
    let pacer = crew.pacer()?;
    let stop = &crew.shared.stop;
    for index in 0..plan.users() {
        let first = crew.begun + plan.comes(index);
        tokio::select! {
            biased;
            () = stop.wait_over() => {}
            waited = pacer.wait_until(first) => waited?,
        }
        if stop.is_over() {
            break;
        }
        let until = Some(crew.begun + plan.leaves(index));
        let aboard = Crew::board(crew);
        spawn_local(async move {
            let life =
                Life { vu: u64::from(index) + 1, first, until, labels: Labels::default(), more: Rc::new(|_| true) };
            live(&aboard.crew, &aboard.crew.shared, life).await;
        });
    }
    crew.land(crew.begun + plan.length()).await;
    Ok(())
}
