//! `thresholds` and `valid_if`: conditions on a run, the implicit ones added.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{At, Lower, dimensions::Dimensions};
use crate::{
    config::{
        expr::{self, GradePart, Nature},
        hints, raw,
        source::Span,
        tree::Value,
    },
    judge::{METRICS, STREAM_FIGURES, alias},
    model::{
        Name,
        expr::{Aggregation, Dimension, Measure, Metric, Threshold},
        metric::CustomMetric,
        outcome::Outcome,
        run::Severity,
        scenario::{Executor, Group, Load, Target},
        units::Unit,
    },
};

/// Whether a run full of failures would breach it.
fn limits_failures(threshold: &Threshold) -> bool {
    let of = |metric: &Metric| {
        matches!(metric, Metric::Outcome(Outcome::Ok | Outcome::Failed) | Metric::Requests | Metric::Iterations)
    };
    threshold.aggregates().iter().any(|aggregate| of(&aggregate.metric))
}

impl Lower<'_> {
    pub(super) fn thresholds(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        nature: Nature<'_>,
        measured: &Measured<'_>,
    ) -> Vec<Threshold> {
        let mut thresholds = without_places(self.written(at, raw, measured));
        let plain = matches!(nature, Nature::Probe | Nature::Load);
        if plain && thresholds.iter().any(Threshold::names_outcome) && !thresholds.iter().any(limits_failures) {
            let message = "nothing here limits failures: a threshold on `rejected` lifts the default on `ok`";
            self.warning(at, message, "add `rate(failed) < 1%`, or `rate(ok) >= 95%`");
        }
        let implicit = expr::implicit_thresholds(&thresholds, nature);
        thresholds.extend(implicit);
        thresholds
    }

    pub(super) fn valid_if(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        load: Option<&Load>,
        measured: &Measured<'_>,
    ) -> Vec<Threshold> {
        if raw.is_none() {
            return load.map(expr::default_valid_if).unwrap_or_default();
        }
        self.whole_run(at, raw, measured)
    }

    /// What must hold of the target's figures before the load: they are read once for it.
    pub(super) fn require(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        measured: &Measured<'_>,
    ) -> Vec<Threshold> {
        let conditions = self.placed(at, raw, measured);
        for (at, condition) in &conditions {
            let stat = |metric: &Metric| matches!(metric, Metric::Stat(_));
            if condition.aggregates().iter().any(|aggregate| !stat(&aggregate.metric)) {
                let message = format!("`{}` asks for what only a load measures", condition.source);
                let help = "before the load there are only the target's own figures: `last(queued) == 0`";
                self.error(at, message, help);
            }
        }
        without_places(conditions)
    }

    /// Conditions that are judged once.
    fn whole_run(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        measured: &Measured<'_>,
    ) -> Vec<Threshold> {
        without_places(self.placed(at, raw, measured))
    }

    /// Conditions that are judged once, and where each stands.
    pub(super) fn placed(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        measured: &Measured<'_>,
    ) -> Vec<(At, Threshold)> {
        for (index, raw) in raw.iter().flat_map(|list| list.iter()) {
            self.of_the_whole_run(&at.item(index), raw);
        }
        self.written(at, raw, measured)
    }

    /// What is judged while the run goes on does not fit a condition on the generator, which decides at its end.
    fn of_the_whole_run(&mut self, at: &At, raw: &raw::Threshold) {
        let (text, expr_at) = match raw {
            raw::Threshold::Short(text) => (text, at.clone()),
            raw::Threshold::Long(long) => {
                if long.abort_on_fail == Some(true) {
                    let help = "remove it, or write the condition under `thresholds`";
                    let section = Self::section_of(at);
                    let message = format!("`{section}` is judged at the end of the run: it aborts none");
                    self.error(&at.key("abort_on_fail"), message, help);
                }
                let Some(text) = &long.expr else { return };
                (text, at.key("expr"))
            }
        };
        // What cannot be parsed is told where the thresholds are read.
        let Ok(threshold) = expr::parse_threshold(&text.0) else { return };
        let drift = |side: &Measure| side.any(&|part| matches!(part, Measure::Drift(_)));
        let word = match () {
            () if threshold.over.is_some() => " over ",
            () if drift(&threshold.left) || drift(&threshold.right) => "drift",
            () => return,
        };
        let offset = text.0.find(word).map_or(0, |found| found + word.len() - word.trim_start().len());
        let section = Self::section_of(at);
        let message = format!("`{section}` is judged over the whole run: it has no `{}`", word.trim());
        self.text_error(&expr_at, offset, message, "remove it, or write the condition under `thresholds`");
    }

    /// The list that a condition stands in.
    fn section_of(at: &At) -> String {
        Self::last_key(at)
    }

    /// Says what is wrong with the thresholds of a scenario that could not be read for another reason.
    pub(super) fn thresholds_of_lost(&mut self, at: &At) {
        for section in ["thresholds", "valid_if", "sustain", "require"] {
            let at = at.key(section);
            let places: Vec<At> = match self.node(&at).map(|node| &node.value) {
                Some(Value::List(items)) => (0..items.len()).map(|index| at.index(index)).collect(),
                Some(_) => vec![at],
                None => continue,
            };
            for at in places.into_iter().flat_map(|at| [at.key("expr"), at]) {
                let Some(Value::String { text, .. }) = self.node(&at).map(|node| &node.value) else { continue };
                if let Err(error) = expr::parse_threshold(text) {
                    self.text_error(&at, error.offset, error.message, error.help.unwrap_or_default());
                }
            }
        }
    }

    fn written(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        measured: &Measured<'_>,
    ) -> Vec<(At, Threshold)> {
        let mut names: HashMap<String, Option<Span>> = HashMap::new();
        let mut thresholds = Vec::new();
        for (index, raw) in raw.iter().flat_map(|list| list.iter()) {
            let at = at.item(index);
            let Some((place, threshold)) = self.threshold(&at, raw, measured) else { continue };
            let name_at = match raw {
                raw::Threshold::Long(long) if long.name.is_some() => at.key("name"),
                _ => place.clone(),
            };
            let span = self.span(&name_at);
            if let Some(first) = names.get(&*threshold.name) {
                let line = first.map_or(0, |first| self.sources.0[first.source].line(first.start).0);
                let name = &threshold.name;
                let help =
                    format!("line {line} has it already: give one of them a name, `- {{expr: …, name: {name}_2}}`");
                self.error(&name_at, format!("two thresholds are called `{name}`"), help);
                continue;
            }
            names.insert(threshold.name.to_string(), span);
            thresholds.push((place, threshold));
        }
        thresholds
    }

    /// A threshold, and where its expression stands.
    fn threshold(&mut self, at: &At, raw: &raw::Threshold, measured: &Measured<'_>) -> Option<(At, Threshold)> {
        let (mut threshold, place) = match raw {
            raw::Threshold::Short(text) => (self.condition(at, text)?, at.clone()),
            raw::Threshold::Long(long) => self.long(at, long)?,
        };
        if let raw::Threshold::Long(long) = raw {
            self.options(at, long, &mut threshold);
        }
        self.names_exist(&place, &threshold, measured);
        Some((place, threshold))
    }

    fn condition(&mut self, at: &At, text: &raw::ExprText) -> Option<Threshold> {
        match expr::parse_threshold(&text.0) {
            Ok(threshold) => Some(threshold),
            Err(error) => {
                self.text_error(at, error.offset, error.message, error.help.unwrap_or_default());
                None
            }
        }
    }

    /// A condition in the long form, and where it stands: `expr`, or `of` with its grades.
    fn long(&mut self, at: &At, long: &raw::ThresholdMap) -> Option<(Threshold, At)> {
        const HOW: &str = "write `expr: p95(latency) < 2s`, or `of: elapsed` with `pass: \"< 25s\"`";
        let text = |text: &Option<raw::ExprText>| text.as_ref().map(|text| text.0.clone());
        match (&long.expr, &long.of, &long.pass) {
            (Some(expr), None, None) => {
                let grade = [("warn", &long.warn), ("fail", &long.fail)].into_iter().find(|(_, text)| text.is_some());
                if let Some((key, _)) = grade {
                    self.key_error(&at.key(key), format!("`{key}` is a grade: it goes with `of` and `pass`"), HOW);
                }
                Some((self.condition(&at.key("expr"), expr)?, at.key("expr")))
            }
            (None, Some(of), Some(pass)) => {
                match expr::parse_graded(&of.0, &pass.0, text(&long.warn).as_deref(), text(&long.fail).as_deref()) {
                    Ok(threshold) => Some((threshold, at.key("of"))),
                    Err((part, error)) => {
                        let key = match part {
                            GradePart::Of => "of",
                            GradePart::Pass => "pass",
                            GradePart::Warn => "warn",
                            GradePart::Fail => "fail",
                        };
                        let help = error.help.unwrap_or_default();
                        self.text_error(&at.key(key), error.offset, error.message, help);
                        None
                    }
                }
            }
            (Some(_), ..) => {
                let key = if long.of.is_some() { "of" } else { "pass" };
                self.key_error(&at.key(key), "a threshold has `expr`, or `of` with its grades, not both", HOW);
                None
            }
            (None, Some(_), None) => {
                self.key_error(&at.key("of"), "`pass` is missing: what is good?", HOW);
                None
            }
            (None, None, _) => {
                if self.node(&at.key("expr")).is_none() && !self.troubled(at) {
                    self.error(at, "`expr` is missing in a threshold", HOW);
                }
                None
            }
        }
    }

    fn options(&mut self, at: &At, long: &raw::ThresholdMap, threshold: &mut Threshold) {
        if let Some(name) = &long.name {
            self.name(&at.key("name"), name, "a threshold");
            if ["verdict", "missed"].contains(&name.as_str()) {
                let help = "an alert is known by its threshold's name: choose another one";
                self.error(&at.key("name"), format!("`{name}` is an alert of Plimsoll's own"), help);
            }
            threshold.name = name.as_str().into();
        }
        if let Some(word) = long.severity {
            threshold.severity = severity(word);
        }
        threshold.abort_on_fail = long.abort_on_fail.unwrap_or(threshold.abort_on_fail);
        let delay_at = at.key("delay_abort_eval");
        let delay = long.delay_abort_eval.as_ref();
        threshold.delay_abort_eval = self.duration(&delay_at, delay, threshold.delay_abort_eval, Duration::ZERO);
        if delay.is_some() && !threshold.abort_on_fail {
            self.error(
                &delay_at,
                "`delay_abort_eval` does nothing without `abort_on_fail`",
                "write `abort_on_fail: true`, or remove it",
            );
        }
        threshold.for_runs = long.for_runs.unwrap_or(threshold.for_runs);
        threshold.min_samples = long.min_samples.unwrap_or(threshold.min_samples);
        threshold.hint = long.hint.as_deref().map(Into::into);
        threshold.runbook = long.runbook.as_deref().map(Into::into);
        if let Some(page) = &long.runbook {
            self.page(&at.key("runbook"), page);
        }
        if long.confidence.as_ref().is_some_and(|confidence| !is_95(&confidence.0)) {
            let help = "write `confidence: 95%` or leave it out";
            self.error(&at.key("confidence"), "a slope is judged with a confidence of 95%", help);
        }
        if let Some(text) = &long.only_while {
            match expr::parse_held(&text.0) {
                Ok(held) => threshold.only_while = Some(held),
                Err(error) => {
                    self.text_error(&at.key("while"), error.offset, error.message, error.help.unwrap_or_default());
                }
            }
        }
    }

    /// Whether a runbook has a URL.
    pub(super) fn page(&mut self, at: &At, page: &str) {
        if !page.starts_with("https://") && !page.starts_with("http://") {
            let help = "write `runbook: \"https://wiki.example.com/queue\"`";
            self.error(at, "a runbook is a page: it has a URL", help);
        }
    }

    /// Where a threshold names something: in its condition, or in its `while`.
    fn place_of(at: &At, threshold: &Threshold, name: &str) -> (At, usize) {
        let held = threshold.only_while.as_ref().and_then(|held| held.source.find(name));
        match (threshold.source.find(name), held, at.parent()) {
            (None, Some(offset), Some(whole)) => (whole.key("while"), offset),
            (offset, ..) => (at.clone(), offset.unwrap_or_default()),
        }
    }

    /// Whether the figures, steps and tags that a threshold names exist, and whether its units fit the figures'.
    pub(super) fn names_exist(&mut self, at: &At, threshold: &Threshold, measured: &Measured<'_>) {
        // Without its target nothing is known of the figures: the target's own errors come first.
        if let Some(target) = measured.target {
            let figures: Vec<(Name, Unit)> =
                target.all_figures(measured.certificate).map(|(name, (unit, _))| (name, unit)).collect();
            let known: Vec<&str> = figures.iter().map(|(name, _)| &**name).collect();
            let custom: Vec<&str> = measured.custom.iter().map(|metric| &*metric.name).collect();
            // `restarts(target)` asks all of its counters.
            let all = threshold.aggregates().iter().any(|aggregate| aggregate.by == Aggregation::Restarts)
                && target.figures().any(|(_, (_, counter))| counter);
            let read = |name: &&str| known.contains(name) || custom.contains(name) || (all && *name == "target");
            // One that could not be read has been noted.
            let there = |name: &&str| read(name) || measured.declared.iter().any(|declared| declared == name);
            let unknown = |name: &&str| !there(name);
            for name in threshold.stats().filter(unknown) {
                let words = known.iter().chain(&custom).copied().chain(METRICS);
                let help = match hints::nearest(name, words) {
                    _ if let Some(ours) = alias(name) => format!("write `{ours}`"),
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!(
                        "a figure of the target is declared under its `stats:`: `gauges: {{{name}: {{get: /stats, json: $.{name}}}}}`"
                    ),
                    None => format!(
                        "target `{}` has {}; the metrics of Plimsoll's own are {}",
                        target.name,
                        known.join(", "),
                        METRICS.join(", ")
                    ),
                };
                let (at, offset) = Self::place_of(at, threshold, name);
                self.text_error(&at, offset, format!("there is no metric `{name}`"), help);
            }
            let units = figures.iter().cloned().collect();
            if let Err(error) = expr::check_units(threshold, &units) {
                self.text_error(at, error.offset, error.message, error.help.unwrap_or_default());
            }
        }
        if let Err(error) = expr::check_custom(threshold, measured.custom) {
            self.text_error(at, error.offset, error.message, error.help.unwrap_or_default());
        }
        self.scenario_measures(at, threshold, measured);
    }

    /// Whether the loads and steps of the scenario measure what a threshold looks at, as far as they are known.
    pub(super) fn scenario_measures(&mut self, at: &At, threshold: &Threshold, measured: &Measured<'_>) {
        if measured.dimensions.is_none() {
            return;
        }
        self.selectors_exist(at, threshold, measured);
        for aggregate in threshold.aggregates() {
            let name = aggregate.metric.as_str();
            let streams = |step: &Name| {
                let mut of_steps = aggregate.selectors.iter().filter(|selector| selector.by == Dimension::Step);
                of_steps.all(|selector| selector.value.takes(step) != selector.negated)
            };
            let (message, help) = match aggregate.metric {
                Metric::SafeRate if !measured.search => {
                    ("nothing is searched for here", "`safe_rate` is what the executor search finds")
                }
                Metric::Recovery if !measured.recovery => (
                    "no recovery is watched here",
                    "write `recovery: {after: PHASE, until: [rate(rejected) == 0%], within: 30s}`",
                ),
                _ if STREAM_FIGURES.contains(&name)
                    && !self.stream_unread
                    && !measured.streamed.iter().any(streams)
                    && measured.custom.iter().all(|metric| *metric.name != *name) =>
                {
                    (
                        "no such answer is streamed",
                        "write `stream: sse` or `stream: ndjson` in the step whose answer is",
                    )
                }
                _ => continue,
            };
            let offset = threshold.source.find(name).unwrap_or_default();
            self.text_error(at, offset, format!("`{name}` has no data: {message}"), help);
        }
    }
}

/// What decides which thresholds a scenario has without writing any: a limit and a search go beyond what the target
/// grants, so rejections are wanted there.
pub(super) fn nature(groups: &[Arc<Group>], overload: bool) -> Nature<'_> {
    let probe = |group: &Arc<Group>| matches!(group.load.executor, Executor::Probe { .. });
    let beyond = groups.iter().find_map(|group| match &group.load.executor {
        Executor::Limit(spec) => Some(Nature::Limit(spec)),
        Executor::Search(_) => Some(Nature::Overload),
        _ => None,
    });
    match beyond {
        _ if overload => Nature::Overload,
        Some(beyond) => beyond,
        None if groups.iter().all(probe) => Nature::Probe,
        None => Nature::Load,
    }
}

/// What a scenario measures: what its thresholds may name.
pub(super) struct Measured<'a> {
    /// Whose figures are read.
    pub(super) target: Option<&'a Target>,
    /// Names of its requests.
    pub(super) steps: Vec<Name>,
    /// Those of them whose answers are streamed.
    pub(super) streamed: Vec<Name>,
    /// One of them asks for a certificate.
    pub(super) certificate: bool,
    /// It looks for a load that is sustained.
    pub(super) search: bool,
    /// It watches whether the target recovers.
    pub(super) recovery: bool,
    /// What else its series are told apart by; `None` where that is not known.
    pub(super) dimensions: Option<Dimensions>,
    /// Metrics of the user's own.
    pub(super) custom: &'a [CustomMetric],
    /// Their names, those included that could not be read.
    pub(super) declared: Vec<&'a str>,
}

fn without_places(placed: Vec<(At, Threshold)>) -> Vec<Threshold> {
    placed.into_iter().map(|(_, threshold)| threshold).collect()
}

fn is_95(share: &str) -> bool {
    crate::model::units::parse_quantity(share).is_ok_and(|share| (share.value - 0.95).abs() < 1e-9)
}

pub(super) fn severity(word: raw::SeverityWord) -> Severity {
    match word {
        raw::SeverityWord::Critical => Severity::Critical,
        raw::SeverityWord::Warning => Severity::Warning,
        raw::SeverityWord::Info => Severity::Info,
    }
}
