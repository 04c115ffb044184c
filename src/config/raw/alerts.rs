//! `alerts:`, and words of `telemetry:`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scenario::{Intent, SeverityWord},
    words::{DurationText, OneOrMany, Ordered},
};

/// Who is told what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alerts {
    /// By name.
    pub(crate) receivers: Option<Ordered<Receiver>>,
    /// First match wins; may be left out where there is one receiver.
    pub(crate) routes: Option<Vec<Route>>,
    /// What is told together; target by default.
    #[expect(dead_code, reason = "there is one")]
    pub(crate) group_by: Option<OneOrMany<GroupBy>>,
    /// Wait before the first mail of a group; 10s by default.
    pub(crate) group_wait: Option<DurationText>,
    /// Wait before a mail about changes in a group; 5m by default.
    pub(crate) group_interval: Option<DurationText>,
    /// A firing alert is told again after this long; 4h by default.
    pub(crate) repeat_interval: Option<DurationText>,
    /// Tell when it is over; true by default.
    pub(crate) send_resolved: Option<bool>,
    /// Verdicts that alert without any rule; [fail, no_data, missed, {invalid: 3}] by default.
    pub(crate) on: Option<OneOrMany<AlertOn>>,
    /// `plimsoll run` mails without `--notify`; false by default.
    pub(crate) from_cli: Option<bool>,
}

/// What is told together.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupBy {
    Target,
}

/// A verdict that alerts.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum AlertOn {
    /// At once.
    Word(AlertWord),
    /// After several.
    Invalid(AlertInvalid),
}

/// A verdict that alerts at once.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertWord {
    Fail,
    NoData,
    Missed,
}

/// So many invalid runs in a row.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertInvalid {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) invalid: u32,
}

/// Someone who is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    /// By mail.
    pub(crate) email: Email,
}

/// How a mail is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    /// Recipients; each gets a mail of its own.
    pub(crate) to: OneOrMany<String>,
    /// Sender.
    pub(crate) from: String,
    /// The relay: `smtp://host:587` (STARTTLS) or `smtps://host:465` (TLS from the first byte).
    pub(crate) smtp: String,
    /// `required`: STARTTLS, the default off loopback; `none`: in the clear.
    pub(crate) tls: Option<MailTls>,
    /// PEM file of a company's certificate authority.
    pub(crate) tls_ca: Option<String>,
    /// User for AUTH.
    pub(crate) username: Option<String>,
    /// Password for AUTH: a reference such as `${secret.smtp}`.
    pub(crate) password: Option<String>,
    /// Name given in EHLO; the host's own by default.
    pub(crate) hello: Option<String>,
    /// For the conversation up to the acceptance of the mail; 30s by default.
    pub(crate) timeout: Option<DurationText>,
}

/// How a conversation with a relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    Required,
    None,
}

/// Which alerts go to which receivers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Only alerts that match all of these; all alerts when absent.
    #[serde(rename = "match")]
    pub(crate) matches: Option<Match>,
    /// Names of receivers.
    pub(crate) to: OneOrMany<String>,
}

/// What an alert must be like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// How loud.
    pub(crate) severity: Option<SeverityWord>,
    /// Name of a scenario.
    pub(crate) scenario: Option<String>,
    /// Name of a target.
    pub(crate) target: Option<String>,
    /// Whether rejections are wanted.
    pub(crate) intent: Option<Intent>,
}

/// The OTLP protocol.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum OtlpProtocol {
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}
