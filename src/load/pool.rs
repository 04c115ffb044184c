//! A run's connections: each user keeps one of its own, or a pool of N is shared first come, first served.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    http::{
        body::Room,
        conn::Conn,
        dial::{DialError, DialTimes, Dialer},
        h2::STREAMS,
    },
    model::{clock, scenario::Connections},
};

/// The connections of one run.
#[derive(Debug)]
pub struct Connector {
    dialer: Dialer,
    reuse: bool,
    pool: Option<Pool>,
}

#[derive(Debug)]
struct Pool {
    size: usize,
    /// One for each request that may be on a connection. tokio's semaphore is first in, first out.
    permits: std::sync::Arc<Semaphore>,
    idle: RefCell<Vec<Conn>>,
    /// Those that carry several requests at once: the target turned out to speak HTTP/2.
    shared: RefCell<Vec<Conn>>,
    multiplexes: Cell<bool>,
    dialing: Cell<usize>,
    dialed: Notify,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self {
            size,
            permits: std::sync::Arc::new(Semaphore::new(size)),
            idle: RefCell::default(),
            shared: RefCell::default(),
            multiplexes: Cell::default(),
            dialing: Cell::default(),
            dialed: Notify::new(),
        }
    }

    /// The shared connection with the fewest requests on it. `None`: another one is to be opened.
    async fn shared(&self) -> Option<Conn> {
        while self.multiplexes.get() {
            self.shared.borrow_mut().retain(Conn::is_open);
            let open = self.shared.borrow().len();
            let may_open = open + self.dialing.get() < self.size;
            let least = self.shared.borrow().iter().min_by_key(|conn| conn.active()).and_then(Conn::share);
            match least {
                Some(conn) if conn.active() == 0 || !may_open => return Some(conn),
                _ if may_open => return None,
                _ => {}
            }
            self.dialed.notified().await;
        }
        None
    }

    /// Keeps a new connection that can be shared.
    fn keep(&self, conn: &Conn) {
        if let Some(shared) = conn.share() {
            if !self.multiplexes.replace(true) {
                self.permits.add_permits(self.size * (STREAMS - 1));
            }
            self.shared.borrow_mut().push(shared);
        }
    }
}

/// A connection of the pool being opened.
struct Dialing<'a>(&'a Pool);

impl<'a> Dialing<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.dialing.set(pool.dialing.get() + 1);
        Self(pool)
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.dialing.set(self.0.dialing.get() - 1);
        self.0.dialed.notify_waiters();
    }
}

/// A connection for one request, and what it took to get it.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub conn: Conn,
    permit: Option<OwnedSemaphorePermit>,
}

/// What it took to get a connection, or to fail to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    /// Waiting for a connection of the pool.
    pub blocked: Option<Duration>,
    /// Opening one.
    pub dial: DialTimes,
}

/// Notes how long a request waited for its turn, also where it waited in vain.
struct Blocked<'a> {
    wait: &'a Cell<Wait>,
    since: Instant,
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        let blocked = Some(clock::mono().saturating_duration_since(self.since));
        self.wait.set(Wait { blocked, ..self.wait.get() });
    }
}

impl Connector {
    /// Connections held as `connections` says; `reuse: false` opens one for each request.
    pub fn new(dialer: Dialer, connections: Connections, reuse: bool) -> Rc<Self> {
        let pool = match connections {
            Connections::PerVu => None,
            Connections::Pool(size) => Some(Pool::new(size.max(1) as usize)),
        };
        Rc::new(Self { dialer, reuse, pool })
    }

    /// Room for the long bodies of the answers.
    pub fn bodies(&self) -> &Room {
        self.dialer.bodies()
    }

    /// Opens connections to the same target, without reading its certificate authorities again.
    pub fn another_dialer(&self) -> Dialer {
        self.dialer.another()
    }

    /// The connection for the next request, if one is there that is usable and nobody else waits for it.
    pub fn at_hand(&self, kept: &mut Option<Conn>, wait: &Cell<Wait>) -> Option<Lease> {
        let permit = match &self.pool {
            None => None,
            Some(pool) if pool.idle.borrow().is_empty() => return None,
            // Permits go to those who wait before they are free for others.
            Some(pool) => {
                let permit = pool.permits.clone().try_acquire_owned().ok()?;
                wait.set(Wait { blocked: Some(Duration::ZERO), ..wait.get() });
                Some(permit)
            }
        };
        let mut conn = self.take(kept)?;
        conn.usable().then_some(Lease { conn, permit })
    }

    /// The same place in the queue with a connection that was opened just now.
    pub async fn renew(&self, lease: Lease, wait: &Cell<Wait>) -> Result<Lease, DialError> {
        let Lease { conn, permit } = lease;
        drop(conn);
        // Many may have been on one that is gone: they do not open one each.
        if let Some(pool) = &self.pool
            && let Some(conn) = pool.shared().await
        {
            return Ok(Lease { conn, permit });
        }
        self.open(permit, wait).await
    }

    /// A connection: the user's own (`kept`) or one of the pool, opened if there is none that is usable.
    /// `wait` is filled in as it goes, so that a cut request still tells where its time went.
    pub async fn lease(&self, kept: &mut Option<Conn>, handed: Instant, wait: &Cell<Wait>) -> Result<Lease, DialError> {
        let permit = match &self.pool {
            None => None,
            Some(pool) => {
                let _blocked = Blocked { wait, since: handed };
                let permit = pool.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
                if let Some(conn) = pool.shared().await {
                    return Ok(Lease { conn, permit: Some(permit) });
                }
                Some(permit)
            }
        };
        while let Some(mut conn) = self.take(kept) {
            if conn.usable() {
                return Ok(Lease { conn, permit });
            }
        }
        self.open(permit, wait).await
    }

    async fn open(&self, permit: Option<OwnedSemaphorePermit>, wait: &Cell<Wait>) -> Result<Lease, DialError> {
        // Rare and large: boxed, so that a request over a kept connection stays small.
        let dialing = self.pool.as_ref().map(Dialing::new);
        let (times, conn) = Box::pin(self.dialer.dial()).await;
        wait.set(Wait { dial: times, ..wait.get() });
        let conn = conn?;
        if let (Some(pool), true) = (&self.pool, self.reuse) {
            pool.keep(&conn);
        }
        drop(dialing);
        Ok(Lease { conn, permit })
    }

    fn take(&self, kept: &mut Option<Conn>) -> Option<Conn> {
        match &self.pool {
            None => kept.take(),
            Some(pool) => pool.idle.borrow_mut().pop(),
        }
    }

    /// Gives a connection back after a complete exchange. One that was cut is dropped instead.
    pub fn give_back(&self, lease: Lease, kept: &mut Option<Conn>) {
        let Lease { conn, permit } = lease;
        if self.reuse && conn.is_open() {
            match &self.pool {
                None => *kept = Some(conn),
                // A shared one is kept since it was opened.
                Some(_) if conn.share().is_some() => {}
                Some(pool) => pool.idle.borrow_mut().push(conn),
            }
        }
        drop(permit);
    }
}
