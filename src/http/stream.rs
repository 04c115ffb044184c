//! The byte stream below a connection, plain or TLS, with the instants and counts that timings are made of.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::model::clock;

/// What the stream saw since [`Meter::reset`].
#[derive(Debug, Default)]
pub struct Meter {
    first_write: Cell<Option<Instant>>,
    first_read: Cell<Option<Instant>>,
    written: Cell<u64>,
    read: Cell<u64>,
}

impl Meter {
    /// Starts over, for the next request.
    pub fn reset(&self) {
        self.first_write.set(None);
        self.first_read.set(None);
        self.written.set(0);
        self.read.set(0);
    }

    /// When the first byte was handed to the kernel.
    pub fn first_write(&self) -> Option<Instant> {
        self.first_write.get()
    }

    /// When the first byte of the answer was read.
    pub fn first_read(&self) -> Option<Instant> {
        self.first_read.get()
    }

    /// Bytes written and read.
    pub fn bytes(&self) -> (u64, u64) {
        (self.written.get(), self.read.get())
    }

    /// Notes bytes that went out on another way, as a datagram.
    pub fn note_write(&self, bytes: usize) {
        if self.first_write.get().is_none() {
            self.first_write.set(Some(clock::mono()));
        }
        self.written.set(self.written.get() + bytes as u64);
    }

    /// Notes bytes that came in on another way.
    pub fn note_read(&self, bytes: usize) {
        if self.first_read.get().is_none() {
            self.first_read.set(Some(clock::mono()));
        }
        self.read.set(self.read.get() + bytes as u64);
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = result {
            if self.first_write.get().is_none() {
                self.first_write.set(Some(clock::mono()));
            }
            self.written.set(self.written.get() + *n as u64);
        }
    }
}

/// Plain or TLS.
#[derive(Debug)]
pub enum Transport {
    /// `http://`
    Plain(TcpStream),
    /// `https://`
    Tls(Box<TlsStream<TcpStream>>),
}

/// A transport that reports to a [`Meter`].
#[derive(Debug)]
pub struct Metered {
    transport: Transport,
    meter: Rc<Meter>,
}

impl Metered {
    /// Reports what `transport` carries to `meter`.
    pub fn new(transport: Transport, meter: Rc<Meter>) -> Self {
        Self { transport, meter }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let got = buf.filled().len() - before;
        if got > 0 {
            if this.meter.first_read.get().is_none() {
                this.meter.first_read.set(Some(clock::mono()));
            }
            this.meter.read.set(this.meter.read.get() + got as u64);
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.meter.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.meter.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
