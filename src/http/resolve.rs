//! Names to addresses, by the system's resolver: it knows /etc/hosts, search domains and whatever else this machine
//! resolves by. Each answer is remembered for a while, as a browser does, and asked for again after it.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::dial::with_sources;
use crate::model::{Name, clock};

/// Look-ups of this process at once. The system's resolver blocks a thread for each.
static THREADS: Semaphore = Semaphore::const_new(64);

/// A look-up that failed is not repeated for this long.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;

/// What a look-up came to: addresses, or why there are none.
pub type Resolved = Result<Vec<SocketAddr>, String>;

/// Asks for the addresses of a host. Blocks.
pub(super) type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Resolves one name for one worker.
#[derive(Debug)]
pub struct Resolver {
    host: Name,
    port: u16,
    ttl: Duration,
    resolved: RefCell<Option<(Instant, Resolved)>>,
    /// The look-up that is on its way. A burst of connections asks once, and a resolver that hangs holds one thread,
    /// however many give up waiting for it.
    pending: RefCell<Option<watch::Receiver<Option<Resolved>>>>,
    look_up: LookUp,
}

impl Resolver {
    /// A resolver that asks again `ttl` after the last answer.
    pub fn new(host: Name, port: u16, ttl: Duration) -> Self {
        Self::by(look_up, host, port, ttl)
    }

    pub(super) fn by(look_up: LookUp, host: Name, port: u16, ttl: Duration) -> Self {
        Self { host, port, ttl, resolved: RefCell::default(), pending: RefCell::default(), look_up }
    }

    /// Another one for the same name, that has asked nothing yet.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::by(self.look_up, self.host.clone(), self.port, self.ttl)
    }

    /// The addresses, and how long it took where somebody was asked: not for address literals and fresh answers.
    pub async fn resolve(&self) -> (Option<Duration>, Resolved) {
        if let Ok(ip) = self.host.parse() {
            return (None, Ok(vec![SocketAddr::new(ip, self.port)]));
        }
        let start = clock::mono();
        if let Some(resolved) = self.remembered(start) {
            return (None, resolved);
        }
        let mut answer = self.ask();
        let resolved = match answer.wait_for(Option::is_some).await {
            Ok(resolved) => resolved.clone().expect("it was waited for"),
            Err(_) => Err(format!("the look-up of {} was given up", self.host)),
        };
        let end = clock::mono();
        // The first who learns of it keeps it for the others.
        let mut pending = self.pending.borrow_mut();
        if pending.as_ref().is_some_and(|pending| pending.same_channel(&answer)) {
            *pending = None;
            *self.resolved.borrow_mut() = Some((end, resolved.clone()));
        }
        (Some(end - start), resolved)
    }

    /// The look-up on its way, or a new one.
    fn ask(&self) -> watch::Receiver<Option<Resolved>> {
        let mut pending = self.pending.borrow_mut();
        let answer = pending.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            let (host, port, look_up) = (self.host.clone(), self.port, self.look_up);
            tokio::spawn(async move {
                let thread = THREADS.acquire().await.expect("the semaphore is never closed");
                tokio::task::spawn_blocking(move || {
                    let resolved = match look_up(&host, port) {
                        Ok(addresses) if addresses.is_empty() => Err(format!("{host} has no address")),
                        Ok(addresses) => Ok(addresses),
                        Err(error) => Err(with_sources(&error)),
                    };
                    sender.send_replace(Some(resolved));
                    drop(thread);
                });
            });
            receiver
        });
        answer.clone()
    }

    fn remembered(&self, now: Instant) -> Option<Resolved> {
        let resolved = self.resolved.borrow();
        let (at, resolved) = resolved.as_ref()?;
        let ttl = if resolved.is_ok() { self.ttl } else { FAILURE_TTL };
        (now.saturating_duration_since(*at) < ttl).then(|| resolved.clone())
    }
}

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.take(MAX_ADDRESSES).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    };

    use super::*;

    fn resolver(look_up: LookUp, ttl: Duration) -> Resolver {
        Resolver::by(look_up, "name.invalid".into(), 80, ttl)
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
        let resolver = resolver(hangs, Duration::from_mins(1));
        for _ in 0..3 {
            let patience = Duration::from_millis(50);
            let (first, second) = tokio::join!(
                tokio::time::timeout(patience, resolver.resolve()),
                tokio::time::timeout(patience, resolver.resolve())
            );
            assert!(first.is_err() && second.is_err(), "they gave up");
        }
        *RELEASED.0.lock().expect("no panic") = true;
        RELEASED.1.notify_all();
        let ((_, first), (_, second)) = tokio::join!(resolver.resolve(), resolver.resolve());
        assert_eq!((first.clone(), first), (second, Ok(vec![SocketAddr::from(([127, 0, 0, 1], 9))])));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1, "those who gave up left their question to the next");
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_a_second() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let resolver = resolver(
            |_, _| {
                ASKED.fetch_add(1, Ordering::SeqCst);
                Err(io::Error::other("no such name"))
            },
            Duration::from_mins(1),
        );
        let (took, first) = resolver.resolve().await;
        assert!(took.is_some(), "somebody was asked");
        assert_eq!((first, resolver.resolve().await), (Err("no such name".into()), (None, Err("no such name".into()))));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        let learnt = resolver.resolved.borrow().as_ref().map(|(at, _)| *at).expect("it is remembered");
        assert!(resolver.remembered(learnt + FAILURE_TTL).is_none(), "and asked again then");
    }

    #[tokio::test]
    async fn a_changed_address_is_seen_after_the_ttl() {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        #[expect(clippy::unnecessary_wraps, reason = "it stands for a look-up that may fail")]
        fn moves(_: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let host = ASKED.fetch_add(1, Ordering::SeqCst) as u8;
            Ok(vec![SocketAddr::from(([127, 0, 0, host], port))])
        }
        let ttl = Duration::from_mins(1);
        let kept = resolver(moves, ttl);
        let (_, first) = kept.resolve().await;
        assert_eq!(kept.resolve().await, (None, first.clone()), "the answer is fresh");
        let learnt = kept.resolved.borrow().as_ref().map(|(at, _)| *at).expect("it is remembered");
        assert_eq!(kept.remembered(learnt + ttl.checked_sub(Duration::from_millis(1)).expect("a minute")), Some(first));
        assert_eq!(kept.remembered(learnt + ttl), None);
        let asking = resolver(moves, Duration::ZERO);
        let (first, second) = (asking.resolve().await.1, asking.resolve().await.1);
        assert_ne!(first, second, "without a ttl each connection asks");
    }

    #[tokio::test]
    async fn literals_ask_nobody() {
        let literal = Resolver::by(|_, _| Err(io::Error::other("asked")), "::1".into(), 80, Duration::ZERO);
        assert_eq!(literal.resolve().await, (None, Ok(vec!["[::1]:80".parse().expect("an address")])));
    }
}
