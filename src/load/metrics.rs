//! Custom metrics: recorded of each answer that ended ok and holds every name in them; one whose names come from several
//! steps at the end of the iteration (pure).

use std::sync::Arc;

use serde_json::Value;

use crate::{
    http::scope::Scope,
    judge::ResponseView,
    model::{
        Name,
        expr::{Condition, Operand},
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
    /// A header or a node of the answer is in it: that tells which answer is meant, and captures may be earlier ones.
    by_content: bool,
    /// No step captures all of it, and it looks at no answer: it is recorded at the end of the iteration.
    at_the_end: bool,
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
        self.0.iter().any(|known| known.metric.needs_body())
    }

    /// What an answer comes to of which `captured` was kept: each metric by its place, and its value.
    pub fn of_answer(&self, view: &ResponseView<'_>, captured: &[(Name, Value)]) -> Vec<(usize, f64)> {
        let value = |known: &Known| {
            let variable = |name: &str| {
                let first = name.split('.').next().unwrap_or(name);
                if let Some((_, value)) = captured.iter().find(|(own, _)| **own == *first) {
                    return name.split('.').skip(1).try_fold(value, |value, part| value.get(part)).cloned();
                }
                // What an earlier step captured was recorded with that step.
                let earlier = known.captures.iter().any(|capture| **capture == *first);
                if earlier && !known.by_content { None } else { (view.variable)(name) }
            };
            known.metric.of(&ResponseView { variable: &variable, ..*view })
        };
        let asked = self.0.iter().enumerate().filter(|(_, known)| !known.at_the_end);
        asked.filter_map(|(index, known)| Some((index, value(known)?))).collect()
    }

    /// What an iteration comes to that has ended.
    pub fn of_iteration(&self, scope: &Scope) -> Vec<(usize, f64)> {
        let asked = self.0.iter().enumerate().filter(|(_, known)| known.at_the_end);
        ResponseView::without_answer(&|name| scope.get(name), |view| {
            asked.filter_map(|(index, known)| Some((index, known.metric.of(view)?))).collect()
        })
    }
}

fn known(metric: &CustomMetric, steps: &[&Step]) -> Known {
    let (operands, presence) = match &metric.kind {
        MetricKind::Rate(rate) => (rate.tree.operands(), asks_for_presence(&rate.tree)),
        MetricKind::Trend { formula, .. } => (formula.tree.operands(), false),
    };
    let first = |name: &Name| -> Name { name.split('.').next().unwrap_or(name).into() };
    let keeps = |step: &Step, name: &Name| step.capture.iter().any(|capture| capture.name == *name);
    let mut captures: Vec<Name> = Vec::new();
    let (mut by_content, mut of_an_answer) = (false, presence);
    for operand in operands {
        match operand {
            Operand::Variable(name) if steps.iter().any(|step| keeps(step, &first(name))) => {
                captures.push(first(name));
            }
            Operand::Header(_) | Operand::Path(_) => (by_content, of_an_answer) = (true, true),
            Operand::Status | Operand::Latency | Operand::ServiceTime | Operand::Body => of_an_answer = true,
            _ => {}
        }
    }
    let one_step = steps.iter().any(|step| captures.iter().all(|name| keeps(step, name)));
    let at_the_end = !of_an_answer && !captures.is_empty() && !one_step;
    Known { metric: metric.clone(), captures, by_content, at_the_end }
}

/// Whether it asks if something is there, or goes over matches in the body.
fn asks_for_presence(condition: &Condition) -> bool {
    match condition {
        Condition::And(all) | Condition::Or(all) => all.iter().any(asks_for_presence),
        Condition::Not(inner) => asks_for_presence(inner),
        Condition::Exists(_) | Condition::All { .. } => true,
        _ => false,
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
