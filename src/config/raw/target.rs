//! `targets:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::words::{DurationText, ExprText, OneOrMany, Ordered, Scalar, SizeText, UnitText};

/// A service under test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// Where it is: `http://localhost:8080`; a path is put before that of each request.
    pub(crate) base_url: String,
    /// Sent with each request.
    pub(crate) headers: Option<Ordered<Scalar>>,
    /// Credentials of each request.
    pub(crate) auth: Option<super::step::Auth>,
    /// Timeouts and connection policy.
    pub(crate) http: Option<Http>,
    /// Which outcome a response is; first match wins. Without it 429, and 503 with Retry-After, are rejected, 2xx is ok.
    pub(crate) classify: Option<Vec<Classify>>,
    /// The target's own figures.
    pub(crate) stats: Option<Stats>,
}

/// Timeouts and connection policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// `auto`: 2 where a TLS handshake agrees on it, else 1.1; `2`: nothing else; `h2c`: 2 without TLS; auto by default.
    pub(crate) version: Option<HttpVersion>,
    /// A connection of its own for each user (`per_vu`), or a pool of so many; per_vu by default.
    pub(crate) connections: Option<Connections>,
    /// From the hand-over of a request to its last byte; 60s by default.
    pub(crate) timeout: Option<DurationText>,
    /// From the connection to the first byte of the answer; without it `timeout` alone counts.
    pub(crate) first_byte_timeout: Option<DurationText>,
    /// For DNS, TCP and TLS together; 5s by default.
    pub(crate) connect_timeout: Option<DurationText>,
    /// Keep connections open between requests; true by default.
    pub(crate) reuse: Option<bool>,
    /// Names are resolved again after this long; 60s by default.
    pub(crate) dns_ttl: Option<DurationText>,
    /// How many redirects are followed: none so far; 0 by default.
    #[schemars(range(min = 0, max = 20))]
    pub(crate) redirects: Option<u32>,
    /// `gzip` asks for compressed answers and decodes them; none by default.
    pub(crate) compression: Option<Compression>,
    /// Certificates.
    pub(crate) tls: Option<Tls>,
    /// A longer body ends the request as failed{body_limit}; 10MiB by default.
    pub(crate) max_body: Option<SizeText>,
}

/// The HTTP version.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum HttpVersion {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "1.1")]
    Http11,
    #[serde(rename = "2")]
    Http2,
    #[serde(rename = "h2c")]
    H2c,
}

/// How answers are compressed.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Gzip,
}

/// `per_vu` or the size of a pool.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Connections {
    /// A pool of so many.
    Pool(#[schemars(range(min = 1, max = 100_000))] u32),
    /// A word.
    Word(ConnectionsWord),
}

/// Each user has a connection of its own.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConnectionsWord {
    PerVu,
}

/// Certificates.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// PEM file of additional certificate authorities.
    pub(crate) ca: Option<String>,
    /// PEM file of a client certificate, with `key`.
    pub(crate) cert: Option<String>,
    /// PEM file of the client certificate's private key.
    pub(crate) key: Option<String>,
    /// The name asked for (SNI) and expected in the certificate; the host's by default.
    pub(crate) server_name: Option<String>,
    /// Accept any certificate, which the report then says; false by default.
    pub(crate) insecure: Option<bool>,
}

/// One rule of `classify`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classify {
    /// Where a matching response lands.
    pub(crate) outcome: OutcomeWord,
    /// Statuses that match: 429, 5xx, 500-504, or a list of these.
    pub(crate) status: Option<StatusList>,
    /// A condition on the response that must hold too.
    pub(crate) when: Option<ExprText>,
    /// Name of the reason, or the header that holds it.
    pub(crate) reason: Option<Reason>,
}

/// Where a response lands.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutcomeWord {
    Ok,
    Rejected,
    Failed,
}

/// 429, 5xx, 500-504, or a list of these.
pub(crate) type StatusList = OneOrMany<Status>;

/// 429, 5xx or 500-504.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Status {
    /// One.
    Code(#[schemars(range(min = 100, max = 599))] u16),
    /// 5xx or 500-504.
    Range(String),
}

/// Name of the reason, or the header that holds it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Reason {
    /// The name.
    Fixed(String),
    /// The header.
    Header(ReasonHeader),
}

/// The header that holds the reason.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonHeader {
    /// Its name.
    pub(crate) header: String,
    /// The reason where it is absent.
    pub(crate) default: Option<String>,
}

/// The target's own figures, read on a connection of their own and never counted as load.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stats {
    /// During runs; 2s by default.
    pub(crate) every: Option<DurationText>,
    /// Between runs, 0s = not at all; 30s by default.
    pub(crate) idle_every: Option<DurationText>,
    /// How long after the last response the final reading is taken; 2s by default.
    pub(crate) settle: Option<DurationText>,
    /// Figures that go up and down.
    pub(crate) gauges: Option<Ordered<Stat>>,
    /// Figures that only grow, or start again from 0.
    pub(crate) counters: Option<Ordered<Stat>>,
}

/// One figure: `{get, json}` or `{prometheus, series}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stat {
    /// Path of a JSON document.
    pub(crate) get: Option<String>,
    /// Where the figure is in it: a JSONPath such as `$.queued`.
    pub(crate) json: Option<String>,
    /// Path of a Prometheus exposition.
    pub(crate) prometheus: Option<String>,
    /// Which series of it: `name` or `name{label="value"}`.
    pub(crate) series: Option<String>,
    /// Unit of the figure as read.
    pub(crate) unit: Option<UnitText>,
}
