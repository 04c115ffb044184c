//! The practice target: connections in, answers out.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use hyper::{
    body::{Body, Frame, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Sleep,
};

use super::{
    control,
    knobs::{KnobError, Knobs, Live, MAX_CONNECTIONS},
    log::{Log, MAX_REQUESTS},
    respond::{Shared, respond},
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
        knobs.listen = self.addr;
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
                Ok((stream, _)) => { connections.spawn(serve(stream, shared.clone())); }
                // Out of file descriptors: those that are open must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it each answer on a kept connection could wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        Box::pin(async move {
            let drip = shared.live.load().knobs.drip;
            respond(shared, request).await.map(|response| response.map(|bytes| Answer::new(bytes, drip)))
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    if ended.is_err_and(|error| error.is_user()) {
        // The one error of our service is a wanted reset: without lingering, the close is an RST.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.set_zero_linger();
    }
}

/// A body sent at once, or in ten pieces with a pause before each.
struct Answer {
    rest: Bytes,
    piece: usize,
    drip: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Answer {
    fn new(bytes: Bytes, drip: Option<Duration>) -> Self {
        let piece = bytes.len().div_ceil(10).max(1);
        Self { rest: bytes, piece, drip: drip.map(|every| (every, Box::pin(tokio::time::sleep(every)))) }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let Some((every, sleep)) = &mut self.drip else {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        };
        ready!(sleep.as_mut().poll(context));
        let next = sleep.deadline() + *every;
        sleep.as_mut().reset(next);
        let piece = self.piece.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
