//! Lists in one word: which statuses fall to which share of the requests, and which paths take how long.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    latency::Latency,
    written::{parse_share, read_text},
};

/// As many statuses or paths as can be listed.
const MAX_LISTED: usize = 50;

/// Statuses and the shares of the requests answered with them: `500=1%,503=5%`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Errors(pub BTreeMap<u16, f64>);

/// Paths, as the log writes them, and how long they take: `/api/agents=800ms,/api/rag=exp 300ms`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PathLatency(pub BTreeMap<String, Latency>);

/// The pairs of a list `KEY=VALUE,KEY=VALUE`; empty text is an empty list.
fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.enumerate().map(|(n, item)| match item.split_once('=') {
        _ if n >= MAX_LISTED => Err(format!("at most {MAX_LISTED} can be listed")),
        Some((key, value)) => Ok((key.trim(), value.trim())),
        None => Err(format!("`{item}` has no `=`")),
    })
}

impl FromStr for Errors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for pair in pairs(text) {
            let (status, share) = pair?;
            let known = status.parse().ok().filter(|status| (200..=599).contains(status));
            let status =
                known.ok_or_else(|| format!("`{status}`: write a status of 200 to 599, as in 500=1%,503=5%"))?;
            all.insert(status, parse_share(share)?);
        }
        if all.values().sum::<f64>() > 1.0 + 1e-9 {
            return Err("the shares add up to more than 100%".to_owned());
        }
        Ok(Self(all))
    }
}

impl FromStr for PathLatency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |pair: Result<(&str, &str), String>| {
            let (path, latency) = pair?;
            if !path.starts_with('/') {
                return Err(format!("`{path}`: a path begins with /, as in /api/rag=300ms"));
            }
            Ok((path.to_owned(), latency.parse()?))
        };
        pairs(text).map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn list<K: fmt::Display, V>(
    f: &mut fmt::Formatter<'_>,
    items: &BTreeMap<K, V>,
    value: impl Fn(&V) -> String,
) -> fmt::Result {
    for (n, (key, item)) in items.iter().enumerate() {
        write!(f, "{}{key}={}", if n > 0 { "," } else { "" }, value(item))?;
    }
    Ok(())
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0, |share| format!("{}%", share * 100.0))
    }
}

impl fmt::Display for PathLatency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0, Latency::to_string)
    }
}

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PathLatency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Errors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, str::parse)
    }
}

impl<'de> Deserialize<'de> for PathLatency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, str::parse)
    }
}

/// Spreads a share evenly over what comes: of n exactly ⌊n·share⌋, counted anew when the share changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread {
    share: f64,
    seen: u64,
    given: u64,
}

impl Spread {
    /// Counts one more; whether one is due.
    pub fn see(&mut self, share: f64) -> bool {
        if self.share.to_bits() != share.to_bits() {
            *self = Self { share, ..Self::default() };
        }
        self.seen += 1;
        self.due()
    }

    /// Takes the one that is due.
    pub fn give(&mut self) {
        self.given += 1;
    }

    /// Counts one more and takes it if it is due.
    pub fn takes(&mut self, share: f64) -> bool {
        let due = self.see(share);
        self.given += u64::from(due);
        due
    }

    fn due(&self) -> bool {
        (self.seen as f64 * self.share + 1e-9).floor() as u64 > self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_and_read_back() {
        assert_eq!("503=5%, 500=1%".parse::<Errors>().expect("a list").to_string(), "500=1%,503=5%");
        assert_eq!("/a=exp 5ms,/b=1s".parse::<PathLatency>().expect("a list").to_string(), "/a=exp 5ms,/b=1s");
        assert_eq!("".parse::<Errors>().expect("an empty list"), Errors::default());
        for (text, expected) in [("500", "no `=`"), ("99=1%", "200 to 599"), ("500=60%,503=50%", "more than 100%")] {
            let error = text.parse::<Errors>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!("rag=1s".parse::<PathLatency>().expect_err("no path").contains("begins with /"));
    }

    #[test]
    fn shares_are_exact() {
        let check = |share: f64, of: u64, expected: u64| {
            let mut spread = Spread::default();
            assert_eq!((0..of).filter(|_| spread.takes(share)).count() as u64, expected, "{share} of {of}");
        };
        check(0.0, 100, 0);
        check(0.2, 100, 20);
        check(0.29, 100, 29);
        check(0.5, 5, 2);
        check(1.0, 100, 100);
    }
}
