//! A run's connections: each user keeps one of its own, or a pool of N is shared first come, first served.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
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

/// A request over HTTP/2 takes one permit; one over HTTP/1.1 as many as a connection has streams, for it has the
/// connection to itself.
const ALL: u32 = STREAMS as u32;

#[derive(Debug)]
struct Pool {
    size: usize,
    /// As many as there are streams on all connections. tokio's semaphore is first in, first out.
    permits: Arc<Semaphore>,
    /// They carry one request at a time.
    idle: RefCell<Vec<Conn>>,
    /// Those that carry several requests at once.
    shared: RefCell<Vec<Conn>>,
    /// The target spoke HTTP/2 when a connection was opened last.
    multiplexes: Cell<bool>,
    turned: Notify,
    dialing: Cell<usize>,
    dialed: Notify,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self {
            size,
            permits: Arc::new(Semaphore::new(size * STREAMS)),
            idle: RefCell::default(),
            shared: RefCell::default(),
            multiplexes: Cell::default(),
            turned: Notify::new(),
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

    /// An idle connection that is still usable.
    fn at_rest(&self) -> Option<Conn> {
        loop {
            let conn = self.idle.borrow_mut().pop()?;
            if let Some(conn) = usable(conn) {
                return Some(conn);
            }
        }
    }

    /// What the next request needs, as far as is known.
    fn needs(&self) -> u32 {
        if self.multiplexes.get() { 1 } else { ALL }
    }

    /// Whether a permit is still large enough for what the target was found to speak meanwhile.
    fn suits(&self, permit: &OwnedSemaphorePermit) -> bool {
        permit.num_permits() >= self.needs() as usize
    }

    /// A place in the queue that has come to its turn. Who waits queues anew, in order, when it turns out what the target
    /// speaks.
    async fn turn(&self) -> OwnedSemaphorePermit {
        loop {
            let turned = self.turned.notified();
            tokio::select! {
                biased;
                permit = self.permits.clone().acquire_many_owned(self.needs()) => {
                    return permit.expect("the semaphore is never closed");
                }
                () = turned => {}
            }
        }
    }

    /// Keeps a new connection that can be shared, and notes what the target speaks. What was opened when it spoke
    /// otherwise is not kept: with it there would be more connections than asked for.
    fn keep(&self, conn: &Conn) {
        let shared = conn.share();
        let multiplexes = shared.is_some();
        if self.multiplexes.replace(multiplexes) != multiplexes {
            let others = if multiplexes { &self.idle } else { &self.shared };
            others.borrow_mut().clear();
            self.turned.notify_waiters();
        }
        self.shared.borrow_mut().extend(shared);
    }

    /// Gives `conn` to who holds `permit`, and what the permit is too large back. A connection for one request that meets
    /// a permit for one stream waits among the idle ones until whoever has its turn takes it.
    fn fit(&self, conn: Conn, mut permit: OwnedSemaphorePermit) -> Option<Lease> {
        if conn.share().is_some() {
            drop(permit.split(permit.num_permits() - 1));
        } else if permit.num_permits() < STREAMS {
            self.idle.borrow_mut().push(conn);
            return None;
        }
        Some(Lease { conn, permit: Some(permit) })
    }
}

fn usable(mut conn: Conn) -> Option<Conn> {
    conn.usable().then_some(conn)
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
    /// It has a place among those that may be sent.
    pub has_its_turn: bool,
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

    /// The connection for the next request, if one is there that is usable and nobody else waits for it.
    pub fn at_hand(&self, kept: &mut Option<Conn>, wait: &Cell<Wait>) -> Option<Lease> {
        let permit = match &self.pool {
            None => None,
            Some(pool) if pool.idle.borrow().is_empty() => return None,
            // Permits go to those who wait before they are free for others.
            Some(pool) => {
                let permit = pool.permits.clone().try_acquire_many_owned(ALL).ok()?;
                wait.set(Wait { blocked: Some(Duration::ZERO), ..wait.get() });
                Some(permit)
            }
        };
        let conn = self.take(kept).and_then(usable)?;
        Some(Lease { conn, permit })
    }

    /// The same place in the queue with a connection that was opened just now.
    pub async fn renew(&self, lease: Lease, kept: &mut Option<Conn>, wait: &Cell<Wait>) -> Result<Lease, DialError> {
        let Lease { conn, permit } = lease;
        drop(conn);
        let (Some(pool), Some(permit)) = (&self.pool, permit) else {
            return Ok(Lease { conn: self.open(wait).await?, permit: None });
        };
        // Many may have been on one that is gone: they do not open one each.
        let conn = match pool.shared().await {
            Some(conn) => conn,
            None if !pool.suits(&permit) => {
                drop(permit);
                return self.lease(kept, clock::mono(), wait).await;
            }
            None => self.open(wait).await?,
        };
        match self.fit(pool, conn, permit) {
            Some(lease) => Ok(lease),
            None => self.lease(kept, clock::mono(), wait).await,
        }
    }

    /// A connection: the user's own (`kept`) or one of the pool, opened if there is none that is usable.
    /// `wait` is filled in as it goes, so that a cut request still tells where its time went.
    pub async fn lease(&self, kept: &mut Option<Conn>, handed: Instant, wait: &Cell<Wait>) -> Result<Lease, DialError> {
        let Some(pool) = &self.pool else {
            wait.set(Wait { has_its_turn: true, ..wait.get() });
            let conn = match kept.take().and_then(usable) {
                Some(conn) => conn,
                None => self.open(wait).await?,
            };
            return Ok(Lease { conn, permit: None });
        };
        // Once more only where the target spoke another protocol than before.
        loop {
            let (permit, shared) = {
                let _blocked = Blocked { wait, since: handed };
                wait.set(Wait { has_its_turn: false, ..wait.get() });
                let permit = pool.turn().await;
                let shared = pool.shared().await;
                wait.set(Wait { has_its_turn: true, ..wait.get() });
                (permit, shared)
            };
            let conn = match shared {
                Some(conn) => conn,
                None if !pool.suits(&permit) => continue,
                None => match pool.at_rest() {
                    Some(conn) => conn,
                    None => self.open(wait).await?,
                },
            };
            if let Some(lease) = self.fit(pool, conn, permit) {
                return Ok(lease);
            }
        }
    }

    async fn open(&self, wait: &Cell<Wait>) -> Result<Conn, DialError> {
        // Rare and large: boxed, so that a request over a kept connection stays small.
        let dialing = self.pool.as_ref().map(Dialing::new);
        let (times, conn) = Box::pin(self.dialer.dial()).await;
        wait.set(Wait { dial: times, ..wait.get() });
        let conn = conn?;
        if let (Some(pool), true) = (&self.pool, self.reuse) {
            pool.keep(&conn);
        }
        drop(dialing);
        Ok(conn)
    }

    /// A connection that is not kept is one request's own, whatever it speaks.
    fn fit(&self, pool: &Pool, conn: Conn, permit: OwnedSemaphorePermit) -> Option<Lease> {
        if self.reuse { pool.fit(conn, permit) } else { Some(Lease { conn, permit: Some(permit) }) }
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
