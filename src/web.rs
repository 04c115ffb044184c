//! The page, the API and the probes of life, on a thread of their own.
//!
//! They have their own OS thread and runtime so that `/metrics` and the probes of life answer while load saturates every
//! other core. They own nothing: what they show was published by the daemon's owner task, and what they are asked to do
//! goes to it as a bounded [`Command`].

pub mod guard;
mod mime;
mod page;
mod routes;
mod server;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod view;

use std::{fmt, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};

pub use self::server::{Server, serve};
use self::view::StatusView;
use crate::{
    model::{clock::Clock, run::RunSummary},
    store::rows::OutboxMail,
    telemetry::{own::OwnStats, series::Snapshot},
};

/// What the daemon shares with the web thread.
#[derive(Debug, Clone)]
pub struct WebState {
    /// Published at least once a second; its age is the control loop's pulse.
    pub status: watch::Receiver<Arc<StatusView>>,
    /// Published once a second.
    pub metrics: watch::Receiver<Arc<Snapshot>>,
    /// Where requests to do something go; bounded, and a full queue is answered with 503.
    pub commands: mpsc::Sender<Command>,
    /// Counts the renderings of `/metrics`.
    pub own: Arc<OwnStats>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The answer to a command: a sentence says why it was not done.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// What the web thread asks of the daemon's owner task.
pub enum Command {
    /// Run a scenario now; the reply is the run's id.
    Trigger {
        /// Its name; known to be one that the last status shows.
        scenario: String,
        /// Sent when the run has started.
        reply: Reply<String>,
    },
    /// Stop all load until it is resumed.
    Pause {
        /// Why, in words; shown wherever the pause is.
        reason: String,
        /// Sent when it is durable.
        reply: Reply<()>,
    },
    /// Release the load again.
    Resume {
        /// Sent when it is durable.
        reply: Reply<()>,
    },
    /// The last runs, newest first.
    Runs {
        /// Only of this scenario.
        scenario: Option<String>,
        /// At most so many: 1 to 200.
        limit: u32,
        /// The runs.
        reply: Reply<Vec<RunSummary>>,
    },
    /// One run.
    Run {
        /// Its id.
        id: String,
        /// `None` = there is no such run.
        reply: Reply<Option<RunSummary>>,
    },
    /// One mail of the outbox.
    Mail {
        /// Its row.
        id: i64,
        /// `None` = there is no such mail.
        reply: Reply<Option<OutboxMail>>,
    },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger { scenario, .. } => write!(f, "Trigger({scenario})"),
            Self::Pause { reason, .. } => write!(f, "Pause({reason})"),
            Self::Resume { .. } => f.write_str("Resume"),
            Self::Runs { scenario, limit, .. } => write!(f, "Runs({scenario:?}, {limit})"),
            Self::Run { id, .. } => write!(f, "Run({id})"),
            Self::Mail { id, .. } => write!(f, "Mail({id})"),
        }
    }
}
