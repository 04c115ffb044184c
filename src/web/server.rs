//! The listener: an accept loop with bounds on connections, requests and time, since axum's own has none.
//!
//! `/metrics` and the probes of life are open to the network, so no peer may keep them from another: each has a share of
//! the connections, some are kept for this machine, and whoever neither sends nor reads is cut off after seconds.

mod slots;
mod stall;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{JoinSet, yield_now},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{slots::Slots, stall::Stalling};
use super::{WebState, guard::Ends, routes};

/// What one peer, and all of them, may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once; whoever comes then is turned away.
    connections: usize,
    /// Of these, for one peer.
    per_peer: usize,
    /// Of these, kept for loopback.
    for_loopback: usize,
    /// Requests on one connection; it is closed after the last.
    requests: u32,
    /// For the head of each request, idle time before it included: whoever trickles bytes is cut off.
    head: Duration,
    /// For a request's body, from the end of its head.
    body: Duration,
    /// For a write to get anywhere: whoever does not read is cut off.
    write: Duration,
    /// After this long a connection takes no new request, so that slots come free whatever the other side does.
    age: Duration,
}

const LIMITS: Limits = Limits {
    connections: 256,
    per_peer: 32,
    for_loopback: 32,
    requests: 1000,
    head: Duration::from_secs(5),
    body: Duration::from_secs(5),
    write: Duration::from_secs(5),
    age: Duration::from_mins(1),
};

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// For the answer that is under way when a connection is too old, and at shutdown.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How often it is said that connections were turned away.
const REPORT: Duration = Duration::from_mins(1);

/// The running listener.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; the port is the real one where 0 was asked for.
    pub address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Server {
    /// Whether its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it has ended; it ends at most 2 s after `shutdown` became `true`. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the web thread panicked");
        }
    }
}

/// Listens, and serves on a thread of its own until `shutdown` is `true` or its sender gone.
///
/// Fails if the address cannot be had (`EADDRINUSE`, `EACCES`) or no thread can be started.
pub fn serve(listen: SocketAddr, state: WebState, shutdown: watch::Receiver<bool>) -> io::Result<Server> {
    serve_within(LIMITS, listen, state, shutdown)
}

fn serve_within(
    limits: Limits,
    listen: SocketAddr,
    state: WebState,
    shutdown: watch::Receiver<bool>,
) -> io::Result<Server> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => accept(&listener, &routes::router(state, limits.body), limits, shutdown).await,
                Err(error) => tracing::error!(%error, "failed to serve pages and metrics"),
            }
        });
    })?;
    Ok(Server { address, thread })
}

async fn accept(listener: &tokio::net::TcpListener, router: &Router, limits: Limits, shutdown: watch::Receiver<bool>) {
    let mut stop = shutdown.clone();
    let mut slots = Slots::new(limits.connections, limits.per_peer, limits.for_loopback);
    let mut open = JoinSet::new();
    let mut turned_away = 0_u64;
    let mut report = interval(REPORT);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // First what came free: whoever comes next may have it.
            Some(ended) = open.join_next_with_id() => slots.free(match ended {
                Ok((id, ())) => id,
                Err(error) => {
                    tracing::error!(%error, "a connection's task panicked");
                    error.id()
                }
            }),
            _ = report.tick() => if turned_away > 0 {
                tracing::warn!(turned_away, "connections were turned away: their peers, or all together, had too many");
                turned_away = 0;
            },
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if !slots.has_room(peer.ip()) => turned_away += 1,
                Ok((stream, peer)) => {
                    let task = open.spawn(connection(stream, peer, router.clone(), limits, shutdown.clone()));
                    slots.take(task.id(), peer.ip());
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // Whoever is being answered is among them.
    let _ = timeout(LAST_ANSWER, async { while open.join_next().await.is_some() {} }).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else { return };
    let served = Arc::new(AtomicU32::new(0));
    let last = middleware::from_fn(move |request: Request, next: Next| {
        let before = served.fetch_add(1, Ordering::Relaxed);
        let last = before + 1 >= limits.requests;
        async move {
            if before > 0 {
                // After whoever else asks: pipelined requests would otherwise be served in one go.
                yield_now().await;
            }
            let mut response = next.run(request).await;
            if last {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    });
    let service = TowerToHyperService::new(router.layer(Extension(Ends { local, peer })).layer(last));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Stalling::new(stream, limits.write)), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return, // What goes wrong on a connection is the other side's affair.
        () = sleep(limits.age) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(LAST_ANSWER, serving).await;
}

#[cfg(test)]
mod tests;
