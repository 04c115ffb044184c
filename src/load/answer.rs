//! What an answer comes to: outcome, captures, and words for a failure that hold no secret (pure).

use std::{cell::OnceCell, time::Duration};

use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde_json::Value;

use super::metrics::Metrics;
use crate::{
    http::{
        capture,
        classify::{Landing, classify},
        exchange::Answer,
        scope::Scope,
    },
    judge::ResponseView,
    model::{
        Name,
        outcome::{Classified, Outcome, fail},
        scenario::{ClassifyRule, Step},
        settings::Redactor,
    },
};

/// What an answer came to.
#[derive(Debug)]
pub struct Judged {
    /// Where it landed.
    pub landing: Landing,
    /// What was captured of it.
    pub captured: Vec<(Name, Value)>,
    /// Its body.
    pub body: Bytes,
    /// Whether the step's `until` holds, or why not.
    pub until: Option<Result<(), String>>,
    /// What the custom metrics record of it, each by its place among them.
    pub custom: Vec<(usize, f64)>,
}

impl From<Landing> for Judged {
    /// Where there was no answer.
    fn from(landing: Landing) -> Self {
        Self { landing, captured: Vec::new(), body: Bytes::new(), until: None, custom: Vec::new() }
    }
}

/// Judges a complete answer. `times` are its latency and its service time.
pub fn judge(
    step: &Step,
    rules: &[ClassifyRule],
    scope: &Scope,
    answer: Answer,
    times: (Duration, Duration),
    redactor: &Redactor,
    metrics: &Metrics,
) -> Judged {
    let json = OnceCell::new();
    let variable = |name: &str| scope.get(name);
    let view = view(&answer, &answer.headers, &answer.body, &json, times, &variable);
    let mut landing = classify(step, rules, &view);
    let until = step.until.as_ref().map(|until| until.condition.eval(&view));
    let mut captured = Vec::new();
    if landing.class.outcome == Outcome::Ok {
        for capture in &step.capture {
            match capture::find(capture, &view) {
                Ok(Some(value)) => captured.push((capture.name.clone(), value)),
                Ok(None) => {}
                Err(detail) => {
                    let class = Classified { outcome: Outcome::Failed, reason: fail::CAPTURE.into() };
                    landing = Landing { class, detail };
                    break;
                }
            }
        }
    } else if landing.class.outcome == Outcome::Failed
        && !step.expect.is_empty()
        && let Some(detail) = without_secrets(step, rules, &landing, scope, &answer, times, redactor)
    {
        landing.detail = detail;
    }
    // A reason that a header gave becomes a metric label, and a target may echo anything there.
    if !landing.class.reason.is_empty() {
        let clean = redactor.redact(&landing.class.reason);
        if *clean != *landing.class.reason {
            landing.class.reason = clean.into();
        }
    }
    let ok = landing.class.outcome == Outcome::Ok;
    let custom = if ok && !metrics.is_empty() { metrics.of_answer(&view, &captured) } else { Vec::new() };
    Judged { landing, captured, body: answer.body, until, custom }
}

fn view<'a>(
    answer: &Answer,
    headers: &'a HeaderMap,
    body: &'a [u8],
    json: &'a OnceCell<Option<Value>>,
    (latency, service_time): (Duration, Duration),
    variable: &'a dyn Fn(&str) -> Option<Value>,
) -> ResponseView<'a> {
    ResponseView { status: answer.status.as_u16(), headers, body, json, latency, service_time, variable }
}

/// The words of a failure quote the start of what was found: a secret that is cut in two there would no longer be
/// recognised. So they are found again on an answer without secrets. `None` if it held none.
fn without_secrets(
    step: &Step,
    rules: &[ClassifyRule],
    landing: &Landing,
    scope: &Scope,
    answer: &Answer,
    times: (Duration, Duration),
    redactor: &Redactor,
) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let body = redactor.redact(&text);
    let mut headers = answer.headers.clone();
    let mut changed = body != text;
    for value in headers.values_mut() {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let redacted = redactor.redact(&text);
        if redacted != text {
            changed = true;
            *value = HeaderValue::try_from(redacted).unwrap_or(HeaderValue::from_static("***"));
        }
    }
    let hidden = std::cell::Cell::new(false);
    let variable = |name: &str| {
        let found = scope.get(name)?;
        let value = redacted(found.clone(), redactor);
        hidden.set(hidden.get() || value != found);
        Some(value)
    };
    let json = OnceCell::new();
    let again = classify(step, rules, &view(answer, &headers, body.as_bytes(), &json, times, &variable));
    if !changed && !hidden.get() {
        return None;
    }
    if again.class == landing.class {
        return Some(again.detail);
    }
    Some("a condition does not hold; what it compares holds a secret and is not shown".to_owned())
}

fn redacted(value: Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => redactor.redact(&text).into(),
        Value::Array(values) => values.into_iter().map(|value| redacted(value, redactor)).collect(),
        Value::Object(values) => values.into_iter().map(|(name, value)| (name, redacted(value, redactor))).collect(),
        other => other,
    }
}
