//! Which origins may be loaded: patterns of the policy, and addresses that no policy can allow.

use std::net::IpAddr;

use crate::model::{
    scenario::BaseUrl,
    settings::{OriginPattern, Policy},
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

/// Whether `pattern` covers an origin.
pub fn covers(pattern: &OriginPattern, https: bool, host: &str, port: u16) -> bool {
    pattern.https.is_none_or(|wanted| wanted == https)
        && pattern.port.is_none_or(|wanted| wanted == port)
        && host_covers(&pattern.host, &host.to_ascii_lowercase())
}

/// Whether everything that `inner` covers is covered by `outer`.
pub fn narrows(outer: &OriginPattern, inner: &OriginPattern) -> bool {
    let inner_host = inner.host.strip_prefix("*.").map_or_else(|| inner.host.clone(), |host| format!("x.{host}"));
    (outer.https.is_none() || outer.https == inner.https)
        && (outer.port.is_none() || outer.port == inner.port)
        && (outer.host == inner.host || (inner.host != "*" && host_covers(&outer.host, &inner_host)))
}

/// Whether the policy allows an origin; loopback only when it lists none.
pub fn allows(policy: &Policy, base: &BaseUrl) -> bool {
    if policy.allow.is_empty() {
        return is_loopback(&base.host);
    }
    policy.allow.iter().any(|pattern| covers(pattern, base.https, &base.host, base.port))
}

fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

/// Whether a host name or address literal is this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| canonical(ip).is_loopback())
}

/// Whether a host is a metadata service or link-local: never loaded, whatever a policy says.
pub fn is_forbidden(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let names = ["metadata.google.internal", "metadata", "metadata.goog", "instance-data"];
    names.contains(&host.trim_end_matches('.')) || host.parse::<IpAddr>().is_ok_and(is_forbidden_ip)
}

/// Whether an address is a metadata service or link-local, also when written as an IPv6 address that maps IPv4.
pub fn is_forbidden_ip(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.octets() == [100, 100, 100, 200] || v4.is_broadcast() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            let metadata = [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254];
            (v6.segments()[0] & 0xffc0) == 0xfe80 || v6.segments() == metadata || v6.is_multicast()
        }
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_canonical(),
        IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, https: bool, host: &str, port: u16, expected: bool| {
            let parsed = parse_pattern(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(covers(&parsed, https, host, port), expected, "{pattern} {host}:{port}");
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
            assert!(is_forbidden(host), "{host}");
        }
        for host in ["127.0.0.1", "10.0.0.1", "example.com", "::1"] {
            assert!(!is_forbidden(host), "{host}");
        }
        assert!(
            is_loopback("127.9.9.9") && is_loopback("::1") && is_loopback("api.localhost") && !is_loopback("10.0.0.1")
        );
    }
}
