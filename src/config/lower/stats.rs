//! `stats`: the target's own figures, and where they are found.

use std::{collections::BTreeMap, time::Duration};

use serde_json_path::JsonPath;

use super::{At, Lower};
use crate::{
    config::{check::short, raw},
    model::{
        Name, jsonpath,
        scenario::{CERT_EXPIRES_IN, StatRead, StatSpec, StatsSpec},
        units,
    },
};

/// Metrics of the expression language, which a figure cannot be called.
const RESERVED: &[&str] = &[
    "latency",
    "service_time",
    "send_lag",
    "ok",
    "rejected",
    "failed",
    "interrupted",
    "dropped",
    "requests",
    "iterations",
    "iteration",
    "planned",
    "sent",
    "elapsed",
    "bytes",
    "status",
    CERT_EXPIRES_IN,
];

impl Lower<'_> {
    pub(super) fn stats(&mut self, at: &At, raw: &raw::Stats) -> StatsSpec {
        let least = Duration::from_millis(100);
        let every = self.duration(&at.key("every"), raw.every.as_ref(), Duration::from_secs(2), least);
        let idle_at = at.key("idle_every");
        let idle_every = self.duration(&idle_at, raw.idle_every.as_ref(), Duration::from_secs(30), Duration::ZERO);
        let settle = self.duration(&at.key("settle"), raw.settle.as_ref(), Duration::from_secs(2), Duration::ZERO);
        let mut stats = BTreeMap::new();
        for (section, counter, raw) in [("gauges", false, &raw.gauges), ("counters", true, &raw.counters)] {
            for (name, stat) in raw.iter().flat_map(|stats| &stats.0) {
                let at = at.key(section).key(name);
                self.identifier(&at, name, "a figure");
                if RESERVED.contains(&name.as_str()) {
                    self.key_error(
                        &at,
                        format!("`{name}` is a metric of Plimsoll's own"),
                        format!("choose another name, such as `target_{name}`"),
                    );
                }
                if stats.contains_key(name.as_str()) {
                    self.key_error(&at, format!("`{name}` is a gauge and a counter"), "keep one of them");
                }
                if let Some(spec) = self.stat(&at, stat, counter) {
                    stats.insert(Name::from(name.as_str()), spec);
                }
            }
        }
        if stats.len() > 100 {
            self.key_error(
                at,
                format!("{} figures are read: the most is 100", stats.len()),
                "keep those that thresholds and dashboards use",
            );
        }
        StatsSpec { every, idle_every, settle, stats }
    }

    fn stat(&mut self, at: &At, raw: &raw::Stat, counter: bool) -> Option<StatSpec> {
        const HOW: &str = "write `{get: /stats, json: $.queued}` or `{prometheus: /metrics, series: queue_length}`";
        let (path, path_at, read) = match (&raw.get, &raw.json, &raw.prometheus, &raw.series) {
            (Some(path), Some(json), None, None) => {
                (path, at.key("get"), StatRead::Json(self.json_path(&at.key("json"), json)?))
            }
            (None, None, Some(path), Some(series)) => {
                (path, at.key("prometheus"), self.series(&at.key("series"), series)?)
            }
            _ => {
                if !self.troubled(at) {
                    self.key_error(at, "a figure is read from JSON or from Prometheus text", HOW);
                }
                return None;
            }
        };
        if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            self.error(
                &path_at,
                format!("`{}` is not a path", short(path)),
                "write a path below the target's `base_url`, such as `/stats`",
            );
        }
        let (unit, scale) = units::suffix(raw.unit.as_ref().map_or("", |unit| unit.0.as_str()))?;
        Some(StatSpec { counter, path: path.as_str().into(), read, unit, scale })
    }

    pub(super) fn json_path(&mut self, at: &At, text: &str) -> Option<JsonPath> {
        match jsonpath::parse(text) {
            Ok(path) => Some(path),
            Err(error) => {
                let help = if text.starts_with('$') {
                    "write a JSONPath (RFC 9535) such as `$.items[0].id`"
                } else {
                    "a JSONPath begins with `$`: write `$.id`"
                };
                let why = error.message.trim_end_matches("parser error").trim_end_matches([' ', ',']);
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                let message = format!("`{}` is not a JSONPath{why}", short(text));
                self.text_error(at, error.position, message, help);
                None
            }
        }
    }

    fn series(&mut self, at: &At, text: &str) -> Option<StatRead> {
        let parsed = parse_series(text);
        if parsed.is_none() {
            self.error(at, format!("`{}` is not a series", short(text)), "write `name` or `'name{label=\"value\"}'`");
        }
        parsed
    }
}

/// `name` or `name{label="value",…}`.
fn parse_series(text: &str) -> Option<StatRead> {
    let (name, rest) = text.trim().split_once('{').map_or((text.trim(), None), |(name, rest)| (name, Some(rest)));
    let fine = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    if !fine(name) {
        return None;
    }
    let mut labels = Vec::new();
    if let Some(rest) = rest {
        let mut rest = rest.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (label, after) = rest.split_once('=')?;
            let after = after.trim_start().strip_prefix('"')?;
            let (value, after) = after.split_once('"')?;
            if !fine(label.trim()) {
                return None;
            }
            labels.push((Name::from(label.trim()), Name::from(value)));
            let after = after.trim_start();
            rest = after.strip_prefix(',').map_or_else(|| if after.is_empty() { Some("") } else { None }, Some)?.trim();
        }
    }
    Some(StatRead::Prometheus { name: name.into(), labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series() {
        let check = |text: &str, name: &str, labels: usize| match parse_series(text) {
            Some(StatRead::Prometheus { name: found, labels: pairs }) => {
                assert_eq!((&*found, pairs.len()), (name, labels), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        };
        check("up", "up", 0);
        check("m{a=\"b\"}", "m", 1);
        check("m{a=\"b\", c=\"d,e\"}", "m", 2);
        for bad in ["", "1x", "m{a}", "m{a=\"b\" c=\"d\"}", "m{a=\"b\""] {
            assert!(parse_series(bad).is_none(), "{bad}");
        }
    }
}
