//! The threads and tasks beside the control loop: committer, mailer, page, OTLP, idle readings, housekeeping.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use anyhow::Context as _;
use tokio::sync::{Notify, mpsc, watch};

use super::{
    boot,
    chores::{self, Chores},
    committer::{self, Bells, Job},
    event::Event,
    idle, mailer,
    push::{self, Pusher},
};
use crate::{
    model::{run::RunSummary, settings::Settings},
    store::Store,
    web::{self, WebState},
};

/// What is written, mailed and pushed at the end takes no longer than this.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Mails that may wait to be sent unstored.
const UNSTORED: usize = 64;

/// Everything that runs beside the loop.
pub(super) struct Crew {
    /// Batches to be made durable, in order.
    pub(super) commits: mpsc::Sender<Job>,
    committer: tokio::task::JoinHandle<()>,
    outbox: tokio::task::JoinHandle<()>,
    mailer: (JoinHandle<()>, watch::Sender<bool>),
    web: (web::Server, watch::Sender<bool>),
    pusher: Option<Pusher>,
    _chores: tokio_cron_scheduler::JobScheduler,
}

impl Crew {
    /// Starts all of them; the page is bound first, so that a taken port stops the daemon before anything is sent.
    pub(super) async fn start(
        settings: &Settings,
        store: &Store,
        state: WebState,
        events: &mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let (status, metrics, own, clock) =
            (state.status.clone(), state.metrics.clone(), state.own.clone(), state.clock.clone());
        let (web_stop, web_stopped) = watch::channel(false);
        let web = web::serve(settings.daemon.listen, state, web_stopped)
            .with_context(|| format!("failed to listen on {} (daemon.listen)", settings.daemon.listen))?;
        let (unstored, direct) = mpsc::channel(UNSTORED);
        let bells = Bells {
            mailer: Arc::new(Notify::new()),
            outbox: Arc::new(Notify::new()),
            events: events.clone(),
            unstored,
        };
        let (commits, committer) = committer::start(store.clone(), bells.clone());
        let outbox = tokio::spawn(committer::watch_outbox(store.clone(), bells.clone()));
        let (mailer_stop, mailer_stopped) = watch::channel(false);
        let receivers = (settings.alerts.receivers.clone().into(), settings.redact.clone());
        let mailer = mailer::start(store.clone(), receivers, bells, clock.clone(), mailer_stopped, direct)?;
        idle::start(&settings.scenarios, &Arc::new(settings.policy.clone()), &clock, &status, events)?;
        let instance = format!("{}/{}", boot::hostname(), web.address);
        let pusher = match settings.telemetry.otlp.clone() {
            Some(otlp) => Some(push::start(otlp, instance, metrics, own)?),
            None => None,
        };
        let housekeeping = Chores {
            store: store.clone(),
            clock,
            age: settings.daemon.retention_age,
            bytes: settings.daemon.retention_bytes,
            backup: settings.daemon.data_dir.join("plimsoll.db.backup"),
        };
        Ok(Self {
            commits,
            committer,
            outbox,
            mailer: (mailer, mailer_stop),
            web: (web, web_stop),
            pusher,
            _chores: chores::start(housekeeping).await.context("failed to start the housekeeping")?,
        })
    }

    /// Where the page is.
    pub(super) fn address(&self) -> SocketAddr {
        self.web.0.address
    }

    /// Who of the crew has ended though nobody asked: then mails or rows would be lost in silence.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let ended = [
            (self.committer.is_finished(), "the committer"),
            (self.outbox.is_finished(), "the reader of the outbox"),
            (self.mailer.0.is_finished(), "the mailer"),
            (self.web.0.is_finished(), "the page's thread"),
        ];
        ended.into_iter().find(|(ended, _)| *ended).map(|(_, who)| who)
    }

    /// One span per finished run, if OTLP is configured.
    pub(super) fn trace(&self, runs: &[RunSummary]) {
        if let Some(pusher) = &self.pusher {
            for run in runs {
                pusher.trace(run);
            }
        }
    }

    /// Writes and sends what is left, each within its time.
    pub(super) async fn farewell(self) {
        self.outbox.abort();
        drop(self.commits);
        if tokio::time::timeout(FAREWELL, self.committer).await.is_err() {
            tracing::error!("the database took too long; the last rows may be lost");
        }
        self.mailer.1.send_replace(true);
        self.web.1.send_replace(true);
        let ends = tokio::task::spawn_blocking(move || {
            if let Some(pusher) = self.pusher {
                pusher.stop();
            }
            let _panicked = self.mailer.0.join().is_err();
            self.web.0.join();
        });
        if tokio::time::timeout(FAREWELL * 2, ends).await.is_err() {
            tracing::warn!("some threads did not end in time");
        }
    }
}
