//! Custom metrics: recorded of each request that defines every name in them, else at the end of the iteration (pure).

use std::{cell::OnceCell, sync::Arc, time::Duration};

use ::http::HeaderMap;
use serde_json::Value;

use crate::{
    http::scope::Scope,
    judge::ResponseView,
    model::{
        Name,
        expr::{Condition, Expect, Operand, Term},
        metric::{CustomMetric, MetricKind},
        scenario::{Scenario, Step},
    },
};

/// The custom metrics of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<[Known]>);

#[derive(Debug)]
struct Known {
    metric: CustomMetric,
    /// The captures in it.
    captures: Vec<Name>,
    /// What must be there for it to be asked: headers and nodes, and variables that no step captures.
    parts: Vec<Expect>,
    /// Headers or nodes are among them.
    by_content: bool,
    /// Whether it looks at an answer at all.
    of_an_answer: bool,
    /// No step captures all of it: it is recorded at the end of the iteration.
    at_the_end: bool,
}

/// What was recorded of one request, or of one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recorded {
    /// Whether a rate's condition held.
    Rate(bool),
    /// A trend's number, in its unit.
    Trend(f64),
}

impl Metrics {
    /// Those of `scenario`.
    pub fn of(scenario: &Scenario) -> Self {
        let steps: Vec<&Step> = scenario.steps().collect();
        Self(scenario.metrics.iter().map(|metric| known(metric, &steps)).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the body must be kept for one of them.
    pub fn need_body(&self) -> bool {
        self.0.iter().any(|known| match &known.metric.kind {
            MetricKind::Rate(condition) => condition.needs_body(),
            MetricKind::Trend { formula, .. } => formula.needs_body(),
        })
    }

    /// The metric's name.
    pub fn name(&self, index: usize) -> &Name {
        &self.0[index].metric.name
    }

    /// What an answer comes to of which `captured` was kept.
    pub fn of_answer(&self, view: &ResponseView<'_>, captured: &[(Name, Value)]) -> Vec<(usize, Recorded)> {
        let own = |name: &str| captured.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone());
        let variable = |name: &str| own(name).or_else(|| (view.variable)(name));
        let view = ResponseView { variable: &variable, ..*view };
        // A value that an earlier step captured is there for every later request: only what is in this answer tells
        // that this request is meant.
        let here = |known: &Known| {
            known.captures.iter().all(|name| own(name).is_some() || (known.by_content && variable(name).is_some()))
        };
        let defined =
            |known: &Known| !known.at_the_end && here(known) && known.parts.iter().all(|part| part.eval(&view).is_ok());
        let asked = self.0.iter().enumerate().filter(|(_, known)| defined(known));
        asked.filter_map(|(index, known)| Some((index, known.record(&view)?))).collect()
    }

    /// What an iteration comes to that has ended.
    pub fn of_iteration(&self, scope: &Scope) -> Vec<(usize, Recorded)> {
        let (json, headers) = (OnceCell::from(None), HeaderMap::new());
        let variable = |name: &str| scope.get(name);
        let view = ResponseView {
            status: 0,
            headers: &headers,
            body: b"",
            json: &json,
            latency: Duration::ZERO,
            service_time: Duration::ZERO,
            variable: &variable,
        };
        let defined = |known: &Known| {
            known.at_the_end && !known.of_an_answer && known.captures.iter().all(|name| scope.get(name).is_some())
        };
        let asked = self.0.iter().enumerate().filter(|(_, known)| defined(known));
        asked.filter_map(|(index, known)| Some((index, known.record(&view)?))).collect()
    }
}

impl Known {
    fn record(&self, view: &ResponseView<'_>) -> Option<Recorded> {
        match &self.metric.kind {
            MetricKind::Rate(condition) => Some(Recorded::Rate(condition.eval(view).is_ok())),
            MetricKind::Trend { formula, scale, .. } => formula.eval(view).map(|value| Recorded::Trend(value * scale)),
        }
    }
}

fn known(metric: &CustomMetric, steps: &[&Step]) -> Known {
    let mut operands = Vec::new();
    let matches = match &metric.kind {
        MetricKind::Rate(condition) => of_condition(&condition.tree, &mut operands),
        MetricKind::Trend { formula, .. } => {
            of_term(&formula.tree, &mut operands);
            false
        }
    };
    let captured = |name: &Name| steps.iter().any(|step| step.capture.iter().any(|capture| capture.name == *name));
    let mut known = Known {
        metric: metric.clone(),
        captures: Vec::new(),
        parts: Vec::new(),
        by_content: false,
        of_an_answer: matches,
        at_the_end: false,
    };
    for operand in operands {
        let there = || Expect { source: metric.name.clone(), tree: Condition::Exists(operand.clone()) };
        match operand {
            Operand::Variable(name) if captured(name) => known.captures.push(name.clone()),
            Operand::Variable(_) => known.parts.push(there()),
            Operand::Header(_) | Operand::Path(_) => {
                (known.by_content, known.of_an_answer) = (true, true);
                known.parts.push(there());
            }
            Operand::Status | Operand::Latency | Operand::ServiceTime | Operand::Body => known.of_an_answer = true,
            _ => {}
        }
    }
    let holds_all =
        |step: &&Step| known.captures.iter().all(|name| step.capture.iter().any(|capture| capture.name == *name));
    known.at_the_end = !known.of_an_answer && !known.captures.is_empty() && !steps.iter().any(holds_all);
    known
}

/// Adds the operands that are asked for a value; whether it goes over matches in the body.
fn of_condition<'a>(condition: &'a Condition, out: &mut Vec<&'a Operand>) -> bool {
    match condition {
        Condition::And(all) | Condition::Or(all) => {
            let mut found = false;
            for inner in all {
                found |= of_condition(inner, out);
            }
            found
        }
        Condition::Not(inner) => of_condition(inner, out),
        Condition::Compare { left, right, .. } | Condition::Contains { left, text: right, .. } => {
            out.extend([left, right]);
            false
        }
        Condition::In { left, any, .. } => {
            out.push(left);
            out.extend(any);
            false
        }
        Condition::Matches { left, .. } => {
            out.push(left);
            false
        }
        // It asks whether something is there.
        Condition::Exists(_) | Condition::All { .. } => true,
    }
}

fn of_term<'a>(term: &'a Term, out: &mut Vec<&'a Operand>) {
    match term {
        Term::Of(operand) => out.push(operand),
        Term::Math(left, _, right) => {
            of_term(left, out);
            of_term(right, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load::flow::tests::{Bench, told};

    #[tokio::test(start_paused = true)]
    async fn metrics_are_recorded_where_their_names_are_defined() {
        let scenario = "    load: {executor: per-vu-iterations, vus: 1, iterations: 1}
    metrics:
      hit: {rate: \"cache == 'HIT'\"}
      used: {trend: \"$.tokens * 2\"}
      wait: {trend: 'header[\"x-wait-ms\"]', unit: ms}
      fast: {rate: latency < 1s}
      both: {rate: cache == second}
      size: {trend: $.tokens / first}
    steps:
      - {name: a, get: /a, capture: {cache: {header: x-cache, default: MISS}, first: {json: $.tokens}}}
      - {name: b, get: /b, capture: {second: {header: x-cache, default: MISS}}, tags: {kind: x}}
      - {name: c, get: /c, on_fail: continue}";
        let bench = Bench::new(scenario, |n, _| match n {
            1 => (200, &[("x-cache", "HIT")], r#"{"tokens": 4}"#),
            2 => (200, &[("x-wait-ms", "1500")], r#"{"tokens": 6}"#),
            _ => (500, &[], "no"),
        });
        bench.iterate(1).await;
        let data = bench.data();
        assert_eq!(told(&data), "ok=2 failed=1");
        let mut lines = Vec::new();
        for (name, series) in &data.custom.rates {
            for (key, (is, of)) in series {
                lines.push(format!("{name} {:?} {is}/{of}", &*key.step));
            }
        }
        for (name, series) in &data.custom.trends {
            for (key, dist) in series {
                let labels: Vec<_> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                lines.push(format!("{name} {:?}{} {}x{}", &*key.step, labels.concat(), dist.count(), dist.sum()));
            }
        }
        assert_eq!(
            lines,
            [
                "both \"\" 0/1",
                "fast \"a\" 1/1",
                "fast \"b\" 1/1",
                "fast \"c\" 1/1",
                "hit \"a\" 1/1",
                "size \"a\" 1x1",
                "size \"b\"kind=x 1x1.5",
                "used \"a\" 1x8",
                "used \"b\"kind=x 1x12",
                "wait \"b\"kind=x 1x1.5",
            ]
        );
    }
}
