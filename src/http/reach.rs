//! From a name to an open TCP connection, within the policy: what every kind of request and probe begins with.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::net::TcpStream;

use super::{
    dial::{DialError, DialTimes, failed},
    happy::{self, HEAD_START},
    resolve::Resolver,
};
use crate::model::{address, clock, outcome::fail, scenario::BaseUrl, settings::Policy};

/// The reason of a [`DialError`] that the policy caused.
pub const POLICY: &str = "policy";

/// The reason of a [`DialError`] that this machine caused: it is short of descriptors, ports or buffers.
pub const GENERATOR: &str = "generator";

/// Opens TCP connections to one origin.
#[derive(Debug)]
pub struct Reach {
    origin: BaseUrl,
    policy: Arc<Policy>,
    pub(super) resolver: Resolver,
}

/// How far the opening of a connection came, should the time run out.
#[derive(Debug)]
pub struct Stage {
    /// The reason, as of now.
    pub reason: Cell<&'static str>,
    /// Whom it waits for.
    tried: RefCell<Vec<SocketAddr>>,
}

impl Default for Stage {
    fn default() -> Self {
        Self { reason: Cell::new(fail::DNS), tried: RefCell::default() }
    }
}

impl Stage {
    /// The failure of a connection to `origin` that was not opened within `limit`.
    pub fn late(&self, origin: &BaseUrl, limit: Duration) -> DialError {
        let reason = self.reason.get();
        let tried: Vec<_> = self.tried.borrow().iter().map(ToString::to_string).collect();
        let whom = if reason == fail::CONNECT && !tried.is_empty() {
            format!(" (no answer from {})", tried.join(", "))
        } else {
            String::new()
        };
        DialError { reason, detail: format!("no connection to {origin} within {limit:?}: stuck at {reason}{whom}") }
    }
}

impl Reach {
    /// `dns_ttl`: names are resolved again after this long.
    pub fn new(origin: BaseUrl, policy: Arc<Policy>, dns_ttl: Duration) -> Self {
        let resolver = Resolver::new(origin.host.clone(), origin.port, dns_ttl);
        Self { origin, policy, resolver }
    }

    /// Another one to the same origin, that has resolved nothing yet.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { origin: self.origin.clone(), policy: self.policy.clone(), resolver: self.resolver.another() }
    }

    /// Whom it reaches.
    pub fn origin(&self) -> &BaseUrl {
        &self.origin
    }

    /// Where it is, as far as the policy allows to go there; notes how long the look-up took.
    pub async fn addresses(&self, times: &mut DialTimes) -> Result<Vec<SocketAddr>, DialError> {
        let (took, addresses) = self.resolver.resolve().await;
        times.dns = took;
        let addresses = addresses.map_err(|detail| DialError { reason: fail::DNS, detail })?;
        for address in &addresses {
            self.check(*address)?;
        }
        Ok(happy::interleave(&addresses))
    }

    /// Opens a connection. The caller bounds the time by `limit`, which the addresses share.
    pub async fn open(&self, limit: Duration, times: &mut DialTimes, stage: &Stage) -> Result<TcpStream, DialError> {
        let addresses = self.addresses(times).await?;
        stage.reason.set(fail::CONNECT);
        let share = limit / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
        let start = clock::mono();
        let stream = happy::race(&addresses, HEAD_START.min(share), |address| {
            stage.tried.borrow_mut().push(address);
            TcpStream::connect(address)
        })
        .await
        .map_err(|failed| unreachable(&failed))?;
        times.connect = Some(clock::mono() - start);
        let peer = stream.peer_addr().map_err(|error| failed(fail::CONNECT, &error))?;
        self.check(peer)?;
        stream.set_nodelay(true).map_err(|error| failed(fail::CONNECT, &error))?;
        Ok(stream)
    }

    fn check(&self, address: SocketAddr) -> Result<(), DialError> {
        address::check_peer(&self.policy, &self.origin, address.ip())
            .map_err(|why| DialError { reason: POLICY, detail: format!("refused by policy: {why}") })
    }
}

/// None of the addresses could be connected to.
fn unreachable(failed: &[(SocketAddr, io::Error)]) -> DialError {
    if let Some((_, error)) = failed.iter().find(|(_, error)| is_ours(error)) {
        return DialError { reason: GENERATOR, detail: error.to_string() };
    }
    let each: Vec<_> = failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    DialError {
        reason: fail::CONNECT,
        detail: if each.is_empty() { "no address to connect to".to_owned() } else { each.join("; ") },
    }
}

/// Whether it is this machine that lacks something: descriptors, ports or buffers.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}
