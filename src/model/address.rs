//! Addresses that no load may reach, and origins that it may: checked when a configuration is loaded, before a
//! connection is opened and again on the connected peer, so that no name and no redirect leads around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    scenario::BaseUrl,
    settings::{OriginPattern, Policy},
};

/// Why `ip` is refused whatever the policy says; `None` if it is not. Forms that embed an IPv4 address (mapped, 6to4,
/// NAT64) are judged by what they embed.
pub fn refused(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => refused_v4(v4),
        IpAddr::V6(v6) => {
            embedded_v4(v6).map_or_else(|| refused_v6(v6), |v4| refused_v4(v4).or_else(|| refused_v6(v6)))
        }
    }
}

fn refused_v4(ip: Ipv4Addr) -> Option<&'static str> {
    const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
    if ip.is_link_local() {
        Some("a link-local address (169.254.0.0/16), where clouds keep their metadata")
    } else if METADATA.contains(&ip) {
        Some("a cloud metadata address")
    } else if ip.octets()[0] == 0 {
        Some("an address of this host on this network (0.0.0.0/8)")
    } else if ip.is_multicast() || ip.is_broadcast() {
        Some("a multicast or broadcast address")
    } else {
        None
    }
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unicast_link_local() {
        Some("a link-local address (fe80::/10)")
    } else if ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        Some("a cloud metadata address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if ip.is_unspecified() {
        Some("the unspecified address")
    } else {
        None
    }
}

/// The IPv4 address within a mapped or compatible (`::a.b.c.d`), 6to4 (2002::/16) or NAT64 (64:ff9b::/96) address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, _] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(of(high, low))
        }
        _ => None,
    }
}

/// Whether `ip` is this machine.
pub fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || embedded_v4(v6).is_some_and(|v4| v4.is_loopback()),
    }
}

/// Why a host is never loaded, whatever a policy says: a metadata service or a refused address, by name or literal. What
/// other names resolve to is for [`check_peer`].
pub fn forbidden(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let names = ["metadata.google.internal", "metadata", "metadata.goog", "instance-data"];
    if names.contains(&host.trim_end_matches('.')) {
        return Some("a cloud metadata service");
    }
    refused(host.parse().ok()?)
}

/// Whether a host name or address literal is this machine.
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

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
pub fn narrows(outer: &OriginPattern, inner: &OriginPattern) -> bool {
    let inner_host = inner.host.strip_prefix("*.").map_or_else(|| inner.host.clone(), |host| format!("x.{host}"));
    (outer.https.is_none() || outer.https == inner.https)
        && (outer.port.is_none() || outer.port == inner.port)
        && (outer.host == inner.host || (inner.host != "*" && host_covers(&outer.host, &inner_host)))
}

/// Whether the policy allows an origin as it is written; loopback only when it lists none.
pub fn allows(policy: &Policy, url: &BaseUrl) -> bool {
    if policy.allow.is_empty() { is_loopback_host(&url.host) } else { allows_origin(policy, url) }
}

/// Whether one of the policy's patterns covers the origin of `url`. An empty list covers nothing: see [`check_peer`].
pub fn allows_origin(policy: &Policy, url: &BaseUrl) -> bool {
    policy.allow.iter().any(|pattern| covers(pattern, url))
}

fn covers(pattern: &OriginPattern, url: &BaseUrl) -> bool {
    host_covers(&pattern.host, &url.host.to_ascii_lowercase())
        && pattern.https.is_none_or(|https| https == url.https)
        && pattern.port.is_none_or(|port| port == url.port)
}

fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

/// Whether a connection for `url` may go to `ip`. The error completes "refused by policy: ".
pub fn check_peer(policy: &Policy, url: &BaseUrl, ip: IpAddr) -> Result<(), String> {
    if let Some(why) = refused(ip) {
        return Err(format!("{ip} is {why}"));
    }
    if policy.allow.is_empty() {
        if is_loopback(ip) {
            return Ok(());
        }
        return Err(format!(
            "{ip} is not this machine, and without a policy only loopback is loaded; add to the configuration: policy: {{allow: [\"{}\"]}}",
            origin(url)
        ));
    }
    if allows_origin(policy, url) {
        return Ok(());
    }
    Err(format!("{} is not on the list; add to policy.allow: \"{}\"", origin(url), origin(url)))
}

/// `scheme://host:port`, as `policy.allow` takes it.
pub fn origin(url: &BaseUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.to_string() };
    format!("{}://{host}:{}", if url.https { "https" } else { "http" }, url.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(https: bool, host: &str, port: u16) -> BaseUrl {
        BaseUrl { https, host: host.into(), port, prefix: "".into() }
    }

    #[test]
    fn metadata_and_link_local_are_refused_in_every_spelling() {
        for ip in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::a9fe:a9fe",
            "::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(refused(ip.parse().expect("an address")).is_some(), "{ip}");
        }
        for ip in ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:127.0.0.1"] {
            assert!(refused(ip.parse().expect("an address")).is_none(), "{ip}");
        }
    }

    #[test]
    fn without_a_policy_only_loopback() {
        let policy = Policy::default();
        let target = url(false, "localhost", 80);
        assert!(check_peer(&policy, &target, "127.0.0.1".parse().expect("ip")).is_ok());
        assert!(check_peer(&policy, &target, "::1".parse().expect("ip")).is_ok());
        let refusal = check_peer(&policy, &url(true, "api.example.com", 443), "192.0.2.1".parse().expect("ip"));
        assert!(refusal.expect_err("not loopback").contains("\"https://api.example.com:443\""));
    }

    #[test]
    fn patterns() {
        let pattern = |https, host: &str, port| OriginPattern { https, host: host.to_owned(), port };
        let check = |p: &OriginPattern, u: &BaseUrl, expected: bool| assert_eq!(covers(p, u), expected, "{p:?} {u}");
        let wild = pattern(Some(true), "*.example.com", None);
        check(&wild, &url(true, "api.example.com", 443), true);
        check(&wild, &url(true, "a.b.example.com", 8443), true);
        check(&wild, &url(true, "example.com", 443), false);
        check(&wild, &url(true, "badexample.com", 443), false);
        check(&wild, &url(false, "api.example.com", 80), false);
        check(&pattern(Some(false), "localhost", None), &url(false, "LOCALHOST", 9000), true);
        check(&pattern(None, "*", Some(80)), &url(false, "anything", 80), true);
        check(&pattern(None, "*", Some(80)), &url(false, "anything", 81), false);
    }

    #[test]
    fn written_patterns() {
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
            is_loopback_host("127.9.9.9")
                && is_loopback_host("::1")
                && is_loopback_host("api.localhost")
                && !is_loopback_host("10.0.0.1")
        );
    }
}
