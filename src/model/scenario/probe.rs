//! A step that is no HTTP request: what is asked of a service to see whether it is there.

use std::fmt;

use super::target::BaseUrl;
use crate::model::{Name, template::Template};

/// What a probe asks. Each opens a connection of its own.
#[derive(Debug, Clone)]
pub enum ProbeSpec {
    /// Connects; sends a text and waits for another, if they are given.
    Tcp {
        /// Where to.
        at: BaseUrl,
        /// Sent once connected.
        send: Option<Template>,
        /// Must come then.
        expect: Option<TextMatch>,
    },
    /// Shakes hands and looks at the certificate.
    Tls {
        /// Where to.
        at: BaseUrl,
    },
    /// Asks a name server.
    Dns {
        /// Whom: host and port.
        at: BaseUrl,
        /// For which name.
        name: Template,
        /// For which type of record.
        kind: RecordType,
        /// The code that is ok: if none is given, `NOERROR` with at least one record of the type.
        rcode: Option<Name>,
    },
    /// Opens a WebSocket at the target; sends a message and waits for another, if they are given.
    WebSocket {
        /// Path and query, appended to the target's base URL.
        path: Template,
        /// Sent once it is open.
        send: Option<Template>,
        /// Must come then.
        expect: Option<TextMatch>,
    },
    /// Asks the gRPC health service of the target.
    Grpc {
        /// For which service; empty for the server as a whole.
        service: Name,
    },
}

impl ProbeSpec {
    /// What is filled in for each iteration.
    pub fn templates(&self) -> [Option<&Template>; 2] {
        match self {
            Self::Tcp { send, .. } => [None, send.as_ref()],
            Self::Dns { name, .. } => [Some(name), None],
            Self::WebSocket { path, send, .. } => [Some(path), send.as_ref()],
            Self::Tls { .. } | Self::Grpc { .. } => [None, None],
        }
    }
}

impl fmt::Display for ProbeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { at, .. } => write!(f, "TCP {}", at.place()),
            Self::Tls { at } => write!(f, "TLS {}", at.place()),
            Self::Dns { at, name, kind, .. } => write!(f, "DNS {kind:?} {} at {}", name.source(), at.place()),
            Self::WebSocket { path, .. } => write!(f, "WEBSOCKET {}", path.source()),
            Self::Grpc { service } => write!(f, "GRPC health of `{service}`"),
        }
    }
}

/// What must be found in what comes.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// This text.
    Text(String),
    /// A match of this expression.
    Regex(regex::Regex),
}

impl TextMatch {
    /// Whether it is found in `bytes`; what is not UTF-8 is replaced before an expression looks.
    pub fn found(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.is_empty() || bytes.windows(text.len()).any(|part| part == text.as_bytes()),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(bytes)),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

/// Types of DNS records that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called so")]
pub enum RecordType {
    A,
    AAAA,
    CAA,
    CNAME,
    MX,
    NS,
    PTR,
    SOA,
    SRV,
    TXT,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found() {
        let check = |wanted: TextMatch, bytes: &[u8], expected| {
            assert_eq!(wanted.found(bytes), expected, "{wanted} in {bytes:?}");
        };
        let text = |text: &str| TextMatch::Text(text.to_owned());
        check(text("PONG"), b"+PONG\r\n", true);
        check(text("PONG"), b"+PON", false);
        check(text(""), b"", true);
        check(TextMatch::Regex(regex::Regex::new("^220 .*ready").expect("it is one")), b"220 mail ready", true);
        check(TextMatch::Regex(regex::Regex::new("^ready").expect("it is one")), b"\xff 220 ready", false);
    }
}
