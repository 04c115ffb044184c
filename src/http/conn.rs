//! A kept connection. Whoever holds it polls it: there is no task per connection.

use std::rc::Rc;

use super::{
    exchange::{Answer, ExchangeError, Want},
    h1::H1,
    request::Outgoing,
    stream::{Meter, Metered, Transport},
};

/// A connection and what it has carried.
#[derive(Debug)]
pub struct Conn {
    h1: H1,
    meter: Rc<Meter>,
    /// Requests it has carried to their end.
    carried: u64,
}

impl Conn {
    /// Speaks HTTP/1.1 over `transport`, which is open; `meter` sees what it carries.
    pub fn h1(transport: Transport, meter: Rc<Meter>) -> Self {
        Self { h1: H1::new(Metered::new(transport, meter.clone())), meter, carried: 0 }
    }

    /// Whether it has carried a request before.
    pub fn is_reused(&self) -> bool {
        self.carried > 0
    }

    /// Whether the last exchange left it fit for another.
    pub fn is_open(&self) -> bool {
        self.h1.is_open()
    }

    /// What its stream sees.
    pub fn meter(&self) -> Rc<Meter> {
        self.meter.clone()
    }

    /// Whether it can carry another request, as far as is known now: an idle connection that the peer has closed shows
    /// it here, before anything is sent over it.
    pub fn usable(&mut self) -> bool {
        self.h1.usable()
    }

    /// One request and its answer; see [`super::exchange::exchange`].
    pub(super) async fn exchange(&mut self, request: &Outgoing, want: Want<'_>) -> Result<Answer, ExchangeError> {
        self.meter.reset();
        let result = self.h1.exchange(request, want).await;
        self.carried += 1;
        result
    }
}
