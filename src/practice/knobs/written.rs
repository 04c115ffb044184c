//! How the values of knobs are written: numbers with units as everywhere in Plimsoll, in JSON and in flags alike.

use std::time::Duration;

use serde::Deserialize;

use super::Stall;
use crate::model::units::{self, Rate, Unit};

pub(super) fn parse_stall(text: &str) -> Result<Stall, String> {
    let (lasts, every) = text.split_once(" every ").ok_or("write it as `1s every 10s`")?;
    let stall = Stall { lasts: units::parse_duration(lasts)?, every: units::parse_duration(every)? };
    if stall.lasts < stall.every { Ok(stall) } else { Err("the stall must be shorter than its period".to_owned()) }
}

pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let quantity = units::parse_quantity(text)?;
    match quantity.unit {
        Unit::Bytes | Unit::Count if quantity.value >= 0.0 => Ok(quantity.value as u64),
        _ => Err("write a size such as 256MB or 1GiB".to_owned()),
    }
}

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let quantity = units::parse_quantity(text)?;
    match quantity.unit {
        Unit::Ratio | Unit::Count if (0.0..=1.0).contains(&quantity.value) => Ok(quantity.value),
        _ => Err("write a share such as 20%".to_owned()),
    }
}

/// A duration as it is written, exact: `20ms`, `1s`, `250us`.
pub(super) fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (size, name) = [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us"), (1, "ns")]
        .into_iter()
        .find(|(size, _)| nanos.is_multiple_of(*size))
        .unwrap_or((1, "ns"));
    format!("{}{name}", nanos / size)
}

/// Text, or a bare number where the unit is not in doubt.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(serde_json::Number),
    Text(String),
}

impl Written {
    fn read<'de, D: serde::Deserializer<'de>, T>(
        deserializer: D,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, D::Error> {
        let text = match Self::deserialize(deserializer)? {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        };
        parse(&text).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
    }

    fn read_optional<'de, D: serde::Deserializer<'de>, T>(
        deserializer: D,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, D::Error> {
        let Some(written) = Option::<Self>::deserialize(deserializer)? else { return Ok(None) };
        let text = match written {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        };
        parse(&text).map(Some).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
    }
}

/// Reads what is written as text, or as a number where the parser takes one.
pub(super) fn read_text<'de, D: serde::Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    Written::read(deserializer, parse)
}

pub(super) mod duration {
    use super::{Duration, Written, duration_text, units};

    pub(in crate::practice::knobs) fn serialize<S: serde::Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration_text(*value))
    }

    pub(in crate::practice::knobs) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Written::read(deserializer, units::parse_duration)
    }
}

pub(super) mod optional_duration {
    use super::{Duration, Written, duration_text, units};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::practice::knobs) fn serialize<S: serde::Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&duration_text(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::practice::knobs) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Written::read_optional(deserializer, units::parse_duration)
    }
}

pub(super) mod rate {
    use super::{Rate, Written, units};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::practice::knobs) fn serialize<S: serde::Serializer>(
        value: &Option<Rate>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&value.to_string()),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::practice::knobs) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Rate>, D::Error> {
        Written::read_optional(deserializer, units::parse_rate)
    }
}

pub(super) mod share {
    use super::{Written, parse_share};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::practice::knobs) fn serialize<S: serde::Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&format!("{}%", value * 100.0)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::practice::knobs) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Written::read_optional(deserializer, parse_share)
    }
}

pub(super) mod bytes {
    use super::{Written, parse_bytes};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(in crate::practice::knobs) fn serialize<S: serde::Serializer>(
        value: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value}B"))
    }

    pub(in crate::practice::knobs) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        Written::read(deserializer, parse_bytes)
    }
}
