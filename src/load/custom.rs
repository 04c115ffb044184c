//! The user's own metrics of one request: those of which its answer holds everything they look at (pure).

use std::{cell::OnceCell, time::Duration};

use ::http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{
    http::scope::Scope,
    judge::ResponseView,
    model::{Name, metric::CustomMetric, scenario::Step},
};

/// An answer that ended ok.
pub(super) struct Answered<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) captured: &'a [(Name, Value)],
    /// Latency and service time.
    pub(super) times: (Duration, Duration),
}

/// What the metrics record of an answer, each with its place among them. A value that an earlier step captured was
/// recorded with that step, and is not recorded again.
pub(super) fn measured(
    metrics: &[CustomMetric],
    step: &Step,
    scope: &Scope,
    answer: &Answered<'_>,
) -> Vec<(usize, f64)> {
    let json = OnceCell::new();
    let variable = |name: &str| {
        let first = name.split_once('.').map_or(name, |(first, _)| first);
        if let Some((_, value)) = answer.captured.iter().find(|(captured, _)| **captured == *first) {
            let rest = name.strip_prefix(first).unwrap_or_default().split('.').filter(|part| !part.is_empty());
            return rest.into_iter().try_fold(value, |value, part| value.get(part)).cloned();
        }
        let figure = step.stream.is_some() && crate::judge::STREAM_FIGURES.contains(&first);
        let earlier = scope.captures.contains_key(first) && !figure;
        if earlier { None } else { scope.get(name) }
    };
    let view = ResponseView {
        status: answer.status.as_u16(),
        headers: answer.headers,
        body: answer.body,
        json: &json,
        latency: answer.times.0,
        service_time: answer.times.1,
        variable: &variable,
    };
    metrics.iter().enumerate().filter_map(|(index, metric)| Some((index, metric.of(&view)?))).collect()
}
