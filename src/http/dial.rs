//! Opening a connection: name, policy, TCP, TLS, HTTP; each with its time, and its own way to fail.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch};

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

/// The reason of a [`DialError`] that this machine caused: it is short of descriptors, ports or buffers.
pub const GENERATOR: &str = "generator";

/// Opens connections to one target for one worker; remembers resolved names for `dns_ttl`.
#[derive(Debug)]
pub struct Dialer {
    target: Arc<Target>,
    policy: Arc<Policy>,
    tls: Option<Arc<rustls::ClientConfig>>,
    resolved: RefCell<Option<(Instant, Resolved)>>,
    /// The look-up that is on its way. A burst of connections asks once, and a resolver that hangs holds one thread,
    /// however many give up waiting for it.
    pending: RefCell<Option<watch::Receiver<Option<Resolved>>>>,
    look_up: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
}

/// What a look-up came to: addresses, or why there are none.
type Resolved = Result<Vec<SocketAddr>, String>;

/// A look-up that failed is not repeated for this long.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;

impl Dialer {
    /// A dialer for `target`. Blocks on reading certificate authorities.
    pub fn new(target: Arc<Target>, policy: Arc<Policy>) -> Result<Self, super::tls::TlsError> {
        let tls = if target.base.https { Some(super::tls::client_config(target.http.ca.as_deref())?) } else { None };
        Ok(Self::with(target, policy, tls))
    }

    fn with(target: Arc<Target>, policy: Arc<Policy>, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { target, policy, tls, resolved: RefCell::default(), pending: RefCell::default(), look_up }
    }

    /// Another dialer to the same target, with the same TLS configuration: it reads no file again.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::with(self.target.clone(), self.policy.clone(), self.tls.clone())
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
        let failed = |detail| DialError { reason: fail::DNS, detail };
        if let Some(resolved) = self.remembered(start) {
            return resolved.map_err(failed);
        }
        let mut answer = self.ask();
        let resolved = match answer.wait_for(Option::is_some).await {
            Ok(resolved) => resolved.clone().expect("it was waited for"),
            Err(_) => Err(format!("the look-up of {} was given up", base.host)),
        };
        let end = clock::mono();
        times.dns = Some(end - start);
        // The first who learns of it keeps it for the others.
        let mut pending = self.pending.borrow_mut();
        if pending.as_ref().is_some_and(|pending| pending.same_channel(&answer)) {
            *pending = None;
            *self.resolved.borrow_mut() = Some((end, resolved.clone()));
        }
        resolved.map_err(failed)
    }

    /// The look-up on its way, or a new one.
    fn ask(&self) -> watch::Receiver<Option<Resolved>> {
        let mut pending = self.pending.borrow_mut();
        let answer = pending.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            let (host, port, look_up) = (self.target.base.host.clone(), self.target.base.port, self.look_up);
            tokio::task::spawn_blocking(move || {
                let resolved = match look_up(&host, port) {
                    Ok(addresses) if addresses.is_empty() => Err(format!("{host} has no address")),
                    Ok(addresses) => Ok(addresses),
                    Err(error) => Err(with_sources(&error)),
                };
                sender.send_replace(Some(resolved));
            });
            receiver
        });
        answer.clone()
    }

    fn remembered(&self, now: Instant) -> Option<Resolved> {
        let resolved = self.resolved.borrow();
        let (at, resolved) = resolved.as_ref()?;
        let ttl = if resolved.is_ok() { self.target.http.dns_ttl } else { FAILURE_TTL };
        (now.saturating_duration_since(*at) < ttl).then(|| resolved.clone())
    }
}

/// Asks the system. Blocks.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.take(MAX_ADDRESSES).collect())
}

/// Tries the addresses in turn, each with an equal share of the time.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, DialError> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = DialError { reason: fail::CONNECT, detail: "no address to connect to".to_owned() };
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if is_ours(&error) => {
                return Err(DialError { reason: GENERATOR, detail: format!("{error}") });
            }
            Ok(Err(error)) => last = DialError { reason: fail::CONNECT, detail: format!("{address}: {error}") },
            Err(_) => {
                last = DialError { reason: fail::CONNECT, detail: format!("{address}: no answer within {share:?}") };
            }
        }
    }
    Err(last)
}

/// Whether it is this machine that lacks something: descriptors, ports or buffers.
fn is_ours(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::model::scenario::{BaseUrl, HttpOptions};

    fn dialer(look_up: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Dialer {
        let base = BaseUrl { https: false, host: "name.invalid".into(), port: 80, prefix: "".into() };
        let http = HttpOptions { connect_timeout: Duration::from_millis(50), ..HttpOptions::default() };
        let (headers, classify) = (Vec::new(), Vec::new());
        let target = Target { name: "t".into(), base, headers, auth: None, http, classify, stats: None };
        Dialer { look_up, ..Dialer::with(Arc::new(target), Arc::default(), None) }
    }

    async fn resolved(dialer: &Dialer) -> Resolved {
        let found = dialer.resolve(&mut DialTimes::default()).await;
        found.map_err(|error| error.detail)
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_is_asked_once() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        #[expect(clippy::unnecessary_wraps, reason = "it stands for a look-up that may fail")]
        fn hangs(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let released = RELEASED.0.lock().expect("no panic");
            let _released = RELEASED.1.wait_while(released, |released| !*released).expect("no panic");
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 9))])
        }
        let dialer = dialer(hangs);
        for _ in 0..3 {
            let (first, second) = tokio::join!(dialer.dial(), dialer.dial());
            for (_, conn) in [first, second] {
                assert_eq!(conn.err().map(|error| error.reason), Some(fail::DNS));
            }
        }
        *RELEASED.0.lock().expect("no panic") = true;
        RELEASED.1.notify_all();
        let (first, second) = tokio::join!(resolved(&dialer), resolved(&dialer));
        assert_eq!((first.clone(), first), (second, Ok(vec![SocketAddr::from(([127, 0, 0, 1], 9))])));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1, "those who gave up left their question to the next");
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_a_second() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let dialer = dialer(|_, _| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            Err(io::Error::other("no such name"))
        });
        assert_eq!(resolved(&dialer).await, Err("no such name".to_owned()));
        assert_eq!(resolved(&dialer).await, Err("no such name".to_owned()));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        let learnt = dialer.resolved.borrow().as_ref().map(|(at, _)| *at).expect("it is remembered");
        assert!(dialer.remembered(learnt + FAILURE_TTL).is_none(), "and asked again then");
    }

    #[test]
    fn another_dialer_shares_the_tls_configuration() {
        let config = super::super::tls::client_config(None).ok();
        let dialer = Dialer { tls: config.clone(), ..dialer(|_, _| Ok(Vec::new())) };
        let another = dialer.another();
        assert!(config.is_some() && config.zip(another.tls).is_some_and(|(ours, theirs)| Arc::ptr_eq(&ours, &theirs)));
    }
}
