//! The byte stream below a connection, plain or TLS, with the instants and counts that timings are made of.

use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::shape::Slow;
use crate::model::clock;

/// What the stream saw since [`Meter::reset`].
#[derive(Debug, Default)]
pub struct Meter {
    first_write: Cell<Option<Instant>>,
    first_read: Cell<Option<Instant>>,
    last_read: Cell<Option<Instant>>,
    written: Cell<u64>,
    read: Cell<u64>,
    in_vain: Cell<bool>,
}

impl Meter {
    /// Starts over, for the next request.
    pub fn reset(&self) {
        self.first_write.set(None);
        self.first_read.set(None);
        self.last_read.set(None);
        self.written.set(0);
        self.read.set(0);
        self.in_vain.set(false);
    }

    /// Its request was waited for as long as the scenario says, and in vain.
    pub fn note_time_out(&self) {
        self.in_vain.set(true);
    }

    /// Whether it was.
    pub fn has_timed_out(&self) -> bool {
        self.in_vain.get()
    }

    /// When the first byte was handed to the kernel: just before, since the target may answer while that goes on.
    pub fn first_write(&self) -> Option<Instant> {
        self.first_write.get()
    }

    /// When the first byte of the answer was read.
    pub fn first_read(&self) -> Option<Instant> {
        self.first_read.get()
    }

    /// When the last byte so far was read.
    pub fn last_read(&self) -> Option<Instant> {
        self.last_read.get()
    }

    /// Bytes written and read.
    pub fn bytes(&self) -> (u64, u64) {
        (self.written.get(), self.read.get())
    }

    /// Notes bytes that go out on another way, as a datagram or a part of a shared connection: just before they do.
    pub fn note_write(&self, bytes: usize) {
        if let Some(now) = self.writing() {
            self.first_write.set(Some(now));
        }
        self.written.set(self.written.get() + bytes as u64);
    }

    /// Notes what came in on another way, also where its bytes are another's.
    pub fn note_read(&self, bytes: usize) {
        let now = Some(clock::mono());
        if self.first_read.get().is_none() {
            self.first_read.set(now);
        }
        self.last_read.set(now);
        self.read.set(self.read.get() + bytes as u64);
    }

    /// The instant at which a write begins, if it is the first.
    fn writing(&self) -> Option<Instant> {
        if self.first_write.get().is_none() { Some(clock::mono()) } else { None }
    }

    fn wrote(&self, begun: Option<Instant>, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = result {
            if begun.is_some() {
                self.first_write.set(begun);
            }
            self.written.set(self.written.get() + *n as u64);
        }
    }

    fn got(&self, bytes: usize) {
        if bytes > 0 {
            let now = Some(clock::mono());
            if self.first_read.get().is_none() {
                self.first_read.set(now);
            }
            self.last_read.set(now);
            self.read.set(self.read.get() + bytes as u64);
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
    /// Either of them over a line that is made slow.
    Slow(Box<Slow>),
}

impl Transport {
    /// Whether both sides agreed on HTTP/2 in the TLS handshake.
    pub fn agreed_on_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Slow(slow) => slow.inner.agreed_on_h2(),
        }
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
            Self::Slow(slow) => slow.inner.is_tls(),
        }
    }

    /// Whether nothing has come in and the peer has not closed it, as far as is known without waiting.
    fn is_quiet(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 64];
        let mut buf = ReadBuf::uninit(&mut space);
        match self {
            Self::Plain(stream) => {
                stream.try_read(buf.initialize_unfilled()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets may have come: rustls takes them, and there is nothing to read.
            Self::Tls(stream) => {
                Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf).is_pending()
            }
            Self::Slow(slow) => slow.inner.is_quiet(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Slow(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Slow(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Slow(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Slow(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Slow(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Slow(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
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

    /// What it reports to.
    pub fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Whether nothing has come in and the peer has not closed it, as far as is known without waiting: mostly without a
    /// system call. A connection that lies idle has nothing to say.
    pub fn is_quiet(&mut self) -> bool {
        self.transport.is_quiet()
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.transport).poll_read(cx, buf);
        this.meter.got(buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let begun = this.meter.writing();
        let result = Pin::new(&mut this.transport).poll_write(cx, buf);
        this.meter.wrote(begun, &result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let begun = this.meter.writing();
        let result = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        this.meter.wrote(begun, &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}
