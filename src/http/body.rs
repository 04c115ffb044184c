//! What is kept of an answer's body, within the bounds of the request and of all requests of a run: a target whose bodies
//! never end must not take the machine's memory, however many ask it at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::exchange::{ExchangeError, Keep, START_BYTES, Want};
use crate::model::outcome::fail;

/// What the long bodies of a run may hold together, in bytes.
const MOST: u64 = 64 << 20;
/// A body up to this long is not counted: a target that is well is not hurt by one that is not.
const FREE: u64 = 16 << 10;
/// Set aside for a body because it says how long it is; the rest when it comes.
const MAX_RESERVED: u64 = 1 << 20;
/// What is longer is kept in parts of this size until it is complete: growing it in one would take as much again.
const PART: usize = 64 << 10;

/// The room for the bodies of a run; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<AtomicU64>);

impl Room {
    /// Bytes that are taken now.
    pub fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let there_is = self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MOST;
        if !there_is {
            self.give_back(bytes);
        }
        there_is
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that give their room back when nobody looks at them any more.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    room: Option<Room>,
    taken: u64,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.give_back(self.taken);
        }
    }
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Body {
    keep: Keep,
    max: u64,
    length: u64,
    /// Parts that are full; those of short bodies never are.
    full: Vec<Vec<u8>>,
    kept: Kept,
}

impl Body {
    /// An empty one, of which so much is wanted.
    pub(super) fn new(want: &Want<'_>) -> Self {
        let kept = Kept { bytes: Vec::new(), room: want.room.clone(), taken: 0 };
        Self { keep: want.body, max: want.max_body, length: 0, full: Vec::new(), kept }
    }

    /// The length that its head claims.
    pub(super) fn claims(&mut self, length: u64) -> Result<(), ExchangeError> {
        if length > self.max {
            return Err(self.too_large());
        }
        if self.keep == Keep::All {
            self.kept.bytes.reserve_exact(length.min(MAX_RESERVED) as usize);
        }
        Ok(())
    }

    /// Takes the next piece.
    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), ExchangeError> {
        self.length += data.len() as u64;
        if self.length > self.max {
            return Err(self.too_large());
        }
        let wanted = match self.keep {
            Keep::All => data.len(),
            Keep::Start => START_BYTES.saturating_sub(self.kept.bytes.len()).min(data.len()),
        };
        self.take_room()?;
        let bytes = &mut self.kept.bytes;
        if bytes.is_empty() {
            bytes.reserve_exact(wanted);
        }
        let mut rest = &data[..wanted];
        while !rest.is_empty() {
            if bytes.len() >= PART && bytes.len() == bytes.capacity() {
                self.full.push(std::mem::replace(bytes, Vec::with_capacity(PART)));
            }
            let room = (bytes.capacity() - bytes.len()).max(PART.saturating_sub(bytes.len()));
            let (now, later) = rest.split_at(rest.len().min(room));
            bytes.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What was kept of it; nothing is left here.
    pub(super) fn take(&mut self) -> Bytes {
        let mut kept = std::mem::take(&mut self.kept);
        if !self.full.is_empty() {
            self.full.push(std::mem::take(&mut kept.bytes));
            kept.bytes = std::mem::take(&mut self.full).concat();
        }
        if kept.taken == 0 { std::mem::take(&mut kept.bytes).into() } else { Bytes::from_owner(kept) }
    }

    fn take_room(&mut self) -> Result<(), ExchangeError> {
        let Some(room) = &self.kept.room else { return Ok(()) };
        let counted = match self.keep {
            Keep::All => self.length.saturating_sub(FREE).saturating_sub(self.kept.taken),
            Keep::Start => 0,
        };
        if counted > 0 && !room.take(counted) {
            let most = MOST >> 20;
            let detail = format!(
                "the bodies that this run keeps at once, to check them or to capture from them, are larger than {most} MiB \
                 together: lower `max_body`, or the number of users"
            );
            return Err(ExchangeError::new(fail::BODY_LIMIT, detail));
        }
        self.kept.taken += counted;
        Ok(())
    }

    fn too_large(&self) -> ExchangeError {
        ExchangeError::new(fail::BODY_LIMIT, format!("the body is larger than {} bytes", self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 1 << 20;

    fn body(room: &Room, keep: Keep) -> Body {
        Body::new(&Want { body: keep, headers: false, max_body: u64::MAX, room: Some(room.clone()), sink: None })
    }

    #[test]
    fn bodies_share_the_room_of_their_run_and_give_it_back() {
        let (room, piece) = (Room::default(), vec![b'x'; PIECE]);
        let mut long = body(&room, Keep::All);
        for _ in 0..40 {
            long.add(&piece).expect("there is room");
        }
        assert_eq!(room.taken(), 40 * PIECE as u64 - FREE);
        let mut other = body(&room, Keep::All);
        let added = (0..100).take_while(|_| other.add(&piece).is_ok()).count();
        assert_eq!(added, 24, "as much as is left");
        let refused = other.add(&piece).expect_err("no room");
        assert!(refused.reason == fail::BODY_LIMIT && refused.detail.contains("64 MiB"), "{refused:?}");
        // Short ones, and what nobody looks at, need none.
        body(&room, Keep::All).add(&piece[..FREE as usize]).expect("it is short");
        let mut forgotten = body(&room, Keep::Start);
        (0..1000).for_each(|_| forgotten.add(&piece).expect("it is forgotten"));
        assert_eq!((forgotten.take().len(), forgotten.length()), (START_BYTES, 1000 * PIECE as u64));
        drop(other);
        // In parts it is the same body.
        let mut parts = body(&room, Keep::All);
        let text: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
        text.chunks(7001).for_each(|piece| parts.add(piece).expect("there is room"));
        assert!(parts.full.len() > 5 && parts.take() == text);
        let kept = long.take();
        drop(long);
        assert_eq!((kept.len(), room.taken()), (40 * PIECE, 40 * PIECE as u64 - FREE), "it is looked at");
        drop(kept);
        assert_eq!(room.taken(), 0);
    }
}
