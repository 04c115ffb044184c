//! The JSON Schema of the configuration file, generated from the file's own types: what `plimsoll schema` prints, what
//! editors complete from, and what the checker walks. One source, so that they cannot disagree.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value as Json};

use super::raw;

/// The JSON Schema (draft 2020-12) of `plimsoll.yaml`. Numbers with units have a `format` of their own
/// (`plimsoll-duration`, `plimsoll-rate`, `plimsoll-size`, `plimsoll-unit`), as have templates, expressions and cron.
pub fn json_schema() -> Json {
    let mut schema = of::<raw::File>();
    if let Json::Object(map) = &mut schema {
        map.insert("title".into(), "Plimsoll configuration".into());
    }
    schema
}

/// The schema of an included file.
pub(crate) fn fragment_schema() -> Json {
    of::<raw::Fragment>()
}

/// The schema of the host's policy file.
pub(crate) fn policy_schema() -> Json {
    of::<raw::Policy>()
}

fn of<T: JsonSchema>() -> Json {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema
}

/// An optional key is left out, not null: `key:` with nothing behind it is a slip.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(without_null),
        Json::Object(map) => {
            map.values_mut().for_each(without_null);
            if let Some(Json::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Json::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type") != Some(&Json::from("null")));
                if let [Json::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    merge(map, only);
                }
            }
            if map.get("default") == Some(&Json::Null) {
                map.remove("default");
            }
        }
        _ => {}
    }
}

fn merge(map: &mut Map<String, Json>, other: Map<String, Json>) {
    for (key, value) in other {
        map.entry(key).or_insert(value);
    }
}
