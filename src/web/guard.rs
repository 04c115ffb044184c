//! Who may see and do what, decided from the request alone.
//!
//! There is no log-in yet, so loopback is the fence: pages, API and commands are for people on this machine (or behind
//! `kubectl port-forward` and ssh tunnels, which arrive on loopback). A browser on this machine is a hole in that fence,
//! since any web page can make it send requests here; hence the checks of Host (DNS rebinding) and of Origin and
//! Sec-Fetch-Site (cross-site requests).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, Method};

/// Served to everyone: kubelet and Prometheus come from elsewhere.
pub const PUBLIC: [&str; 3] = ["/metrics", "/-/healthy", "/-/ready"];

const OFF_LOOPBACK: &str = "Pages, API and commands are served on loopback only, because there is no log-in. Ask from the \
    machine itself, through an ssh tunnel, or with kubectl port-forward; /metrics, /-/healthy and /-/ready are open.";
const FOREIGN_HOST: &str = "The Host header names another machine. A web page may be trying to reach Plimsoll through your \
    browser. Use http://localhost or http://127.0.0.1 and the port.";
const CROSS_SITE: &str = "The request comes from another web page. Commands are taken from Plimsoll's own page, from the \
    command line, or from programs that send neither Origin nor Sec-Fetch-Site.";

/// Where a connection runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Our address.
    pub local: SocketAddr,
    /// Theirs.
    pub peer: SocketAddr,
}

/// Whether a request may pass; the error is the sentence to answer with 403.
pub fn admit(ends: Ends, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), &'static str> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads && PUBLIC.contains(&path) {
        return Ok(());
    }
    if !(is_loopback(ends.local.ip()) && is_loopback(ends.peer.ip())) {
        return Err(OFF_LOOPBACK);
    }
    let Ok(Some(host)) = only(headers, "host") else { return Err(FOREIGN_HOST) };
    if !names_loopback(host) {
        return Err(FOREIGN_HOST);
    }
    if reads {
        return Ok(());
    }
    let (Ok(site), Ok(origin)) = (only(headers, "sec-fetch-site"), only(headers, "origin")) else {
        return Err(CROSS_SITE);
    };
    let same_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let same_origin = origin.is_none_or(|origin| {
        origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    if same_site && same_origin { Ok(()) } else { Err(CROSS_SITE) }
}

/// The one value of a header, if it is there; an error if there are several, so that none of them goes unseen.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether `host[:port]` is this machine by a name that no DNS server can give away.
fn names_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(name, rest)| {
            let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            port && name.parse::<Ipv6Addr>().is_ok_and(|ip| is_loopback(ip.into()))
        });
    }
    let (name, port) = host.split_once(':').map_or((host, true), |(name, port)| (name, is_port(port)));
    port && (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn ends(local: &str, peer: &str) -> Ends {
        Ends { local: local.parse().expect("an address"), peer: peer.parse().expect("an address") }
    }

    #[test]
    fn off_loopback_only_the_public_paths_are_served() {
        let near = [
            ends("127.0.0.1:9590", "127.0.0.1:4000"),
            ends("[::1]:9590", "[::1]:4000"),
            ends("[::ffff:127.0.0.1]:9590", "[::ffff:127.0.0.1]:4000"),
        ];
        let far = [
            ends("10.0.0.5:9590", "10.0.0.9:4000"),
            ends("10.0.0.5:9590", "10.0.0.5:4000"),
            ends("[::ffff:10.0.0.5]:9590", "[::ffff:10.0.0.9]:4000"),
            ends("127.0.0.1:9590", "10.0.0.9:4000"),
        ];
        for (path, method, public) in [
            ("/metrics", Method::GET, true),
            ("/-/healthy", Method::HEAD, true),
            ("/-/ready", Method::GET, true),
            ("/metrics", Method::POST, false),
            ("/", Method::GET, false),
            ("/api/v1/status", Method::GET, false),
            ("/api/v1/runs", Method::GET, false),
            ("/mail/1", Method::GET, false),
            ("/api/v1/pause", Method::POST, false),
            ("/metrics/../api/v1/pause", Method::POST, false),
            ("/-/healthy/", Method::GET, false),
        ] {
            for ends in near {
                assert_eq!(
                    admit(ends, &method, path, &headers(&[("host", "localhost:9590")])),
                    Ok(()),
                    "{path} {ends:?}"
                );
            }
            for ends in far {
                let wanted = if public { Ok(()) } else { Err(OFF_LOOPBACK) };
                // A Host header does not make a stranger a neighbour.
                assert_eq!(
                    admit(ends, &method, path, &headers(&[("host", "localhost:9590")])),
                    wanted,
                    "{path} {ends:?}"
                );
            }
        }
    }

    #[test]
    fn only_our_own_page_and_programs_give_commands() {
        let check = |pairs: &[(&'static str, &str)], wanted| {
            let near = ends("127.0.0.1:9590", "127.0.0.1:4000");
            assert_eq!(admit(near, &Method::POST, "/api/v1/pause", &headers(pairs)), wanted, "{pairs:?}");
        };
        // Programs.
        check(&[("host", "127.0.0.1:9590")], Ok(()));
        check(&[("host", "localhost")], Ok(()));
        check(&[("host", "[::1]:9590")], Ok(()));
        check(&[("host", "LOCALHOST:1")], Ok(()));
        // Our own page, also through a tunnel from another port.
        check(
            &[("host", "localhost:9590"), ("origin", "http://localhost:9590"), ("sec-fetch-site", "same-origin")],
            Ok(()),
        );
        check(&[("host", "127.0.0.1:8000"), ("origin", "http://127.0.0.1:8000")], Ok(()));
        check(&[("host", "localhost:9590"), ("sec-fetch-site", "none")], Ok(()));
        // Another page in the same browser.
        check(&[("host", "localhost:9590"), ("origin", "https://evil.example")], Err(CROSS_SITE));
        check(&[("host", "localhost:9590"), ("origin", "null")], Err(CROSS_SITE));
        check(&[("host", "localhost:9590"), ("origin", "http://localhost:3000")], Err(CROSS_SITE));
        check(&[("host", "localhost:9590"), ("origin", "https://localhost:9590")], Err(CROSS_SITE));
        check(&[("host", "localhost:9590"), ("sec-fetch-site", "cross-site")], Err(CROSS_SITE));
        check(&[("host", "localhost:9590"), ("sec-fetch-site", "same-site")], Err(CROSS_SITE));
        check(
            &[("host", "localhost:9590"), ("origin", "http://localhost:9590"), ("sec-fetch-site", "cross-site")],
            Err(CROSS_SITE),
        );
        // A name that was pointed here.
        check(&[("host", "evil.example:9590"), ("origin", "http://evil.example:9590")], Err(FOREIGN_HOST));
        check(&[("host", "localhost.evil.example")], Err(FOREIGN_HOST));
        check(&[("host", "127.0.0.1.evil.example")], Err(FOREIGN_HOST));
        check(&[("host", "10.0.0.5:9590")], Err(FOREIGN_HOST));
        check(&[], Err(FOREIGN_HOST));
    }

    #[test]
    fn a_host_is_taken_whole() {
        for (host, wanted) in [
            ("[::1]", true),
            ("[::1]:9590", true),
            ("[::ffff:127.0.0.1]:9590", true),
            ("127.0.0.1:9590", true),
            ("[::1]evil", false),
            ("[::1].evil.example", false),
            ("[::1]evil:9590", false),
            ("[::1]:evil", false),
            ("[::1]:", false),
            ("[::1", false),
            ("[localhost]", false),
            ("::1:9590", false),
            ("localhost:9590.evil.example", false),
            ("localhost:evil", false),
            ("localhost:80:80", false),
            ("user@localhost", false),
            ("", false),
        ] {
            assert_eq!(names_loopback(host), wanted, "{host}");
        }
    }

    #[test]
    fn a_second_header_does_not_hide_behind_the_first() {
        let near = ends("127.0.0.1:9590", "127.0.0.1:4000");
        for (name, first, second, wanted) in [
            ("origin", "http://localhost:9590", "https://evil.example", CROSS_SITE),
            ("origin", "https://evil.example", "http://localhost:9590", CROSS_SITE),
            ("origin", "http://localhost:9590", "http://localhost:9590", CROSS_SITE),
            ("sec-fetch-site", "same-origin", "cross-site", CROSS_SITE),
            ("sec-fetch-site", "none", "none", CROSS_SITE),
            ("host", "localhost:9590", "evil.example", FOREIGN_HOST),
        ] {
            let mut several = headers(&[(name, first)]);
            several.append(name, second.parse().expect("a value"));
            if name != "host" {
                several.append("host", "localhost:9590".parse().expect("a value"));
            }
            assert_eq!(admit(near, &Method::POST, "/api/v1/pause", &several), Err(wanted), "{name}: {first}, {second}");
        }
    }

    #[test]
    fn a_name_that_was_pointed_here_reads_nothing() {
        let near = ends("127.0.0.1:9590", "127.0.0.1:4000");
        for path in ["/", "/mail/1", "/api/v1/status"] {
            assert_eq!(admit(near, &Method::GET, path, &headers(&[("host", "evil.example:9590")])), Err(FOREIGN_HOST));
        }
    }
}
