//! Writes the control loop's batches, one after the other, so that the loop itself never waits for a disk.
//!
//! A mail is the consequence of a commit: the mailer is woken here, after the rows are durable. While the store cannot
//! be written (a full disk), batches are kept in memory, said loudly and tried again.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{event::Event, view::Outbox};
use crate::{
    store::{Store, rows::Batch},
    web::view::{MailView, OutboxView},
};

/// Batches that may wait to be written; the control loop waits when it is full.
const QUEUE: usize = 1024;

/// While the store cannot be written, it is tried again this often.
const RETRY: Duration = Duration::from_secs(2);

/// Finished runs kept in memory while the store cannot be written; beyond it the oldest are given up, and counted.
const MAX_RUNS_KEPT: usize = 10_000;

/// The outbox is read again after this long even if nobody rang: a result that was written late, or an event that
/// found no room, is shown then.
const REREAD: Duration = Duration::from_mins(1);

/// Mails shown on the page.
const MAILS_SHOWN: u32 = 10;

/// A batch on its way to the store.
#[derive(Debug)]
pub struct Job {
    /// What is written.
    pub batch: Batch,
    /// Told when it is durable.
    pub done: Option<oneshot::Sender<()>>,
}

/// Who is told of what.
#[derive(Debug, Clone)]
pub struct Bells {
    /// Rung after a commit with mails.
    pub mailer: Arc<Notify>,
    /// Rung when the outbox may have changed.
    pub outbox: Arc<Notify>,
    /// Into the control loop.
    pub events: mpsc::Sender<Event>,
}

/// Starts the task; it ends when the sender is dropped and everything that can be written is.
pub fn start(store: Store, bells: Bells) -> (mpsc::Sender<Job>, tokio::task::JoinHandle<()>) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (sender, tokio::spawn(write_all(store, jobs, bells)))
}

async fn write_all(store: Store, mut jobs: mpsc::Receiver<Job>, bells: Bells) {
    let mut pending = Batch::default();
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut degraded = false;
    loop {
        let job = if degraded {
            tokio::select! {
                job = jobs.recv() => job,
                () = tokio::time::sleep(RETRY) => Some(Job { batch: Batch::default(), done: None }),
            }
        } else {
            jobs.recv().await
        };
        let closed = job.is_none();
        let mut next = job;
        while let Some(Job { batch, done }) = next {
            pending.append(batch);
            waiting.extend(done);
            next = jobs.try_recv().ok();
        }
        if !pending.is_empty() {
            match store.commit(pending.clone()).await {
                Ok(()) => {
                    if !pending.mails.is_empty() {
                        bells.mailer.notify_one();
                        bells.outbox.notify_one();
                    }
                    pending = Batch::default();
                    for done in waiting.drain(..) {
                        let _gone = done.send(()).is_err();
                    }
                    if std::mem::take(&mut degraded) {
                        tracing::warn!("the database can be written again; nothing that was kept is lost");
                        tell(&bells.events, Event::StoreDegraded(false));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut degraded, true) {
                        tracing::error!(%error, "failed to write the database; runs and mails are kept in memory and tried again");
                        tell(&bells.events, Event::StoreDegraded(true));
                    }
                    let excess = pending.runs.len().saturating_sub(MAX_RUNS_KEPT);
                    if excess > 0 {
                        pending.runs.drain(..excess);
                        tracing::error!(runs = excess, "gave up the oldest runs kept in memory");
                    }
                }
            }
        }
        if closed {
            if !pending.is_empty() {
                let (runs, mails) = (pending.runs.len(), pending.mails.len());
                tracing::error!(runs, mails, "stopped with rows that could not be written");
            }
            return;
        }
    }
}

/// Reads the outbox for the page whenever its bell rings, until the task is dropped.
pub async fn watch_outbox(store: Store, bells: Bells) {
    loop {
        let (counts, mails) = tokio::join!(store.outbox_counts(), store.recent_mails(MAILS_SHOWN));
        if let (Ok(counts), Ok(mails)) = (counts, mails) {
            let view = OutboxView { queued: counts.queued, sent: counts.sent, dead: counts.dead };
            let outbox = Outbox { view, mails: mails.iter().map(MailView::from).collect() };
            tell(&bells.events, Event::Outbox(outbox));
        }
        let _nobody_rang = tokio::time::timeout(REREAD, bells.outbox.notified()).await.is_err();
    }
}

/// What is only shown may be lost when the loop has no room for it; the next one brings it up to date.
fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if let Err(error) = events.try_send(event) {
        tracing::debug!(%error, "the control loop has no room for an event");
    }
}
