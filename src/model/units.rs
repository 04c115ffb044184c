//! Numbers with units, as people write them: `10s`, `5%`, `30MB`, `10/s`. Units are always written, so that no number
//! means seconds to one reader and milliseconds to another.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a number counts; values are kept in the base unit named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// A plain count.
    #[serde(rename = "")]
    Count,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// A share, 0 to 1.
    #[serde(rename = "ratio")]
    Ratio,
    /// Percentage points: a difference of shares, 0 to 1.
    #[serde(rename = "pp")]
    Points,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// Events per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Bytes per second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
}

impl Unit {
    /// As it stands in JSON and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "s",
            Self::Ratio => "ratio",
            Self::Points => "pp",
            Self::Bytes => "B",
            Self::PerSecond => "1/s",
            Self::BytesPerSecond => "B/s",
        }
    }
}

impl Unit {
    /// The unit that a document names; what is not known counts.
    pub fn named(name: &str) -> Self {
        let all = [Self::Seconds, Self::Ratio, Self::Points, Self::Bytes, Self::PerSecond, Self::BytesPerSecond];
        all.into_iter().find(|unit| unit.as_str() == name).unwrap_or(Self::Count)
    }
}

/// A number in its base unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// In the base unit.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
}

/// Suffix, base unit, multiplier. `GB` is 10⁹ bytes, `GiB` 2³⁰.
const SUFFIXES: &[(&str, Unit, f64)] = &[
    ("ns", Unit::Seconds, 1e-9),
    ("us", Unit::Seconds, 1e-6),
    ("µs", Unit::Seconds, 1e-6),
    ("ms", Unit::Seconds, 1e-3),
    ("s", Unit::Seconds, 1.0),
    ("m", Unit::Seconds, 60.0),
    ("min", Unit::Seconds, 60.0),
    ("h", Unit::Seconds, 3600.0),
    ("d", Unit::Seconds, 86_400.0),
    ("w", Unit::Seconds, 604_800.0),
    ("%", Unit::Ratio, 0.01),
    ("pp", Unit::Points, 0.01),
    ("B", Unit::Bytes, 1.0),
    ("kB", Unit::Bytes, 1e3),
    ("KB", Unit::Bytes, 1e3),
    ("MB", Unit::Bytes, 1e6),
    ("GB", Unit::Bytes, 1e9),
    ("TB", Unit::Bytes, 1e12),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("GiB", Unit::Bytes, 1_073_741_824.0),
    ("TiB", Unit::Bytes, 1_099_511_627_776.0),
];

const PER: &[(&str, f64)] = &[("s", 1.0), ("sec", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// The base unit and multiplier of a suffix such as `ms`, `%`, `MB`, `/s` or `MB/h`; empty is a plain count.
pub fn suffix(text: &str) -> Option<(Unit, f64)> {
    if text.is_empty() {
        return Some((Unit::Count, 1.0));
    }
    if let Some((size, per)) = text.split_once('/') {
        let (_, seconds) = PER.iter().find(|(name, _)| *name == per)?;
        return match suffix(size)? {
            (Unit::Count, factor) => Some((Unit::PerSecond, factor / seconds)),
            (Unit::Bytes, factor) => Some((Unit::BytesPerSecond, factor / seconds)),
            _ => None,
        };
    }
    SUFFIXES.iter().find(|(name, ..)| *name == text).map(|(_, unit, factor)| (*unit, *factor))
}

/// Parses a number with an optional unit (`1.5s`, `1m30s`, `5%`, `10/s`, `42`). Negative numbers are accepted.
///
/// The error completes "… is not a number with a unit: ".
pub fn parse_quantity(text: &str) -> Result<Quantity, String> {
    let text = text.trim();
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut total: Option<Quantity> = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(rest.len());
        let number: f64 = rest[..digits]
            .replace('_', "")
            .parse()
            .map_err(|_| "write a number and a unit, such as 10s, 5%, 30MB or 10/s".to_owned())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let name = rest[..end].trim();
        rest = &rest[end..];
        let (unit, factor) = suffix(name).ok_or_else(|| {
            format!("`{name}` is not a unit: use ns us ms s m h d, %, pp, B kB MB GB KiB MiB GiB, or /s /m /h")
        })?;
        let value = number * factor;
        total = match total {
            None => Some(Quantity { value, unit }),
            Some(sum) if sum.unit == Unit::Seconds && unit == Unit::Seconds => {
                Some(Quantity { value: sum.value + value, unit })
            }
            Some(_) => return Err("only durations are written in several parts, such as 1m30s".to_owned()),
        };
    }
    let total = total.ok_or("write a number and a unit, such as 10s, 5%, 30MB or 10/s")?;
    if !total.value.is_finite() {
        return Err("it is too large".to_owned());
    }
    Ok(Quantity { value: total.value * sign, unit: total.unit })
}

/// Parses a duration: `10s`, `500ms`, `1m30s`, `30d`; 0 to 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a duration such as 500ms, 10s, 5m, 1h30m or 30d";
    match parse_quantity(text) {
        Ok(Quantity { unit: Unit::Count, .. }) => Err(format!("the unit is missing: {HELP}")),
        Ok(Quantity { value, unit: Unit::Seconds }) if (0.0..=3_155_760_000.0).contains(&value) => {
            // Rounded to whole nanoseconds, so that 0.1s is exactly 100 ms.
            Ok(Duration::from_nanos((value * 1e9).round() as u64))
        }
        _ => Err(HELP.to_owned()),
    }
}

/// Iterations per time, kept as written so that offsets are exact: 10/s, 30/m.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many.
    pub count: f64,
    /// In how long.
    pub per: Duration,
}

impl Rate {
    /// Per second.
    pub fn per_second(self) -> f64 {
        self.count / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        write!(f, "{}/{per}", self.count)
    }
}

/// Parses a rate: `10/s`, `30/m`, `0.5/s`; above 0.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    const HELP: &str = "write a rate such as 10/s, 30/m or 100/h";
    let (count, per) = text.trim().split_once('/').ok_or(HELP)?;
    let count: f64 = count.trim().replace('_', "").parse().map_err(|_| HELP.to_owned())?;
    let (_, seconds) = PER.iter().find(|(name, _)| *name == per.trim()).ok_or(HELP)?;
    if !(count.is_finite() && count > 0.0) {
        return Err(format!("a rate is above 0: {HELP}"));
    }
    Ok(Rate { count, per: Duration::from_secs_f64(*seconds) })
}

/// Parses how much a line carries: `2Mbit/s`, `500kbit/s`, `64kB/s`; bytes per second, at least 1.
pub fn parse_bandwidth(text: &str) -> Result<f64, String> {
    const HELP: &str = "write 2Mbit/s, 500kbit/s or 64kB/s";
    let text = text.trim();
    let bits = [("Gbit/s", 125e6), ("Mbit/s", 125e3), ("kbit/s", 125.0), ("bit/s", 0.125)];
    let bytes = match bits.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes))) {
        Some((count, bytes)) => count.trim().replace('_', "").parse::<f64>().map_err(|_| HELP.to_owned())? * bytes,
        None => match parse_quantity(text) {
            Ok(Quantity { value, unit: Unit::BytesPerSecond }) => value,
            _ => return Err(HELP.to_owned()),
        },
    };
    if (1.0..1e12).contains(&bytes) { Ok(bytes) } else { Err(format!("a line carries 1 B/s to 1 TB/s: {HELP}")) }
}

/// Parses a rate that may be none: `10/s`, `0/s`.
pub fn parse_level(text: &str) -> Result<Rate, String> {
    match text.trim().split_once('/') {
        Some((count, per)) if count.trim().parse::<f64>().is_ok_and(|count| count == 0.0) => {
            parse_rate(&format!("1/{per}")).map(|rate| Rate { count: 0.0, ..rate })
        }
        _ => parse_rate(text),
    }
}

/// Whether it is a rate of none, such as `0/s`.
pub fn is_no_rate(text: &str) -> bool {
    parse_level(text).is_ok_and(|rate| rate.count == 0.0)
}

/// Seconds as a person reads them: `350 µs`, `12.3 ms`, `1.25 s`, `2m05s`, `3h00m`.
pub fn human_seconds(seconds: f64) -> String {
    let magnitude = seconds.abs();
    if magnitude == 0.0 {
        "0 s".to_owned()
    } else if magnitude < 1e-3 {
        format!("{} µs", significant(seconds * 1e6))
    } else if magnitude < 1.0 {
        format!("{} ms", significant(seconds * 1e3))
    } else if magnitude < 120.0 {
        format!("{} s", significant(seconds))
    } else if magnitude < 3600.0 {
        let whole = magnitude.round() as u64;
        format!("{}m{:02}s", whole / 60, whole % 60)
    } else if magnitude < 172_800.0 {
        let minutes = (magnitude / 60.0).round() as u64;
        format!("{}h{:02}m", minutes / 60, minutes % 60)
    } else {
        format!("{} d", significant(seconds / 86_400.0))
    }
}

/// Bytes as a person reads them, in powers of ten: `1.5 kB`, `13.6 GB`.
pub fn human_bytes(bytes: f64) -> String {
    let steps = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    steps.iter().find(|(size, _)| bytes.abs() >= *size).map_or_else(
        || format!("{} B", significant(bytes)),
        |(size, name)| format!("{} {name}", significant(bytes / size)),
    )
}

/// A value in its base unit as a person reads it.
pub fn human(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => significant(value),
        Unit::Seconds => human_seconds(value),
        Unit::Ratio => format!("{} %", significant(value * 100.0)),
        Unit::Points => format!("{} pp", significant(value * 100.0)),
        Unit::Bytes => human_bytes(value),
        Unit::PerSecond => format!("{}/s", significant(value)),
        Unit::BytesPerSecond => format!("{}/s", human_bytes(value)),
    }
}

/// Three significant digits, whole numbers whole, no trailing zeros.
fn significant(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 100.0 || m.fract() == 0.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let check = |text: &str, value: f64, unit: Unit| {
            let quantity = parse_quantity(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!((quantity.value - value).abs() <= 1e-12 * value.abs().max(1.0), "{text}: {quantity:?}");
            assert_eq!(quantity.unit, unit, "{text}");
        };
        check("10s", 10.0, Unit::Seconds);
        check("1m30s", 90.0, Unit::Seconds);
        check("200ms", 0.2, Unit::Seconds);
        check("5%", 0.05, Unit::Ratio);
        check("5pp", 0.05, Unit::Points);
        check("30MB", 30e6, Unit::Bytes);
        check("1GiB", 1_073_741_824.0, Unit::Bytes);
        check("100/s", 100.0, Unit::PerSecond);
        check("30/m", 0.5, Unit::PerSecond);
        check("30/min", 0.5, Unit::PerSecond);
        check("1MB/h", 1e6 / 3600.0, Unit::BytesPerSecond);
        check("10_000", 10_000.0, Unit::Count);
        check("-3s", -3.0, Unit::Seconds);
        check("30d", 2_592_000.0, Unit::Seconds);
        for bad in ["", "s", "10 parsecs", "5%3s", "1..2s", "1e400"] {
            assert!(parse_quantity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_rates() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("0.1s"), Ok(Duration::from_millis(100)));
        assert!(parse_duration("10").expect_err("no unit").contains("unit is missing"));
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("5%").is_err());
        let rate = parse_rate("30/m").expect("a rate");
        assert!((rate.per_second() - 0.5).abs() < f64::EPSILON);
        assert_eq!(rate.to_string(), "30/m");
        assert!(parse_rate("0/s").is_err());
        assert!(parse_rate("10").is_err());
    }

    #[test]
    fn lines() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse_bandwidth(text).ok(), expected, "{text}");
        check("2Mbit/s", Some(250_000.0));
        check("500kbit/s", Some(62_500.0));
        check("8 bit/s", Some(1.0));
        check("64kB/s", Some(64_000.0));
        check("1MB/s", Some(1e6));
        for bad in ["2Mbit", "2M", "10/s", "7bit/s", "-1kB/s", "xkbit/s", "NaNMbit/s", ""] {
            check(bad, None);
        }
    }

    #[test]
    fn for_people() {
        let check = |seconds, expected: &str| assert_eq!(human_seconds(seconds), expected);
        check(0.0, "0 s");
        check(0.000_35, "350 µs");
        check(0.0123, "12.3 ms");
        check(1.25, "1.25 s");
        check(125.0, "2m05s");
        check(10_800.0, "3h00m");
        assert_eq!(human_bytes(13.6e9), "13.6 GB");
        assert_eq!(human(0.052, Unit::Ratio), "5.2 %");
        assert_eq!(human(3000.0, Unit::Count), "3000");
    }
}
