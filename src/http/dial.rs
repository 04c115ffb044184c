//! Opening a connection: name, policy, TCP, TLS, HTTP; each with its time, and its own way to fail.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{
    conn::Conn,
    stream::{Meter, Metered, Transport},
};
use crate::model::{address, clock, outcome::fail, scenario::Target, settings::Policy};

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
    /// A name of [`fail`], or [`POLICY`].
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

/// The reason of a [`DialError`] that the policy caused.
pub const POLICY: &str = "policy";

/// Opens connections to one target for one worker; remembers resolved names for `dns_ttl`.
#[derive(Debug)]
pub struct Dialer {
    target: Arc<Target>,
    policy: Arc<Policy>,
    tls: Option<Arc<rustls::ClientConfig>>,
    resolved: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    /// Held while a name is being resolved: a burst of connections asks once.
    resolving: tokio::sync::Mutex<()>,
}

impl Dialer {
    /// A dialer for `target`. Blocks on reading certificate authorities.
    pub fn new(target: Arc<Target>, policy: Arc<Policy>) -> Result<Self, super::tls::TlsError> {
        let tls = if target.base.https { Some(super::tls::client_config(target.http.ca.as_deref())?) } else { None };
        Ok(Self { target, policy, tls, resolved: RefCell::new(None), resolving: tokio::sync::Mutex::default() })
    }

    /// Opens a connection within `connect_timeout`.
    pub async fn dial(&self) -> (DialTimes, Result<Conn, DialError>) {
        let mut times = DialTimes::default();
        let limit = self.target.http.connect_timeout;
        let stage = Cell::new(fail::DNS);
        let result = tokio::time::timeout(limit, self.open(&mut times, &stage)).await;
        let late = |_| {
            let detail = format!("no connection to {} within {limit:?}: stuck at {}", self.target.base, stage.get());
            Err(DialError { reason: stage.get(), detail })
        };
        (times, result.unwrap_or_else(late))
    }

    /// `stage` says how far it came: the reason, should the time run out.
    async fn open(&self, times: &mut DialTimes, stage: &Cell<&'static str>) -> Result<Conn, DialError> {
        let addresses = self.resolve(times).await?;
        stage.set(fail::CONNECT);
        for address in &addresses {
            address::check_peer(&self.policy, &self.target.base, address.ip()).map_err(|why| refusal(&why))?;
        }
        let start = clock::mono();
        let stream = connect(&addresses, self.target.http.connect_timeout).await?;
        times.connect = Some(clock::mono() - start);
        let peer = stream.peer_addr().map_err(|error| failed(fail::CONNECT, &error))?;
        address::check_peer(&self.policy, &self.target.base, peer.ip()).map_err(|why| refusal(&why))?;
        stage.set(fail::TLS);
        stream.set_nodelay(true).map_err(|error| failed(fail::CONNECT, &error))?;
        let transport = self.secure(stream, times).await?;
        let meter = Rc::new(Meter::default());
        let io = TokioIo::new(Metered::new(transport, meter.clone()));
        let (sender, driver) = http1::Builder::new()
            .handshake::<_, Full<Bytes>>(io)
            .await
            .map_err(|error| failed(fail::PROTOCOL, &error))?;
        Ok(Conn::new(sender, driver, meter))
    }

    async fn secure(&self, stream: TcpStream, times: &mut DialTimes) -> Result<Transport, DialError> {
        let Some(config) = &self.tls else { return Ok(Transport::Plain(stream)) };
        let name =
            ServerName::try_from(self.target.base.host.to_string()).map_err(|error| failed(fail::TLS, &error))?;
        let start = clock::mono();
        let stream = tokio_rustls::TlsConnector::from(config.clone())
            .connect(name, stream)
            .await
            .map_err(|error| failed(fail::TLS, &error))?;
        times.tls = Some(clock::mono() - start);
        Ok(Transport::Tls(Box::new(stream)))
    }

    async fn resolve(&self, times: &mut DialTimes) -> Result<Vec<SocketAddr>, DialError> {
        let base = &self.target.base;
        if let Ok(ip) = base.host.parse() {
            return Ok(vec![SocketAddr::new(ip, base.port)]);
        }
        let start = clock::mono();
        if let Some(addresses) = self.remembered(start) {
            return Ok(addresses);
        }
        let _alone = self.resolving.lock().await;
        if let Some(addresses) = self.remembered(clock::mono()) {
            times.dns = Some(clock::mono() - start);
            return Ok(addresses);
        }
        let found = tokio::net::lookup_host((&*base.host, base.port)).await;
        let end = clock::mono();
        times.dns = Some(end - start);
        let addresses: Vec<_> = found.map_err(|error| failed(fail::DNS, &error))?.take(16).collect();
        if addresses.is_empty() {
            return Err(DialError { reason: fail::DNS, detail: format!("{} has no address", base.host) });
        }
        *self.resolved.borrow_mut() = Some((end, addresses.clone()));
        Ok(addresses)
    }

    fn remembered(&self, now: Instant) -> Option<Vec<SocketAddr>> {
        let resolved = self.resolved.borrow();
        let (at, addresses) = resolved.as_ref()?;
        (now.saturating_duration_since(*at) < self.target.http.dns_ttl).then(|| addresses.clone())
    }
}

/// Tries the addresses in turn, each with an equal share of the time.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, DialError> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = DialError { reason: fail::CONNECT, detail: "no address to connect to".to_owned() };
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = DialError { reason: fail::CONNECT, detail: format!("{address}: {error}") },
            Err(_) => {
                last = DialError { reason: fail::CONNECT, detail: format!("{address}: no answer within {share:?}") };
            }
        }
    }
    Err(last)
}

fn failed(reason: &'static str, error: &dyn std::error::Error) -> DialError {
    DialError { reason, detail: with_sources(error) }
}

fn refusal(detail: &str) -> DialError {
    DialError { reason: POLICY, detail: format!("refused by policy: {detail}") }
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
