//! Opening a connection: name, policy, TCP, TLS, HTTP; each with its time, and its own way to fail.

use std::{rc::Rc, sync::Arc, time::Duration};

pub use super::reach::{GENERATOR, POLICY};
use super::{
    body::Room,
    conn::Conn,
    reach::{Reach, Stage},
    shape::Slow,
    stream::Transport,
    tls::{Tls, TlsError},
};
use crate::model::{
    clock,
    outcome::fail,
    scenario::{BaseUrl, HttpVersion, NetworkSpec, Target},
    settings::Policy,
};

/// How long the parts of opening a connection took; `None` where the part did not happen.
#[derive(Debug, Clone, Copy, Default)]
pub struct DialTimes {
    /// Name resolution; absent for address literals and fresh cached answers.
    pub dns: Option<Duration>,
    /// TCP connect, all addresses tried.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
}

/// Why no connection was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
    /// A name of [`fail`], or [`POLICY`], or [`GENERATOR`].
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

/// Opens byte streams to one place: TCP, and TLS where it is spoken.
#[derive(Debug)]
pub struct Opener {
    reach: Reach,
    tls: Option<Tls>,
    limit: Duration,
}

impl Opener {
    /// Streams to `place`, each opened within `limit`; names are resolved again after `dns_ttl`.
    pub fn new(place: BaseUrl, policy: Arc<Policy>, tls: Option<Tls>, dns_ttl: Duration, limit: Duration) -> Self {
        Self { reach: Reach::new(place, policy, dns_ttl), tls, limit }
    }

    /// Another one to the same place, with the same TLS configuration: it reads no file again.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { reach: self.reach.another(), tls: self.tls.clone(), limit: self.limit }
    }

    /// How the place is found.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// How TLS is spoken, and what was seen of it; `None` where it is not.
    pub fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Opens a stream.
    pub async fn open(&self) -> (DialTimes, Result<Transport, DialError>) {
        let mut times = DialTimes::default();
        let stage = Stage::default();
        let result = tokio::time::timeout(self.limit, self.connect(&mut times, &stage)).await;
        (times, result.unwrap_or_else(|_| Err(stage.late(self.reach.origin(), self.limit))))
    }

    async fn connect(&self, times: &mut DialTimes, stage: &Stage) -> Result<Transport, DialError> {
        let stream = self.reach.open(self.limit, times, stage).await?;
        let Some(tls) = &self.tls else { return Ok(Transport::Plain(stream)) };
        stage.reason.set(fail::TLS);
        let start = clock::mono();
        let stream = tls.connect(&self.reach.origin().host, stream).await;
        times.tls = Some(clock::mono() - start);
        stream.map(|stream| Transport::Tls(Box::new(stream))).map_err(|detail| DialError { reason: fail::TLS, detail })
    }
}

/// Opens connections to one target for one worker; remembers resolved names for `dns_ttl`.
#[derive(Debug)]
pub struct Dialer {
    opener: Opener,
    version: HttpVersion,
    bodies: Room,
    /// The line that its connections have, where it is made slow.
    line: Option<NetworkSpec>,
}

impl Dialer {
    /// A dialer for `target`. Blocks on reading certificates.
    pub fn new(target: &Target, policy: Arc<Policy>) -> Result<Self, TlsError> {
        let http = &target.http;
        let alpn: &[&[u8]] = match http.version {
            HttpVersion::Auto => &[b"h2", b"http/1.1"],
            HttpVersion::Http11 | HttpVersion::H2c => &[b"http/1.1"],
            HttpVersion::Http2 => &[b"h2"],
        };
        let tls = target.base.https.then(|| Tls::new(&http.tls, alpn)).transpose()?;
        let opener = Opener::new(target.base.clone(), policy, tls, http.dns_ttl, http.connect_timeout);
        Ok(Self { opener, version: http.version, bodies: Room::default(), line: None })
    }

    /// Another dialer to the same target, with the same TLS configuration: it reads no file again.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { opener: self.opener.another(), version: self.version, bodies: self.bodies.clone(), line: self.line }
    }

    /// Room for the long bodies of what is asked over its connections, and over those of the others.
    pub fn bodies(&self) -> &Room {
        &self.bodies
    }

    /// Makes the line of its connections as slow as `network` says.
    #[must_use]
    pub fn over(self, network: Option<NetworkSpec>) -> Self {
        Self { line: network.filter(NetworkSpec::is_slow), ..self }
    }

    /// How TLS is spoken, and what was seen of it; `None` for `http://`.
    pub fn tls(&self) -> Option<Tls> {
        self.opener.tls()
    }

    /// Opens a connection within `connect_timeout`.
    pub async fn dial(&self) -> (DialTimes, Result<Conn, DialError>) {
        let (times, transport) = self.opener.open().await;
        match transport {
            Ok(transport) => {
                let transport = match &self.line {
                    None => transport,
                    Some(line) => Transport::Slow(Box::new(Slow::new(transport, line))),
                };
                (times, self.speak(transport).await)
            }
            Err(error) => (times, Err(error)),
        }
    }

    async fn speak(&self, transport: Transport) -> Result<Conn, DialError> {
        if self.version == HttpVersion::H2c || transport.agreed_on_h2() {
            return Conn::h2(transport).await;
        }
        if self.version == HttpVersion::Http2 {
            let detail = "the target does not speak HTTP/2; write `http: {version: auto}`".to_owned();
            return Err(DialError { reason: fail::PROTOCOL, detail });
        }
        Ok(Conn::h1(transport, Rc::default()))
    }
}

/// A failure with everything that caused it.
pub(super) fn failed(reason: &'static str, error: &dyn std::error::Error) -> DialError {
    DialError { reason, detail: with_sources(error) }
}

/// An error and what caused it, on one line.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::SocketAddr,
        sync::atomic::{AtomicU16, Ordering},
    };

    use super::*;
    use crate::{
        http::{happy::HEAD_START, resolve::Resolver},
        model::scenario::HttpOptions,
    };

    fn dialer(look_up: fn(&str, u16) -> io::Result<Vec<SocketAddr>>, connect_timeout: Duration) -> Dialer {
        let base = BaseUrl { https: false, host: "name.localhost".into(), port: 80, prefix: "".into() };
        let http = HttpOptions { connect_timeout, dns_ttl: Duration::ZERO, ..HttpOptions::default() };
        let (headers, classify) = (Vec::new(), Vec::new());
        let target = Target { name: "t".into(), base, headers, auth: None, http, classify, stats: None };
        let mut dialer = Dialer::new(&target, Arc::default()).expect("nothing to read");
        dialer.opener.reach.resolver = Resolver::by(look_up, "name.localhost".into(), 80, Duration::ZERO);
        dialer
    }

    /// An address that answers nothing: a listener that accepts nobody, its queue full.
    async fn black_hole() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let mut queue = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
        {
            queue.push(connected.expect("it connects until the queue is full"));
            assert!(queue.len() < 100, "the queue has an end");
        }
        (listener, queue)
    }

    #[tokio::test]
    async fn a_black_hole_costs_a_head_start() {
        static HOLE: AtomicU16 = AtomicU16::new(0);
        static GOOD: AtomicU16 = AtomicU16::new(0);
        fn at(port: &AtomicU16) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, 1], port.load(Ordering::SeqCst)))
        }
        let (hole, _queue) = black_hole().await;
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        HOLE.store(hole.local_addr().expect("an address").port(), Ordering::SeqCst);
        GOOD.store(good.local_addr().expect("an address").port(), Ordering::SeqCst);
        let limit = Duration::from_secs(20);
        let (times, conn) = dialer(|_, _| Ok(vec![at(&HOLE), at(&GOOD)]), limit).dial().await;
        assert!(conn.is_ok(), "{conn:?}");
        let connect = times.connect.expect("it connected");
        assert!((HEAD_START..limit / 2).contains(&connect), "{connect:?}");
        let (_, conn) = dialer(|_, _| Ok(vec![at(&HOLE)]), Duration::from_millis(200)).dial().await;
        let error = conn.expect_err("nobody answers");
        assert_eq!(error.reason, fail::CONNECT);
        assert!(error.detail.ends_with(&format!("stuck at connect (no answer from {})", at(&HOLE))), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_that_moves_is_followed() {
        static TURN: AtomicU16 = AtomicU16::new(0);
        static PORTS: [AtomicU16; 2] = [AtomicU16::new(0), AtomicU16::new(0)];
        let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let second = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        for (port, listener) in PORTS.iter().zip([&first, &second]) {
            port.store(listener.local_addr().expect("an address").port(), Ordering::SeqCst);
        }
        let turn = |_: &str, _| {
            let turn = usize::from(TURN.fetch_add(1, Ordering::SeqCst));
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], PORTS[turn % 2].load(Ordering::SeqCst)))])
        };
        let dialer = dialer(turn, Duration::from_secs(20));
        for listener in [&first, &second] {
            let (times, conn) = dialer.dial().await;
            assert!(conn.is_ok() && times.dns.is_some(), "{conn:?}");
            listener.accept().await.expect("it came here");
        }
    }

    #[tokio::test]
    async fn every_address_is_checked_before_anything_is_sent() {
        let both = |_: &str, _| Ok(["127.0.0.1:9", "169.254.169.254:80"].map(|text| text.parse().expect("ip")).into());
        let (times, conn) = dialer(both, Duration::from_secs(20)).dial().await;
        assert_eq!((times.connect, conn.map_err(|error| error.reason).err()), (None, Some(POLICY)));
    }

    #[test]
    fn another_dialer_shares_the_tls_configuration() {
        let tls = Tls::new(&crate::model::scenario::TlsOptions { insecure: true, ..Default::default() }, &[]);
        let mut dialer = dialer(|_, _| Ok(Vec::new()), Duration::ZERO);
        dialer.opener.tls = Some(tls.expect("nothing to read"));
        let another = dialer.another();
        assert!(another.tls().zip(dialer.tls()).is_some_and(|(ours, theirs)| ours.is(&theirs)));
    }
}
