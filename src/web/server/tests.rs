use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use tokio::sync::mpsc;

use super::*;
use crate::{
    model::clock::{Clock as _, ManualClock},
    telemetry::{metrics::testing as telemetry, own::OwnStats},
    web::{Command, testing},
};

/// Limits that no test comes near but by what it sets itself.
const WIDE: Limits = Limits {
    connections: 64,
    per_peer: 64,
    for_loopback: 0,
    requests: u32::MAX,
    head: PATIENCE,
    body: PATIENCE,
    write: PATIENCE,
    age: PATIENCE,
};
/// For what must happen at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what is cut off.
const SHORT: Duration = Duration::from_millis(100);

struct Web {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
    _commands: mpsc::Receiver<Command>,
}

fn web(limits: Limits) -> Web {
    let clock = Arc::new(ManualClock::at(testing::NOW));
    let mut view = testing::bad();
    view.beat = clock.mono();
    let (commands, receiver) = mpsc::channel(1);
    let state = WebState {
        status: watch::channel(Arc::new(view)).1,
        metrics: watch::channel(telemetry::after_one_run()).1,
        commands,
        own: Arc::new(OwnStats::default()),
        clock,
    };
    let (stop, stopped) = watch::channel(false);
    let server = serve_within(limits, ([127, 0, 0, 1], 0).into(), state, stopped).expect("a free port");
    Web { address: server.address, _stop: stop, _commands: receiver }
}

/// A connection whose peer is 127.0.0.`last`.
fn connect(web: &Web, last: u8) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, last], 0).into()).expect("an address of this machine");
        socket.connect(web.address).await.expect("the listener accepts").into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Whether a request is answered; `false` if the connection was closed instead.
fn answers(stream: &mut TcpStream) -> bool {
    let mut first = [0; 12];
    let asked =
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").and_then(|()| stream.read_exact(&mut first));
    match asked {
        Ok(()) => &first == b"HTTP/1.1 200",
        Err(error) => {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "neither answered nor closed");
            false
        }
    }
}

#[test]
fn a_peer_has_its_share_and_gets_it_back() {
    let web = web(Limits { connections: 8, per_peer: 3, ..WIDE });
    let mut held: Vec<_> = (0..3).map(|_| connect(&web, 2)).collect();
    assert!(held.iter_mut().all(answers), "its share");
    assert!(!answers(&mut connect(&web, 2)), "one too many");
    assert!(answers(&mut connect(&web, 1)), "another peer");
    held.pop();
    while !answers(&mut connect(&web, 2)) {
        std::thread::yield_now();
    }
}

#[test]
fn who_does_not_read_is_cut_off() {
    let web = web(Limits { write: SHORT, ..WIDE });
    let mut stream = connect(&web, 1);
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(120);
    // At first both sides' buffers take it.
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error;
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error:?}");
}

#[test]
fn a_body_that_trickles_in_is_not_waited_for() {
    let web = web(Limits { body: SHORT, ..WIDE });
    let mut stream = connect(&web, 1);
    write!(stream, "POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{{").expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end");
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("{\"error\":\"The body was not there 0.1 s"),
        "{answer}"
    );
}

#[test]
fn a_connection_serves_so_many_requests() {
    let web = web(Limits { requests: 3, ..WIDE });
    let mut stream = connect(&web, 1);
    stream.write_all("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3).as_bytes()).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answers, and the end");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.matches("connection: close").count(), 1, "{answer}");
}
