//! Which origins may be loaded: patterns of the policy, and addresses that no policy can allow.

use crate::{
    http::address,
    model::{
        scenario::BaseUrl,
        settings::{OriginPattern, Policy},
    },
};

/// Parses `http://localhost:*`, `https://*.example.com` or `*.example.com:8443`. The error says what to write.
pub fn parse_pattern(text: &str) -> Result<OriginPattern, String> {
    const HELP: &str = "write an origin such as \"http://localhost:*\" or \"https://*.example.com\"";
    let (https, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Some(false), rest),
        Some(("https", rest)) => (Some(true), rest),
        Some(("*", rest)) => (None, rest),
        Some(_) => return Err(format!("the scheme is http or https: {HELP}")),
        None => (None, text),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let port = match port {
        Some("*") => None,
        Some(port) => Some(port.parse().map_err(|_| format!("`{port}` is not a port: {HELP}"))?),
        // Without a port it is the scheme's own.
        None => https.map(|https| if https { 443 } else { 80 }),
    };
    let body = host.strip_prefix("*.").unwrap_or(&host);
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host != "*" && (body.is_empty() || !body.chars().all(fine)) {
        return Err(if host.contains('/') { format!("an origin has no path: {HELP}") } else { HELP.to_owned() });
    }
    Ok(OriginPattern { https, host, port })
}

/// Whether everything that `inner` covers is covered by `outer`.
pub(crate) fn narrows(outer: &OriginPattern, inner: &OriginPattern) -> bool {
    let inner_host = inner.host.strip_prefix("*.").map_or_else(|| inner.host.clone(), |host| format!("x.{host}"));
    (outer.https.is_none() || outer.https == inner.https)
        && (outer.port.is_none() || outer.port == inner.port)
        && (outer.host == inner.host || (inner.host != "*" && host_covers(&outer.host, &inner_host)))
}

/// Whether the policy allows an origin; loopback only when it lists none.
pub(crate) fn allows(policy: &Policy, base: &BaseUrl) -> bool {
    if policy.allow.is_empty() { is_loopback(&base.host) } else { address::allows_origin(policy, base) }
}

fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

/// Whether a host name or address literal is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(address::is_loopback)
}

/// Why a host is never loaded, whatever a policy says: a metadata service or a link-local address, by name or literal.
/// What other names resolve to is checked when a connection is opened.
pub(crate) fn forbidden(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let names = ["metadata.google.internal", "metadata", "metadata.goog", "instance-data"];
    if names.contains(&host.trim_end_matches('.')) {
        return Some("a cloud metadata service");
    }
    host.parse().ok().and_then(address::refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, https: bool, host: &str, port: u16, expected: bool| {
            let parsed = parse_pattern(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            let policy = Policy { allow: vec![parsed], ..Policy::default() };
            let base = BaseUrl { https, host: host.into(), port, prefix: "".into() };
            assert_eq!(allows(&policy, &base), expected, "{pattern} {host}:{port}");
        };
        check("http://localhost:*", false, "LOCALHOST", 8080, true);
        check("http://localhost:*", true, "localhost", 8080, false);
        check("https://*.example.com", true, "api.example.com", 443, true);
        check("https://*.example.com", true, "a.b.example.com", 443, true);
        check("https://*.example.com", true, "example.com", 443, false);
        check("https://*.example.com", true, "evilexample.com", 443, false);
        check("https://*.example.com", true, "api.example.com", 8443, false);
        check("*.example.com:8443", true, "api.example.com", 8443, true);
        check("http://[::1]:80", false, "::1", 80, true);
        check("*", true, "anything", 1, true);
        for bad in ["ftp://x", "http://", "http://x/path", "http://x:port", "http://a b"] {
            assert!(parse_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_only_narrows() {
        let check = |outer: &str, inner: &str, expected: bool| {
            let parse = |text| parse_pattern(text).expect(text);
            assert_eq!(narrows(&parse(outer), &parse(inner)), expected, "{outer} {inner}");
        };
        check("https://*.example.com", "https://api.example.com", true);
        check("https://*.example.com", "https://*.eu.example.com", true);
        check("https://*.example.com", "https://*.com", false);
        check("https://*.example.com", "http://api.example.com", false);
        check("https://*.example.com", "https://*:443", false);
        check("*", "https://*.example.com:*", true);
        check("http://localhost:*", "http://localhost:80", true);
        check("http://localhost:80", "http://localhost:*", false);
    }

    #[test]
    fn addresses_that_no_policy_allows() {
        for host in
            ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "Metadata.google.internal"]
        {
            assert!(forbidden(host).is_some(), "{host}");
        }
        for host in ["127.0.0.1", "10.0.0.1", "example.com", "::1"] {
            assert!(forbidden(host).is_none(), "{host}");
        }
        assert!(
            is_loopback("127.9.9.9") && is_loopback("::1") && is_loopback("api.localhost") && !is_loopback("10.0.0.1")
        );
    }
}
