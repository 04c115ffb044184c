//! Steps that are no HTTP requests.

use schemars::JsonSchema;
use serde::Deserialize;

use super::words::TemplateText;

/// `host:port`, or a map that also says what is sent and expected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Tcp {
    /// Only the connection.
    Short(String),
    /// With a text for a text.
    Long(TcpMap),
}

/// A TCP connection, and a text for a text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpMap {
    /// `host:port`.
    pub(crate) address: String,
    /// Sent once connected; `"PING\r\n"`.
    pub(crate) send: Option<TemplateText>,
    /// Must come then: a text, or a regular expression between slashes.
    pub(crate) expect: Option<String>,
}

/// A question to a name server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    /// The name that is asked for.
    pub(crate) name: TemplateText,
    /// The type of record; A by default.
    #[serde(rename = "type")]
    pub(crate) kind: Option<RecordWord>,
    /// The name server: `host` or `host:port`.
    pub(crate) server: String,
    /// The code that is ok; without it NOERROR, with at least one record of the type.
    pub(crate) rcode: Option<RcodeWord>,
}

/// A type of DNS record.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RecordWord {
    A,
    Aaaa,
    Caa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Soa,
    Srv,
    Txt,
}

/// What a name server says of a question.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RcodeWord {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
    NotImp,
    Refused,
}

/// A path, or a map that also says what is sent and expected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum WebSocket {
    /// Only the handshake.
    Short(TemplateText),
    /// With a message for a message.
    Long(WebSocketMap),
}

/// A WebSocket, and a message for a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebSocketMap {
    /// Below the target's base URL.
    pub(crate) path: TemplateText,
    /// Sent once it is open.
    pub(crate) send: Option<TemplateText>,
    /// Must come then: a text, or a regular expression between slashes.
    pub(crate) expect: Option<String>,
}

/// The gRPC health service of the target.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grpc {
    /// The service that is asked about; the server as a whole by default.
    pub(crate) service: Option<String>,
}
