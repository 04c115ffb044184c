use proptest::{collection::vec, prelude::*};

use super::*;

const GET: Asked = Asked { head: false, headers: true };

/// What became of a stream of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: Option<u16>,
    headers: usize,
    body: Vec<u8>,
    /// What does not belong to the answer; `None` if it did not end.
    surplus: Option<Vec<u8>>,
    end: Result<bool, Fault>,
}

/// Reads `pieces` and then the end of the connection.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked) -> Seen {
    let mut decoder = Decoder::new(asked);
    let mut seen = Seen { status: None, headers: 0, body: Vec::new(), surplus: None, end: Ok(false) };
    for mut piece in pieces {
        if let Some(surplus) = &mut seen.surplus {
            surplus.extend_from_slice(piece);
            continue;
        }
        loop {
            let before = piece.len();
            match decoder.next(&mut piece) {
                Ok(Some(Part::Head(head))) => {
                    (seen.status, seen.headers) = (Some(head.status.as_u16()), head.headers.len());
                }
                Ok(Some(Part::Body(data))) => {
                    assert!(!data.is_empty() && piece.len() < before, "each piece gets it further");
                    seen.body.extend_from_slice(data);
                }
                Ok(Some(Part::End)) => {
                    seen.surplus = Some(piece.to_vec());
                    break;
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "it takes all there is");
                    break;
                }
                Err(fault) => return Seen { end: Err(fault), ..seen },
            }
        }
    }
    seen.end = decoder.eof();
    seen
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[test]
fn answers_are_read_to_their_end() {
    let check = |text: &str, status: u16, body: &str, surplus: Option<&str>, complete: bool| {
        let seen = read([text.as_bytes()], GET);
        let found = (seen.status, String::from_utf8(seen.body).expect("text"), seen.surplus, seen.end);
        let expected = (Some(status), body.to_owned(), surplus.map(|text| text.as_bytes().to_vec()), Ok(complete));
        assert_eq!(found, expected, "{text:?}");
    };
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok", Some(""), true);
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP", 200, "ok", Some("HTTP"), true);
    check("\r\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok", 200, "ok", Some(""), true);
    check("HTTP/1.1 204 No Content\r\n\r\nbody", 204, "", Some("body"), true);
    check(
        "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 100 x\r\n\r\nHTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n",
        404,
        "",
        Some(""),
        true,
    );
    check("HTTP/1.1 101 Switching Protocols\r\n\r\nx", 101, "", Some("x"), true);
    check("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", None, true);
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshor", 200, "shor", None, false);
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", Some(""), true);
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", 200, "abc", None, false);
    let asked = Asked { head: true, headers: false };
    let seen = read([&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"[..]], asked);
    assert_eq!((seen.surplus, seen.end), (Some(Vec::new()), Ok(true)));
}

#[test]
fn a_head_has_bounds_however_it_comes() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 * MAX_HEAD));
    let interim = "HTTP/1.1 100 x\r\n\r\n".repeat(33);
    let padded = format!("HTTP/1.1 100 x\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD / 2)).repeat(3);
    for (text, expected) in [
        (&long, "its head is longer than 64 KiB"),
        (&padded, "its head is longer than 64 KiB"),
        (&interim, "more than 32 interim answers come before it"),
    ] {
        for size in [1, 7, 4096, usize::MAX] {
            let seen = read(text.as_bytes().chunks(size.min(text.len())), GET);
            assert_eq!(seen.end, Err(Fault(expected)), "in pieces of {size}");
        }
    }
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let interim = prop_oneof![3 => Just(""), 1 => Just("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")];
    let status = prop::sample::select(vec![200u16, 204, 304, 404, 429, 503]);
    let header = "[a-z]{1,12}: [ -~]{0,40}\r\n";
    (interim, status, vec(header, 0..5), vec(vec(any::<u8>(), 1..200), 0..5), 0..3u8).prop_map(
        |(interim, status, headers, pieces, framing)| {
            let mut bytes = format!("{interim}HTTP/1.1 {status} Reason\r\n{}", headers.concat()).into_bytes();
            match framing {
                0 => {
                    bytes.extend(format!("content-length: {}\r\n\r\n", pieces.concat().len()).bytes());
                    bytes.extend(pieces.concat());
                }
                1 => {
                    bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
                    for piece in &pieces {
                        bytes.extend(format!("{:x};e=1\r\n", piece.len()).bytes());
                        bytes.extend(piece);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\ntrailer: x\r\n\r\n");
                }
                _ => {
                    bytes.extend(b"\r\n");
                    bytes.extend(pieces.concat());
                }
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(bytes in answer(), cuts in vec(any::<prop::sample::Index>(), 0..20)) {
        let whole = read([&bytes[..]], GET);
        prop_assert!(whole.end.is_ok(), "{whole:?}");
        prop_assert_eq!(read(cut(&bytes, &cuts), GET), whole.clone());
        prop_assert_eq!(read(bytes.chunks(1), GET), whole);
    }

    #[test]
    fn garbage_neither_panics_nor_loops(
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n0123: ;x".to_vec())], 0..400),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        let (whole, cut) = (read([&bytes[..]], GET), read(cut(&bytes, &cuts), GET));
        // A fault is one however the bytes come; only how much was read before it was seen may differ.
        prop_assert_eq!(whole.end.is_err(), cut.end.is_err());
        if whole.end.is_ok() {
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn an_answer_with_one_byte_changed_is_read_alike(
        bytes in answer(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = bytes;
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let (whole, cut) = (read([&bytes[..]], GET), read(cut(&bytes, &cuts), GET));
        prop_assert_eq!(whole.end.is_err(), cut.end.is_err());
        if whole.end.is_ok() {
            prop_assert_eq!(whole, cut);
        }
    }
}
