//! Which origins may be loaded: patterns of the policy, and addresses that no policy can allow. This is the early word
//! on what stands in the file; `http/address.rs` has the last one, on the address that a name resolved to. A test holds
//! the two together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Whether everything that `inner` covers is covered by `outer`.
pub(crate) fn narrows(outer: &OriginPattern, inner: &OriginPattern) -> bool {
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
    let host = base.host.to_ascii_lowercase();
    policy.allow.iter().any(|pattern| {
        pattern.https.is_none_or(|https| https == base.https)
            && pattern.port.is_none_or(|port| port == base.port)
            && host_covers(&pattern.host, &host)
    })
}

/// `scheme://host:port`, as the policy's list takes it.
pub(crate) fn shown(base: &BaseUrl) -> String {
    let host = if base.host.contains(':') { format!("[{}]", base.host) } else { base.host.to_string() };
    format!("{}://{host}:{}", if base.https { "https" } else { "http" }, base.port)
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
    let address = host.parse().map(canonical);
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

/// Why a host is never loaded, whatever a policy says: a metadata service or a link-local address, by name or literal.
/// What other names resolve to is checked when a connection is opened.
pub fn forbidden(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let names = ["metadata.google.internal", "metadata", "metadata.goog", "instance-data"];
    if names.contains(&host.trim_end_matches('.')) {
        return Some("a cloud metadata service");
    }
    let address = host.parse::<IpAddr>().ok()?;
    forbidden_ip(canonical(address)).or_else(|| forbidden_ip(address))
}

fn forbidden_ip(ip: IpAddr) -> Option<&'static str> {
    const METADATA: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    let (link_local, nobody) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[0] == 0 || v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.is_unspecified()),
    };
    if link_local {
        Some("a link-local address, where clouds keep their metadata")
    } else if METADATA.contains(&ip) {
        Some("a cloud metadata address")
    } else if nobody || ip.is_multicast() {
        Some("not the address of one host")
    } else {
        None
    }
}

/// The IPv4 address within a mapped, compatible, 6to4 or NAT64 one.
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let (high, low) = match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            (high, low)
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => (high, low),
        _ => return ip,
    };
    IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
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
