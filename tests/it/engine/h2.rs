//! HTTP/2 against small servers that end a request in every way the protocol has.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use h2::{
    Reason,
    server::{self, SendResponse},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

use super::{Done, run, server::Server, settings, tls};

type Asked = Request<h2::RecvStream>;

/// An HTTP/2 server without TLS, and how many connections it took, requests it got, and had at once.
struct Multi {
    addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl Multi {
    /// Answers each request with `answer`.
    async fn start<F>(answer: impl Fn(Asked, SendResponse<Bytes>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::taking(1000, answer).await
    }

    /// The same, with at most `streams` requests at once on each connection.
    async fn taking<F>(streams: u32, answer: impl Fn(Asked, SendResponse<Bytes>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (accepted, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (count, high) = (accepted.clone(), most.clone());
        tokio::spawn(async move {
            let now = Arc::new(AtomicU64::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, streams, answer.clone(), now.clone(), high.clone()));
            }
        });
        Self { addr, accepted, most }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn serve<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    streams: u32,
    answer: impl Fn(Asked, SendResponse<Bytes>) -> F,
    now: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let shakes_hands = server::Builder::new().max_concurrent_streams(streams).handshake(stream);
    let Ok(mut connection) = shakes_hands.await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (answered, now) = (answer(request, respond), now.clone());
        tokio::spawn(async move {
            answered.await;
            now.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("a head")
}

async fn ok(_: Asked, mut respond: SendResponse<Bytes>) {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let mut body = respond.send_response(head(200), false).expect("it is sent");
    body.send_data("ok".into(), true).expect("it is sent");
}

async fn ask(url: &str, http: &str, load: &str, steps: &str) -> Done {
    let scenario = format!("    load: {{{load}}}\n    steps: [{steps}]");
    run(&settings(url, &format!("    http: {{version: h2c, {http}}}"), &scenario)).await
}

const TWICE: &str = "executor: per-vu-iterations, vus: 1, iterations: 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_carries_many_requests_on_each_of_its_connections() {
    let server = Multi::start(ok).await;
    let done =
        ask(&server.url(), "connections: 2", "executor: per-vu-iterations, vus: 50, iterations: 4", "{get: /}").await;
    assert_eq!(done.ledger(), "ok=200", "{:?}", done.run.first_failure);
    let accepted = server.accepted.load(Ordering::SeqCst);
    assert!((1..=2).contains(&accepted), "{accepted} connections");
    assert_eq!(done.connections(), (accepted, 200 - accepted));
    assert!(server.most.load(Ordering::SeqCst) > 2, "several at once");
    assert!(done.run.timing_s["ttfb"].count == 200 && done.run.timing_s["blocked"].count == 200);

    let own = Multi::start(ok).await;
    let done =
        ask(&own.url(), "connections: per_vu", "executor: per-vu-iterations, vus: 5, iterations: 4", "{get: /}").await;
    assert_eq!((done.ledger().as_str(), own.accepted.load(Ordering::SeqCst)), ("ok=20", 5));
    let fresh = Multi::start(ok).await;
    let done =
        ask(&fresh.url(), "reuse: false", "executor: per-vu-iterations, vus: 2, iterations: 4", "{get: /}").await;
    assert_eq!((done.ledger().as_str(), fresh.accepted.load(Ordering::SeqCst)), ("ok=8", 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_for_a_stream_leaves_the_connection_alone() {
    let server = Multi::taking(1, async |request: Asked, mut respond: SendResponse<Bytes>| {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        }
        let _gone = respond.send_response(head(200), true).is_err();
    })
    .await;
    // The second user's time is up while nothing at all comes in, for the first one's answer takes its time.
    let steps = "{get: /slow, when: vu == 1, timeout: 20s}, {get: /quick, when: vu == 2, timeout: 300ms}";
    let load = "executor: per-vu-iterations, vus: 2, iterations: 2";
    let done = ask(&server.url(), "connections: 1", load, steps).await;
    assert_eq!(done.ledger(), "ok=2 failed.timeout=2", "{:?}", done.run.first_failure);
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
    let timeouts = done.run.service_time_s.get("failed").map_or(0, |times| times.count);
    assert_eq!(timeouts, 0, "nothing of them was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_keeps_its_size_when_the_target_goes_back_to_http_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let high = most.clone();
    let serve = move |mut stream: TlsStream<TcpStream>| {
        let (now, high) = (now.clone(), high.clone());
        async move {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                // HTTP/2, until the first answer; what comes before the target's word has reached us is answered too.
                let Ok(mut connection) = server::handshake(stream).await else { return };
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let _gone = respond.send_response(head(200), true).is_err();
                    connection.graceful_shutdown();
                }
                return;
            }
            high.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while super::server::request(&mut stream).await.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                if stream.write_all(super::server::OK).await.is_err() {
                    break;
                }
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    };
    // Its first connection speaks HTTP/2, the others do not.
    let chosen = Arc::new(AtomicU64::new(0));
    let protocols =
        move || if chosen.fetch_add(1, Ordering::SeqCst) == 0 { b"h2".to_vec() } else { b"http/1.1".to_vec() };
    let (server, ca) = tls::speaking(protocols, folder.path(), serve).await;
    let url = format!("https://localhost:{}", server.addr.port());
    let load = "    load: {executor: per-vu-iterations, vus: 20, iterations: 3}\n    steps: [{get: /}]";
    let done = run(&settings(&url, &format!("    http: {{connections: 2, tls: {{ca: {ca}}}}}"), load)).await;
    assert_eq!(done.run.outcomes.ok, 60, "{}: {:?}", done.ledger(), done.run.first_failure);
    let most = most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} connections of HTTP/1.1 at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_arrives_as_it_was_written() {
    let server = Multi::start(async |mut request: Asked, mut respond: SendResponse<Bytes>| {
        let mut length = 0;
        while let Some(Ok(data)) = request.body_mut().data().await {
            length += data.len();
            request.body_mut().flow_control().release_capacity(data.len()).expect("it was taken");
        }
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let text = format!("{} {path} {:?} {length}", request.method(), request.headers()["x-id"]);
        let mut body = respond.send_response(head(201), false).expect("it is sent");
        body.send_data(text.into(), true).expect("it is sent");
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; 1 << 20]).expect("it is writable");
    let steps = format!(
        "{{post: /a?b=c, headers: {{x-id: \"7\"}}, body_file: {}, expect: ['status == 201', 'body == \"POST /a?b=c \\\"7\\\" 1048576\"']}}",
        file.display()
    );
    let done = ask(&server.url(), "", TWICE, &steps).await;
    assert_eq!(done.ledger(), "ok=2", "{:?}", done.run.first_failure);
    assert!(done.data.total().bytes.0 > 2 << 20, "what was sent is counted: {:?}", done.data.total().bytes);
}

/// The ledger of two requests to a server that ends each like this.
async fn ends<F>(answer: impl Fn(Asked, SendResponse<Bytes>) -> F + Clone + Send + 'static) -> (String, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let server = Multi::start(answer).await;
    let done = ask(&server.url(), "timeout: 1s, max_body: 1MB", TWICE, "{get: /, on_fail: continue}").await;
    (done.ledger(), done.run.first_failure.map(|failure| failure.detail).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_a_stream_has_its_outcome() {
    let reset =
        |reason: Reason| move |_: Asked, mut respond: SendResponse<Bytes>| async move { respond.send_reset(reason) };
    let check = |(ledger, detail): (String, String), expected: &str, why: &str| {
        assert_eq!(ledger, expected, "{detail}");
        assert!(detail.contains(why), "{detail}");
    };
    check(ends(reset(Reason::INTERNAL_ERROR)).await, "failed.reset=2", "the target reset the stream");
    check(ends(reset(Reason::CANCEL)).await, "failed.reset=2", "the target reset the stream");
    check(ends(reset(Reason::REFUSED_STREAM)).await, "rejected.refused_stream=2", "refused the stream");
    check(ends(reset(Reason::ENHANCE_YOUR_CALM)).await, "rejected.enhance_your_calm=2", "asks for less");
    let halfway = |_: Asked, mut respond: SendResponse<Bytes>| async move {
        let mut body = respond.send_response(head(200), false).expect("it is sent");
        body.send_data("half".into(), false).expect("it is sent");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        body.send_reset(Reason::INTERNAL_ERROR);
    };
    check(ends(halfway).await, "failed.reset=2", "the target reset the stream");
    let hangs = |request: Asked, respond: SendResponse<Bytes>| async move {
        std::future::pending::<()>().await;
        drop((request, respond));
    };
    check(ends(hangs).await, "failed.timeout=2", "first byte");
    let stalls = |_: Asked, mut respond: SendResponse<Bytes>| async move {
        let _body = respond.send_response(head(200), false).expect("it is sent");
        std::future::pending::<()>().await;
    };
    check(ends(stalls).await, "failed.timeout=2", "the end of the answer");
    let endless = |_: Asked, mut respond: SendResponse<Bytes>| async move {
        let mut body = respond.send_response(head(200), false).expect("it is sent");
        loop {
            body.reserve_capacity(16384);
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else { return };
            if body.send_data(vec![b'x'; room].into(), false).is_err() {
                return;
            }
        }
    };
    check(ends(endless).await, "failed.body_limit=2", "larger than 1000000 bytes");
    let status = |_: Asked, mut respond: SendResponse<Bytes>| async move {
        respond.send_response(head(429), true).expect("it is sent");
    };
    check(ends(status).await, "rejected.status_429=2", "429");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_ends_what_it_names_and_the_next_request_has_a_new_connection() {
    // It answers one request of each connection and says goodbye.
    let polite = Server::start(|stream| async move {
        let Ok(mut connection) = server::handshake(stream).await else { return };
        if let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(head(200), true).expect("it is sent");
        }
        connection.graceful_shutdown();
        let _gone = connection.accept().await;
    })
    .await;
    for connections in ["per_vu", "1"] {
        let http = format!("connections: {connections}");
        let steps = "{get: /, think: 50ms}";
        let done = ask(&polite.url(), &http, "executor: per-vu-iterations, vus: 1, iterations: 3", steps).await;
        assert_eq!((done.ledger().as_str(), done.connections()), ("ok=3", (3, 0)), "{:?}", done.run.first_failure);
    }
    // It says goodbye before any request is done.
    let rude = Server::start(|stream| async move {
        let Ok(mut connection) = server::handshake(stream).await else { return };
        let _first = connection.accept().await;
        connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
        let _gone = connection.accept().await;
    })
    .await;
    let done = ask(&rude.url(), "timeout: 1s", TWICE, "{get: /, on_fail: continue}").await;
    assert_eq!(done.ledger(), "failed.reset=2", "{:?}", done.run.first_failure);
    // It does not speak HTTP/2 at all.
    let old = Server::answering(super::server::OK).await;
    let done = ask(&old.url(), "timeout: 1s", TWICE, "{get: /, on_fail: continue}").await;
    assert!(["failed.protocol=2", "failed.reset=2"].contains(&done.ledger().as_str()), "{}", done.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_health_service_is_asked() {
    // Trailers, or the head alone; 8 is RESOURCE_EXHAUSTED.
    let health = |service: &[u8]| -> (Option<u8>, &'static str) {
        match service {
            b"" | b"good" => (Some(1), "0"),
            b"bad" => (Some(2), "0"),
            b"full" => (None, "8"),
            _ => (None, "5"),
        }
    };
    let server = Multi::start(move |mut request: Asked, mut respond: SendResponse<Bytes>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let mut message = Vec::new();
        while let Some(Ok(data)) = request.body_mut().data().await {
            message.extend_from_slice(&data);
        }
        let service = message.get(7..).unwrap_or_default();
        let (health, code) = health(service);
        let mut answer = Response::builder().header("content-type", "application/grpc");
        let Some(health) = health else {
            answer = answer.header("grpc-status", code).header("grpc-message", "no room");
            respond.send_response(answer.body(()).expect("a head"), true).expect("it is sent");
            return;
        };
        let mut body = respond.send_response(answer.body(()).expect("a head"), false).expect("it is sent");
        body.send_data(vec![0, 0, 0, 0, 2, 8, health].into(), false).expect("it is sent");
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static(code),
        )]);
        body.send_trailers(trailers).expect("it is sent");
    })
    .await;
    let check = async |url: &str, step: &str, expected: &str, why: &str| {
        let scenario = format!("    load: {{executor: probe}}\n    steps: [{{{step}}}]");
        let done = run(&settings(url, "    http: {timeout: 1s}", &scenario)).await;
        let detail = done.run.first_failure.as_ref().map(|failure| failure.detail.clone()).unwrap_or_default();
        assert_eq!(done.ledger(), expected, "{step}: {detail}");
        assert!(detail.contains(why), "{step}: {detail}");
    };
    check(&server.url(), "grpc: {}", "ok=1", "").await;
    check(&server.url(), "grpc: {service: good}, expect: \"$.status == 'SERVING'\"", "ok=1", "").await;
    check(&server.url(), "grpc: {service: bad}", "failed.status=1", "NOT_SERVING").await;
    check(&server.url(), "grpc: {service: nobody}", "failed.status=1", "gRPC status 5 (NOT_FOUND)").await;
    check(&server.url(), "grpc: {service: full}", "rejected.resource_exhausted=1", "no room").await;
    let plain = Multi::start(ok).await;
    check(&plain.url(), "grpc: {}", "failed.protocol=1", "it is not gRPC").await;
    let busy = Multi::start(async |_: Asked, mut respond: SendResponse<Bytes>| {
        respond.send_response(head(429), true).expect("it is sent");
    })
    .await;
    check(&busy.url(), "grpc: {}", "rejected.status_429=1", "429").await;
}
