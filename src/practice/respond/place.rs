//! What a request holds while it is here: a line of the log, a place among those served, blocks of the pool. Each comes
//! back when it is dropped, whatever ended the request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Shared;
use crate::{
    model::{Name, clock::mono},
    practice::{fault::Fault, stats, stream::Streams},
};

/// A place among those served; the next in line gets it when it is dropped.
#[derive(Debug)]
pub(in crate::practice) struct Slot(Option<(Arc<Shared>, Name)>);

impl Slot {
    pub(in crate::practice) fn new(shared: &Arc<Shared>, name: &Name) -> Self {
        Self(Some((shared.clone(), name.clone())))
    }

    /// Drops a slot that counts for nothing, under the lock of the board.
    pub(in crate::practice) fn discard(mut self) {
        self.0 = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((shared, name)) = self.0.take() {
            let limits = stats::limits(&shared.live.load().knobs);
            shared.board().gate.release(&name, limits, &|name| Self::new(&shared, name), Self::discard);
        }
    }
}

/// Blocks of the pool, until they are dropped.
#[derive(Debug)]
pub(super) struct Blocks(Option<(Arc<Shared>, u32)>);

impl Blocks {
    pub(super) fn new(shared: &Arc<Shared>, blocks: u32) -> Self {
        Self((blocks > 0).then(|| (shared.clone(), blocks)))
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if let Some((shared, blocks)) = self.0.take() {
            shared.board().backend.cache.release(blocks);
        }
    }
}

/// A request in the log; dropped without an answer it is counted as gone.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    seq: u64,
    name: Name,
    received: Instant,
    fault: Option<Fault>,
    open: bool,
}

impl Ticket {
    pub(super) fn new(shared: &Arc<Shared>, path: &str) -> Self {
        let mut board = shared.board();
        let received = mono();
        let (seq, name) = board.log.received(path, received - shared.started);
        drop(board);
        Self { shared: shared.clone(), seq, name, received, fault: None, open: true }
    }

    /// What its path is counted under.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts the fault that it meets.
    pub(super) fn faulted(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.shared.board().log.faulted(self.seq, &self.name, fault);
    }

    pub(super) fn answered(mut self, status: u16) {
        self.answer(status);
    }

    fn answer(&mut self, status: u16) {
        if std::mem::take(&mut self.open) {
            let mut board = self.shared.board();
            board.log.answered(self.seq, &self.name, status, mono() - self.shared.started);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.shared.board().log.gone(self.seq, &self.name);
        }
    }
}

/// All that a request holds.
#[derive(Debug)]
pub(in crate::practice) struct Place {
    ticket: Ticket,
    served: Option<Served>,
}

#[derive(Debug)]
struct Served {
    slot: Slot,
    blocks: Blocks,
    arrived: Instant,
    begun: Instant,
}

impl Place {
    /// Of a request that is not queued.
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { ticket, served: None }
    }

    /// Of a request that arrived at the queue and was begun.
    pub(super) fn held(ticket: Ticket, slot: Slot, blocks: Blocks, arrived: Instant, begun: Instant) -> Self {
        Self { ticket, served: Some(Served { slot, blocks, arrived, begun }) }
    }

    /// Counts the answer and gives back what was held for it.
    pub(in crate::practice) fn answered(&mut self, status: u16) {
        if let Some(Served { slot, blocks, arrived, begun }) = self.served.take() {
            if let Some((shared, name)) = &slot.0 {
                shared.board().gate.processed(name, begun - arrived, mono() - begun);
            }
            drop((slot, blocks));
        }
        self.ticket.answer(status);
    }

    /// The end of the stall that `now` falls into.
    pub(in crate::practice) fn stalled_until(&self, now: Instant) -> Option<Instant> {
        self.ticket.shared.live.load().stalled_until(now)
    }

    /// When its head was read.
    pub(in crate::practice) fn received(&self) -> Instant {
        self.ticket.received
    }

    /// The fault it meets.
    pub(in crate::practice) fn fault(&self) -> Option<Fault> {
        self.ticket.fault
    }

    /// Its number in the log.
    pub(in crate::practice) fn seq(&self) -> u64 {
        self.ticket.seq
    }

    /// What its path is counted under.
    pub(in crate::practice) fn path(&self) -> Name {
        self.ticket.name.clone()
    }

    /// When its head was read, since the target started.
    pub(in crate::practice) fn received_at(&self) -> Duration {
        self.ticket.received - self.ticket.shared.started
    }

    /// Writes in the log of streams.
    pub(in crate::practice) fn log_stream(&self, write: impl FnOnce(&mut Streams)) {
        write(&mut self.ticket.shared.board().streams);
    }
}
