//! The tools beside which we stand, and what they say.

use crate::{
    measure::{self, Done, Usage},
    ours,
    server::Server,
};

/// What is asked of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) users: u32,
    pub(crate) seconds: u32,
    /// `None`: as fast as it goes.
    pub(crate) rate: Option<u32>,
    pub(crate) path: &'static str,
}

impl Load {
    pub(crate) fn closed(users: u32, seconds: u32, path: &'static str) -> Self {
        Self { users, seconds, rate: None, path }
    }

    pub(crate) fn rate(rate: u32, seconds: u32) -> Self {
        Self { users: 50, seconds, rate: Some(rate), path: "/" }
    }
}

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Plimsoll,
    Wrk,
    Oha,
    Hey,
    Ab,
}

impl Tool {
    pub(crate) const ALL: [Self; 5] = [Self::Plimsoll, Self::Wrk, Self::Oha, Self::Hey, Self::Ab];

    fn program(self) -> &'static str {
        match self {
            Self::Plimsoll => "",
            Self::Wrk => "wrk",
            Self::Oha => "oha",
            Self::Hey => "hey",
            Self::Ab => "ab",
        }
    }

    pub(crate) fn is_there(self) -> bool {
        self == Self::Plimsoll || measure::is_there(self.program())
    }

    /// Whether it can keep a rate.
    pub(crate) fn paces(self) -> bool {
        matches!(self, Self::Plimsoll | Self::Oha | Self::Hey)
    }

    /// `None` if the tool failed.
    pub(crate) fn measure(self, server: &Server, load: Load) -> Option<Usage> {
        if self == Self::Plimsoll {
            return ours::measure(server, load);
        }
        let done = measure::run(self.program(), &self.arguments(load, &server.url(load.path)), server.pid())?;
        let (requests, seconds) = self.figures(&done)?;
        let latency_p99 = if self == Self::Oha { number(&done.text, "\"p99\":").unwrap_or(f64::NAN) } else { f64::NAN };
        Some(Usage { requests, seconds, latency_p99, ..done.usage })
    }

    fn arguments(self, load: Load, url: &str) -> Vec<String> {
        let Load { users, seconds, rate, .. } = load;
        let line = match self {
            Self::Plimsoll => String::new(),
            Self::Wrk => format!("-t1 -c{users} -d{seconds}s --timeout 30s {url}"),
            Self::Oha => {
                let rate = rate.map_or_else(String::new, |rate| format!("-q {rate} --latency-correction "));
                format!("--no-tui --output-format json -c {users} -z {seconds}s {rate}{url}")
            }
            Self::Hey => {
                let rate = rate.map_or_else(String::new, |rate| format!("-q {} ", rate / users));
                format!("-c {users} -z {seconds}s {rate}{url}")
            }
            Self::Ab => format!("-q -k -c {users} -t {seconds} -n 10000000 {url}"),
        };
        line.split(' ').map(str::to_owned).collect()
    }

    /// Requests answered, and in how many seconds.
    fn figures(self, done: &Done) -> Option<(f64, f64)> {
        let text = &done.text;
        Some(match self {
            Self::Plimsoll => return None,
            Self::Wrk => {
                let line = text.lines().find(|line| line.contains("requests in"))?;
                let mut words = line.split_whitespace();
                let requests: f64 = words.next()?.parse().ok()?;
                (requests, requests / number(text, "Requests/sec:")?)
            }
            Self::Oha => {
                let (rate, seconds) = (number(text, "\"requestsPerSec\":")?, number(text, "\"total\":")?);
                (rate * seconds, seconds)
            }
            Self::Hey => {
                let (rate, seconds) = (number(text, "Requests/sec:")?, number(text, "Total:")?);
                (rate * seconds, seconds)
            }
            Self::Ab => (number(text, "Complete requests:")?, number(text, "Time taken for tests:")?),
        })
    }
}

/// The number behind a name.
fn number(text: &str, name: &str) -> Option<f64> {
    let rest = text[text.find(name)? + name.len()..].trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == 'e' || c == '-')).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
