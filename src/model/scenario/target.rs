//! A service under test: where it is, how it is reached, what its answers mean, and its own figures.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ::http::{HeaderName, StatusCode};
use serde_json_path::JsonPath;

use super::load::Connections;
use crate::model::{Name, expr::Expect, outcome::Outcome, template::Template, units::Unit};

/// A service under test.
#[derive(Debug, Clone)]
pub struct Target {
    /// Unique; a metric label and what alerts are grouped by.
    pub name: Name,
    /// Where it is.
    pub base: BaseUrl,
    /// Sent with each request.
    pub headers: Vec<(HeaderName, Template)>,
    /// Credentials of each request.
    pub auth: Option<super::step::Auth>,
    /// Timeouts and connection policy.
    pub http: HttpOptions,
    /// First match wins; each response lands in exactly one outcome.
    pub classify: Vec<ClassifyRule>,
    /// The target's own figures.
    pub stats: Option<StatsSpec>,
}

/// The figure that a target which shows a certificate has without being asked: how long it is still valid, in seconds.
pub const CERT_EXPIRES_IN: &str = "cert_expires_in";

impl Target {
    /// Unit and kind (is it a counter?) of each figure: those that are read, and [`CERT_EXPIRES_IN`] where the target
    /// shows a certificate.
    pub fn figures(&self) -> impl Iterator<Item = (Name, (Unit, bool))> {
        self.all_figures(false)
    }

    /// The same, where a step may look at a certificate (`probed`).
    pub fn all_figures(&self, probed: bool) -> impl Iterator<Item = (Name, (Unit, bool))> {
        let read = self.stats.iter().flat_map(|stats| &stats.stats);
        let read = read.map(|(name, stat)| (name.clone(), (stat.unit, stat.counter)));
        read.chain((self.base.https || probed).then(|| (CERT_EXPIRES_IN.into(), (Unit::Seconds, false))))
    }
}

/// Scheme, host, port and path prefix of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// TLS from the first byte.
    pub https: bool,
    /// Host name or address literal, without brackets.
    pub host: Name,
    /// Port.
    pub port: u16,
    /// Path prefix without a trailing slash; empty for none.
    pub prefix: Name,
}

impl BaseUrl {
    /// `host[:port]` for the Host header; the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == if self.https { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl BaseUrl {
    /// `host:port`, for what is no URL.
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// Timeouts and connection policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Which HTTP is spoken.
    pub version: HttpVersion,
    /// Default for loads that name none.
    pub connections: Option<Connections>,
    /// From the hand-over of a request to its last byte, waiting for a connection included.
    pub timeout: Duration,
    /// From the connection to the first byte of the answer.
    pub first_byte_timeout: Option<Duration>,
    /// For DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Keep connections open between requests.
    pub reuse: bool,
    /// Names are resolved again after this long.
    pub dns_ttl: Duration,
    /// Certificates and names.
    pub tls: TlsOptions,
    /// Answers are asked for in gzip, and decoded.
    pub gzip: bool,
    /// A body beyond this many bytes, decoded, ends the request as `failed{body_limit}`.
    pub max_body: u64,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            version: HttpVersion::Auto,
            connections: None,
            timeout: Duration::from_mins(1),
            first_byte_timeout: None,
            connect_timeout: Duration::from_secs(5),
            reuse: true,
            dns_ttl: Duration::from_mins(1),
            tls: TlsOptions::default(),
            gzip: false,
            max_body: 10 * 1024 * 1024,
        }
    }
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/2 where a TLS handshake agrees on it, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 over TLS, and nothing else.
    Http2,
    /// HTTP/2 without TLS, known beforehand.
    H2c,
}

/// How a target's certificate is judged, and what we show of ourselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of additional certificate authorities.
    pub ca: Option<PathBuf>,
    /// What we show when the target asks who we are.
    pub identity: Option<ClientIdentity>,
    /// The name asked for (SNI) and expected in the certificate, instead of the host's; one that TLS takes.
    pub server_name: Option<Name>,
    /// Accept any certificate. The report says so.
    pub insecure: bool,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file: the certificate, then those that vouch for it.
    pub cert: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
}

/// One rule of `classify`.
#[derive(Debug, Clone)]
pub struct ClassifyRule {
    /// Where a matching response lands: ok, rejected or failed.
    pub outcome: Outcome,
    /// Statuses that match; empty matches all.
    pub status: Vec<StatusMatch>,
    /// A condition on the response that must hold too.
    pub when: Option<Expect>,
    /// The reason's name.
    pub reason: ReasonSource,
}

/// Where the name of a reason comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasonSource {
    /// `status_429` and the like.
    Status,
    /// Given.
    Fixed(Name),
    /// The value of a header (at most 8 different ones, then `other`), or a default where it is absent.
    Header {
        /// Its name.
        header: HeaderName,
        /// Where it is absent.
        default: Name,
    },
}

/// `429`, `5xx` or `500-504`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusMatch {
    /// First status that matches.
    pub first: u16,
    /// Last status that matches.
    pub last: u16,
}

impl StatusMatch {
    /// Whether it covers `status`.
    pub fn covers(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

/// The target's own figures: what is read and how often.
#[derive(Debug, Clone)]
pub struct StatsSpec {
    /// During runs.
    pub every: Duration,
    /// Between runs; zero = not at all.
    pub idle_every: Duration,
    /// How long after the last response the final reading is taken.
    pub settle: Duration,
    /// By name.
    pub stats: BTreeMap<Name, StatSpec>,
}

/// One figure.
#[derive(Debug, Clone)]
pub struct StatSpec {
    /// A gauge goes up and down; a counter only resets.
    pub counter: bool,
    /// Path and query below the target's base URL.
    pub path: Name,
    /// How it is found in the answer.
    pub read: StatRead,
    /// Unit of the value as read; values are kept in base units.
    pub unit: Unit,
    /// Multiplier from the unit as read to the base unit.
    pub scale: f64,
}

/// How a figure is found in an answer.
#[derive(Debug, Clone)]
pub enum StatRead {
    /// JSONPath on a JSON body.
    Json(JsonPath),
    /// A sample in Prometheus text format; series that match are summed.
    Prometheus {
        /// Name of the series.
        name: Name,
        /// Labels that must be equal.
        labels: Vec<(Name, Name)>,
    },
}
