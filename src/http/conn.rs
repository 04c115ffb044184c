//! A kept connection. One of HTTP/1.1 is polled by whoever holds it; one of HTTP/2 can be held by several.

use std::rc::Rc;

use super::{
    dial::DialError,
    exchange::{Answer, ExchangeError, Want},
    h1::H1,
    h2::Session,
    request::Outgoing,
    stream::{Meter, Metered, Transport},
};

/// A connection and what it has carried.
#[derive(Debug)]
pub struct Conn {
    kind: Kind,
    meter: Rc<Meter>,
}

#[derive(Debug)]
enum Kind {
    H1 {
        h1: H1,
        /// Requests it has carried to their end.
        carried: u64,
    },
    H2(Session),
}

impl Conn {
    /// Speaks HTTP/1.1 over `transport`, which is open; `meter` sees what it carries.
    pub fn h1(transport: Transport, meter: Rc<Meter>) -> Self {
        Self { kind: Kind::H1 { h1: H1::new(Metered::new(transport, meter.clone())), carried: 0 }, meter }
    }

    /// Speaks HTTP/2 over `transport`, which is open.
    pub(super) async fn h2(transport: Transport) -> Result<Self, DialError> {
        Ok(Self { kind: Kind::H2(Session::start(transport).await?), meter: Rc::default() })
    }

    /// The same connection once more, for a request beside those that are on it; `None` if it carries one at a time.
    pub fn share(&self) -> Option<Self> {
        match &self.kind {
            Kind::H1 { .. } => None,
            Kind::H2(session) => Some(Self { kind: Kind::H2(session.clone()), meter: Rc::default() }),
        }
    }

    /// Requests that are on it now, of a connection that can be shared.
    pub fn active(&self) -> usize {
        match &self.kind {
            Kind::H1 { .. } => 0,
            Kind::H2(session) => session.active(),
        }
    }

    /// Whether it has carried a request before.
    pub fn is_reused(&self) -> bool {
        match &self.kind {
            Kind::H1 { carried, .. } => *carried > 0,
            Kind::H2(session) => session.carried() > 0,
        }
    }

    /// Whether the last exchange left it fit for another.
    pub fn is_open(&self) -> bool {
        match &self.kind {
            Kind::H1 { h1, .. } => h1.is_open(),
            Kind::H2(session) => session.is_open(),
        }
    }

    /// What its stream sees.
    pub fn meter(&self) -> Rc<Meter> {
        self.meter.clone()
    }

    /// Whether it can carry another request, as far as is known now: an idle connection that the peer has closed shows
    /// it here, before anything is sent over it.
    pub fn usable(&mut self) -> bool {
        match &mut self.kind {
            Kind::H1 { h1, .. } => h1.usable(),
            Kind::H2(session) => session.is_open(),
        }
    }

    /// One request and its answer; see [`super::exchange::exchange`].
    pub(super) async fn exchange(&mut self, request: &Outgoing, want: Want<'_>) -> Result<Answer, ExchangeError> {
        self.meter.reset();
        match &mut self.kind {
            Kind::H1 { h1, carried } => {
                let result = h1.exchange(request, want).await;
                *carried += 1;
                result
            }
            // Larger by far, and rarer: the others need not be that large.
            Kind::H2(session) => Box::pin(session.exchange(request.request(), want, &self.meter)).await,
        }
    }
}
