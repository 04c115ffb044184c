//! HTTP/2 over one connection that several requests share. A task of its own drives it; whoever asks waits for the answer
//! to its stream.

mod pipe;

use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ::http::{HeaderMap, Request, Uri, Version, header, uri::PathAndQuery};
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{Builder, SendRequest},
};
use tokio::task::AbortHandle;

use self::pipe::{Pipe, Tally};
use super::{
    body::Body,
    dial::{DialError, failed},
    exchange::{Answer, ExchangeError, Unanswered, Want},
    stream::{Meter, Transport},
};
use crate::model::{clock, outcome::fail};

/// Requests on one connection at once; a target that allows fewer makes them wait.
pub const STREAMS: usize = 100;

/// What may come in unasked on a stream, and on the connection as a whole.
const STREAM_WINDOW: u32 = 96 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Longest head of an answer.
const MAX_HEAD: u32 = 64 * 1024;

/// The reasons of rejections that HTTP/2 itself has words for: nothing was done, try again later.
pub const REFUSED: &str = "refused_stream";
/// The target asks for less.
pub const CALM: &str = "enhance_your_calm";

/// A connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Session {
    sender: SendRequest<Bytes>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tally: Arc<Tally>,
    driver: AbortHandle,
    https: bool,
    /// Streams now, and since it was opened.
    active: Cell<usize>,
    carried: Cell<u64>,
    /// A request timed out on it while nothing at all came in: it is dead.
    dead: Cell<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody holds it any more: what is still on its way is wanted by nobody.
        self.driver.abort();
    }
}

/// A request on its way; one that times out leaves its mark. That of a client who is gone, or that is cut, says nothing
/// about the connection: its stream is reset, and the others go on.
struct Active<'a> {
    shared: &'a Shared,
    meter: &'a Meter,
    /// What had come in when its stream was opened. One that still waits for its turn cannot tell whether the connection
    /// is dead.
    read_before: Option<u64>,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.shared.active.set(self.shared.active.get() - 1);
        if self.meter.has_timed_out() && self.read_before == Some(self.shared.tally.read_so_far()) {
            self.shared.dead.set(true);
        }
    }
}

impl Session {
    /// Begins HTTP/2 over an open stream. Must be called within a runtime.
    pub(crate) async fn start(transport: Transport) -> Result<Self, DialError> {
        let https = transport.is_tls();
        let tally = Arc::new(Tally::default());
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            // Until the target says how many it takes: what goes beyond would be refused, and not by its will.
            .initial_max_send_streams(1)
            // Answers to requests that timed out may still come.
            .max_concurrent_reset_streams(1024)
            .handshake::<_, Bytes>(Pipe::new(transport, tally.clone()))
            .await
            .map_err(|error| failed(if error.is_io() { fail::RESET } else { fail::PROTOCOL }, &error))?;
        // Why it ended is told to every stream that is on it.
        let driver = tokio::spawn(async move {
            let _told = connection.await.is_err();
        });
        let driver = driver.abort_handle();
        let (active, carried, dead) = (Cell::default(), Cell::default(), Cell::default());
        Ok(Self { sender, shared: Rc::new(Shared { tally, driver, https, active, carried, dead }) })
    }

    /// Requests that were sent on it.
    pub fn carried(&self) -> u64 {
        self.shared.carried.get()
    }

    /// Requests that are on it now.
    pub fn active(&self) -> usize {
        self.shared.active.get()
    }

    /// Whether it takes another request, as far as is known now: not after a GOAWAY.
    pub fn is_open(&self) -> bool {
        let mut sender = self.sender.clone();
        let gone = matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)));
        !gone && !self.shared.dead.get() && !self.shared.driver.is_finished()
    }

    /// Sends `request` and reads the whole answer; `meter` sees its times and its share of the bytes.
    pub(super) async fn exchange(
        &self,
        request: &Request<Bytes>,
        want: Want<'_>,
        meter: &Meter,
    ) -> Result<Answer, ExchangeError> {
        let (answer, _) = self.call(request, want, meter).await?;
        Ok(answer)
    }

    /// The same, with the trailers of the answer.
    pub(crate) async fn call(
        &self,
        request: &Request<Bytes>,
        mut want: Want<'_>,
        meter: &Meter,
    ) -> Result<(Answer, Option<HeaderMap>), ExchangeError> {
        let shared = &*self.shared;
        shared.active.set(shared.active.get() + 1);
        let mut active = Active { shared, meter, read_before: None };
        let head = head(request, shared.https)
            .map_err(|error| ExchangeError::new(fail::PROTOCOL, format!("the request is none for HTTP/2: {error}")))?;
        let told = |error: h2::Error| {
            let nothing = meter.bytes().1 == 0;
            told(&error, nothing)
        };
        let mut sender = self.sender.clone().ready().await.map_err(told)?;
        let empty = request.body().is_empty();
        shared.carried.set(shared.carried.get() + 1);
        let (mut response, mut body) = sender.send_request(head, empty).map_err(told)?;
        if !empty {
            body.send_data(request.body().clone(), true).map_err(told)?;
        }
        let response = poll_fn(|cx| {
            // Until the target takes another stream the request lies here: the sender is ready again once it has left.
            if active.read_before.is_none() && matches!(sender.poll_ready(cx), Poll::Ready(Ok(()))) {
                meter.note_write(0);
                active.read_before = Some(shared.tally.read_so_far());
            }
            Pin::new(&mut response).poll(cx)
        })
        .await;
        let response = response.map_err(|error| {
            let error = told(error);
            let unsent = error.unanswered.filter(|_| active.read_before.is_none()).map(|_| Unanswered::Unsent);
            ExchangeError { unanswered: unsent.or(error.unanswered), ..error }
        })?;
        shared.tally.share(meter);
        let (head, body) = response.into_parts();
        let mut reading = Reading { kept: Body::new(&want), body };
        let trailers = reading.all(&mut want, meter, &shared.tally).await.map_err(|error| ExchangeError {
            status: Some(head.status),
            unanswered: None,
            ..error
        })?;
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body: reading.kept.take(),
            length: reading.kept.length(),
            ended: clock::mono(),
        };
        Ok((answer, trailers))
    }
}

/// A body on its way in.
struct Reading {
    body: RecvStream,
    kept: Body,
}

impl Reading {
    async fn all(
        &mut self,
        want: &mut Want<'_>,
        meter: &Meter,
        tally: &Tally,
    ) -> Result<Option<HeaderMap>, ExchangeError> {
        while let Some(data) = self.body.data().await {
            let data = data.map_err(|error| told(&error, false))?;
            tally.share(meter);
            self.kept.add(&data)?;
            // What was taken makes room for more; a stream that has ended needs none.
            let _ended = self.body.flow_control().release_capacity(data.len()).is_err();
            if let Some(sink) = &mut want.sink {
                sink(&data, meter.last_read().unwrap_or_else(clock::mono));
            }
        }
        self.body.trailers().await.map_err(|error| told(&error, false))
    }
}

/// The request as HTTP/2 has it: the authority in its URI, and nothing that is about a connection of HTTP/1.1.
fn head(request: &Request<Bytes>, https: bool) -> Result<Request<()>, ::http::Error> {
    const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    let mut headers = request.headers().clone();
    let authority = headers.remove(header::HOST);
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    let mut uri = Uri::builder()
        .scheme(if https { "https" } else { "http" })
        .path_and_query(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Some(authority) = &authority {
        uri = uri.authority(authority.as_bytes());
    }
    let mut head = Request::builder().method(request.method()).version(Version::HTTP_2).uri(uri.build()?).body(())?;
    *head.headers_mut() = headers;
    Ok(head)
}

/// What an error of a stream or of its connection means; `nothing`: no byte of an answer came.
fn told(error: &h2::Error, nothing: bool) -> ExchangeError {
    let reason = error.reason();
    let ours = !error.is_remote() && !error.is_io();
    let (outcome, what) = match reason {
        Some(Reason::REFUSED_STREAM) if error.is_remote() && nothing => (REFUSED, "the target refused the stream"),
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_remote() => (CALM, "the target asks for less"),
        Some(_) if error.is_go_away() && !ours => (fail::RESET, "the target is closing the connection (GOAWAY)"),
        Some(_) if error.is_reset() && !ours => (fail::RESET, "the target reset the stream"),
        Some(_) if ours => (fail::PROTOCOL, "what came is not HTTP/2"),
        _ => (fail::RESET, "the connection broke"),
    };
    // A GOAWAY in good order is told to those whose streams the target did nothing with; the others go on to their end.
    let undone = nothing && error.is_go_away() && error.is_remote() && reason == Some(Reason::NO_ERROR);
    let unanswered = undone.then_some(Unanswered::Undone);
    ExchangeError { unanswered, ..ExchangeError::new(outcome, format!("{what}: {error}")) }
}

#[cfg(test)]
mod tests;
