//! A made-up target in this process: no socket, no kernel, and with tokio's paused clock no waiting either. The laws of the
//! ledger are held against millions of its answers.

use std::{cell::Cell, fmt, time::Duration};

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;

use super::perform::Failure;
use crate::{
    http::exchange::Answer,
    model::{clock, outcome::Outcome},
};

/// What a made-up target does with one request.
#[derive(Debug, Clone)]
pub struct FakeAnswer {
    /// How long it takes.
    pub after: Duration,
    /// Its status and body, or the reason (of [`fail`](crate::model::outcome::fail)) why there is none.
    pub result: Result<(StatusCode, Bytes), &'static str>,
}

/// What it does with its n-th request, from 1: the answer and its headers.
type Behaviour = dyn Fn(u64, &Request<()>) -> (FakeAnswer, HeaderMap);

/// A made-up target.
pub struct Fake {
    behaviour: Box<Behaviour>,
    /// Whether it looks at the requests.
    watches: bool,
    seen: Cell<u64>,
    answered: Cell<u64>,
    /// Requests that wait for their answer, and most of them at once.
    waiting: Cell<u64>,
    peak: Cell<u64>,
}

/// A request that waits for its answer, or was given up.
struct Waits<'a>(&'a Cell<u64>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("seen", &self.seen).field("answered", &self.answered).finish_non_exhaustive()
    }
}

impl Fake {
    /// A target that behaves like this.
    pub fn new(behaviour: impl Fn(u64) -> FakeAnswer + 'static) -> Self {
        let behaviour = move |n, _: &Request<()>| (behaviour(n), HeaderMap::new());
        Self { watches: false, ..Self::watching(behaviour) }
    }

    /// A target that looks at the heads of its requests, and sends headers.
    pub fn watching(behaviour: impl Fn(u64, &Request<()>) -> (FakeAnswer, HeaderMap) + 'static) -> Self {
        Self {
            behaviour: Box::new(behaviour),
            watches: true,
            seen: Cell::default(),
            answered: Cell::default(),
            waiting: Cell::default(),
            peak: Cell::default(),
        }
    }

    /// Requests that reached it, and those that it answered.
    pub fn counts(&self) -> (u64, u64) {
        (self.seen.get(), self.answered.get())
    }

    /// Most requests that waited for their answers at once.
    pub fn peak(&self) -> u64 {
        self.peak.get()
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Result<Answer, Failure> {
        self.seen.set(self.seen.get() + 1);
        self.waiting.set(self.waiting.get() + 1);
        self.peak.set(self.peak.get().max(self.waiting.get()));
        let _waits = Waits(&self.waiting);
        let mut head = Request::new(());
        if self.watches {
            *head.method_mut() = request.method().clone();
            *head.uri_mut() = request.uri().clone();
            *head.headers_mut() = request.headers().clone();
        }
        let (FakeAnswer { after, result }, headers) = (self.behaviour)(self.seen.get(), &head);
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        let (status, body) = result.map_err(|reason| Failure {
            outcome: Outcome::Failed,
            reason,
            detail: "made up".to_owned(),
            status: None,
        })?;
        self.answered.set(self.answered.get() + 1);
        let length = body.len() as u64;
        Ok(Answer { status, headers, body, length, ended: clock::mono() })
    }
}
