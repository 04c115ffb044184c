//! Reads the target's own figures, on a connection of its own and never counted as load.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use ::http::Method;
use bytes::Bytes;

use super::perform::INLINE_BODY;
use crate::{
    http::{
        conn::Conn,
        dial::Dialer,
        exchange::{Keep, Want, exchange},
        request,
        scope::Scope,
        tls::TlsError,
    },
    measure::stats::{StatFault, extract},
    model::{
        Name,
        scenario::{RequestSpec, StatSpec, StatsSpec, Target},
        settings::Policy,
        template::Template,
    },
};

/// A reading takes no longer than this, nor more than the target's own timeout.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest answer that is read.
const MAX_BODY: u64 = 4 * 1024 * 1024;

/// One round of readings, by name.
pub type Readings = BTreeMap<Name, Result<f64, StatFault>>;

/// Reads one target's figures.
#[derive(Debug)]
pub struct Poller {
    target: Arc<Target>,
    spec: StatsSpec,
    dialer: Dialer,
    kept: Option<Conn>,
    scope: Arc<Scope>,
}

impl Poller {
    /// `None` if the target has no stats. `scope` fills in the target's headers. Fails if no TLS configuration can be
    /// made; blocks on reading certificate authorities.
    pub fn new(target: &Arc<Target>, policy: &Arc<Policy>, scope: Scope) -> Result<Option<Self>, TlsError> {
        if target.stats.is_none() {
            return Ok(None);
        }
        let dialer = Dialer::new(target, policy.clone())?;
        Ok(Self::with(target, dialer, scope))
    }

    /// The same over a dialer that is there.
    pub fn with(target: &Arc<Target>, dialer: Dialer, scope: Scope) -> Option<Self> {
        let spec = target.stats.clone()?;
        Some(Self { target: target.clone(), spec, dialer, kept: None, scope: Arc::new(scope) })
    }

    /// What is read, and how often.
    pub fn spec(&self) -> &StatsSpec {
        &self.spec
    }

    /// Reads every figure once; each path is asked for once.
    pub async fn read(&mut self) -> Readings {
        let mut bodies: BTreeMap<Name, Result<Bytes, StatFault>> = BTreeMap::new();
        let paths: Vec<Name> = self.spec.stats.values().map(|stat| stat.path.clone()).collect();
        for path in paths {
            let Entry::Vacant(unread) = bodies.entry(path) else { continue };
            let limit = LIMIT.min(self.target.http.timeout);
            let got = tokio::time::timeout(limit, self.get(unread.key())).await.unwrap_or(Err(StatFault::Timeout));
            unread.insert(got);
        }
        if bodies.values().flatten().map(Bytes::len).sum::<usize>() <= INLINE_BODY {
            return figures(&self.spec, &bodies);
        }
        let spec = self.spec.clone();
        match tokio::task::spawn_blocking(move || figures(&spec, &bodies)).await {
            Ok(readings) => readings,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The same, within `limit`; a round that takes longer has failed as a whole.
    pub async fn read_within(&mut self, limit: Duration) -> Readings {
        match tokio::time::timeout(limit, self.read()).await {
            Ok(readings) => readings,
            Err(_) => self.spec.stats.keys().map(|name| (name.clone(), Err(StatFault::Timeout))).collect(),
        }
    }

    async fn get(&mut self, path: &Name) -> Result<Bytes, StatFault> {
        let spec = RequestSpec::new(Method::GET, Template::literal(path));
        let request = request::build(&spec, &self.target, &self.scope).map_err(|_| StatFault::Http)?;
        let mut conn = match self.kept.take().and_then(|mut conn| conn.usable().then_some(conn)) {
            Some(conn) => conn,
            None => self.dialer.dial().await.1.map_err(|_| StatFault::Http)?,
        };
        let want = Want { body: Keep::All, headers: false, max_body: MAX_BODY, room: None, sink: None };
        let answer = exchange(&mut conn, &request, want).await.map_err(|_| StatFault::Http)?;
        self.kept = Some(conn);
        if answer.status.is_success() { Ok(answer.body) } else { Err(StatFault::Http) }
    }
}

/// Every figure, looked for in the answers of its path.
fn figures(spec: &StatsSpec, bodies: &BTreeMap<Name, Result<Bytes, StatFault>>) -> Readings {
    let parse = |body: &Bytes| (String::from_utf8_lossy(body).into_owned(), serde_json::from_slice(body).ok());
    let parsed: BTreeMap<_, _> =
        bodies.iter().map(|(path, body)| (path, body.as_ref().map(parse).map_err(|fault| *fault))).collect();
    let read = |stat: &StatSpec| match &parsed[&stat.path] {
        Ok((body, json)) => extract(stat, body, json.as_ref()),
        Err(fault) => Err(*fault),
    };
    spec.stats.iter().map(|(name, stat)| (name.clone(), read(stat))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        clock::SystemClock,
        scenario::{BaseUrl, Constants, HttpOptions, TlsOptions},
    };

    #[test]
    fn authorities_that_cannot_be_read_are_reported() {
        let target = Target {
            name: "t".into(),
            base: BaseUrl { https: true, host: "localhost".into(), port: 443, prefix: "".into() },
            headers: Vec::new(),
            auth: None,
            http: HttpOptions {
                tls: TlsOptions { ca: Some("/nobody/ca.pem".into()), ..TlsOptions::default() },
                ..HttpOptions::default()
            },
            classify: Vec::new(),
            stats: Some(StatsSpec { stats: BTreeMap::new(), every: LIMIT, idle_every: LIMIT, settle: LIMIT }),
        };
        let scope = Scope {
            constants: Constants(Arc::default()).into(),
            run_id: "r".into(),
            vu: 0,
            iteration: 0,
            identity: 0,
            n: 0,
            captures: BTreeMap::new(),
            seed: 0,
            clock: Arc::new(SystemClock),
            rows: Vec::new(),
            draws: crate::http::scope::Draws::default(),
        };
        let error = Poller::new(&Arc::new(target), &Arc::default(), scope).expect_err("no such file");
        assert!(error.to_string().contains("/nobody/ca.pem"), "{error}");
    }
}
