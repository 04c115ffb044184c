//! The byte stream below an HTTP/2 connection, which is driven by a task of its own, and what it counts.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::stream::{Meter, Transport};

/// Bytes of a connection: in all, and those no request has been given yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    read: AtomicU64,
    written: AtomicU64,
    read_given: AtomicU64,
    written_given: AtomicU64,
}

impl Tally {
    /// Bytes that came in since the connection was opened.
    pub(super) fn read_so_far(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Gives what nobody was given yet to the request that notices it: the sum over all requests is what was carried.
    pub(super) fn share(&self, meter: &Meter) {
        let rest = |all: &AtomicU64, given: &AtomicU64| {
            let all = all.load(Ordering::Relaxed);
            all - given.swap(all, Ordering::Relaxed)
        };
        meter.note_write(rest(&self.written, &self.written_given) as usize);
        meter.note_read(rest(&self.read, &self.read_given) as usize);
    }
}

/// A transport that counts into a [`Tally`].
#[derive(Debug)]
pub(super) struct Pipe {
    transport: Transport,
    tally: Arc<Tally>,
}

impl Pipe {
    pub(super) fn new(transport: Transport, tally: Arc<Tally>) -> Self {
        Self { transport, tally }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.transport).poll_read(cx, buf);
        this.tally.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.transport).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            this.tally.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}
