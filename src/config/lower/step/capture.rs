//! `capture`: what is kept of an answer, and where it is found.

use super::Written;
use crate::{
    config::{
        check::short,
        lower::{At, Lower},
        raw,
    },
    model::scenario::{Capture, CaptureFrom},
};

impl Lower<'_> {
    /// What a step keeps; a capture of its own replaces one of its named request.
    pub(super) fn captures(&mut self, written: &Written<'_>) -> Vec<Capture> {
        let mut captures: Vec<Capture> = Vec::new();
        for (fields, at) in written.both("capture", |step| step.capture.as_ref()) {
            for (name, raw) in &fields.0 {
                let found = self.capture(&at.key(name), name, raw);
                captures.retain(|known| *known.name != **name);
                captures.extend(found);
            }
        }
        captures
    }

    fn capture(&mut self, at: &At, name: &str, raw: &raw::Capture) -> Option<Capture> {
        self.own_name(at, name, "a capture");
        let from = match (&raw.json, &raw.header, &raw.cookie, &raw.regex) {
            (Some(json), None, None, None) => CaptureFrom::Json(self.json_path(&at.key("json"), json)?),
            (None, Some(header), None, None) => CaptureFrom::Header(self.header_name(&at.key("header"), header)?),
            (None, None, Some(cookie), None) => CaptureFrom::Cookie(cookie.as_str().into()),
            (None, None, None, Some(regex)) => self.capture_regex(at, regex, raw.group)?,
            _ => {
                if !self.troubled(at) {
                    self.key_error(
                        at,
                        "a capture says where its value is found",
                        "write one of `json: $.id`, `header: x-id` or `regex: \"id=([0-9]+)\"`",
                    );
                }
                return None;
            }
        };
        if raw.group.is_some() && raw.regex.is_none() {
            self.error(&at.key("group"), "`group` belongs to `regex`", "remove it");
        }
        let default = match self.node(&at.key("default")) {
            Some(node) => Some(node.to_json()),
            None => raw.default.clone(),
        };
        let required = raw.required.unwrap_or(default.is_none());
        if required && default.is_some() {
            self.error(
                &at.key("required"),
                "a capture with a default is never missing",
                "remove `required` or `default`",
            );
        }
        Some(Capture { name: name.into(), from, required, default })
    }

    fn capture_regex(&mut self, at: &At, text: &str, group: Option<u32>) -> Option<CaptureFrom> {
        let regex = match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
            Ok(regex) => regex,
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.error(
                    &at.key("regex"),
                    format!("`{}` is not a regular expression: {reason}", short(text)),
                    "the syntax is that of the Rust regex crate: no look-around, no back-references",
                );
                return None;
            }
        };
        let most = regex.captures_len() - 1;
        let group = group.map_or(most.min(1), |group| group as usize);
        if group > most {
            self.error(
                &at.key("group"),
                format!("the expression has {most} groups: there is no group {group}"),
                "count the ( of the expression; 0 is the whole match",
            );
        }
        Some(CaptureFrom::Regex { regex, group })
    }
}
