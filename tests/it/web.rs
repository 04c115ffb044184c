//! The listener as the network meets it: one that means harm keeps nobody else from the probes of life.

use std::{net::SocketAddr, time::Duration};

use plimsoll::model::clock::mono;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::daemon::Plimsoll;

const CONFIG: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
targets: {api: {base_url: "http://127.0.0.1:9"}}
scenarios:
  by_hand:
    load: {executor: constant-arrival-rate, rate: 1/s, duration: 1s}
    steps: [{get: /}]
"#;

/// For an answer: ample on a busy machine, and shorter than the 5 s after which the attackers are cut off anyway.
const PROBE: Duration = Duration::from_secs(3);

/// A connection from 127.0.0.`last` that has sent `bytes`, as far as they are taken.
async fn sent(addr: SocketAddr, last: u8, bytes: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, last], 0).into()).expect("an address of this machine");
    let mut stream = socket.connect(addr).await.ok()?;
    stream.write_all(bytes).await.ok()?;
    Some(stream)
}

/// Whether `/-/healthy` answers 200 in time to 127.0.0.1.
async fn healthy(addr: SocketAddr) -> bool {
    let mut answer = [0; 12];
    let asked = timeout(PROBE, async {
        let mut stream = sent(addr, 1, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        stream.read_exact(&mut answer).await.ok()
    });
    matches!(asked.await, Ok(Some(_))) && answer == *b"HTTP/1.1 200"
}

#[tokio::test]
async fn who_takes_every_connection_does_not_take_the_probe_of_life() {
    let plimsoll = Plimsoll::daemon(CONFIG).await;
    let unread = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(120);
    let unsent = "POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{".to_owned();
    for attack in [unread, unsent] {
        // Seven peers, more connections than there are slots.
        let mut held = Vec::new();
        for n in 0..280_u16 {
            held.extend(sent(plimsoll.addr, (2 + n / 40) as u8, attack.as_bytes()).await);
        }
        let begun = mono();
        assert!(healthy(plimsoll.addr).await, "no answer after {:?} under {} connections", mono() - begun, held.len());
    }
}
