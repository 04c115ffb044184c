//! `metrics:` and `recovery:`.

use std::{sync::Arc, time::Duration};

use super::{At, Lower, Scope, group::lengths, threshold::Measured, variables::Asked};
use crate::{
    config::{expr, hints, raw},
    judge::{METRICS, STREAM_FIGURES},
    model::{
        Name,
        metric::{CustomMetric, MetricKind},
        scenario::{Group, RecoverySpec, Target},
        units,
    },
};

/// Each costs every request its evaluation.
const MAX_METRICS: usize = 50;

impl Lower<'_> {
    pub(super) fn metrics(
        &mut self,
        at: &At,
        raw: Option<&raw::Ordered<raw::Metric>>,
        target: Option<&Target>,
    ) -> Vec<CustomMetric> {
        let mut out = Vec::new();
        let figures: Vec<Name> =
            target.into_iter().flat_map(|target| target.all_figures(true)).map(|(name, _)| name).collect();
        for (name, raw) in raw.iter().flat_map(|metrics| &metrics.0) {
            let at = at.key(name);
            self.identifier(&at, name, "a metric");
            if METRICS.contains(&name.as_str()) && !STREAM_FIGURES.contains(&name.as_str()) {
                self.key_error(&at, format!("`{name}` is a metric of Plimsoll's own"), "choose another name");
                continue;
            }
            if figures.iter().any(|figure| **figure == **name) {
                self.key_error(&at, format!("`{name}` is a figure of the target"), "choose another name");
                continue;
            }
            if let Some(kind) = self.metric(&at, raw) {
                out.push(CustomMetric { name: name.as_str().into(), kind });
            }
        }
        if out.len() > MAX_METRICS {
            let message = format!("there are {} metrics: the most is {MAX_METRICS}", out.len());
            self.key_error(at, message, "keep those that thresholds and dashboards use");
        }
        out
    }

    fn metric(&mut self, at: &At, raw: &raw::Metric) -> Option<MetricKind> {
        const HOW: &str = "write `rate: \"hit == 'HIT'\"` or `trend: $.usage.output_tokens`";
        let (key, parsed) = match (&raw.rate, &raw.trend) {
            (Some(rate), None) => ("rate", expr::parse_expect(&rate.0).map(MetricKind::Rate)),
            (None, Some(trend)) => {
                let unit = raw.unit.as_ref().map_or("", |unit| unit.0.as_str());
                let (unit, scale) = units::suffix(unit)?;
                ("trend", expr::parse_formula(&trend.0).map(|formula| MetricKind::Trend { formula, unit, scale }))
            }
            (Some(_), Some(_)) => {
                self.key_error(&at.key("trend"), "a metric is a rate or a trend, not both", HOW);
                return None;
            }
            (None, None) => {
                if !self.troubled(at) {
                    self.key_error(at, "a metric is a rate or a trend", HOW);
                }
                return None;
            }
        };
        if key == "rate" && raw.unit.is_some() {
            self.error(&at.key("unit"), "a rate is a share: it has no unit", "remove it");
        }
        match parsed {
            Ok(kind) => Some(kind),
            Err(error) => {
                self.text_error(&at.key(key), error.offset, error.message, error.help.unwrap_or_default());
                None
            }
        }
    }

    /// Whether the metrics look at what some answer of the scenario has. `known`: what every step may use.
    pub(super) fn metric_variables(
        &mut self,
        at: &At,
        metrics: &[CustomMetric],
        groups: &[Arc<Group>],
        known: &[String],
    ) {
        if groups.is_empty() {
            return;
        }
        let steps = || groups.iter().flat_map(|group| group.on_start.iter().chain(group.steps()));
        let captured = steps().flat_map(|step| &step.capture).map(|capture| capture.name.to_string());
        let counted = steps().flat_map(|step| &step.repeat).map(|repeat| repeat.name.to_string());
        let known: Vec<String> = known.iter().cloned().chain(captured).chain(counted).collect();
        let streamed = self.stream_unread || steps().any(|step| step.stream.is_some());
        for metric in metrics {
            let at = at.key(&metric.name);
            let (at, source, names) = match &metric.kind {
                MetricKind::Rate(rate) => (at.key("rate"), &rate.source, rate.tree.variables()),
                MetricKind::Trend { formula, .. } => (at.key("trend"), &formula.source, formula.tree.variables()),
            };
            let text = matches!(metric.kind, MetricKind::Rate(_));
            let asked = Asked { scope: Scope::Run(&known), later: &[], streamed, text };
            self.variables(&at, source, &names, asked);
        }
    }

    pub(super) fn recovery(
        &mut self,
        at: &At,
        raw: Option<&raw::Recovery>,
        groups: &[Arc<Group>],
        measured: &Measured<'_>,
    ) -> Option<RecoverySpec> {
        let raw = raw?;
        let phases: Vec<&str> =
            groups.iter().filter_map(|group| group.labels.get("phase")).map(|name| &**name).collect();
        if phases.is_empty() {
            let help = "write `phases:` in which the target is overloaded and then is not";
            self.key_error(at, "`recovery` is after a phase, and this scenario has none", help);
            return None;
        }
        match phases.iter().position(|phase| *phase == raw.after) {
            None => {
                let help = hints::did_you_mean(&raw.after, &phases, "phases");
                self.error(&at.key("after"), format!("there is no phase `{}`", raw.after), help);
            }
            Some(place) if place + 1 == phases.len() => {
                let help = "write a phase after it, in which the target is well again";
                self.error(&at.key("after"), format!("nothing is sent after the phase `{}`", raw.after), help);
            }
            Some(_) => {}
        }
        let second = Duration::from_secs(1);
        let hold = self.duration(&at.key("hold"), raw.hold.as_ref(), Duration::from_secs(10), Duration::ZERO);
        let within = self.duration(&at.key("within"), Some(&raw.within), second, second);
        if measured.dimensions.as_ref().is_some_and(|there| !there.contains_key("repeat")) {
            self.time_to_recover(at, &raw.after, groups, (hold, within));
        }
        let mut until = Vec::new();
        for (index, text) in raw.until.iter() {
            let at = at.key("until").item(index);
            match expr::parse_threshold(&text.0) {
                Ok(threshold) if threshold.over.is_some() => {
                    let help = "leave it out: `hold` says how long it must be well";
                    self.error(&at, "`until` is judged each second: it has no `over`", help);
                }
                Ok(threshold) => {
                    self.names_exist(&at, &threshold, measured);
                    until.push(threshold);
                }
                Err(error) => self.text_error(&at, error.offset, error.message, error.help.unwrap_or_default()),
            }
        }
        if raw.until.iter().next().is_none() {
            self.key_error(&at.key("until"), "when is it well again?", "write `until: [rate(rejected) == 0%]`");
        }
        Some(RecoverySpec { after: raw.after.as_str().into(), until, hold, within })
    }

    /// Whether what follows the phase is long enough to tell.
    fn time_to_recover(&mut self, at: &At, after: &str, groups: &[Arc<Group>], (hold, within): (Duration, Duration)) {
        let phase = |group: &Arc<Group>| group.labels.get("phase").is_some_and(|name| **name == *after);
        let Some(place) = groups.iter().position(phase).filter(|place| place + 1 < groups.len()) else { return };
        let following = lengths(&groups[place + 1..]);
        let (total, needed) = (following.iter().sum::<Duration>(), within + hold);
        // The length of what has none depends on the target.
        if following.contains(&Duration::ZERO) || total >= needed {
            return;
        }
        let shown = |time: Duration| units::human_seconds(time.as_secs_f64());
        let message = format!("only {} follow the phase `{after}`: too short for `within` and `hold`", shown(total));
        let help = format!("let {} follow, or write a shorter `within` or `hold`", shown(needed));
        self.error(&at.key("within"), message, help);
    }
}
