//! `data:`: rows that iterations take.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// Rows that iterations take one by one, as `${data.NAME.FIELD}`: exactly one of file, values.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    /// A CSV file whose first line names the fields, or a JSON file with a list of maps; by the end of its name.
    pub(crate) file: Option<String>,
    /// The rows themselves: maps, or single values that are called `value`.
    #[schemars(length(min = 1, max = 10_000))]
    pub(crate) values: Option<Vec<Json>>,
    /// In which order rows are taken: `sequence`, `random` (any row at any time) or `shuffle` (each once); sequence by
    /// default.
    pub(crate) order: Option<OrderWord>,
    /// When all were taken: `cycle` begins again, `stop` ends the load, `fail` fails the iteration; cycle by default.
    pub(crate) on_end: Option<OnEnd>,
}

/// In which order rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderWord {
    Sequence,
    Random,
    Shuffle,
}

/// What happens when all rows were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnEnd {
    Cycle,
    Stop,
    Fail,
}
