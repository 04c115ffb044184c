//! Answers that were asked for in gzip, decoded within a bound: a small answer may hold an endless one.

use std::io::{Cursor, Read as _};

use ::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::{
    body::{Body, Room},
    exchange::{Answer, ExchangeError, Keep, Want},
};
use crate::model::outcome::fail;

/// What is longer than this, packed or not, is decoded beside the run's thread: it would make everybody else late.
const INLINE: u64 = 64 * 1024;

/// Decoded at once, on the stack.
const PIECE: usize = 8 * 1024;

/// The answer with its body decoded, if it is encoded; at most `max` bytes of it, which find room in `room` like those of
/// any other body. Must be called within a runtime.
pub async fn decode(mut answer: Answer, max: u64, room: Option<Room>) -> Result<Answer, ExchangeError> {
    let encoding = answer.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if !matches!(encoding.as_deref(), Some(b"gzip" | b"x-gzip")) || answer.body.is_empty() {
        return Ok(answer);
    }
    let short = answer.body.len() as u64 <= INLINE;
    let mut decoding = Decoding::new(std::mem::take(&mut answer.body), max, room);
    let body = if short && decoding.go_on(INLINE) {
        decoding.body()
    } else {
        let aside = move || {
            decoding.go_on(u64::MAX);
            decoding.body()
        };
        match tokio::task::spawn_blocking(aside).await {
            Ok(body) => body,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    };
    let body = body.map_err(|error| ExchangeError { status: Some(answer.status), ..error })?;
    answer.headers.remove(CONTENT_ENCODING);
    answer.headers.remove(CONTENT_LENGTH);
    answer.body = body;
    Ok(answer)
}

/// A body on its way out of its wrapping.
struct Decoding {
    from: MultiGzDecoder<Cursor<Bytes>>,
    body: Body,
    max: u64,
    fault: Option<ExchangeError>,
}

impl Decoding {
    fn new(packed: Bytes, max: u64, room: Option<Room>) -> Self {
        let want = Want { body: Keep::All, headers: false, max_body: max, room, sink: None };
        Self { from: MultiGzDecoder::new(Cursor::new(packed)), body: Body::new(&want), max, fault: None }
    }

    /// Decodes until there are `most` bytes; whether that was all, or all that there may be.
    fn go_on(&mut self, most: u64) -> bool {
        let mut piece = [0; PIECE];
        while self.body.length() < most {
            self.fault = match self.from.read(&mut piece) {
                Ok(0) => return true,
                Ok(bytes) => self.body.add(&piece[..bytes]).err(),
                Err(why) => {
                    let detail = format!("the body is not the gzip that its header says: {why}");
                    Some(ExchangeError::new(fail::PROTOCOL, detail))
                }
            };
            if self.fault.is_some() {
                return true;
            }
        }
        false
    }

    fn body(self) -> Result<Bytes, ExchangeError> {
        let Self { mut body, max, fault, .. } = self;
        if body.length() > max {
            let detail = format!("the body is larger than {max} bytes once it is decoded");
            return Err(ExchangeError::new(fail::BODY_LIMIT, detail));
        }
        fault.map_or_else(|| Ok(body.take()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ::http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::model::clock;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("it is memory");
        encoder.finish().expect("it is memory")
    }

    fn answer(body: Vec<u8>, encoding: Option<&'static str>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.extend(encoding.map(|encoding| (CONTENT_ENCODING, HeaderValue::from_static(encoding))));
        let length = body.len() as u64;
        Answer { status: StatusCode::OK, headers, body: body.into(), length, ended: clock::mono() }
    }

    #[test]
    fn bodies_are_decoded_within_their_bound() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let within = |body: Vec<u8>, encoding, max| {
            let decoded = runtime.block_on(decode(answer(body, encoding), max, None));
            decoded.map(|answer| answer.body.to_vec()).map_err(|error| error.reason)
        };
        let decoded = |body, encoding| within(body, encoding, 1000);
        let text = b"hello hello hello".to_vec();
        assert_eq!(decoded(packed(&text), Some("gzip")), Ok(text.clone()));
        assert_eq!(
            decoded([packed(&text), packed(&text)].concat(), Some("GZIP")),
            Ok([text.clone(), text.clone()].concat())
        );
        assert_eq!(decoded(text.clone(), None), Ok(text.clone()), "it is not encoded");
        assert_eq!(decoded(text, Some("gzip")), Err(fail::PROTOCOL));
        assert_eq!(decoded(packed(&[0; 1000]), Some("gzip")).map(|body| body.len()), Ok(1000));
        assert_eq!(decoded(packed(&vec![0; 10_000_000]), Some("gzip")), Err(fail::BODY_LIMIT), "a bomb");
        let mut half = packed(b"hello hello hello");
        half.truncate(12);
        assert_eq!(decoded(half, Some("gzip")), Err(fail::PROTOCOL));
        // What is decoded in two goes is the same.
        for size in [INLINE - 1, INLINE, INLINE + 1, 10 * INLINE] {
            let text: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert_eq!(within(packed(&text), Some("gzip"), size), Ok(text.clone()), "{size}");
            assert_eq!(within(packed(&text), Some("gzip"), size - 1), Err(fail::BODY_LIMIT), "{size}");
            let mut half = packed(&text);
            half.truncate(half.len() - 4);
            assert_eq!(within(half, Some("gzip"), size), Err(fail::PROTOCOL), "{size}");
        }
        let empty = packed(b"").repeat(10_000);
        assert_eq!(decoded(empty, Some("gzip")), Ok(Vec::new()), "long, and nothing in it");
    }

    #[tokio::test]
    async fn what_is_decoded_shares_the_room_of_the_run_and_gives_it_back() {
        let room = Room::default();
        let decode =
            async || decode(answer(packed(&vec![0; 20 << 20]), Some("gzip")), u64::MAX, Some(room.clone())).await;
        let mut kept = Vec::new();
        let refused = loop {
            match decode().await {
                Ok(answer) => kept.push(answer.body),
                Err(refused) => break refused,
            }
            assert!(room.taken() > kept.len() as u64 * (19 << 20) && kept.len() < 10);
        };
        assert!(refused.reason == fail::BODY_LIMIT && refused.detail.contains("together"), "{refused:?}");
        let taken = room.taken();
        assert_eq!((taken / kept.len() as u64) >> 20, 19, "what was refused has given back what it had");
        drop(kept);
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn a_bomb_keeps_nobody_from_their_turn() {
        let (bomb, small) = (packed(&vec![0; 30_000_000]), packed(b"small"));
        let order = std::cell::RefCell::new(Vec::new());
        let one = async |name: &'static str, packed: Vec<u8>| {
            let size = decode(answer(packed, Some("gzip")), 30_000_000, None).await.expect("it is gzip").body.len();
            order.borrow_mut().push((name, size));
        };
        tokio::join!(one("bomb", bomb), one("small", small));
        assert_eq!(order.take(), [("small", 5), ("bomb", 30_000_000)], "who comes later is done sooner");
    }
}
