//! Steps that are no HTTP requests: `tcp`, `tls`, `dns`, `websocket`, `grpc`.

use super::{At, Lower, Scope};
use crate::{
    config::{check::short, raw},
    model::{
        address,
        scenario::{BaseUrl, OkStatus, ProbeSpec, RecordType, StatusMatch, TextMatch},
        template::{Escape, Template},
    },
};

/// The keys that make a step a probe, in the order in which they are looked for.
const KEYS: [&str; 5] = ["tcp", "tls", "dns", "websocket", "grpc"];

/// The keys of a step that are a probe's.
pub(super) fn keys(raw: &raw::Step) -> impl Iterator<Item = &'static str> + use<> {
    let there = [raw.tcp.is_some(), raw.tls.is_some(), raw.dns.is_some(), raw.websocket.is_some(), raw.grpc.is_some()];
    KEYS.into_iter().zip(there).filter_map(|(key, there)| there.then_some(key))
}

/// The statuses that are ok for a probe, unless the step says otherwise: no HTTP is spoken, or a handshake is.
pub(super) fn ok(spec: &ProbeSpec) -> OkStatus {
    match spec {
        ProbeSpec::WebSocket { .. } => OkStatus::Of(vec![StatusMatch { first: 101, last: 101 }]),
        ProbeSpec::Grpc { .. } => OkStatus::Of(vec![StatusMatch { first: 200, last: 200 }]),
        _ => OkStatus::Any,
    }
}

impl Lower<'_> {
    /// The probe that stands in a step, if one does.
    pub(super) fn probe(&mut self, at: &At, raw: &raw::Step, scope: Scope<'_>) -> Option<ProbeSpec> {
        if let Some(tcp) = &raw.tcp {
            let at = at.key("tcp");
            let (text, place, map) = match tcp {
                raw::Tcp::Short(text) => (text, at.clone(), None),
                raw::Tcp::Long(map) => (&map.address, at.key("address"), Some(map)),
            };
            let send = map.and_then(|map| map.send.as_ref());
            let send = send.map(|text| self.template(&at.key("send"), &text.0, Escape::None, scope));
            let expect = map.and_then(|map| self.wanted(&at.key("expect"), map.expect.as_deref()));
            return Some(ProbeSpec::Tcp { at: self.place(&place, text, None)?, send, expect });
        }
        if let Some(text) = &raw.tls {
            return Some(ProbeSpec::Tls { at: self.place(&at.key("tls"), text, Some(443))? });
        }
        if let Some(dns) = &raw.dns {
            return self.dns(&at.key("dns"), dns, scope);
        }
        if let Some(socket) = &raw.websocket {
            let at = at.key("websocket");
            let (text, place, map) = match socket {
                raw::WebSocket::Short(text) => (text, at.clone(), None),
                raw::WebSocket::Long(map) => (&map.path, at.key("path"), Some(map)),
            };
            let path = self.path(&place, &text.0, scope);
            let send = map.and_then(|map| map.send.as_ref());
            let send = send.map(|text| self.template(&at.key("send"), &text.0, Escape::None, scope));
            let expect = map.and_then(|map| self.wanted(&at.key("expect"), map.expect.as_deref()));
            return Some(ProbeSpec::WebSocket { path, send, expect });
        }
        let service = raw.grpc.as_ref()?.service.as_deref().unwrap_or_default();
        Some(ProbeSpec::Grpc { service: service.into() })
    }

    fn dns(&mut self, at: &At, raw: &raw::Dns, scope: Scope<'_>) -> Option<ProbeSpec> {
        let name: Template = self.template(&at.key("name"), &raw.name.0, Escape::None, scope);
        let kind = match raw.kind.unwrap_or(raw::RecordWord::A) {
            raw::RecordWord::A => RecordType::A,
            raw::RecordWord::Aaaa => RecordType::AAAA,
            raw::RecordWord::Caa => RecordType::CAA,
            raw::RecordWord::Cname => RecordType::CNAME,
            raw::RecordWord::Mx => RecordType::MX,
            raw::RecordWord::Ns => RecordType::NS,
            raw::RecordWord::Ptr => RecordType::PTR,
            raw::RecordWord::Soa => RecordType::SOA,
            raw::RecordWord::Srv => RecordType::SRV,
            raw::RecordWord::Txt => RecordType::TXT,
        };
        let rcode = raw.rcode.map(|word| match word {
            raw::RcodeWord::NoError => "NOERROR".into(),
            raw::RcodeWord::FormErr => "FORMERR".into(),
            raw::RcodeWord::ServFail => "SERVFAIL".into(),
            raw::RcodeWord::NxDomain => "NXDOMAIN".into(),
            raw::RcodeWord::NotImp => "NOTIMP".into(),
            raw::RcodeWord::Refused => "REFUSED".into(),
        });
        let server = self.place(&at.key("server"), &raw.server, Some(53))?;
        Some(ProbeSpec::Dns { at: server, name, kind, rcode })
    }

    /// `host:port` that the policy allows.
    fn place(&mut self, at: &At, written: &str, default: Option<u16>) -> Option<BaseUrl> {
        let text = self.text(at, written);
        if text.is_empty() && self.unread(written) {
            return None;
        }
        let authority: Option<http::uri::Authority> = text.parse().ok().filter(|_| !text.contains('@'));
        let port = authority.as_ref().and_then(|authority| authority.port_u16().or(default));
        let (Some(authority), Some(port)) = (authority, port) else {
            let shown = short(&text);
            self.error(at, format!("`{shown}` is not `host:port`"), "write it like `localhost:5432` or `[::1]:5432`");
            return None;
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let place = |https| BaseUrl { https, host: host.as_str().into(), port, prefix: "".into() };
        // What is no URL has no scheme: it is allowed if it is under either.
        let origin = if address::allows(&self.policy_in_force, &place(true)) { place(true) } else { place(false) };
        self.place_allowed(at, &origin);
        Some(origin)
    }

    fn place_allowed(&mut self, at: &At, place: &BaseUrl) {
        if let Some(why) = address::forbidden(&place.host) {
            let help = "name the service by its own address";
            self.error(at, format!("`{}` is {why}: it is never loaded", place.host), help);
        } else if !address::allows(&self.policy_in_force, place) {
            let shown = place.place();
            let (why, help) = if self.policy_in_force.allow.is_empty() {
                let help = format!("if you may probe it, write `policy: {{allow: [\"{shown}\"]}}`");
                ("without a policy only loopback is allowed", help)
            } else {
                ("it is not in its list", format!("if you may probe it, add \"{shown}\" under `allow:` in the policy"))
            };
            self.error(at, format!("the policy does not allow `{shown}`: {why}"), help);
        }
    }

    /// A text, or a regular expression between slashes.
    fn wanted(&mut self, at: &At, text: Option<&str>) -> Option<TextMatch> {
        let text = text?;
        let inner = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')).filter(|text| !text.is_empty());
        let Some(pattern) = inner else { return Some(TextMatch::Text(text.to_owned())) };
        let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok();
        if regex.is_none() {
            let help = "the syntax is that of the Rust regex crate; a text without slashes is looked for as it is";
            self.error(at, format!("`{}` is not a regular expression", short(pattern)), help);
        }
        regex.map(TextMatch::Regex)
    }
}
