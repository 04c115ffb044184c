//! `schedule`: when a scenario is due.

use std::time::Duration;

use super::{At, Lower};
use crate::{
    config::{check::short, expr, hints, raw},
    model::{
        schedule::{Due, Misfire, Overlap, ScheduleSpec},
        units,
    },
};

impl Lower<'_> {
    pub(super) fn schedule(
        &mut self,
        at: &At,
        raw: Option<&raw::Schedule>,
        zone: &str,
        scenario: &str,
    ) -> ScheduleSpec {
        let (spec, due_at) = match raw {
            None => return ScheduleSpec::manual(),
            Some(raw::Schedule::Text(text)) => match self.schedule_text(at, text, zone) {
                Some(due) => (ScheduleSpec { due, ..ScheduleSpec::manual() }, at.clone()),
                None => return ScheduleSpec::manual(),
            },
            Some(raw::Schedule::Full(map)) => match self.schedule_map(at, map, zone) {
                Some(found) => found,
                None => return ScheduleSpec::manual(),
            },
        };
        match expr::compile_schedule(&spec, scenario) {
            Ok(warnings) => {
                for warning in warnings {
                    self.warning(&due_at, warning, "");
                }
            }
            Err(error) => {
                let (what, help) = error.split_once(": ").unwrap_or((&error, ""));
                let message = match &spec.due {
                    Due::Cron { expr, .. } => format!("`{}` is not a schedule: {what}", short(expr)),
                    _ => what.to_owned(),
                };
                self.error(&due_at, message, help);
            }
        }
        spec
    }

    fn schedule_text(&mut self, at: &At, text: &str, zone: &str) -> Option<Due> {
        let text = text.trim();
        if text == "manual" {
            return Some(Due::Manual);
        }
        if text.starts_with('@') || text.split_whitespace().count() >= 5 {
            return Some(Due::Cron { expr: text.into(), zone: zone.into() });
        }
        if let Ok(every) = units::parse_duration(text.strip_prefix("every ").unwrap_or(text)) {
            return Some(Due::Every(every));
        }
        if hints::not_built_value("schedule", text) {
            self.error(at, format!("`{text}` is not in this version yet"), "a schedule has cron, every and manual");
        } else {
            let shown = short(text);
            self.error(
                at,
                format!("`{shown}` is not a schedule"),
                "write `manual`, `{every: 5m}` or `{cron: \"*/5 * * * *\"}`",
            );
        }
        None
    }

    fn schedule_map(&mut self, at: &At, raw: &raw::ScheduleMap, zone: &str) -> Option<(ScheduleSpec, At)> {
        let zone_at = at.key("timezone");
        let own = raw.timezone.as_deref();
        if let Some(own) = own {
            self.zone(&zone_at, own);
        }
        let zone = own.filter(|own| known_zone(own)).unwrap_or(zone);
        let (due, due_at) = match (&raw.every, &raw.cron, raw.manual.unwrap_or(false)) {
            (Some(every), None, false) => {
                let at = at.key("every");
                let every = units::parse_duration(&every.0).ok()?;
                (Due::Every(every), at)
            }
            (None, Some(cron), false) => (Due::Cron { expr: cron.0.trim().into(), zone: zone.into() }, at.key("cron")),
            (None, None, true) => (Due::Manual, at.clone()),
            (None, None, false) => {
                if !self.troubled(at) {
                    self.error(
                        at,
                        "a schedule says when",
                        "write `every: 5m`, `cron: \"*/5 * * * *\"` or `manual: true`",
                    );
                }
                return None;
            }
            _ => {
                self.error(at, "a schedule is one of `every`, `cron` and `manual`", "keep one of them");
                return None;
            }
        };
        if own.is_some() && raw.cron.is_none() {
            self.error(&zone_at, "`timezone` belongs to `cron`", "remove it: a period is the same everywhere");
        }
        let jitter = self.duration(&at.key("jitter"), raw.jitter.as_ref(), Duration::ZERO, Duration::ZERO);
        let timeout = raw
            .timeout
            .as_ref()
            .map(|text| self.duration(&at.key("timeout"), Some(text), Duration::ZERO, Duration::from_secs(1)));
        let overlap = match raw.overlap {
            None | Some(raw::Overlap::Skip) => Overlap::Skip,
            Some(raw::Overlap::Queue) => Overlap::Queue,
            Some(raw::Overlap::Replace) => Overlap::Replace,
            Some(raw::Overlap::Allow) => Overlap::Allow,
        };
        let misfire = match raw.misfire {
            None | Some(raw::Misfire::Skip) => Misfire::Skip,
            Some(raw::Misfire::RunOnce) => Misfire::RunOnce,
        };
        Some((ScheduleSpec { due, overlap, misfire, jitter, timeout }, due_at))
    }

    /// Notes a zone that the time zone database does not have.
    pub(super) fn zone(&mut self, at: &At, zone: &str) {
        if known_zone(zone) {
            return;
        }
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = hints::nearest(zone, names.iter().map(String::as_str));
        let help = near.map_or_else(
            || "write an IANA name such as `UTC` or `Europe/Berlin`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(at, format!("there is no time zone `{}`", short(zone)), help);
    }
}

pub(super) fn known_zone(zone: &str) -> bool {
    jiff::tz::TimeZone::get(zone).is_ok()
}
