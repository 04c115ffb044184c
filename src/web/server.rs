//! The listener: an accept loop with bounds on connections, request heads and time, since axum's own has none.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{WebState, guard::Ends, routes};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// For the head of each request, idle time before it included: whoever trickles bytes is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For a request's body, from the end of its head.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// After this long a connection takes no new request, so that slots come free whatever the other side does.
const CONNECTION_AGE: Duration = Duration::from_mins(1);
/// For the answer that is under way then, and at shutdown.
const LAST_ANSWER: Duration = Duration::from_secs(2);

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
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => accept(&listener, &routes::router(state, BODY_TIME), shutdown).await,
                Err(error) => tracing::error!(%error, "failed to serve pages and metrics"),
            }
        });
    })?;
    Ok(Server { address, thread })
}

async fn accept(listener: &tokio::net::TcpListener, router: &Router, shutdown: watch::Receiver<bool>) {
    let mut stop = shutdown.clone();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            (slot, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone();
                    tokio::spawn(connection(stream, peer, router, slot, shutdown.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // Whoever is being answered holds a slot.
    let _ = timeout(LAST_ANSWER, slots.acquire_many(CONNECTIONS as u32)).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    _slot: OwnedSemaphorePermit,
    mut shutdown: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else { return };
    let service = TowerToHyperService::new(router.layer(Extension(Ends { local, peer })));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return, // What goes wrong on a connection is the other side's affair.
        () = sleep(CONNECTION_AGE) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(LAST_ANSWER, serving).await;
}
