//! Writes the control loop's batches, one after the other, so that the loop itself never waits for a disk.
//!
//! A mail is the consequence of a commit: the mailer is woken here, after the rows are durable. While the store cannot
//! be written (a full disk), rows are kept in memory within bounds and tried again, and mails go out unstored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{
    Notify, mpsc,
    oneshot::{self, error::TryRecvError},
};

use super::{event::Event, view::Outbox};
use crate::{
    store::{
        Store, StoreError,
        rows::{Batch, NewMail},
    },
    web::view::{MailView, OutboxView},
};

/// Batches that may wait to be written; the control loop waits when it is full.
const QUEUE: usize = 1024;

/// While the store cannot be written, it is tried again this often.
const RETRY: Duration = Duration::from_secs(2);

/// Rows of a kind kept in memory while the store cannot be written; beyond it the oldest are given up, and it is said.
const MAX_KEPT: usize = 10_000;

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
    /// To the mailer, past the store, while that cannot be written.
    pub unstored: mpsc::Sender<Unstored>,
}

/// A mail that could not be stored before it is sent: better told without a memory of it than not told.
#[derive(Debug)]
pub struct Unstored {
    /// The mail.
    pub mail: NewMail,
    /// Told whether the relay accepted it.
    pub done: oneshot::Sender<bool>,
}

/// Starts the task; it ends when the sender is dropped and everything that can be written is.
pub fn start(store: Store, bells: Bells) -> (mpsc::Sender<Job>, tokio::task::JoinHandle<()>) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (sender, tokio::spawn(write_all(store, jobs, bells)))
}

async fn write_all(store: Store, mut jobs: mpsc::Receiver<Job>, bells: Bells) {
    let mut writer = Writer::new(store, bells);
    loop {
        let job = if writer.degraded {
            tokio::select! {
                job = jobs.recv() => job,
                () = tokio::time::sleep_until(writer.next_try) => Some(Job { batch: Batch::default(), done: None }),
            }
        } else {
            jobs.recv().await
        };
        let closed = job.is_none();
        let mut next = job;
        while let Some(Job { batch, done }) = next {
            writer.take(batch, done);
            next = jobs.try_recv().ok();
        }
        if closed || !writer.degraded || writer.next_try <= tokio::time::Instant::now() {
            writer.write().await;
        }
        if closed {
            writer.end();
            return;
        }
    }
}

/// What is on its way to the store.
struct Writer {
    store: Store,
    bells: Bells,
    pending: Batch,
    waiting: Vec<oneshot::Sender<()>>,
    /// Mails handed to the mailer directly, because they could not be stored first.
    flying: Vec<(NewMail, oneshot::Receiver<bool>)>,
    degraded: bool,
    /// What the control loop was told last.
    told: bool,
    next_try: tokio::time::Instant,
}

impl Writer {
    fn new(store: Store, bells: Bells) -> Self {
        Self {
            store,
            bells,
            pending: Batch::default(),
            waiting: Vec::new(),
            flying: Vec::new(),
            degraded: false,
            told: false,
            next_try: tokio::time::Instant::now(),
        }
    }

    fn take(&mut self, batch: Batch, done: Option<oneshot::Sender<()>>) {
        self.pending.append(batch);
        self.waiting.extend(done);
        if self.degraded {
            bound(&mut self.pending);
        }
    }

    async fn write(&mut self) {
        self.landed();
        if !self.pending.is_empty() {
            match self.store.commit(self.pending.clone()).await {
                Ok(()) => self.written(),
                Err(error) if error.is_disk() => self.failed(&error),
                Err(error) => self.one_by_one(&error).await,
            }
        } else if self.flying.is_empty() {
            self.recovered();
        }
        if self.told != self.degraded && self.bells.events.try_send(Event::StoreDegraded(self.degraded)).is_ok() {
            self.told = self.degraded;
        }
    }

    fn written(&mut self) {
        if !self.pending.mails.is_empty() {
            self.bells.mailer.notify_one();
            self.bells.outbox.notify_one();
        }
        self.pending = Batch::default();
        for done in self.waiting.drain(..) {
            let _gone = done.send(()).is_err();
        }
        self.recovered();
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.degraded) {
            tracing::warn!("the database can be written again");
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.degraded, true) {
            tracing::error!(%error, "failed to write the database; what cannot wait is mailed unstored, the rest is kept and tried again");
        }
        self.next_try = tokio::time::Instant::now() + RETRY;
        bound(&mut self.pending);
        for mail in std::mem::take(&mut self.pending.mails) {
            let (done, landed) = oneshot::channel();
            match self.bells.unstored.try_send(Unstored { mail: mail.clone(), done }) {
                Ok(()) => self.flying.push((mail, landed)),
                Err(_) => self.pending.mails.push(mail),
            }
        }
    }

    /// Mails that went out need not be stored any more; those that did not are to be.
    fn landed(&mut self) {
        for (mail, mut landed) in std::mem::take(&mut self.flying) {
            match landed.try_recv() {
                Ok(true) => {}
                Ok(false) | Err(TryRecvError::Closed) => self.pending.mails.push(mail),
                Err(TryRecvError::Empty) => self.flying.push((mail, landed)),
            }
        }
    }

    /// A row that the store refuses must not keep the others from being written.
    async fn one_by_one(&mut self, error: &StoreError) {
        tracing::error!(%error, "failed to write rows together; writing them one by one");
        let all = std::mem::take(&mut self.pending);
        let mut parts: Vec<Batch> = Vec::new();
        parts.extend(all.runs.into_iter().map(|run| Batch { runs: vec![run], ..Batch::default() }));
        parts.extend(all.ledger.into_iter().map(|row| Batch { ledger: vec![row], ..Batch::default() }));
        parts.extend(all.alerts.into_iter().map(|row| Batch { alerts: vec![row], ..Batch::default() }));
        parts.extend(all.mails.into_iter().map(|mail| Batch { mails: vec![mail], ..Batch::default() }));
        parts.extend(all.facts.into_iter().map(|fact| Batch { facts: vec![fact], ..Batch::default() }));
        for part in parts {
            match self.store.commit(part.clone()).await {
                Err(error) if error.is_disk() => self.pending.append(part),
                Err(error) => tracing::error!(%error, row = ?part, "gave up a row that the database refuses"),
                Ok(()) => {}
            }
        }
        self.bells.mailer.notify_one();
        self.bells.outbox.notify_one();
        if self.pending.is_empty() {
            self.written();
        } else {
            self.failed(error);
        }
    }

    fn end(&self) {
        let (runs, mails) = (self.pending.runs.len(), self.pending.mails.len() + self.flying.len());
        if !self.pending.is_empty() || !self.flying.is_empty() {
            tracing::error!(runs, mails, "stopped with rows that could not be written");
        }
    }
}

/// Keeps `batch` within its bounds: of each key the last value, of each list the latest rows.
fn bound(batch: &mut Batch) {
    fn last_of_each(rows: &mut Vec<(String, Option<String>)>) {
        let mut last = BTreeMap::new();
        last.extend(rows.drain(..));
        rows.extend(last);
    }
    fn latest<T>(rows: &mut Vec<T>, what: &str) {
        let excess = rows.len().saturating_sub(MAX_KEPT);
        if excess > 0 {
            rows.drain(..excess);
            tracing::error!(rows = excess, "gave up the oldest {what} kept in memory");
        }
    }
    last_of_each(&mut batch.alerts);
    last_of_each(&mut batch.facts);
    latest(&mut batch.runs, "runs");
    latest(&mut batch.ledger, "ledger rows");
    latest(&mut batch.mails, "mails");
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
