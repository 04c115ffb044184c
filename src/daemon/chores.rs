//! The daemon's own housekeeping, in UTC: retention and a backup of the database. Scenarios are not planned here:
//! tokio-cron-scheduler polls, and freezes a zone's offset, which does no harm to chores.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::{model::clock::Clock, store::Store};

/// What the chores need.
#[derive(Debug, Clone)]
pub struct Chores {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Runs older than this are deleted.
    pub age: Duration,
    /// The oldest runs are deleted beyond this size.
    pub bytes: u64,
    /// Where the nightly copy of the database goes.
    pub backup: PathBuf,
}

/// Starts the chores; they end when the scheduler is dropped with the runtime.
pub async fn start(chores: Chores) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new_with_channel_size(64).await?;
    let prune = chores.clone();
    scheduler
        .add(Job::new_async("0 17 * * * *", move |_, _| {
            let chores = prune.clone();
            Box::pin(async move { prune_now(&chores).await })
        })?)
        .await?;
    scheduler
        .add(Job::new_async("0 43 3 * * *", move |_, _| {
            let chores = chores.clone();
            Box::pin(async move { back_up(&chores).await })
        })?)
        .await?;
    scheduler.start().await?;
    Ok(scheduler)
}

/// Deletes what is older, or more, than is kept.
pub async fn prune_now(chores: &Chores) {
    match chores.store.prune(chores.clock.now().wall, chores.age, chores.bytes).await {
        Ok(pruned) => tracing::debug!(?pruned, "deleted what is older than the retention"),
        Err(error) => tracing::error!(%error, "failed to delete old runs"),
    }
}

async fn back_up(chores: &Chores) {
    if let Err(error) = chores.store.backup(chores.backup.clone()).await {
        tracing::error!(%error, path = %chores.backup.display(), "failed to copy the database");
    }
}
