//! How long something takes, each time anew: a constant, a range, or one of the two shapes that real servers have.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written::{duration_text, read_text};
use crate::model::units::parse_duration;

/// No sample is longer, however long the tail.
const LONGEST: Duration = Duration::from_hours(1);
/// The standard normal distribution's 99th percentile.
const Z99: f64 = 2.326_347_874_040_841;

/// A distribution of durations, written `20ms`, `10ms..50ms`, `exp 20ms` or `p50 20ms p99 200ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Any time of a range, each as likely.
    Uniform(Duration, Duration),
    /// Exponential, by its mean.
    Exponential(Duration),
    /// Log-normal, by its 50th and 99th percentile.
    Lognormal(Duration, Duration),
}

impl Default for Latency {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

impl From<Duration> for Latency {
    fn from(lasts: Duration) -> Self {
        Self::Constant(lasts)
    }
}

impl Latency {
    /// One time, drawn by chance.
    pub fn sample(&self) -> Duration {
        match self {
            Self::Constant(lasts) => *lasts,
            _ => self.at(rand::random(), rand::random()),
        }
    }

    /// The time for two independent numbers of [0, 1).
    pub fn at(&self, u: f64, v: f64) -> Duration {
        let seconds = match self {
            Self::Constant(lasts) => return *lasts,
            Self::Uniform(from, to) => from.as_secs_f64() + u * (to.as_secs_f64() - from.as_secs_f64()),
            Self::Exponential(mean) => -(1.0 - u).ln() * mean.as_secs_f64(),
            Self::Lognormal(p50, p99) => {
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / Z99;
                // Box and Muller: two uniform numbers make a normal one.
                let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                p50.as_secs_f64() * (sigma * normal).exp()
            }
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (parse_duration(from.trim())?, parse_duration(to.trim())?);
            return if from <= to {
                Ok(Self::Uniform(from, to))
            } else {
                Err("the range ends before it begins".into())
            };
        }
        if let Some(mean) = text.strip_prefix("exp ") {
            return Ok(Self::Exponential(parse_duration(mean.trim())?));
        }
        if let Some(rest) = text.strip_prefix("p50 ") {
            let (p50, p99) = rest.split_once(" p99 ").ok_or("write it as `p50 20ms p99 200ms`")?;
            let (p50, p99) = (parse_duration(p50.trim())?, parse_duration(p99.trim())?);
            return if p50.is_zero() || p99 < p50 {
                Err("p50 is above zero and not above p99".to_owned())
            } else {
                Ok(Self::Lognormal(p50, p99))
            };
        }
        let other = "; or write `10ms..50ms`, `exp 20ms` or `p50 20ms p99 200ms`";
        parse_duration(text).map(Self::Constant).map_err(|error| format!("{error}{other}"))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |duration: &Duration| duration_text(*duration);
        match self {
            Self::Constant(lasts) => f.write_str(&text(lasts)),
            Self::Uniform(from, to) => write!(f, "{}..{}", text(from), text(to)),
            Self::Exponential(mean) => write!(f, "exp {}", text(mean)),
            Self::Lognormal(p50, p99) => write!(f, "p50 {} p99 {}", text(p50), text(p99)),
        }
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        for text in ["20ms", "10ms..50ms", "exp 20ms", "p50 20ms p99 200ms"] {
            assert_eq!(text.parse::<Latency>().expect(text).to_string(), text);
        }
        for (text, expected) in [
            ("1", "the unit is missing"),
            ("50ms..10ms", "ends before it begins"),
            ("p50 20ms", "p50 20ms p99 200ms"),
            ("p50 20ms p99 2ms", "not above p99"),
        ] {
            let error = text.parse::<Latency>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn percentiles_are_what_was_written() {
        // Every pair of a fine grid stands for chance, so that the figures are the same each time.
        let percentile = |text: &str, p: f64| {
            let latency: Latency = text.parse().expect(text);
            let grid = |n: i32| (f64::from(n) + 0.5) / 300.0;
            let mut all: Vec<f64> = (0..300)
                .flat_map(|u| (0..300).map(move |v| (u, v)))
                .map(|(u, v)| latency.at(grid(u), grid(v)).as_secs_f64() * 1000.0)
                .collect();
            all.sort_by(f64::total_cmp);
            all[(p * all.len() as f64) as usize]
        };
        let check = |text: &str, p: f64, expected: f64| {
            let got = percentile(text, p);
            assert!((got / expected - 1.0).abs() < 0.05, "{text} at {p}: {got} instead of {expected}");
        };
        check("20ms", 0.99, 20.0);
        check("10ms..50ms", 0.5, 30.0);
        check("exp 20ms", 0.5, 20.0 * std::f64::consts::LN_2);
        check("exp 20ms", 0.99, 20.0 * 100_f64.ln());
        check("p50 20ms p99 200ms", 0.5, 20.0);
        check("p50 20ms p99 200ms", 0.99, 200.0);
    }
}
