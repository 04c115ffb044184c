//! A kept connection. Whoever holds it polls it: there is no task per connection.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::stream::{Meter, Metered};

type Driver = Connection<TokioIo<Metered>, Full<Bytes>>;

/// A connection and what it has carried.
pub struct Conn {
    pub(super) sender: SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
    pub(super) meter: Rc<Meter>,
    /// Requests it has carried to their end.
    pub(super) carried: u64,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("carried", &self.carried).finish_non_exhaustive()
    }
}

impl Conn {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, driver: Driver, meter: Rc<Meter>) -> Self {
        Self { sender, driver: Some(Box::pin(driver)), meter, carried: 0 }
    }

    /// Whether it has carried a request before.
    pub fn is_reused(&self) -> bool {
        self.carried > 0
    }

    /// Whether it was still open when it was last driven.
    pub fn is_open(&self) -> bool {
        self.driver.is_some()
    }

    /// What its stream sees.
    pub fn meter(&self) -> Rc<Meter> {
        self.meter.clone()
    }

    /// Whether it can carry another request, as far as is known now: an idle connection that the peer has closed
    /// shows it here, before anything is sent over it, and so does one that is still sending a request which was
    /// answered before its end.
    pub async fn usable(&mut self) -> bool {
        let Self { sender, driver, .. } = self;
        // One poll of the driver notices a close that arrived while the connection lay idle.
        poll_fn(|cx| {
            if let Some(running) = driver
                && running.as_mut().poll(cx).is_ready()
            {
                *driver = None;
            }
            let free = matches!(sender.poll_ready(cx), Poll::Ready(Ok(())));
            Poll::Ready(driver.is_some() && free)
        })
        .await
    }

    /// Runs `work` on the connection's sender while driving the connection.
    pub(super) async fn drive<'a, T, F>(&'a mut self, work: impl FnOnce(&'a mut SendRequest<Full<Bytes>>) -> F) -> T
    where
        F: Future<Output = T> + 'a,
    {
        let Self { sender, driver, .. } = self;
        let mut work = pin!(work(sender));
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if let Some(running) = driver {
                if running.as_mut().poll(cx).is_ready() {
                    // The work learns of it through its channel to the driver.
                    *driver = None;
                }
                return work.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }
}
