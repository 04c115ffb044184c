//! The file's own types: what serde reads and the JSON Schema is generated from. They never leave `config/`.
//!
//! The documentation of a field is its description in the schema, which editors show.

mod alerts;
mod data;
mod group;
mod load;
mod metric;
mod network;
mod probe;
mod scenario;
mod step;
mod stream;
mod target;
mod whole;
mod words;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

pub(crate) use self::{
    alerts::*, data::*, group::*, load::*, metric::*, network::*, probe::*, scenario::*, step::*, stream::*, target::*,
    whole::*, words::*,
};

/// A Plimsoll configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Version of the configuration language.
    #[schemars(extend("const" = 1))]
    #[expect(dead_code, reason = "checked by the schema, read by nobody")]
    pub(crate) version: u32,
    /// Further files, relative to this one; `*` and `?` match within a name. They hold scenarios, targets, requests and vars.
    #[expect(dead_code, reason = "read from the tree, before the check")]
    pub(crate) include: Option<OneOrMany<String>>,
    /// The daemon itself.
    pub(crate) daemon: Option<Daemon>,
    /// What may be loaded, and how hard.
    pub(crate) policy: Option<Policy>,
    /// Constants for templates: `${vars.name}`.
    pub(crate) vars: Option<Ordered<Json>>,
    /// Environment variables that templates may use: `${env.NAME}`. One that is not set is an error.
    pub(crate) env: Option<Vec<String>>,
    /// Secrets for templates: `${secret.name}`. They are read from a file, the environment or a credential.
    pub(crate) secrets: Option<Ordered<Secret>>,
    /// The services under test.
    pub(crate) targets: Option<Ordered<Target>>,
    /// Where else the scenarios run, chosen by `--env NAME`.
    #[expect(dead_code, reason = "laid over the tree before it is read")]
    pub(crate) environments: Option<Ordered<Environment>>,
    /// Named requests, for `request: NAME` in a step.
    pub(crate) requests: Option<Ordered<Step>>,
    /// What every scenario has that does not say it itself.
    #[expect(dead_code, reason = "merged into the scenarios before they are read")]
    pub(crate) defaults: Option<Defaults>,
    /// What is sent, when, how much, and what must hold.
    pub(crate) scenarios: Option<Ordered<Scenario>>,
    /// Who is told what.
    pub(crate) alerts: Option<Alerts>,
    /// Where metrics go besides `/metrics`.
    pub(crate) telemetry: Option<Telemetry>,
}

/// An included file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fragment {
    /// Version of the configuration language.
    #[schemars(extend("const" = 1))]
    #[expect(dead_code, reason = "checked by the schema, read by nobody")]
    pub(crate) version: Option<u32>,
    /// Constants for templates: `${vars.name}`.
    pub(crate) vars: Option<Ordered<Json>>,
    /// The services under test.
    pub(crate) targets: Option<Ordered<Target>>,
    /// Named requests, for `request: NAME` in a step.
    pub(crate) requests: Option<Ordered<Step>>,
    /// What is sent, when, how much, and what must hold.
    pub(crate) scenarios: Option<Ordered<Scenario>>,
}

impl From<Fragment> for File {
    fn from(fragment: Fragment) -> Self {
        let Fragment { vars, targets, requests, scenarios, .. } = fragment;
        Self {
            version: 1,
            include: None,
            daemon: None,
            policy: None,
            vars,
            env: None,
            secrets: None,
            targets,
            environments: None,
            requests,
            defaults: None,
            scenarios,
            alerts: None,
            telemetry: None,
        }
    }
}

/// The daemon itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Daemon {
    /// Address of the page, the API and `/metrics`; 127.0.0.1:9590 by default.
    pub(crate) listen: Option<String>,
    /// Folder of the database, the lock and the kill switch; /var/lib/plimsoll by default.
    pub(crate) data_dir: Option<String>,
    /// IANA zone of schedules that name none, such as Europe/Berlin, and of times shown to people; UTC by default.
    pub(crate) timezone: Option<String>,
    /// How long runs are kept.
    pub(crate) retention: Option<Retention>,
    /// A file whose presence stops all load; `pause` in `data_dir` by default.
    pub(crate) pause_file: Option<String>,
}

/// How long runs are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    /// Runs older than this are deleted; 30d by default.
    pub(crate) age: Option<DurationText>,
    /// Oldest runs are deleted beyond this size of the database; 1GB by default.
    pub(crate) size: Option<SizeText>,
}

/// What may be loaded, and how hard. It can only narrow the host's own policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// Origins that may be loaded: `http://localhost:*`, `https://*.example.com`. Loopback only when absent.
    pub(crate) allow: Option<Vec<String>>,
    /// Requests per second, all runs together; 10000/s by default.
    pub(crate) max_rate: Option<RateText>,
    /// Unanswered requests at once, all runs together; 10000 by default.
    #[schemars(range(min = 1))]
    pub(crate) max_concurrency: Option<u32>,
    /// Longest planned run; 24h by default.
    pub(crate) max_duration: Option<DurationText>,
}

/// Where a secret is read from: exactly one of the three.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the words of the language")]
pub(crate) struct Secret {
    /// An environment variable.
    pub(crate) from_env: Option<String>,
    /// A file; one line end at its end is left out.
    pub(crate) from_file: Option<String>,
    /// A systemd credential: a file in $CREDENTIALS_DIRECTORY.
    pub(crate) from_credential: Option<String>,
}

/// Where metrics go besides `/metrics`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// Push by OTLP.
    pub(crate) otlp: Option<Otlp>,
}

/// Push by OTLP over HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// Base URL of the collector, such as `http://collector:4318`; `/v1/metrics` is appended.
    pub(crate) endpoint: String,
    /// The protocol; http/protobuf by default.
    #[expect(dead_code, reason = "there is one")]
    pub(crate) protocol: Option<OtlpProtocol>,
    /// How often metrics are pushed; 15s by default.
    pub(crate) interval: Option<DurationText>,
}
