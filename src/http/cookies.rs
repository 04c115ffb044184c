//! The cookies of one user (RFC 6265), pure. A user talks to one target, so a cookie belongs to its host; what is kept is
//! bounded in number and in size.

use ::http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use cookie::{Cookie, Expiration};
use jiff::Timestamp;

/// Cookies of one user; beyond it the oldest goes.
const MAX_COOKIES: usize = 50;

/// Longest name and value together, bytes, as in browsers.
const MAX_BYTES: usize = 4096;

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The target's host.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Over TLS.
    pub https: bool,
}

impl Place<'_> {
    fn folder(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        match path.rfind('/') {
            Some(at) if at > 0 => &path[..at],
            _ => "/",
        }
    }
}

/// The cookies that a user was given.
#[derive(Debug, Default)]
pub struct Jar(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    name: String,
    value: String,
    path: String,
    secure: bool,
    expires: Option<i64>,
}

impl Kept {
    fn goes_to(&self, place: Place<'_>, now: i64) -> bool {
        let path = place.path.split('?').next().unwrap_or_default();
        let within = path
            .strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        within && (place.https || !self.secure) && self.expires.is_none_or(|at| at > now)
    }
}

impl Jar {
    /// The `cookie` header of a request; longer paths first. `None` if there is nothing to send.
    pub fn header(&self, place: Place<'_>, now: Timestamp) -> Option<HeaderValue> {
        let mut sent: Vec<&Kept> = self.0.iter().filter(|kept| kept.goes_to(place, now.as_second())).collect();
        sent.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let pairs: Vec<String> = sent.into_iter().map(|kept| format!("{}={}", kept.name, kept.value)).collect();
        let mut value = HeaderValue::try_from(pairs.join("; ")).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Keeps what the answer to a request sets, and forgets what it takes back.
    pub fn keep(&mut self, headers: &HeaderMap, place: Place<'_>, now: Timestamp) {
        for text in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let Ok(cookie) = Cookie::parse(text) else { continue };
            self.set(&cookie, place, now.as_second());
        }
    }

    fn set(&mut self, cookie: &Cookie<'_>, place: Place<'_>, now: i64) {
        let secure = cookie.secure() == Some(true);
        let foreign = cookie.domain().is_some_and(|domain| !covers(domain, place.host));
        let size = cookie.name().len() + cookie.value().len();
        if foreign || cookie.name().is_empty() || size > MAX_BYTES || (secure && !place.https) {
            return;
        }
        let path = cookie.path().filter(|path| path.starts_with('/') && path.len() <= MAX_BYTES);
        let path = path.unwrap_or_else(|| place.folder()).to_owned();
        self.0.retain(|kept| kept.name != cookie.name() || kept.path != path);
        let expires = match (cookie.max_age(), cookie.expires()) {
            (Some(age), _) => Some(now.saturating_add(age.whole_seconds())),
            (None, Some(Expiration::DateTime(at))) => Some(at.unix_timestamp()),
            (None, _) => None,
        };
        if expires.is_some_and(|at| at <= now) {
            return;
        }
        if self.0.len() >= MAX_COOKIES {
            self.0.remove(0);
        }
        let (name, value) = (cookie.name().to_owned(), cookie.value().to_owned());
        self.0.push(Kept { name, value, path, secure, expires });
    }
}

/// Whether a cookie's `Domain` is the host's own, or one above it.
fn covers(domain: &str, host: &str) -> bool {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    let above = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
    host == domain || (above && domain.contains('.') && host.parse::<std::net::IpAddr>().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_262_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    fn place(path: &str, https: bool) -> Place<'_> {
        Place { host: "api.example.com", path, https }
    }

    /// What a jar sends to `/a/b?x` at noon and a minute, over TLS or not, after these were set by `/a/login`.
    fn sent(set: &[&str], https: bool) -> String {
        let mut jar = Jar::default();
        for text in set {
            let headers = HeaderMap::from_iter([(SET_COOKIE, HeaderValue::from_str(text).expect("a header"))]);
            jar.keep(&headers, place("/a/login?y", https), at(NOON));
        }
        let header = jar.header(place("/a/b?x", https), at(NOON + 60));
        header.map_or_else(String::new, |value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn what_is_set_is_sent_where_it_belongs() {
        let check = |set: &[&str], expected: &str| assert_eq!(sent(set, false), expected, "{set:?}");
        check(&["s=1"], "s=1");
        check(&["s=1", "s=2"], "s=2");
        check(&["s=1; Path=/", "t=2; path=/a"], "t=2; s=1");
        check(&["s=1; Path=/other"], "");
        check(&["s=1; Path=/a/b"], "s=1");
        check(&["s=1; Path=/a/"], "s=1");
        check(&["s=1; Path=/a/bc"], "");
        check(&["s=1; Max-Age=30"], "");
        check(&["s=1; Max-Age=90"], "s=1");
        check(&["s=1", "s=; Max-Age=0"], "");
        check(&["s=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "");
        check(&["s=1; Expires=Fri, 31 Dec 2027 23:59:59 GMT"], "s=1");
        check(&["s=1; Max-Age=90; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "s=1");
        check(&["s=1; Domain=api.example.com"], "s=1");
        check(&["s=1; Domain=.example.com"], "s=1");
        check(&["s=1; Domain=com", "t=1; Domain=other.com", "u=1; Domain=x.api.example.com"], "");
        check(&["s=1; Secure"], "");
        check(&["no cookie", "=1", ";"], "");
        assert_eq!(sent(&["s=1; Secure; HttpOnly"], true), "s=1");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<String> = (0..60).map(|n| format!("c{n}=x")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let header = sent(&many, false);
        assert_eq!((header.split("; ").count(), header.starts_with("c10=x")), (50, true));
        assert_eq!(sent(&[&format!("s={}", "x".repeat(5000))], false), "");
    }
}
