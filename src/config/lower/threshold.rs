//! `thresholds` and `valid_if`: conditions on a run, the implicit ones added.

use std::{collections::HashMap, time::Duration};

use super::{At, Lower};
use crate::{
    config::{expr, raw, source::Span},
    model::{
        expr::Threshold,
        run::Severity,
        scenario::{Executor, Load},
    },
};

impl Lower<'_> {
    pub(super) fn thresholds(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        load: &Load,
        overload: bool,
    ) -> Vec<Threshold> {
        let mut thresholds = self.written(at, raw);
        let probe = matches!(load.executor, Executor::Probe { .. });
        let implicit = expr::implicit_thresholds(&thresholds, probe, overload);
        // A written threshold may bear the name of an implicit one: it takes its place in reports.
        let implicit: Vec<_> =
            implicit.into_iter().filter(|new| thresholds.iter().all(|known| known.name != new.name)).collect();
        thresholds.extend(implicit);
        thresholds
    }

    pub(super) fn valid_if(
        &mut self,
        at: &At,
        raw: Option<&raw::OneOrMany<raw::Threshold>>,
        load: &Load,
    ) -> Vec<Threshold> {
        if raw.is_none() { expr::default_valid_if(load) } else { self.written(at, raw) }
    }

    fn written(&mut self, at: &At, raw: Option<&raw::OneOrMany<raw::Threshold>>) -> Vec<Threshold> {
        let mut names: HashMap<String, Option<Span>> = HashMap::new();
        let mut thresholds = Vec::new();
        for (index, raw) in raw.iter().flat_map(|list| list.iter()) {
            let at = at.item(index);
            let Some(threshold) = self.threshold(&at, raw) else { continue };
            let span = self.span(&at);
            if let Some(first) = names.get(&*threshold.name) {
                let line = first.map_or(0, |first| self.sources.0[first.source].line(first.start).0);
                let name = &threshold.name;
                let help =
                    format!("line {line} has it already: give one of them a name, `- {{expr: …, name: {name}_2}}`");
                self.error(&at, format!("two thresholds are called `{name}`"), help);
                continue;
            }
            names.insert(threshold.name.to_string(), span);
            thresholds.push(threshold);
        }
        thresholds
    }

    fn threshold(&mut self, at: &At, raw: &raw::Threshold) -> Option<Threshold> {
        let (text, expr_at, long) = match raw {
            raw::Threshold::Short(text) => (text, at.clone(), None),
            raw::Threshold::Long(long) => (&long.expr, at.key("expr"), Some(long)),
        };
        let mut threshold = match expr::parse_threshold(&text.0) {
            Ok(threshold) => threshold,
            Err(error) => {
                self.text_error(&expr_at, error.offset, error.message, error.help.unwrap_or_default());
                return None;
            }
        };
        let Some(long) = long else { return Some(threshold) };
        if let Some(name) = &long.name {
            self.name(&at.key("name"), name, "a threshold");
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
        threshold.runbook = long.runbook.as_deref().map(Into::into);
        if long.runbook.as_ref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            self.error(
                &at.key("runbook"),
                "a runbook is a page: it has a URL",
                "write `runbook: \"https://wiki.example.com/queue\"`",
            );
        }
        Some(threshold)
    }
}

pub(super) fn severity(word: raw::SeverityWord) -> Severity {
    match word {
        raw::SeverityWord::Critical => Severity::Critical,
        raw::SeverityWord::Warning => Severity::Warning,
        raw::SeverityWord::Info => Severity::Info,
    }
}
