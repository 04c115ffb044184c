//! SQLite: runs, ledger, alert state, outbox. One thread owns the connection; everyone else holds a [`rows::Batch`] out to it.
//!
//! What is true is what is committed: a mail is sent only after its row is durable, a run starts only after its ledger
//! row is. So every commit is synced to the disk before it returns, and what is queued meanwhile goes into the next
//! commit together. The directory belongs to one process at a time; a lock says to whom.

mod error;
mod files;
mod outbox;
mod prune;
mod queries;
pub mod rows;
mod schema;
mod worker;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;

pub use self::{error::StoreError, outbox::OutboxCounts, prune::Pruned};
use self::{
    rows::{Batch, LedgerRow, MailResult, OutboxMail},
    worker::Worker,
};
use crate::model::{Name, run::RunSummary};

type Result<T> = std::result::Result<T, StoreError>;

/// A store and what there is to say about how it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Whole sentences for the log, such as that a damaged database was moved aside; usually none.
    pub notes: Vec<String>,
}

/// A handle on the store; cheap to clone. When the last one is dropped, what is queued is written first.
#[derive(Debug, Clone)]
pub struct Store {
    worker: Arc<Worker>,
    /// The database file; `None` in memory.
    file: Option<PathBuf>,
}

impl Store {
    /// Opens, or creates, the store in `dir`, which is made with mode 0700. A damaged database is moved aside under a
    /// name with `now` in it, and an empty one started.
    ///
    /// Fails with [`StoreError::Held`] while another process has it open.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Opened> {
        let named = |error| match error {
            StoreError::Io(what) if !what.contains(&*dir.to_string_lossy()) => {
                StoreError::Io(format!("{}: {what}", dir.display()))
            }
            other => other,
        };
        let (connection, lock, notes) = files::open(dir, now).map_err(named)?;
        let file = Some(dir.join(files::DATABASE));
        Ok(Opened { store: Self { worker: Arc::new(Worker::start(connection, Some(lock))?), file }, notes })
    }

    /// A store that is gone when it is dropped.
    pub fn in_memory() -> Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        schema::prepare(&mut connection)?;
        Ok(Self { worker: Arc::new(Worker::start(connection, None)?), file: None })
    }

    /// Writes all of `batch`, or nothing of it; durable when it returns. Writing the same again changes nothing: mails
    /// are kept once per recipient and Message-ID, runs by id, ledger rows by scenario and instant.
    pub async fn commit(&self, batch: Batch) -> Result<()> {
        self.worker.write(move |connection| queries::write(connection, &batch)).await
    }

    /// As [`Store::commit`], for code without a runtime.
    pub fn commit_blocking(&self, batch: Batch) -> Result<()> {
        self.worker.write_blocking(move |connection| queries::write(connection, &batch))
    }

    /// Finished runs of one scenario or of all, newest first.
    pub async fn recent_runs(&self, scenario: Option<Name>, limit: u32) -> Result<Vec<RunSummary>> {
        self.worker.read(move |connection| queries::recent_runs(connection, scenario.as_deref(), limit)).await
    }

    /// As [`Store::recent_runs`], for code without a runtime.
    pub fn recent_runs_blocking(&self, scenario: Option<Name>, limit: u32) -> Result<Vec<RunSummary>> {
        self.worker.read_blocking(move |connection| queries::recent_runs(connection, scenario.as_deref(), limit))
    }

    /// One run by its id.
    pub async fn run(&self, id: &str) -> Result<Option<RunSummary>> {
        let id = id.to_owned();
        self.worker.read(move |connection| queries::run(connection, &id)).await
    }

    /// The latest runs of a scenario that passed, newest first.
    pub async fn last_good(&self, scenario: Name, limit: u32) -> Result<Vec<RunSummary>> {
        self.worker.read(move |connection| queries::last_good(connection, &scenario, limit)).await
    }

    /// The latest run of each scenario, by name.
    pub async fn last_runs_by_scenario(&self) -> Result<Vec<RunSummary>> {
        self.worker.read(queries::last_runs_by_scenario).await
    }

    /// The latest ledger instant of each scenario: from here on nothing is decided.
    pub async fn last_due(&self) -> Result<BTreeMap<Name, Timestamp>> {
        self.worker.read(queries::last_due).await
    }

    /// The ledger of a scenario, latest instant first.
    pub async fn ledger(&self, scenario: Name, limit: u32) -> Result<Vec<LedgerRow>> {
        self.worker.read(move |connection| queries::ledger(connection, &scenario, limit)).await
    }

    /// All alert state, by key.
    pub async fn alert_states(&self) -> Result<Vec<(String, String)>> {
        self.worker.read(queries::alert_states).await
    }

    /// All facts, by key.
    pub async fn facts(&self) -> Result<BTreeMap<String, String>> {
        self.worker.read(queries::facts).await
    }

    /// As [`Store::facts`], for code without a runtime.
    pub fn facts_blocking(&self) -> Result<BTreeMap<String, String>> {
        self.worker.read_blocking(queries::facts)
    }

    /// Mails to be sent now: of each incident and recipient the oldest that is queued, if its time has come. A later
    /// one waits until that one is sent or given up.
    pub async fn due_mails(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxMail>> {
        self.worker.read(move |connection| outbox::due(connection, now, limit)).await
    }

    /// When [`Store::due_mails`] has something next; in the past if it has something now.
    pub async fn next_mail_at(&self) -> Result<Option<Timestamp>> {
        self.worker.read(outbox::next_at).await
    }

    /// Notes what came of an attempt to send; changes nothing for a mail that is no longer queued.
    pub async fn mail_result(&self, id: i64, result: MailResult, now: Timestamp) -> Result<()> {
        self.worker.write(move |connection| outbox::note_result(connection, id, &result, now)).await
    }

    /// Makes every queued mail due at `now`.
    pub async fn hurry(&self, now: Timestamp) -> Result<()> {
        self.worker.write(move |connection| outbox::hurry(connection, now)).await
    }

    /// How many mails are queued and given up.
    pub async fn outbox_counts(&self) -> Result<OutboxCounts> {
        self.worker.read(outbox::counts).await
    }

    /// Mails in any state, latest first.
    pub async fn recent_mails(&self, limit: u32) -> Result<Vec<OutboxMail>> {
        self.worker.read(move |connection| outbox::recent(connection, limit)).await
    }

    /// One mail.
    pub async fn mail(&self, id: i64) -> Result<Option<OutboxMail>> {
        self.worker.read(move |connection| outbox::one(connection, id)).await
    }

    /// Deletes what is older than `age`, then the oldest until at most `max_bytes` are in use. Queued mails, alert
    /// state, facts, the latest run and the latest ledger row of each scenario stay whatever their age. Works in small
    /// commits, so that others get their turn in between.
    pub async fn prune(&self, now: Timestamp, age: Duration, max_bytes: u64) -> Result<Pruned> {
        let mut total = Pruned::default();
        let before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        loop {
            let step = self.worker.read(move |connection| prune::step(connection, before, max_bytes)).await?;
            if step == Pruned::default() {
                return Ok(total);
            }
            total.add(step);
        }
    }

    /// Writes a consistent copy of the database to `to`, replacing it only when the copy is complete. Commits go on
    /// meanwhile.
    pub async fn backup(&self, to: PathBuf) -> Result<()> {
        match self.file.clone() {
            None => self.worker.read(move |connection| files::backup(connection, &to)).await,
            Some(file) => tokio::task::spawn_blocking(move || files::backup(&files::open_read_only(&file)?, &to))
                .await
                .map_err(|_| StoreError::Closed)?,
        }
    }

    /// Writes what is queued, tidies up the files and gives the directory free; every handle then fails with
    /// [`StoreError::Closed`].
    pub async fn close(&self) -> Result<()> {
        self.worker.close().await
    }

    /// As [`Store::close`], for code without a runtime.
    pub fn close_blocking(&self) -> Result<()> {
        self.worker.close_blocking()
    }
}

#[cfg(test)]
mod tests;
