//! Walks the schema over the spanned tree and collects every error. What is wrong is left out of the JSON it returns,
//! so that the rest can be read and checked further: all problems at once.

use serde_json::{Map, Value as Json};

use super::{
    diagnostic::Problems,
    hints, lower, mask,
    source::{Sources, Span},
    tree::{Entry, Node, Seg, Value},
};
use crate::model::units::{self, Unit};

/// Checks a whole file. `None` if nothing of it can be used.
///
/// Items of lists that are left out leave `root` too, so that the paths into both stay the same. What they would have
/// kept for later steps is in `lost`.
pub(crate) fn check(
    root: &mut Node,
    schema: &Json,
    sources: &Sources,
    problems: &mut Problems,
    lost: &mut Vec<String>,
) -> Option<Json> {
    let def = schema.get("title").and_then(Json::as_str).unwrap_or_default();
    let def = if def == "Plimsoll configuration" { "File" } else { def };
    let mut checker =
        Checker { root: schema, sources, problems, path: Vec::new(), removed: Vec::new(), lost: Vec::new() };
    let place = Place { def, key: "", label: String::new(), span: root.locate(&[]), secret: false };
    if let Value::Null = root.value {
        let help = if def == "File" {
            "write at least `version: 1`, `targets:` and `scenarios:`"
        } else {
            "remove it, or write its keys"
        };
        checker.problems.error(Some(root.span), "the file is empty", help);
        return None;
    }
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("a configuration is a map, and this is {}", root.kind());
        checker.problems.error(Some(root.locate(&[])), message, "write keys and values, such as `version: 1`");
        return None;
    }
    let json = checker.node(root, schema, &place);
    // From the last to the first, so that the indexes of those before stay right.
    lost.append(&mut checker.lost);
    let mut removed = checker.removed;
    removed.sort();
    for path in removed.iter().rev() {
        let Some((Seg::Index(index), parent)) = path.split_last() else { continue };
        if let Some(Node { value: Value::List(items), .. }) = root.at_mut(parent) {
            let item = items.remove(*index);
            lost.extend(item.get("capture").into_iter().flat_map(Node::entries).map(|entry| entry.key.clone()));
        }
    }
    json
}

/// Where the walk is.
struct Place<'a> {
    /// The definition of the map that holds the node.
    def: &'a str,
    /// The key the node stands under; an item of a list has its list's.
    key: &'a str,
    /// How to name the node where that is not its key alone: "scenario `health`".
    label: String,
    /// What to underline when something is missing.
    span: Span,
    /// Its value is never quoted.
    secret: bool,
}

struct Checker<'a> {
    root: &'a Json,
    sources: &'a Sources,
    problems: &'a mut Problems,
    /// Where the walk is, as a path.
    path: Vec<Seg>,
    /// Items that were left out.
    removed: Vec<Vec<Seg>>,
    /// Captures that were left out.
    lost: Vec<String>,
}

/// One way a value may be written.
type Choice<'a> = (&'a str, &'a Json);

impl<'a> Checker<'a> {
    fn node(&mut self, node: &Node, schema: &'a Json, place: &Place<'_>) -> Option<Json> {
        let mut choices = Vec::new();
        self.choices(schema, "", &mut choices);
        let Some((def, choice)) = choices.iter().copied().find(|(_, choice)| fits(node, choice)) else {
            return self.mismatch(node, &choices, place);
        };
        if choice.get("type").is_none() && choice.get("const").is_none() {
            return Some(node.to_json());
        }
        match &node.value {
            Value::Map(entries) => self.map(entries, choice, def, place),
            Value::List(items) => self.list(items, choice, place),
            _ => self.scalar(node, choice, place),
        }
    }

    fn under(&mut self, seg: Seg, node: &Node, schema: &'a Json, place: &Place<'_>) -> Option<Json> {
        self.path.push(seg);
        let json = self.node(node, schema, place);
        self.path.pop();
        json
    }

    /// All the ways to write a value, references and alternatives resolved.
    fn choices(&self, schema: &'a Json, def: &'a str, out: &mut Vec<Choice<'a>>) {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            if let Some(target) = self.root.get("$defs").and_then(|defs| defs.get(name)) {
                self.choices(target, name, out);
            }
        } else if let Some(Json::Array(several)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            for choice in several {
                self.choices(choice, def, out);
            }
        } else {
            out.push((def, schema));
        }
    }

    fn map(&mut self, entries: &[Entry], schema: &'a Json, def: &str, place: &Place<'_>) -> Option<Json> {
        let Some(Json::Object(properties)) = schema.get("properties") else {
            return Some(self.names(entries, schema, place));
        };
        let def = if def.is_empty() { place.def } else { def };
        if let Some(executor) = entries.iter().find(|entry| def == "Load" && entry.key == "executor") {
            // The keys of an unknown executor cannot be judged: one error says enough.
            let schema = properties.get("executor")?;
            let inner = Self::place(executor, def, false);
            self.node(&executor.node, schema, &inner)?;
        }
        let mut out = Map::new();
        for entry in entries {
            let Some(schema) = properties.get(&entry.key) else {
                self.unknown(entry, entries, def, properties);
                continue;
            };
            let inner = Self::place(entry, def, place.secret);
            if !out.contains_key(&entry.key)
                && let Some(value) = self.under(Seg::Key(entry.key.clone()), &entry.node, schema, &inner)
            {
                out.insert(entry.key.clone(), value);
            }
        }
        if def == "File" {
            self.missing(entries, schema, def, place);
            out.entry("version").or_insert(1.into());
            return Some(Json::Object(out));
        }
        let complete = self.missing(entries, schema, def, place);
        let required = schema.get("required").and_then(Json::as_array);
        let readable =
            required.is_none_or(|keys| keys.iter().filter_map(Json::as_str).all(|key| out.contains_key(key)));
        (complete && readable).then_some(Json::Object(out))
    }

    fn place<'p>(entry: &'p Entry, def: &'p str, secret: bool) -> Place<'p> {
        // The token of a stream is where its text stands.
        let reference = mask::is_reference(&entry.key) || def == "StreamMap";
        let secret = !reference && (secret || mask::sensitive_key(&entry.key));
        Place { def, key: &entry.key, label: String::new(), span: entry.key_span, secret }
    }

    /// A map whose keys are names.
    fn names(&mut self, entries: &[Entry], schema: &'a Json, place: &Place<'_>) -> Json {
        let mut out = Map::new();
        let singular = place.key.strip_suffix('s').unwrap_or(place.key);
        for entry in entries {
            let value = match schema.get("additionalProperties") {
                Some(inner @ Json::Object(_)) => {
                    let label = format!("{singular} `{}`", entry.key);
                    let secret = place.secret || mask::sensitive_key(&entry.key);
                    let inner_place = Place { def: place.def, key: place.key, label, span: entry.key_span, secret };
                    self.under(Seg::Key(entry.key.clone()), &entry.node, inner, &inner_place)
                }
                _ => Some(entry.node.to_json()),
            };
            if value.is_none() && place.key == "capture" {
                self.lost.push(entry.key.clone());
            }
            if let Some(value) = value
                && !out.contains_key(&entry.key)
            {
                out.insert(entry.key.clone(), value);
            }
        }
        Json::Object(out)
    }

    fn list(&mut self, items: &[Node], schema: &'a Json, place: &Place<'_>) -> Option<Json> {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64).map(|bound| bound as usize);
        if bound("minItems").is_some_and(|least| items.len() < least) {
            let message = match (items.len(), bound("minItems").unwrap_or_default()) {
                (0, _) => format!("`{}` is empty", place.key),
                (there, least) => format!("`{}` has {there} of {least} values", place.key),
            };
            self.problems.error(Some(place.span), message, hints::example(place.def, place.key));
            return None;
        }
        if let Some(most) = bound("maxItems").filter(|most| items.len() > *most) {
            let message = format!("`{}` has {} items: the most is {most}", place.key, items.len());
            self.problems.error(Some(place.span), message, "split it");
            return None;
        }
        let Some(inner) = schema.get("items") else {
            return Some(Json::Array(items.iter().map(Node::to_json).collect()));
        };
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let label = format!("an item of `{}`", place.key);
            let span = item.locate(&[]);
            let inner_place = Place { def: place.def, key: place.key, label, span, secret: place.secret };
            if let Some(value) = self.under(Seg::Index(index), item, inner, &inner_place) {
                out.push(value);
            } else {
                let mut path = self.path.clone();
                path.push(Seg::Index(index));
                self.removed.push(path);
            }
        }
        Some(Json::Array(out))
    }

    fn unknown(&mut self, entry: &Entry, siblings: &[Entry], def: &str, properties: &Map<String, Json>) {
        let key = &entry.key;
        if key == "<<" {
            return;
        }
        let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut whole = capital(hints::phrase(def));
        // Of a load only the keys of its executor are of use.
        let executor = siblings.iter().find(|entry| def == "Load" && entry.key == "executor");
        let executor = executor.map(|entry| node_text(&entry.node)).unwrap_or_default();
        if let Some(keys) = lower::keys_of(executor) {
            known = keys;
            executor.clone_into(&mut whole);
        }
        let near = hints::nearest(key, known.iter().copied());
        let (message, help) = if hints::not_built(def, key) {
            let help = match hints::foreign(def, key) {
                Some(help) => help.to_owned(),
                None => format!("{} has {}", capital(hints::phrase(def)), known.join(", ")),
            };
            (format!("`{key}` is not in this version yet"), help)
        } else {
            let help = match (hints::foreign(def, key), near) {
                (Some(help), _) => help.to_owned(),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("{whole} has {}", known.join(", ")),
            };
            (format!("unknown key `{key}` in {}", hints::phrase(def)), help)
        };
        self.problems.error(Some(entry.key_span), message, help);
    }

    /// Notes the required keys that are missing; whether there are none.
    fn missing(&mut self, entries: &[Entry], schema: &Json, def: &str, place: &Place<'_>) -> bool {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let mut complete = true;
        for key in required.filter(|key| entries.iter().all(|entry| entry.key != *key)) {
            complete = false;
            let whole = if place.label.is_empty() || place.label.starts_with("an item") {
                hints::phrase(def).to_owned()
            } else {
                place.label.clone()
            };
            self.problems.error(Some(place.span), format!("`{key}` is missing in {whole}"), hints::example(def, key));
        }
        complete
    }

    /// None of the ways to write the value fits.
    fn mismatch(&mut self, node: &Node, choices: &[Choice<'_>], place: &Place<'_>) -> Option<Json> {
        let name = if place.label.is_empty() { format!("`{}`", place.key) } else { place.label.clone() };
        let wanted: Vec<String> = choices.iter().map(|(_, choice)| describe(choice)).collect();
        let wanted = listed(&wanted, " or ");
        let span = if node.is_collection() || node.value == Value::Null { place.span } else { node.span };
        let shown = self.shown(node, place);
        let takes = |kind: &str| choices.iter().any(|(_, choice)| choice.get("type") == Some(&Json::from(kind)));
        let united = choices.iter().find_map(|(_, choice)| with_unit(choice.get("format")?.as_str()?, &shown));
        let (message, help) = match &node.value {
            Value::Null => (format!("{name} is empty"), format!("write {wanted}, or remove the line")),
            Value::Int(_) | Value::Float(_) if let Some(united) = united => {
                (format!("{name} has no unit"), format!("units are always written: write {united}"))
            }
            Value::String { text, .. } if takes("integer") && text.parse::<i64>().is_ok() => {
                (format!("{name} is a number, and in quotes it is text"), format!("write {shown} without quotes"))
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if takes("string") => {
                let message = format!("{name} is {wanted}, and {shown} is {}", node.kind());
                let help = hints::shape(place.key, "", &shown);
                (message, help.unwrap_or_else(|| format!("quote it if it is meant as text: \"{shown}\"")))
            }
            _ if node.is_collection() => {
                let help = match hints::example(place.def, place.key) {
                    "" => format!("write {wanted}"),
                    example => example.to_owned(),
                };
                (format!("{name} is {wanted}, and this is {}", node.kind()), help)
            }
            _ => {
                let help = match hints::shape(place.key, choices.first().map_or("", |(def, _)| def), &shown) {
                    Some(help) => help,
                    None if takes("array") && place.label.is_empty() => format!("write `{}: [{shown}]`", place.key),
                    None => format!("write {wanted}"),
                };
                (format!("{name} is {wanted}, and `{shown}` is {}", node.kind()), help)
            }
        };
        self.problems.error(Some(span), message, help);
        None
    }

    fn shown(&self, node: &Node, place: &Place<'_>) -> String {
        if place.secret {
            return "***".to_owned();
        }
        match &node.value {
            Value::String { text, .. } => short(text),
            _ => short(self.sources.text(node.span)),
        }
    }

    fn scalar(&mut self, node: &Node, schema: &Json, place: &Place<'_>) -> Option<Json> {
        let shown = self.shown(node, place);
        let key = place.key;
        let mut fail = |message: String, help: String| {
            self.problems.error(Some(node.span), message, help);
            None
        };
        if let Some(constant) = schema.get("const").filter(|constant| **constant != node.to_json()) {
            return fail(
                format!("`{key}` is {shown}: this program knows {constant}"),
                format!("write `{key}: {constant}`"),
            );
        }
        if let Some(Json::Array(values)) = schema.get("enum") {
            let text = if let Value::String { text, .. } = &node.value { text.as_str() } else { &shown };
            let values: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
            if values.contains(&text) {
                return Some(Json::from(text));
            }
            let all = listed(&values, ", ");
            if hints::not_built_value(key, text) {
                return fail(format!("`{shown}` is not in this version yet"), format!("`{key}` has {all}"));
            }
            let help = match hints::nearest(text, values.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if key == "executor" => {
                    hints::foreign("Scenario", text).map_or_else(|| format!("write one of {all}"), ToOwned::to_owned)
                }
                None if values.len() == 1 => format!("write `{all}`"),
                None => format!("write one of {all}"),
            };
            return fail(format!("`{shown}` is not a value of `{key}`"), help);
        }
        let zero = schema.get("minimum").is_some() && units::is_no_rate(node_text(node));
        let format = schema.get("format").and_then(Json::as_str).filter(|_| !zero);
        if let (Value::String { text, .. }, Some(format)) = (&node.value, format)
            && let Err((what, help)) = check_format(format, text)
        {
            return fail(format!("`{shown}` is not {what}"), help);
        }
        if let Value::Int(value) = node.value {
            let bound = |key: &str| schema.get(key).and_then(Json::as_i64).map(i128::from);
            let most = match schema.get("format").and_then(Json::as_str) {
                Some("uint16") => i128::from(u16::MAX),
                Some("uint32") => i128::from(u32::MAX),
                _ => i128::from(i64::MAX),
            };
            let (least, most) = (bound("minimum").unwrap_or(i128::from(i64::MIN)), bound("maximum").unwrap_or(most));
            if value < least {
                return fail(format!("`{key}` is {shown}: the least is {least}"), format!("write {least} or more"));
            }
            if value > most {
                return fail(format!("`{key}` is {shown}: the most is {most}"), format!("write {most} or less"));
            }
        }
        Some(node.to_json())
    }
}

/// Whether a value has the kind that a schema asks for.
fn fits(node: &Node, schema: &Json) -> bool {
    let Some(kind) = schema.get("type").and_then(Json::as_str) else {
        return true;
    };
    match &node.value {
        Value::Null => false,
        Value::Bool(_) => kind == "boolean",
        // `version: 1.1` is a number in YAML and a word here.
        Value::Int(_) => kind == "integer" || kind == "number" || schema.get("enum").is_some(),
        Value::Float(_) => kind == "number" || schema.get("enum").is_some(),
        Value::String { .. } => kind == "string",
        Value::List(_) => kind == "array",
        Value::Map(_) => kind == "object",
    }
}

/// The text of a node that is one.
fn node_text(node: &Node) -> &str {
    if let Value::String { text, .. } = &node.value { text } else { "" }
}

/// What a schema asks for, in words.
fn describe(schema: &Json) -> String {
    if let Some(Json::Array(values)) = schema.get("enum") {
        let values: Vec<String> = values.iter().filter_map(Json::as_str).map(|value| format!("`{value}`")).collect();
        return listed(&values, " or ");
    }
    match (schema.get("type").and_then(Json::as_str), schema.get("format").and_then(Json::as_str)) {
        (_, Some("plimsoll-duration")) => "a duration such as 10s",
        (_, Some("plimsoll-rate")) => "a rate such as 10/s",
        (_, Some("plimsoll-share")) => "a share such as 5%",
        (_, Some("plimsoll-size")) => "a size such as 1GB",
        (_, Some("plimsoll-bandwidth")) => "a bandwidth such as 2Mbit/s",
        (_, Some("plimsoll-unit")) => "a unit such as ms",
        (_, Some("plimsoll-expression")) => "a condition",
        (_, Some("plimsoll-cron")) => "a cron expression",
        (Some("string"), _) => "text",
        (Some("integer"), _) => "a whole number",
        (Some("number"), _) => "a number",
        (Some("boolean"), _) => "true or false",
        (Some("array"), _) => "a list",
        (Some("object"), _) => "a map",
        _ => "a value",
    }
    .to_owned()
}

/// A bare number as it may have been meant. A duration has no unit that is likelier than the others.
fn with_unit(format: &str, number: &str) -> Option<String> {
    Some(match format {
        "plimsoll-duration" => format!("{number}ms, {number}s or {number}m"),
        "plimsoll-rate" => format!("{number}/s"),
        "plimsoll-share" => format!("{number}%"),
        "plimsoll-size" => format!("{number}MB"),
        "plimsoll-bandwidth" => format!("{number}kbit/s"),
        _ => return None,
    })
}

/// Checks a number with a unit; the error says what it is not, and what to write.
fn check_format(format: &str, text: &str) -> Result<(), (&'static str, String)> {
    let bare = text.trim().parse::<f64>().is_ok();
    let help = |error: String| match with_unit(format, text.trim()) {
        Some(united) if bare && !text.trim().starts_with('-') => format!("units are always written: write {united}"),
        _ => error,
    };
    match format {
        "plimsoll-duration" => units::parse_duration(text).map(|_| ()).map_err(|error| ("a duration", help(error))),
        "plimsoll-rate" => units::parse_rate(text).map(|_| ()).map_err(|error| ("a rate", help(error))),
        "plimsoll-size" => match units::parse_quantity(text) {
            Ok(size) if size.unit == Unit::Bytes && (0.0..1e18).contains(&size.value) => Ok(()),
            _ => Err(("a size", help("write a size such as 500MB, 1GB or 2GiB".to_owned()))),
        },
        "plimsoll-share" => match units::parse_quantity(text) {
            Ok(share) if share.unit == Unit::Ratio && share.value > 0.0 && share.value < 1.0 => Ok(()),
            _ => Err(("a share", help("write a share between 0% and 100%, such as 5%".to_owned()))),
        },
        "plimsoll-bandwidth" => units::parse_bandwidth(text).map(|_| ()).map_err(|error| ("a bandwidth", help(error))),
        "plimsoll-unit" => match units::suffix(text) {
            Some(_) => Ok(()),
            None => Err(("a unit", "write ns, us, ms, s, m, h, d, %, B, kB, MB, GB, KiB, MiB, GiB, or /s".to_owned())),
        },
        _ => Ok(()),
    }
}

/// A value short enough for a sentence.
pub(crate) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if cut.chars().count() < text.trim_end().chars().count() { format!("{cut}…") } else { cut }
}

fn listed(words: &[impl AsRef<str>], between: &str) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for word in words {
        if !unique.contains(&word.as_ref()) {
            unique.push(word.as_ref());
        }
    }
    unique.join(between)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
