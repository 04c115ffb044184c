//! Who may see and do what, decided from the request alone.
//!
//! There is no log-in yet, so loopback is the fence: pages, API and commands are for people on this machine (or behind
//! `kubectl port-forward` and ssh tunnels, which arrive on loopback). A browser on this machine is a hole in that fence,
//! since any web page can make it send requests here; hence the checks of Host (DNS rebinding) and of Origin and
//! Sec-Fetch-Site (cross-site requests).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, header};

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
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    if !names_loopback(host) {
        return Err(FOREIGN_HOST);
    }
    if reads {
        return Ok(());
    }
    let same_site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let same_origin = text(header::ORIGIN).is_none_or(|origin| {
        origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    if same_site && same_origin { Ok(()) } else { Err(CROSS_SITE) }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether `host[:port]` is this machine by a name that no DNS server can give away.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
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
    fn a_name_that_was_pointed_here_reads_nothing() {
        let near = ends("127.0.0.1:9590", "127.0.0.1:4000");
        for path in ["/", "/mail/1", "/api/v1/status"] {
            assert_eq!(admit(near, &Method::GET, path, &headers(&[("host", "evil.example:9590")])), Err(FOREIGN_HOST));
        }
    }
}
