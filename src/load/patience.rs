//! How long a request is waited for: until its time-out, or until the run is cut, at next to no cost per request.
//!
//! A timer of its own for each request would be entered and taken out again a hundred thousand times a second to ring
//! never. A user's requests end one after the other and their time-outs lie ever later, so one timer stays entered: it
//! rings too early at worst, and is then set again.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

use super::stop::{CutWatch, Stop};

/// The timer of one user, and its place among those who wait for the cut.
#[derive(Debug, Default)]
pub struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
    cut: Option<CutWatch>,
}

/// How the waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// With what was waited for.
    Done(T),
    /// The time was up.
    TimedOut,
    /// The run was cut.
    Cut,
}

impl Patience {
    /// Waits for `work` until `end`, or until the cut.
    pub async fn wait<T>(&mut self, stop: &Stop, end: Instant, work: impl Future<Output = T>) -> Waited<T> {
        let mut work = pin!(work);
        if !self.cut.as_ref().is_some_and(|cut| cut.is_of(stop)) {
            self.cut = Some(stop.watch_cut());
        }
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Waited::Done(done));
            }
            if self.cut.as_ref().is_some_and(|cut| cut.poll(cx).is_ready()) {
                return Poll::Ready(Waited::Cut);
            }
            self.poll_timer(end, cx).map(|()| Waited::TimedOut)
        })
        .await
    }

    fn poll_timer(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let end = tokio::time::Instant::from_std(end);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;
    use crate::model::clock;

    #[tokio::test]
    async fn each_request_has_its_own_time() {
        let (stop, mut patience) = (Stop::default(), Patience::default());
        let mut wait = async |millis: u64, works: bool| {
            let begun = clock::mono();
            let work = async {
                if !works {
                    pending::<()>().await;
                }
            };
            let waited = patience.wait(&stop, begun + Duration::from_millis(millis), work).await;
            assert!(waited != Waited::TimedOut || clock::mono() >= begun + Duration::from_millis(millis));
            waited
        };
        assert_eq!(wait(1000, true).await, Waited::Done(()));
        assert_eq!(wait(20, false).await, Waited::TimedOut, "sooner than the one before would have been");
        assert_eq!(wait(30, false).await, Waited::TimedOut, "the timer rings for each");
        assert_eq!(wait(60_000, true).await, Waited::Done(()));
        assert_eq!(wait(0, false).await, Waited::TimedOut);
    }

    #[tokio::test]
    async fn the_cut_wakes_everybody_and_leaves_no_trace() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (stop, phase) = (Stop::default(), Stop::default().part());
                let parts = [stop.clone(), stop.part(), stop.part().part(), phase];
                let waiting: Vec<_> = parts[..3]
                    .iter()
                    .map(|part| {
                        let stop = part.clone();
                        tokio::task::spawn_local(async move {
                            let mut patience = Patience::default();
                            let end = clock::mono() + Duration::from_mins(1);
                            patience.wait(&stop, end, tokio::task::yield_now()).await;
                            patience.wait(&stop, end, pending::<()>()).await
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                stop.cut();
                for waited in waiting {
                    assert_eq!(waited.await.expect("no panic"), Waited::Cut);
                }
                let waited = Patience::default().wait(&stop, clock::mono(), pending::<()>()).await;
                assert_eq!(waited, Waited::Cut, "what comes after it is cut at once");
                assert_eq!(stop.watching(), 0);
                let waited = Patience::default().wait(&parts[3], clock::mono(), pending::<()>()).await;
                assert_eq!(waited, Waited::TimedOut, "another run is none of its business");
            })
            .await;
    }
}
