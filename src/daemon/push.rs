//! The thread that pushes by OTLP: metrics each interval, one span per finished run.

use std::{sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, watch};

use crate::{
    model::{run::RunSummary, settings::OtlpSettings},
    telemetry::{otlp::Exporter, own::OwnStats, series::Snapshot, traces::Traces},
};

/// Finished runs that may wait for their span; beyond it spans are lost, never runs.
const QUEUE: usize = 256;

/// The running thread.
#[derive(Debug)]
pub struct Pusher {
    runs: mpsc::Sender<RunSummary>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Starts the thread. `instance` tells this daemon from others.
pub fn start(
    settings: OtlpSettings,
    instance: String,
    metrics: watch::Receiver<Arc<Snapshot>>,
    own: Arc<OwnStats>,
) -> std::io::Result<Pusher> {
    let (runs, mut inbox) = mpsc::channel::<RunSummary>(QUEUE);
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
        // Before the runtime: the SDK's exporter has a blocking client of its own.
        let traces = Traces::new(&settings, &instance)
            .map_err(|why| tracing::error!("failed to set up OTLP traces: {why}"))
            .ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match (runtime, Exporter::new(&settings, &instance, own)) {
            (Ok(runtime), Ok(exporter)) => runtime.block_on(async {
                let spans = async {
                    while let Some(run) = inbox.recv().await {
                        if let Some(traces) = &traces {
                            traces.run(&run);
                        }
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = exporter.run(metrics, stopped) => {}
                    () = spans => {}
                }
            }),
            (Err(error), _) => tracing::error!(%error, "failed to start a runtime for OTLP"),
            (_, Err(why)) => tracing::error!("failed to set up OTLP: {why}"),
        }
        while let Ok(run) = inbox.try_recv() {
            if let Some(traces) = &traces {
                traces.run(&run);
            }
        }
        if let Some(traces) = traces {
            traces.shutdown();
        }
    })?;
    Ok(Pusher { runs, stop, thread })
}

impl Pusher {
    /// Queues the span of a finished run.
    pub fn trace(&self, run: &RunSummary) {
        if self.runs.try_send(run.clone()).is_err() {
            tracing::debug!(run = run.run_id, "no room for the run's span");
        }
    }

    /// Pushes once more and ends, within about four seconds. Blocks.
    pub fn stop(self) {
        self.stop.send_replace(true);
        let _panicked = self.thread.join().is_err();
    }
}
