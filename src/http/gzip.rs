//! Answers that were asked for in gzip, decoded within a bound: a small answer may hold an endless one.

use std::io::Read as _;

use ::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;

use super::exchange::{Answer, ExchangeError};
use crate::model::outcome::fail;

/// The answer with its body decoded, if it is encoded; at most `max` bytes of it.
pub fn decode(mut answer: Answer, max: u64) -> Result<Answer, ExchangeError> {
    let encoding = answer.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if !matches!(encoding.as_deref(), Some(b"gzip" | b"x-gzip")) || answer.body.is_empty() {
        return Ok(answer);
    }
    let mut body = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(&*answer.body).take(max.saturating_add(1)).read_to_end(&mut body);
    let error =
        |reason, detail| Err(ExchangeError { status: Some(answer.status), ..ExchangeError::new(reason, detail) });
    if let Err(why) = read {
        return error(fail::PROTOCOL, format!("the body is not the gzip that its header says: {why}"));
    }
    if body.len() as u64 > max {
        return error(fail::BODY_LIMIT, format!("the body is larger than {max} bytes once it is decoded"));
    }
    answer.headers.remove(CONTENT_ENCODING);
    answer.headers.remove(CONTENT_LENGTH);
    answer.body = Bytes::from(body);
    Ok(answer)
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

    fn decoded(body: Vec<u8>, encoding: Option<&'static str>) -> Result<Vec<u8>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.extend(encoding.map(|encoding| (CONTENT_ENCODING, HeaderValue::from_static(encoding))));
        let length = body.len() as u64;
        let answer = Answer { status: StatusCode::OK, headers, body: body.into(), length, ended: clock::mono() };
        decode(answer, 1000).map(|answer| answer.body.to_vec()).map_err(|error| error.reason)
    }

    #[test]
    fn bodies_are_decoded_within_their_bound() {
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
    }
}
