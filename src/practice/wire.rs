//! The socket under a connection, and how it can end other than HTTP would end it: bytes that no server may send, a
//! reset, a GOAWAY. The connection's task is told through its [`Line`]; the socket plays the end when it is dropped.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// Bytes that are read off before a close.
const MAX_UNREAD: usize = 1 << 20;

/// How a connection is cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut {
    /// Written to the bare socket first, as far as it takes them at once.
    pub(super) bytes: Bytes,
    /// Whether the end is a reset rather than an orderly close.
    pub(super) reset: bool,
}

impl Cut {
    /// A reset, now.
    pub(super) fn reset() -> Self {
        Self { bytes: Bytes::new(), reset: true }
    }

    /// These bytes, then an orderly close.
    pub(super) fn closing(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), reset: false }
    }
}

/// Between a request and its connection's task.
#[derive(Debug, Default)]
pub(super) struct Line {
    cut: OnceLock<Cut>,
    last: AtomicBool,
    told: Notify,
}

impl Line {
    /// Cuts the connection; the first cut counts.
    pub(super) fn cut(&self, cut: Cut) {
        // A connection can be cut once.
        let _ = self.cut.set(cut);
        self.told.notify_one();
    }

    /// Lets the connection end after what is under way: `connection: close`, or GOAWAY.
    pub(super) fn retire(&self) {
        self.last.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// Waits for either; true when the connection is to be cut.
    pub(super) async fn told(&self) -> bool {
        loop {
            if self.cut.get().is_some() {
                return true;
            }
            if self.last.swap(false, Ordering::Relaxed) {
                return false;
            }
            self.told.notified().await;
        }
    }
}

/// A socket that plays its [`Cut`] when it is dropped.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self { stream, line }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(cut) = self.line.cut.get() else { return };
        if !cut.bytes.is_empty() {
            // A client that does not read has lost them; it is cut either way.
            let _ = self.stream.try_write(&cut.bytes);
        }
        // Closed with something unread, the kernel would send a reset where none is wanted.
        let mut unread = [0; 4096];
        for _ in 0..MAX_UNREAD / unread.len() {
            if !matches!(self.stream.try_read(&mut unread), Ok(1..)) {
                break;
            }
        }
        if cut.reset {
            // Without lingering, the close is an RST.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
