//! Steps that are no HTTP requests, against small servers of every temper.

use std::net::{Ipv4Addr, SocketAddr};

use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord, rdata::RData};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::{Done, run, server::Server, settings, tls};
use crate::support::refusing_port;

/// One iteration of `step`, for a target at `url` with these `http:` settings.
async fn probe(url: &str, http: &str, step: &str) -> Done {
    let scenario = format!("    load: {{executor: probe}}\n    steps: [{{{step}}}]");
    run(&settings(url, &format!("    http: {http}"), &scenario)).await
}

/// The ledger, and why it did not go well.
fn told(done: &Done) -> (String, String) {
    let failure = done.run.first_failure.as_ref();
    (done.ledger(), failure.map(|failure| failure.detail.clone()).unwrap_or_default())
}

/// Answers `PING` with `answer` and closes the connection, or keeps it for ever.
async fn pong(answer: &'static [u8], closes: bool) -> Server {
    Server::start(move |mut stream| async move {
        let mut line = [0; 6];
        if stream.read_exact(&mut line).await.is_ok() && line == *b"PING\r\n" {
            let _gone = stream.write_all(answer).await;
            if !closes {
                std::future::pending::<()>().await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_a_connection_and_a_text_for_a_text() {
    let check = async |server: SocketAddr, step: &str, expected: &str, why: &str| {
        let step = step.replace("ADDR", &server.to_string());
        let (ledger, detail) = told(&probe("http://localhost:1", "{timeout: 1s}", &step).await);
        assert_eq!(ledger, expected, "{step}: {detail}");
        assert!(detail.contains(why), "{step}: {detail}");
    };
    let (_held, nobody) = refusing_port();
    check(nobody, "tcp: \"ADDR\"", "failed.connect=1", "Connection refused").await;
    let ask = r#"tcp: {address: "ADDR", send: "PING\r\n", expect: "+PONG"}"#;
    let pattern = ask.replace("\"+PONG\"", "\"/^[+](PONG|BUSY)/\"");
    let good = pong(b"+PONG\r\n", false).await;
    check(good.addr, "tcp: \"ADDR\"", "ok=1", "").await;
    check(good.addr, ask, "ok=1", "").await;
    check(good.addr, &format!("{ask}, expect: 'body =~ /^.PONG/'"), "ok=1", "").await;
    check(good.addr, &format!("{ask}, expect: 'body contains \"BUSY\"'"), "failed.expect=1", "BUSY").await;
    let busy = pong(b"+BUSY\r\n", true).await;
    check(busy.addr, &pattern, "ok=1", "").await;
    check(busy.addr, ask, "failed.expect=1", r#"closed before "+PONG" came; what came is "+BUSY\r\n""#).await;
    let silent = pong(b"", false).await;
    check(silent.addr, ask, "failed.timeout=1", "still waiting for the first byte").await;
    let endless =
        Server::start(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    check(endless.addr, ask, "failed.expect=1", "65536 bytes came").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_looked_at_without_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, ca) = tls::server("localhost", folder.path()).await;
    let step = format!("tls: \"localhost:{}\"", server.addr.port());
    let done = probe("http://localhost:1", &format!("{{tls: {{ca: {ca}}}}}"), &step).await;
    assert_eq!(told(&done), ("ok=1".to_owned(), String::new()));
    assert_eq!(done.run.timing_s["tls"].count, 1);
    assert!(done.run.stats["cert_expires_in"].last.is_some_and(|left| left > 86_400.0), "{:?}", done.run.stats);
    let stranger = probe("http://localhost:1", "{}", &step).await;
    assert_eq!(stranger.ledger(), "failed.tls=1");
    assert!(stranger.run.stats["cert_expires_in"].last.is_some(), "it was shown all the same");
    let plain = pong(b"", true).await;
    let none = probe("http://localhost:1", "{connect_timeout: 1s}", &format!("tls: \"{}\"", plain.addr)).await;
    assert_eq!(none.ledger(), "failed.tls=1");
}

/// A name server: `good.test` has two addresses, `big.test` has them over TCP only, `slow.test` is never answered,
/// `spoofed.test` comes after a message of somebody else, `broken.test` is answered with rubbish; no other name is there.
async fn name_server() -> SocketAddr {
    // One port for both: another test may have it for TCP.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
            break (udp, tcp);
        }
    };
    let addr = udp.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut datagram = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
            for answer in answers(&datagram[..length], false) {
                udp.send_to(&answer, from).await.expect("it is sent");
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.expect("a length");
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.expect("a question");
            for answer in answers(&question, true) {
                stream.write_u16(answer.len() as u16).await.expect("it is sent");
                stream.write_all(&answer).await.expect("it is sent");
            }
        }
    });
    addr
}

fn answers(question: &[u8], over_tcp: bool) -> Vec<Vec<u8>> {
    let question = Packet::parse(question).expect("a question");
    let asked = question.questions[0].clone();
    let name = asked.qname.to_string().to_ascii_lowercase();
    let mut answer = Packet::new_reply(question.id());
    answer.questions.push(asked.clone());
    let add = |answer: &mut Packet<'_>| {
        for host in [1, 2] {
            let data = RData::A(Ipv4Addr::new(192, 0, 2, host).into());
            answer.answers.push(ResourceRecord::new(asked.qname.clone().into_owned(), CLASS::IN, 60, data));
        }
    };
    let bytes = |answer: &Packet<'_>| answer.build_bytes_vec().expect("it is a message");
    match name.as_str() {
        "good.test" | "spoofed.test" => add(&mut answer),
        "big.test" if over_tcp => add(&mut answer),
        "big.test" => answer.set_flags(PacketFlag::TRUNCATION),
        "slow.test" => return Vec::new(),
        "broken.test" => return vec![[&question.id().to_be_bytes()[..], &[0xff; 30]].concat()],
        "empty.test" => {}
        _ => *answer.rcode_mut() = RCODE::NameError,
    }
    let genuine = bytes(&answer);
    if name == "spoofed.test" {
        let mut other = genuine.clone();
        other[0] ^= 1;
        return vec![other, vec![0; 3], genuine];
    }
    vec![genuine]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_is_asked() {
    let server = name_server().await;
    let check = async |question: &str, more: &str, expected: &str, why: &str| {
        let step = format!("dns: {{server: \"{server}\", {question}}}{more}");
        let done = probe("http://localhost:1", "{timeout: 1s}", &step).await;
        let (ledger, detail) = told(&done);
        assert_eq!(ledger, expected, "{step}: {detail}");
        assert!(detail.contains(why), "{step}: {detail}");
    };
    let both = ", expect: [\"$.answers[0] == '192.0.2.1'\", \"$.answers[1] == '192.0.2.2'\", \"$.ttl == 60\"]";
    check("name: good.test", both, "ok=1", "").await;
    check("name: GOOD.test., type: A", both, "ok=1", "").await;
    check("name: big.test", both, "ok=1", "").await;
    check("name: spoofed.test", both, "ok=1", "").await;
    check("name: good.test", ", expect: \"$.answers[0] == '192.0.2.9'\"", "failed.expect=1", "192.0.2.1").await;
    check("name: no.test", "", "failed.dns=1", "no.test A: the answer is NXDOMAIN, not NOERROR").await;
    check("name: no.test, rcode: NXDOMAIN", "", "ok=1", "").await;
    check("name: good.test, rcode: NXDOMAIN", "", "failed.dns=1", "the answer is NOERROR, not NXDOMAIN").await;
    check("name: good.test, type: MX", "", "failed.dns=1", "good.test MX: there is no such record").await;
    check("name: empty.test", "", "failed.dns=1", "there is no such record").await;
    check("name: empty.test, rcode: NOERROR", "", "ok=1", "").await;
    check("name: slow.test", "", "failed.timeout=1", "first byte").await;
    check("name: broken.test", "", "failed.protocol=1", "no DNS message").await;
    check("name: \"a..b\"", "", "failed.protocol=1", "a..b").await;
}

/// Echoes each message, `hello ` before it; or answers the handshake with `refusal`.
async fn echo(refusal: Option<&'static [u8]>) -> Server {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    Server::start(move |mut stream| async move {
        if let Some(refusal) = refusal {
            if super::server::request(&mut stream).await.is_some() {
                let _gone = stream.write_all(refusal).await;
            }
            return;
        }
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let _gone = socket.send(Message::Ping("are you there".into())).await;
            if socket.send(Message::text(format!("hello {text}"))).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_a_message_for_a_message() {
    let check = async |server: &Server, step: &str, expected: &str, why: &str| {
        let done = probe(&server.url(), "{timeout: 1s}", step).await;
        let (ledger, detail) = told(&done);
        assert_eq!(ledger, expected, "{step}: {detail}");
        assert!(detail.contains(why), "{step}: {detail}");
        done
    };
    let good = echo(None).await;
    let done = check(&good, "websocket: /chat", "ok=1", "").await;
    assert_eq!(done.run.status["101"], 1);
    check(&good, "websocket: {path: /chat, send: \"user ${vu}\", expect: hello user 1}", "ok=1", "").await;
    check(&good, "websocket: {path: /, send: x, expect: bye}", "failed.timeout=1", "").await;
    check(&good, "websocket: /, expect: status == 101", "ok=1", "").await;
    let busy = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    check(&echo(Some(busy)).await, "websocket: /", "rejected.status_429=1", "429").await;
    let away = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
    check(&echo(Some(away)).await, "websocket: /", "failed.status=1", "502").await;
    let page = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    check(&echo(Some(page)).await, "websocket: /", "failed.protocol=1", "instead of 101").await;
    let wrong = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n";
    check(&echo(Some(wrong)).await, "websocket: /", "failed.protocol=1", "").await;
    check(&echo(Some(b"")).await, "websocket: /", "failed.reset=1", "").await;
}

#[test]
fn the_policy_is_about_probes_too() {
    let refused = |step: &str| {
        let text = format!(
            "version: 1\ntargets: {{t: {{base_url: \"http://localhost\"}}}}\nscenarios:\n  s:\n    load: {{executor: probe}}\n    steps: [{{{step}}}]\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plimsoll.yaml");
        std::fs::write(&path, text).expect("it is writable");
        let options = plimsoll::config::Options { path: Some(path), ..plimsoll::config::Options::default() };
        plimsoll::config::load(&options).err().map(|report| report.to_string(false))
    };
    for step in ["tcp: \"db.example.com:5432\"", "tls: db.example.com", "dns: {name: x, server: db.example.com}"] {
        let report = refused(step).expect("it is refused");
        assert!(report.contains("the policy does not allow `db.example.com:"), "{report}");
    }
    let metadata = refused("tcp: \"169.254.169.254:80\"").expect("it is refused");
    assert!(metadata.contains("it is never loaded"), "{metadata}");
}
