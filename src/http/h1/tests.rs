use std::{cell::RefCell, convert::Infallible, rc::Rc};

use ::http::{Method, Request};
use bytes::Bytes;
use hyper::{
    Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::http::{
    conn::Conn,
    exchange::Keep,
    stream::{Meter, Transport},
};

/// Both ends of a connection.
async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
    let (peer, _) = listener.accept().await.expect("it knocks");
    (Conn::h1(Transport::Plain(stream), Rc::new(Meter::default())), peer)
}

fn request(method: &Method, body: &'static [u8]) -> Outgoing {
    let length = body.len();
    let request = Request::builder().method(method).uri("/a?b").header("host", "x").header("content-length", length);
    Outgoing::new(request.body(Bytes::from_static(body)).expect("valid"))
}

fn all() -> Want<'static> {
    Want { body: Keep::All, headers: true, max_body: 1 << 20, room: None, sink: None }
}

/// Reads the head of a request.
async fn head(peer: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// What a peer that answers with `pieces` and closes (or resets) gives.
async fn answered(pieces: &[&[u8]], want: Want<'_>) -> (Conn, Result<Answer, ExchangeError>) {
    let (mut conn, mut peer) = pair().await;
    let serve = async {
        assert_eq!(head(&mut peer).await, "GET /a?b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        for piece in pieces {
            peer.write_all(piece).await.expect("it is read");
            tokio::task::yield_now().await;
        }
        peer.shutdown().await.expect("it is open");
    };
    let request = request(&Method::GET, b"");
    let (result, ()) = tokio::join!(conn.exchange(&request, want), serve);
    (conn, result)
}

/// A body in pieces, whose length is told or not.
struct Pieces {
    left: Vec<Bytes>,
    told: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.left.iter().map(Bytes::len).sum::<usize>() as u64;
        if self.told { SizeHint::with_exact(length) } else { SizeHint::new() }
    }
}

/// A hyper server. It answers `/pieces/size/told`.
async fn hyper(peer: TcpStream) {
    let service = service_fn(async |request: hyper::Request<Incoming>| {
        let mut numbers = request.uri().path().split('/').skip(1).map(|text| text.parse::<usize>().expect("a number"));
        let mut number = || numbers.next().expect("three of them");
        let left = vec![Bytes::from(vec![b'x'; number().max(1)]); number()];
        let body = Pieces { left, told: number() == 1 };
        Ok::<_, Infallible>(Response::builder().status(203).header("x-a", "b").body(body).expect("valid"))
    });
    http1::Builder::new().serve_connection(TokioIo::new(peer), service).await.expect("we speak HTTP");
}

#[tokio::test]
async fn what_hyper_encodes_is_read_alike() {
    let (mut conn, peer) = pair().await;
    let server = tokio::spawn(hyper(peer));
    for (size, pieces, told) in
        [(1, 0, 1), (1, 0, 0), (5, 1, 1), (5, 3, 0), (70_000, 1, 1), (30_000, 9, 0), (1, 900, 0)]
    {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            assert!(conn.usable());
            let uri = format!("/{size}/{pieces}/{told}");
            let asked = Request::builder().method(&method).uri(&uri).header("host", "x").body(Bytes::new());
            let answer = conn.exchange(&Outgoing::new(asked.expect("valid")), all()).await.expect("an answer");
            let length = if method == Method::HEAD { 0 } else { size * pieces };
            assert_eq!(
                (answer.status.as_u16(), answer.body.len(), answer.length),
                (203, length, length as u64),
                "{uri}"
            );
            assert!(answer.body.iter().all(|byte| *byte == b'x') && answer.headers["x-a"] == "b");
            assert!(conn.is_open(), "{method} {uri}");
        }
    }
    drop(conn);
    server.await.expect("it ends with the connection");
}

#[tokio::test]
async fn a_streaming_step_sees_each_piece_as_it_comes() {
    let seen = RefCell::new(Vec::new());
    let mut sink = |data: &[u8], at| seen.borrow_mut().push((String::from_utf8_lossy(data).into_owned(), at));
    let want = Want { body: Keep::Start, sink: Some(&mut sink), ..all() };
    let start: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (_, result) = answered(&[start, b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"], want).await;
    let answer = result.expect("an answer");
    assert_eq!((&answer.body[..], answer.length), (&b"onetwo"[..], 6));
    let seen = seen.into_inner();
    assert_eq!(seen.iter().map(|(text, _)| &text[..]).collect::<Vec<_>>(), ["one", "two"]);
    assert!(seen[0].1 <= seen[1].1 && seen[1].1 == answer.ended, "{seen:?}");
}

#[tokio::test]
async fn the_start_of_a_body_is_kept_and_all_of_it_is_bounded() {
    let check = async |want: Want<'_>, expected: Result<(usize, u64), &str>| {
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n";
        let close = b"HTTP/1.1 200 OK\r\n\r\n";
        for head in [&length[..], close] {
            let limits = Want { body: want.body, headers: false, max_body: want.max_body, room: None, sink: None };
            let (_, result) = answered(&[head, &[b'a'; 3000], &[b'b'; 2000]], limits).await;
            let found = result.as_ref().map(|answer| (answer.body.len(), answer.length)).map_err(|error| error.reason);
            assert_eq!(found, expected);
        }
    };
    check(all(), Ok((5000, 5000))).await;
    check(Want { body: Keep::Start, ..all() }, Ok((2048, 5000))).await;
    check(Want { max_body: 5000, ..all() }, Ok((5000, 5000))).await;
    check(Want { max_body: 4999, ..all() }, Err(fail::BODY_LIMIT)).await;
}

#[tokio::test]
async fn it_is_known_whether_the_target_merely_closed() {
    let check = async |pieces: &[&[u8]], expected: (&str, bool, Option<u16>)| {
        let (conn, result) = answered(pieces, all()).await;
        let error = result.expect_err("no answer");
        assert_eq!(
            (error.reason, error.unanswered.is_some(), error.status.map(|status| status.as_u16())),
            expected,
            "{error:?}"
        );
        assert!(!conn.is_open());
    };
    check(&[], (fail::RESET, true, None)).await;
    check(&[b"H"], (fail::RESET, false, None)).await;
    check(&[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"], (fail::RESET, false, Some(200))).await;
    check(&[b"GET / HTTP/1.1\r\n\r\n"], (fail::PROTOCOL, false, None)).await;

    // A reset is never a time-out of an idle connection: that says goodbye first.
    let (mut conn, mut peer) = pair().await;
    let asked = request(&Method::GET, b"");
    let reset = async {
        head(&mut peer).await;
        peer.set_zero_linger().expect("it is open");
        drop(peer);
    };
    let (result, ()) = tokio::join!(conn.exchange(&asked, all()), reset);
    let error = result.expect_err("no answer");
    assert_eq!((error.reason, error.unanswered), (fail::RESET, None), "{error:?}");
}

#[tokio::test]
async fn an_idle_connection_that_speaks_or_ends_is_not_used_again() {
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for after in [None, Some(&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..])] {
        let (mut conn, mut peer) = pair().await;
        let asked = request(&Method::GET, b"");
        let serve = async {
            head(&mut peer).await;
            peer.write_all(ok).await.expect("it is read");
        };
        let (result, ()) = tokio::join!(conn.exchange(&asked, all()), serve);
        result.expect("an answer");
        assert!(conn.is_open() && conn.is_reused() && conn.usable());
        match after {
            Some(text) => peer.write_all(text).await.expect("it is open"),
            None => peer.shutdown().await.expect("it is open"),
        }
        // The runtime hears of it with its next look at the sockets.
        while conn.usable() {
            tokio::task::yield_now().await;
        }
        assert!(!conn.is_open());
    }
    let (conn, result) = answered(&[ok, b"more"], all()).await;
    assert_eq!(result.expect("an answer").body, "ok");
    drop(conn);
    let (conn, result) = answered(&[&[ok, b"more"].concat()], all()).await;
    assert_eq!(result.expect("an answer").body, "ok");
    assert!(!conn.is_open(), "what follows the answer was not asked for");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_read() {
    static LONG: [u8; 8 << 20] = [b'x'; 8 << 20];
    let (mut conn, mut peer) = pair().await;
    let asked = request(&Method::PUT, &LONG);
    let serve = async {
        head(&mut peer).await;
        peer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.expect("it is open");
    };
    let (result, ()) = tokio::join!(conn.exchange(&asked, all()), serve);
    assert_eq!(result.expect("an answer").status, 413);
    assert!(!conn.is_open(), "half a request is on it");
    // The same when the peer leaves at once: what it said before is still there to be read.
    let (mut conn, mut peer) = pair().await;
    let serve = async {
        head(&mut peer).await;
        peer.write_all(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
            .await
            .expect("open");
        peer.shutdown().await.expect("open");
        peer
    };
    let (result, _peer) = tokio::join!(conn.exchange(&asked, all()), serve);
    assert_eq!(result.expect("an answer").body, "no");
}
