//! HTTP/1.1 over one connection, polled by whoever uses it.
//!
//! Our own, because a general client spends on its channels, its tasks and its pool what a load tool would rather spend
//! on requests, and keeps a buffer for each connection that lies idle. Here a request is its bytes, an answer is read on
//! the stack of the poll that finds it, and a connection that waits owns nothing but its socket.

pub mod chunked;
pub mod decode;
pub mod encode;
pub mod head;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use self::{
    decode::{Decoder, Part},
    head::{Asked, Fault, Framing, Head},
};
use super::{
    body::Body,
    exchange::{Answer, ExchangeError, Unanswered, Want},
    request::Outgoing,
    stream::Metered,
};
use crate::model::{clock, outcome::fail};

/// What is read at once, on the stack.
const READ: usize = 16 * 1024;

/// The connection.
#[derive(Debug)]
pub(super) struct H1 {
    stream: Metered,
    open: bool,
}

impl H1 {
    pub(super) fn new(stream: Metered) -> Self {
        Self { stream, open: true }
    }

    /// Whether the last exchange left it fit for another.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it is fit for another request now: an idle connection that the peer has closed, or that said something
    /// nobody asked for, is not.
    pub(super) fn usable(&mut self) -> bool {
        self.open = self.open && self.stream.is_quiet();
        self.open
    }

    /// Sends `request` and reads the whole answer. Dropped on the way, it leaves the connection unfit.
    pub(super) async fn exchange(&mut self, request: &Outgoing, want: Want<'_>) -> Result<Answer, ExchangeError> {
        self.open = false;
        let mut work = Work::new(&mut self.stream, request, want);
        let (answer, reusable) = poll_fn(|cx| work.poll(cx)).await?;
        self.open = reusable;
        Ok(answer)
    }
}

/// An exchange on its way.
struct Work<'a, 'sink> {
    stream: &'a mut Metered,
    want: Want<'sink>,
    sending: Sending<'a>,
    decoder: Decoder,
    head: Option<Head>,
    body: Body,
}

/// The request on its way.
struct Sending<'a> {
    /// What has not left yet.
    parts: [&'a [u8]; 2],
    flushed: bool,
    /// Why no more of it can be sent; an answer may have come all the same.
    trouble: Option<io::Error>,
}

impl<'a, 'sink> Work<'a, 'sink> {
    fn new(stream: &'a mut Metered, request: &'a Outgoing, want: Want<'sink>) -> Self {
        let asked = Asked { head: request.method() == ::http::Method::HEAD, headers: want.headers };
        let sending = Sending { parts: request.wire(), flushed: false, trouble: None };
        let body = Body::new(&want);
        Self { stream, want, sending, decoder: Decoder::new(asked), head: None, body }
    }

    /// Both directions at once: a target may answer before it has read the whole request, and then reads no more of it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Answer, bool), ExchangeError>> {
        self.sending.poll(self.stream, cx);
        loop {
            let mut space = [const { MaybeUninit::uninit() }; READ];
            let mut buf = ReadBuf::uninit(&mut space);
            let read = Pin::new(&mut *self.stream).poll_read(cx, &mut buf);
            if read.is_pending()
                && let Some(trouble) = self.sending.trouble.take_if(|trouble| !is_close(trouble))
            {
                return Poll::Ready(Err(self.cut(&trouble)));
            }
            match ready!(read) {
                Ok(()) if buf.filled().is_empty() => return Poll::Ready(self.closed()),
                Ok(()) => match self.take(buf.filled()) {
                    Ok(None) => {}
                    Ok(Some(surplus)) => return Poll::Ready(Ok(self.complete(surplus))),
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Err(error) => return Poll::Ready(Err(self.cut(&error))),
            }
        }
    }

    /// Takes what was read; once the answer is complete, whether bytes are left that do not belong to it.
    fn take(&mut self, mut input: &[u8]) -> Result<Option<bool>, ExchangeError> {
        loop {
            match self.decoder.next(&mut input) {
                Ok(Some(Part::Head(head))) => self.head(head)?,
                Ok(Some(Part::Body(data))) => self.body(data)?,
                Ok(Some(Part::End)) => return Ok(Some(!input.is_empty())),
                Ok(None) => return Ok(None),
                Err(fault) => return Err(self.malformed(fault)),
            }
        }
    }

    fn head(&mut self, head: Head) -> Result<(), ExchangeError> {
        let length = if let Framing::Length(length) = head.framing { length } else { 0 };
        self.head = Some(head);
        self.body.claims(length).map_err(|error| self.with_status(error))
    }

    fn body(&mut self, data: &[u8]) -> Result<(), ExchangeError> {
        self.body.add(data).map_err(|error| self.with_status(error))?;
        if let Some(sink) = &mut self.want.sink {
            sink(data, self.stream.meter().last_read().unwrap_or_else(clock::mono));
        }
        Ok(())
    }

    /// The answer, and whether the connection can carry another.
    fn complete(&mut self, surplus: bool) -> (Answer, bool) {
        let head = self.head.take().expect("an answer ends after its head");
        let reusable = head.keep_alive && !surplus && self.sending.is_done();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body: self.body.take(),
            length: self.body.length(),
            ended: self.stream.meter().last_read().unwrap_or_else(clock::mono),
        };
        (answer, reusable)
    }

    /// The peer has closed the connection in good order.
    fn closed(&mut self) -> Result<(Answer, bool), ExchangeError> {
        match self.decoder.eof() {
            Ok(true) => {
                let (answer, _) = self.complete(false);
                // Only now is it known that this was the end.
                Ok((Answer { ended: clock::mono(), ..answer }, false))
            }
            Ok(false) => {
                let nothing = self.stream.meter().bytes().1 == 0;
                let when = if nothing { "any byte of the answer" } else { "the end of the answer" };
                let detail = format!("the target closed the connection before {when}");
                let unanswered = nothing.then_some(Unanswered::Closed);
                Err(ExchangeError { unanswered, ..self.error(fail::RESET, detail) })
            }
            Err(fault) => Err(self.malformed(fault)),
        }
    }

    fn cut(&self, error: &io::Error) -> ExchangeError {
        let (written, read) = self.stream.meter().bytes();
        let when = if read == 0 { "any byte of the answer" } else { "the end of the answer" };
        let detail = format!("the connection broke before {when}: {error}");
        // A TLS 1.3 server refuses a client's certificate only after the handshake.
        let reason = if error.kind() == io::ErrorKind::InvalidData { fail::TLS } else { fail::RESET };
        let unanswered = (written == 0).then_some(Unanswered::Unsent);
        ExchangeError { unanswered, ..self.error(reason, detail) }
    }

    fn malformed(&self, fault: Fault) -> ExchangeError {
        self.error(fail::PROTOCOL, fault.to_string())
    }

    fn error(&self, reason: &'static str, detail: String) -> ExchangeError {
        self.with_status(ExchangeError::new(reason, detail))
    }

    fn with_status(&self, error: ExchangeError) -> ExchangeError {
        ExchangeError { status: self.head.as_ref().map(|head| head.status), ..error }
    }
}

impl Sending<'_> {
    fn poll(&mut self, stream: &mut Metered, cx: &mut Context<'_>) {
        while !self.is_done() && self.trouble.is_none() {
            let done = match self.parts.iter_mut().find(|part| !part.is_empty()) {
                Some(part) => Pin::new(&mut *stream).poll_write(cx, part).map_ok(|written| {
                    *part = &part[written..];
                    written > 0
                }),
                None => Pin::new(&mut *stream).poll_flush(cx).map_ok(|()| {
                    self.flushed = true;
                    true
                }),
            };
            match done {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => self.trouble = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Err(error)) => self.trouble = Some(error),
                Poll::Pending => return,
            }
        }
    }

    fn is_done(&self) -> bool {
        self.flushed
    }
}

/// Whether the peer does not want to read on: what it said before can still be read.
fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests;
