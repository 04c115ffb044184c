//! The name of a threshold that was given none: what it measures, as a metric label can hold it.

use crate::model::expr::{Aggregate, Aggregation, Compare, Measure, Pattern};

/// Aggregation, metric and selectors as a metric label: `p95_latency_level_last`.
pub(super) fn slug(measure: &Measure) -> String {
    let text = match measure {
        Measure::Number(_) => String::new(),
        Measure::Of(aggregate) => aggregate_slug(aggregate),
        Measure::Drift(inner) => format!("drift_{}", slug(inner)),
        Measure::Baseline(inner) => format!("baseline_{}", slug(inner)),
        Measure::Share(held) => format!("share_{}", slug(&held.left)),
        Measure::Spread { how, of, by } => format!("{}_{}_by_{}", how.as_str(), slug(of), by.as_str()),
        Measure::Math(left, _, right) => {
            [slug(left), slug(right)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
        }
    };
    text.chars().take(100).collect()
}

fn aggregate_slug(aggregate: &Aggregate) -> String {
    let by = match aggregate.by {
        Aggregation::Count => "count".to_owned(),
        Aggregation::Share => "rate".to_owned(),
        Aggregation::PerSecond => "rps".to_owned(),
        Aggregation::Mean => "avg".to_owned(),
        Aggregation::Min => "min".to_owned(),
        Aggregation::Max => "max".to_owned(),
        Aggregation::Quantile(q) => format!("p{}", (q * 1e8).round() / 1e6),
        Aggregation::First => "first".to_owned(),
        Aggregation::Last => "last".to_owned(),
        Aggregation::Growth { .. } => "growth".to_owned(),
        Aggregation::Slope => "slope".to_owned(),
        Aggregation::Increase => "increase".to_owned(),
        Aggregation::Restarts => "restarts".to_owned(),
        Aggregation::Plain => String::new(),
    };
    let mut words = vec![by, aggregate.metric.as_str().to_owned()];
    for selector in &aggregate.selectors {
        words.push(selector.by.as_str().to_owned());
        if selector.negated {
            words.push("not".to_owned());
        }
        words.push(match &selector.value {
            Pattern::Is(value) => value.to_string(),
            Pattern::Class(class) => format!("{class}xx"),
            Pattern::Matches(regex) => regex.as_str().to_owned(),
            Pattern::Number(op, number) => format!("{}_{number}", in_words(*op)),
        });
    }
    let joined = words.join("_").replace('.', "").to_lowercase();
    let clean = joined.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    clean.collect::<Vec<_>>().join("_")
}

/// A comparison, as a metric label can hold it.
fn in_words(op: Compare) -> &'static str {
    match op {
        Compare::Eq => "is",
        Compare::Ne => "not",
        Compare::Lt => "below",
        Compare::Le => "to",
        Compare::Gt => "above",
        Compare::Ge => "from",
    }
}
