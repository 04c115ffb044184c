//! The body of an answer: sent at once, or step by step, with pauses and with ends that are faults.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::wire::{Cut, Line};

/// What a body does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Sends these bytes.
    Data(Bytes),
    /// Sends nothing for so long.
    Pause(Duration),
    /// Cuts the connection.
    Cut(Cut),
    /// Ends this answer as broken: RST_STREAM over HTTP/2, a close over HTTP/1.1.
    Break,
}

/// Steps in their order; they end with the body.
pub(super) type Steps = Box<dyn Iterator<Item = Step> + Send>;

/// A body.
pub(super) enum Answer {
    /// Sent at once, with its length.
    Whole(Bytes),
    /// Sent step by step, without.
    Stepwise {
        /// What is still to come.
        steps: Steps,
        /// The pause that is on.
        pause: Option<Pin<Box<Sleep>>>,
        /// The connection it goes over.
        line: Arc<Line>,
    },
}

/// The target ends an answer, or does not give it.
#[derive(Debug, thiserror::Error)]
#[error("the practice target breaks this answer off")]
pub(super) struct Broken;

impl Answer {
    /// A body of steps.
    pub(super) fn stepwise(steps: impl Iterator<Item = Step> + Send + 'static, line: &Arc<Line>) -> Self {
        Self::Stepwise { steps: Box::new(steps), pause: None, line: line.clone() }
    }

    /// `bytes` in ten pieces, one per `every`.
    pub(super) fn dripping(bytes: &Bytes, every: Duration, line: &Arc<Line>) -> Self {
        let size = bytes.len().div_ceil(10).max(1);
        Self::stepwise(pieces(bytes.clone(), size, every), line)
    }
}

/// `bytes` in pieces of `size`, with a pause before each.
pub(super) fn pieces(bytes: Bytes, size: usize, every: Duration) -> impl Iterator<Item = Step> + Send {
    let count = bytes.len().div_ceil(size.max(1));
    (0..count).flat_map(move |n| {
        let end = (n * size + size).min(bytes.len());
        [Step::Pause(every), Step::Data(bytes.slice(n * size..end))]
    })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let (steps, pause, line) = match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stepwise { steps, pause, line } => (steps, pause, line),
        };
        loop {
            if let Some(sleep) = pause {
                ready!(sleep.as_mut().poll(context));
                *pause = None;
            }
            match steps.next() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Pause(lasts)) if lasts.is_zero() => {}
                Some(Step::Pause(lasts)) => *pause = Some(Box::pin(tokio::time::sleep(lasts))),
                Some(Step::Break) => return Poll::Ready(Some(Err(Broken))),
                Some(Step::Cut(cut)) => {
                    line.cut(cut);
                    // The connection's task drops this body next; asked again before, it has not ended.
                    *steps = Box::new(std::iter::once(Step::Pause(Duration::MAX)));
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stepwise { .. } => SizeHint::default(),
        }
    }
}
