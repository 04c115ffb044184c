//! Small types that the others are made of: numbers with units, lists that may be one value, maps that keep their order.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// A duration with its unit: 500ms, 10s, 5m, 1h30m, 30d.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-duration", "examples" = ["500ms", "10s", "1h30m"]))]
pub(crate) struct DurationText(pub(crate) String);

/// A rate with its unit: 10/s, 30/m, 100/h.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-rate", "examples" = ["10/s", "30/m"]))]
pub(crate) struct RateText(pub(crate) String);

/// A rate with its unit, or none: 10/s, 0/s.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-rate", "minimum" = 0, "examples" = ["10/s", "0/s"]))]
pub(crate) struct LevelText(pub(crate) String);

/// A share with its unit: 5%.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-share", "examples" = ["5%"]))]
pub(crate) struct ShareText(pub(crate) String);

/// A size with its unit: 500MB (10⁶), 1GiB (2³⁰).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-size", "examples" = ["500MB", "1GiB"]))]
pub(crate) struct SizeText(pub(crate) String);

/// How much a line carries, with its unit: 2Mbit/s, 500kbit/s, 64kB/s.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-bandwidth", "examples" = ["2Mbit/s", "64kB/s"]))]
pub(crate) struct BandwidthText(pub(crate) String);

/// A unit: ms, s, %, B, kB, MB, GB, KiB, MiB, GiB, /s.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-unit", "examples" = ["ms", "%", "GB"]))]
pub(crate) struct UnitText(pub(crate) String);

/// A text with holes: `Test ${n} of ${vars.model}`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-template"))]
pub(crate) struct TemplateText(pub(crate) String);

/// An expression: `status == 200`, `p95(latency) < 2s`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-expression"))]
pub(crate) struct ExprText(pub(crate) String);

/// A cron expression of 5 or 6 fields, or `@daily` and the like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "plimsoll-cron", "examples" = ["*/5 * * * *", "@daily"]))]
pub(crate) struct CronText(pub(crate) String);

/// One value, or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum OneOrMany<T> {
    /// Several.
    Many(Vec<T>),
    /// One.
    One(T),
}

impl<T> OneOrMany<T> {
    /// The values, each with its index if there is a list.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Option<usize>, &T)> {
        let (one, many) = match self {
            Self::One(value) => (Some((None, value)), None),
            Self::Many(values) => (None, Some(values.iter().enumerate().map(|(index, value)| (Some(index), value)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Text, a number or true/false; a number is taken as it is printed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum Scalar {
    /// As it is.
    Text(TemplateText),
    /// Whole.
    Int(i64),
    /// Any other.
    Float(f64),
    /// True or false.
    Bool(bool),
}

impl Scalar {
    /// As text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.0.clone(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// A map that keeps the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<T>(pub(crate) Vec<(String, T)>);

impl<T> Ordered<T> {
    /// The value under a key.
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}
