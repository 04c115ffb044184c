//! `targets`: where requests go, how, and what their answers mean.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use super::{At, Lower, Scope};
use crate::{
    config::{check::short, expr, mask, raw},
    model::{
        Name, address,
        outcome::Outcome,
        scenario::{
            BaseUrl, ClassifyRule, ClientIdentity, Connections, HttpOptions, HttpVersion, ReasonSource, StatusMatch,
            Target, TlsOptions,
        },
        settings::Policy,
        template::{Escape, Template},
        units,
    },
};
use http::HeaderName;

const HEADER_HELP: &str = "a header's name has letters, digits and -";

/// Targets by name; `None` for one that is written but cannot be used.
pub(super) type Targets = HashMap<String, Option<Arc<Target>>>;

impl Lower<'_> {
    pub(super) fn targets(&mut self, policy: &Policy) -> Targets {
        self.twice("targets");
        let mut targets: Targets = self.section("targets").into_iter().map(|name| (name.to_owned(), None)).collect();
        for (index, file) in self.files.iter().enumerate() {
            for (name, raw) in file.raw.targets.iter().flat_map(|targets| &targets.0) {
                let at = At::root(index).key("targets").key(name);
                self.name(&at, name, "a target");
                let target = self.target(&at, name, raw, policy);
                targets.insert(name.clone(), target);
            }
        }
        targets
    }

    fn target(&mut self, at: &At, name: &str, raw: &raw::Target, policy: &Policy) -> Option<Arc<Target>> {
        let base = self.base_url(&at.key("base_url"), &raw.base_url);
        if let Some(base) = &base {
            self.allowed(&at.key("base_url"), base, policy);
        }
        let headers = self.headers(&at.key("headers"), raw.headers.as_ref(), Scope::Run(&[]));
        let auth = raw.auth.as_ref().and_then(|auth| self.auth(&at.key("auth"), auth, Scope::Run(&[])));
        let https = base.as_ref().map(|base| base.https);
        let http = self.http(&at.key("http"), raw.http.as_ref(), https);
        let classify = raw.classify.iter().flatten().enumerate();
        let classify = classify.map(|(index, rule)| self.classify(&at.key("classify").index(index), rule)).collect();
        let stats = raw.stats.as_ref().map(|stats| self.stats(&at.key("stats"), stats));
        Some(Arc::new(Target { name: name.into(), base: base?, headers, auth, http, classify, stats }))
    }

    fn base_url(&mut self, at: &At, text: &str) -> Option<BaseUrl> {
        const HOW: &str = "write `base_url: http://localhost:8080`";
        let written = text;
        let text = self.text(at, written);
        if text.is_empty() {
            if !self.unread(written) {
                self.error(at, "`base_url` is empty", HOW);
            }
            return None;
        }
        let shown = short(&text);
        if !text.contains("://") {
            self.error(at, format!("`{shown}` has no scheme"), format!("write `base_url: http://{shown}`"));
            return None;
        }
        let Ok(uri) = text.parse::<http::Uri>() else {
            self.error(at, format!("`{shown}` is not a URL"), HOW);
            return None;
        };
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                let scheme = other.unwrap_or_default();
                self.error(
                    at,
                    format!("`{scheme}` is not a scheme that can be loaded"),
                    "write `http://` or `https://`",
                );
                return None;
            }
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            self.error(
                at,
                "a URL holds no user or password",
                "write `headers: {authorization: \"Basic ${secret.x}\"}`",
            );
            return None;
        }
        if uri.query().is_some() || text.contains('#') {
            self.error(
                at,
                "`base_url` ends with its path: no query, no fragment",
                "write the query in the step: `get: /path?x=1`",
            );
            return None;
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = uri.port_u16();
        if host.is_empty() || (port.is_none() && authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'))) {
            self.error(at, format!("`{shown}` has no host, or a port that is none"), HOW);
            return None;
        }
        let prefix = uri.path().trim_end_matches('/');
        let port = port.unwrap_or(if https { 443 } else { 80 });
        Some(BaseUrl { https, host: host.as_str().into(), port, prefix: prefix.into() })
    }

    fn allowed(&mut self, at: &At, base: &BaseUrl, policy: &Policy) {
        let origin = address::origin(base);
        if let Some(why) = address::forbidden(&base.host) {
            self.error(
                at,
                format!("`{}` is {why}: it is never loaded", base.host),
                "name the service by its own address",
            );
        } else if !address::allows(policy, base) {
            let (why, help) = if policy.allow.is_empty() {
                let help = format!("if you may load it, write `policy: {{allow: [\"{origin}\"]}}`");
                ("without a policy only loopback is allowed", help)
            } else {
                ("it is not in its list", format!("if you may load it, add \"{origin}\" under `allow:` in the policy"))
            };
            self.error(at, format!("the policy does not allow `{origin}`: {why}"), help);
        }
    }

    pub(super) fn headers(
        &mut self,
        at: &At,
        raw: Option<&raw::Ordered<raw::Scalar>>,
        scope: Scope<'_>,
    ) -> Vec<(HeaderName, Template)> {
        let mut headers: Vec<(HeaderName, Template)> = Vec::new();
        for (name, value) in raw.iter().flat_map(|headers| &headers.0) {
            let at = at.key(name);
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                self.key_error(&at, format!("`{}` is not the name of a header", short(name)), HEADER_HELP);
                continue;
            };
            if ["content-length", "transfer-encoding", "connection"].contains(&header.as_str()) {
                self.key_error(
                    &at,
                    format!("`{name}` is set by Plimsoll itself"),
                    "remove it; `http: {reuse: false}` closes connections",
                );
            }
            if headers.iter().any(|(known, _)| *known == header) {
                self.key_error(&at, format!("the header `{name}` stands here twice"), "keep one of them");
            }
            let text = value.text();
            if mask::sensitive_key(header.as_str()) && !mask::only_references_in_header(&text) {
                let scheme = if header.as_str().ends_with("authorization") { "Bearer " } else { "" };
                let help = format!("declare it under `secrets:` and write `{header}: \"{scheme}${{secret.NAME}}\"`");
                self.error(&at, "a credential is written into the file", help);
            }
            if text.chars().any(char::is_control) {
                self.error(&at, format!("the value of `{name}` holds a control character"), "write it on one line");
            }
            let template = self.template(&at, &text, Escape::Header, scope);
            headers.push((header, template));
        }
        headers
    }

    pub(super) fn header_name(&mut self, at: &At, name: &str) -> Option<HeaderName> {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        if header.is_none() {
            let shown = short(name);
            self.error(at, format!("`{shown}` is not the name of a header"), HEADER_HELP);
        }
        header
    }

    fn http(&mut self, at: &At, raw: Option<&raw::Http>, https: Option<bool>) -> HttpOptions {
        let mut options = HttpOptions::default();
        let Some(raw) = raw else { return options };
        let least = Duration::from_millis(1);
        options.version = self.http_version(&at.key("version"), raw.version, https);
        options.connections = raw.connections.map(connections);
        options.timeout = self.duration(&at.key("timeout"), raw.timeout.as_ref(), options.timeout, least);
        let connect =
            self.duration(&at.key("connect_timeout"), raw.connect_timeout.as_ref(), options.connect_timeout, least);
        options.connect_timeout = connect;
        let first_byte = raw.first_byte_timeout.as_ref();
        let first_byte_at = at.key("first_byte_timeout");
        options.first_byte_timeout =
            first_byte.map(|text| self.duration(&first_byte_at, Some(text), options.timeout, least));
        options.gzip = matches!(raw.compression, Some(raw::Compression::Gzip));
        options.reuse = raw.reuse.unwrap_or(options.reuse);
        options.dns_ttl = self.duration(&at.key("dns_ttl"), raw.dns_ttl.as_ref(), options.dns_ttl, Duration::ZERO);
        if raw.redirects.is_some_and(|count| count > 0) {
            self.error(
                &at.key("redirects"),
                "following redirects is not in this version yet",
                "write `redirects: 0`, and the final address as `base_url`",
            );
        }
        if let Some(Ok(size)) = raw.max_body.as_ref().map(|size| units::parse_quantity(&size.0)) {
            options.max_body = size.value as u64;
        }
        options.tls = raw.tls.as_ref().map(|tls| self.tls(&at.key("tls"), tls)).unwrap_or_default();
        options
    }

    fn http_version(&mut self, at: &At, raw: Option<raw::HttpVersion>, https: Option<bool>) -> HttpVersion {
        match (raw, https) {
            (Some(raw::HttpVersion::Http2), Some(false)) => {
                let help = "write `version: h2c`, or an `https://` address";
                self.error(at, "HTTP/2 without TLS has a name of its own", help);
            }
            (Some(raw::HttpVersion::H2c), Some(true)) => {
                self.error(at, "`h2c` is HTTP/2 without TLS", "write `version: 2`, or an `http://` address");
            }
            _ => {}
        }
        match raw {
            None | Some(raw::HttpVersion::Auto) => HttpVersion::Auto,
            Some(raw::HttpVersion::Http11) => HttpVersion::Http11,
            Some(raw::HttpVersion::Http2) => HttpVersion::Http2,
            Some(raw::HttpVersion::H2c) => HttpVersion::H2c,
        }
    }

    fn tls(&mut self, at: &At, raw: &raw::Tls) -> TlsOptions {
        let ca = raw.ca.as_deref().map(|file| self.certificates(&at.key("ca"), file));
        let identity = match (raw.cert.as_deref(), raw.key.as_deref()) {
            (Some(cert), Some(key)) => Some(ClientIdentity {
                cert: self.certificates(&at.key("cert"), cert),
                key: self.pem(&at.key("key"), key, "PRIVATE KEY-----", "unencrypted private key"),
            }),
            (None, None) => None,
            (cert, _) => {
                let (there, missing) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                let help = format!("write `{missing}: FILE` beside it");
                self.error(&at.key(there), format!("`{there}` without `{missing}`"), help);
                None
            }
        };
        let server_name = raw.server_name.as_deref().and_then(|name| {
            let known = rustls::pki_types::ServerName::try_from(name).is_ok();
            if !known {
                let help = "write the name that the certificate is for, such as `api.example.com`";
                self.error(&at.key("server_name"), format!("`{}` is no name for TLS", short(name)), help);
            }
            known.then(|| name.into())
        });
        let insecure = raw.insecure.unwrap_or_default();
        if let (true, Some(_)) = (insecure, &ca) {
            self.error(
                &at.key("insecure"),
                "`insecure: true` trusts anybody, so `ca` does nothing",
                "keep one of them",
            );
        }
        TlsOptions { ca, identity, server_name, insecure }
    }

    /// A PEM file of certificates that must be readable now.
    pub(super) fn certificates(&mut self, at: &At, file: &str) -> PathBuf {
        self.pem(at, file, "-----BEGIN CERTIFICATE-----", "certificate")
    }

    fn pem(&mut self, at: &At, file: &str, mark: &str, what: &str) -> PathBuf {
        let path = self.resolve(at, file);
        match crate::input::read_text(&path, crate::input::MAX_CERTIFICATES) {
            Ok(text) if text.contains(mark) && !text.contains("ENCRYPTED PRIVATE KEY") => {}
            Ok(_) => self.error(
                at,
                format!("`{}` holds no {what}", path.display()),
                if mark.starts_with('-') {
                    "name a PEM file (-----BEGIN CERTIFICATE-----)"
                } else {
                    "name a PEM file (-----BEGIN PRIVATE KEY-----)"
                },
            ),
            Err(error) => {
                let reason = super::constants::reason(&error);
                self.error(
                    at,
                    format!("`{}` cannot be read: {reason}", path.display()),
                    "paths are relative to this file",
                );
            }
        }
        path
    }

    fn classify(&mut self, at: &At, raw: &raw::Classify) -> ClassifyRule {
        let outcome = match raw.outcome {
            raw::OutcomeWord::Ok => Outcome::Ok,
            raw::OutcomeWord::Rejected => Outcome::Rejected,
            raw::OutcomeWord::Failed => Outcome::Failed,
        };
        let status = raw.status.as_ref().map(|list| self.statuses(&at.key("status"), list)).unwrap_or_default();
        let when = raw.when.as_ref().and_then(|text| self.expect(&at.key("when"), &text.0));
        if raw.status.is_none() && raw.when.is_none() {
            self.error(
                at,
                "a `classify` rule says which responses it is about",
                "write `status: 503` or `when: body contains \"queue\"`",
            );
        }
        let reason = match &raw.reason {
            None => ReasonSource::Status,
            Some(raw::Reason::Fixed(name)) => ReasonSource::Fixed(self.reason(&at.key("reason"), name)),
            Some(raw::Reason::Header(from)) => {
                let at = at.key("reason");
                let default = from.default.as_deref().unwrap_or("unnamed");
                let default = self.reason(&at.key("default"), default);
                match self.header_name(&at.key("header"), &from.header) {
                    Some(header) => ReasonSource::Header { header, default },
                    None => ReasonSource::Fixed(default),
                }
            }
        };
        ClassifyRule { outcome, status, when, reason }
    }

    fn reason(&mut self, at: &At, name: &str) -> Name {
        let fine = !name.is_empty()
            && name.len() <= 40
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if !fine {
            let shown = short(name);
            self.error(
                at,
                format!("`{shown}` is not a name for a reason"),
                "write 1 to 40 letters, digits and _, such as `queue_full`: it is a metric label",
            );
        }
        name.into()
    }

    pub(super) fn statuses(&mut self, at: &At, list: &raw::StatusList) -> Vec<StatusMatch> {
        let mut statuses = Vec::new();
        for (index, status) in list.iter() {
            let at = at.item(index);
            match status {
                raw::Status::Code(code) => statuses.push(StatusMatch { first: *code, last: *code }),
                raw::Status::Range(text) => match parse_status(text) {
                    Some(status) => statuses.push(status),
                    None => self.error(&at, format!("`{}` is not a status", short(text)), "write 429, 5xx or 500-504"),
                },
            }
        }
        statuses
    }

    /// An expression on a response.
    pub(super) fn expect(&mut self, at: &At, text: &str) -> Option<crate::model::expr::Expect> {
        match expr::parse_expect(text) {
            Ok(expect) => Some(expect),
            Err(error) => {
                let message = mask::scrub(&error.message);
                self.text_error(at, error.offset, message, error.help.unwrap_or_default());
                None
            }
        }
    }
}

pub(super) fn connections(raw: raw::Connections) -> Connections {
    match raw {
        raw::Connections::Pool(size) => Connections::Pool(size),
        raw::Connections::Word(raw::ConnectionsWord::PerVu) => Connections::PerVu,
    }
}

fn parse_status(text: &str) -> Option<StatusMatch> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(StatusMatch { first: class * 100, last: class * 100 + 99 });
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (100 <= first && first <= last && last <= 599).then_some(StatusMatch { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let check = |text: &str, expected: Option<(u16, u16)>| {
            assert_eq!(parse_status(text).map(|status| (status.first, status.last)), expected, "{text}");
        };
        check("429", Some((429, 429)));
        check("5xx", Some((500, 599)));
        check("500-504", Some((500, 504)));
        check("6xx", None);
        check("504-500", None);
        check("ok", None);
    }
}
