//! The practice target: connections in, answers out.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    control,
    knobs::{KnobError, Knobs, Live, MAX_CONNECTIONS},
    log::{Log, MAX_REQUESTS},
    respond::{Peer, Shared, respond},
    stream::{MAX_STREAMS, StreamLog},
    wire::{Line, Wire},
};
use crate::model::clock::mono;

/// A running practice target; clones are handles on the same one, and it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<watch::Sender<bool>>,
}

/// Binds `knobs.listen` and serves on the current tokio runtime until [`Target::stop`] or the last handle is dropped.
pub async fn start(knobs: Knobs) -> anyhow::Result<Target> {
    let knobs = knobs.checked()?;
    let listen = knobs.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("failed to listen on {listen}: take a free port with --listen 127.0.0.1:0"))?;
    let addr = listener.local_addr().context("failed to read the address it listens on")?;
    let shared = Arc::new(Shared::new(Knobs { listen: addr, ..knobs }, mono()));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(accept(listener, shared.clone(), stopped));
    Ok(Target { addr, shared, stop: Arc::new(stop) })
}

impl Target {
    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The knobs in force.
    pub fn knobs(&self) -> Knobs {
        self.shared.live.load().knobs.clone()
    }

    /// Replaces all knobs (but `listen`); stalls are counted from now.
    pub fn set(&self, knobs: Knobs) -> Result<(), KnobError> {
        let mut knobs = knobs.checked()?;
        let live = self.shared.live.load_full();
        (knobs.listen, knobs.open_control) = (self.addr, live.knobs.open_control);
        self.shared.board().backend.settle(&live.knobs, mono());
        self.shared.live.store(Arc::new(Live::new(knobs, mono())));
        self.shared.limits_changed();
        Ok(())
    }

    /// Changes the knobs named in a JSON object, as `POST /practice` does.
    pub fn patch(&self, change: &Value) -> Result<Knobs, KnobError> {
        control::patch(&self.shared, change)
    }

    /// What it saw so far, by its own count.
    pub fn log(&self) -> Log {
        self.shared.board().log.snapshot(MAX_REQUESTS)
    }

    /// The streams it sent so far, by its own clock.
    pub fn streams(&self) -> StreamLog {
        self.shared.board().streams.snapshot(MAX_STREAMS)
    }

    /// Forgets counts, sessions, conversations and the leak; knobs stay.
    pub fn reset(&self) {
        control::reset(&self.shared);
    }

    /// The time since it started, on the clock of its log, in milliseconds.
    pub fn now_ms(&self) -> f64 {
        (mono() - self.shared.started).as_secs_f64() * 1000.0
    }

    /// Closes the listener and all connections; requests not yet answered are cut. Returns when that is done.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut stop = pin!(async { drop(stopped.wait_for(|stopped| *stopped).await) });
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS as usize;
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    let reset = shared.live.load().resets_connection();
                    shared.board().log.connected(reset);
                    if reset {
                        // Without lingering, the close is an RST.
                        let _ = stream.set_zero_linger();
                    } else {
                        connections.spawn(serve(stream, peer, shared.clone()));
                    }
                }
                // Out of file descriptors: those that are open must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves HTTP/1.1, and HTTP/2 to those who begin with its preface.
async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Without it each answer on a kept connection could wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let line = Arc::new(Line::default());
    let peer = Peer { line: line.clone(), local: peer.ip().to_canonical().is_loopback() };
    let service = service_fn(|request| Box::pin(respond(shared.clone(), peer.clone(), request)));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(Wire::new(stream, line.clone())), service));
    loop {
        tokio::select! {
            biased;
            // Dropping the connection drops its socket, which plays the cut.
            cut = line.told() => if cut { return } else { connection.as_mut().graceful_shutdown() },
            _ = connection.as_mut() => return,
        }
    }
}
