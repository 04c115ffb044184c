//! The target's own figures, found in its answers (pure).

use crate::model::scenario::{StatRead, StatSpec};

/// Why a figure was not found; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatFault {
    /// No answer, or not 2xx.
    Http,
    /// No answer in time.
    Timeout,
    /// The body is not JSON.
    Json,
    /// The body does not hold the figure, or holds no number there.
    MissingField,
}

impl StatFault {
    /// All faults.
    pub const ALL: [Self; 4] = [Self::Http, Self::Timeout, Self::Json, Self::MissingField];

    /// The word used as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Timeout => "timeout",
            Self::Json => "json",
            Self::MissingField => "missing_field",
        }
    }
}

/// The figure `spec` describes, in its base unit. `json` is the body parsed, if it is JSON.
pub fn extract(spec: &StatSpec, body: &str, json: Option<&serde_json::Value>) -> Result<f64, StatFault> {
    let value = match &spec.read {
        StatRead::Json(path) => {
            let nodes = path.query(json.ok_or(StatFault::Json)?);
            let numbers: Vec<f64> = nodes.iter().filter_map(|node| number(node)).collect();
            if numbers.is_empty() { None } else { Some(numbers.iter().sum()) }
        }
        StatRead::Prometheus { name, labels } => {
            let wanted = |pairs: &[(String, String)]| {
                labels.iter().all(|(key, value)| pairs.iter().any(|(k, v)| **k == **key && **v == **value))
            };
            let values =
                body.lines().filter_map(sample).filter(|(series, pairs, _)| *series == &**name && wanted(pairs));
            values.map(|(_, _, value)| value).reduce(|sum, value| sum + value)
        }
    };
    value.filter(|value| value.is_finite()).map(|value| value * spec.scale).ok_or(StatFault::MissingField)
}

fn number(node: &serde_json::Value) -> Option<f64> {
    match node {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) => text.trim().parse().ok(),
        serde_json::Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        _ => None,
    }
}

type Labels = Vec<(String, String)>;

/// Name, labels and value of a line of Prometheus text; `None` for comments and what is not a sample.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    Some((name, labels, value.parse().ok()?))
}

fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let close = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        found.push((key.trim().to_owned(), value));
        rest = &after[close + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units::Unit;

    fn spec(read: StatRead, scale: f64) -> StatSpec {
        StatSpec { counter: false, path: "/".into(), read, unit: Unit::Count, scale }
    }

    #[test]
    fn json_figures() {
        let body = serde_json::json!({"models": {"a": {"q": 2}, "b": {"q": 3}}, "text": "7.5", "none": null});
        let check = |path: &str, scale, expected| {
            let path = serde_json_path::JsonPath::parse(path).expect("a path");
            assert_eq!(extract(&spec(StatRead::Json(path), scale), "", Some(&body)), expected);
        };
        check("$.models.a.q", 1.0, Ok(2.0));
        check("$.models[*].q", 1.0, Ok(5.0));
        check("$.text", 1e-3, Ok(7.5e-3));
        check("$.none", 1.0, Err(StatFault::MissingField));
        check("$.nothing", 1.0, Err(StatFault::MissingField));
        let path = serde_json_path::JsonPath::parse("$.a").expect("a path");
        assert_eq!(extract(&spec(StatRead::Json(path), 1.0), "<html>", None), Err(StatFault::Json));
    }

    #[test]
    fn prometheus_figures() {
        let body = "# HELP m x\nm{kind=\"a\\\"}\",zone=\"1\"} 2 1700000000\nm{kind=\"b\"} 3\nplain 1.5e3\nbad{\n";
        let check = |name: &str, labels: &[(&str, &str)], expected| {
            let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let read = StatRead::Prometheus { name: name.into(), labels };
            assert_eq!(extract(&spec(read, 1.0), body, None), expected, "{name}");
        };
        check("m", &[], Ok(5.0));
        check("m", &[("kind", "a\"}")], Ok(2.0));
        check("plain", &[], Ok(1500.0));
        check("absent", &[], Err(StatFault::MissingField));
    }
}
