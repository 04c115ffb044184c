//! Where an answer lands: the first matching rule decides, and each answer lands in exactly one outcome (pure).

use ::http::StatusCode;

use crate::{
    judge::ResponseView,
    model::{
        Name,
        expr::Expect,
        outcome::{Classified, Outcome, fail},
        scenario::{ClassifyRule, OkStatus, ReasonSource, Step},
    },
};

/// An outcome, and why in words where it is not ok.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// Outcome and reason.
    pub class: Classified,
    /// In words; empty for ok.
    pub detail: String,
}

/// Longest reason taken from a header.
const MAX_REASON: usize = 48;

/// Judges an answer by the step's `ok`, the target's rules, the defaults (429, and 503 with Retry-After, are
/// rejections; 2xx is ok; the rest is `failed{status}`), and then the step's `expect`s.
pub fn classify(step: &Step, rules: &[ClassifyRule], view: &ResponseView<'_>) -> Landing {
    let status = StatusCode::from_u16(view.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let by_status = step.expect.iter().any(Expect::names_status);
    let (outcome, reason) = if step_ok(step, status) {
        (Outcome::Ok, "".into())
    } else if let Some(rule) = rules.iter().find(|rule| matches(rule, status, view)) {
        (rule.outcome, reason(rule, status, view))
    } else {
        by_default(status, view)
    };
    // A step that says which status it wants (`status == 404`) has the last word on `failed{status}`.
    let overruled = by_status && outcome == Outcome::Failed && &*reason == fail::STATUS;
    if outcome != Outcome::Ok && !overruled {
        return Landing { class: Classified { outcome, reason }, detail: in_words(status, view) };
    }
    match step.expect.iter().find_map(|expect| expect.eval(view).err()) {
        None => Landing { class: Classified { outcome: Outcome::Ok, reason: "".into() }, detail: String::new() },
        Some(why) => {
            let reason = if overruled { fail::STATUS } else { fail::EXPECT };
            Landing { class: Classified { outcome: Outcome::Failed, reason: reason.into() }, detail: why }
        }
    }
}

fn step_ok(step: &Step, status: StatusCode) -> bool {
    match &step.ok {
        None => false,
        Some(OkStatus::Any) => true,
        Some(OkStatus::Of(list)) => list.iter().any(|range| range.covers(status)),
    }
}

fn matches(rule: &ClassifyRule, status: StatusCode, view: &ResponseView<'_>) -> bool {
    (rule.status.is_empty() || rule.status.iter().any(|range| range.covers(status)))
        && rule.when.as_ref().is_none_or(|when| when.eval(view).is_ok())
}

fn by_default(status: StatusCode, view: &ResponseView<'_>) -> (Outcome, Name) {
    let unavailable_for_now =
        status == StatusCode::SERVICE_UNAVAILABLE && view.headers.contains_key(::http::header::RETRY_AFTER);
    if status == StatusCode::TOO_MANY_REQUESTS || unavailable_for_now {
        (Outcome::Rejected, status_name(status))
    } else if status.is_success() {
        (Outcome::Ok, "".into())
    } else {
        (Outcome::Failed, fail::STATUS.into())
    }
}

/// The status, and of a redirect where it points: it is an answer like any other, and nobody goes there.
fn in_words(status: StatusCode, view: &ResponseView<'_>) -> String {
    match view.headers.get(::http::header::LOCATION) {
        Some(to) if status.is_redirection() => {
            format!("status {status} to {}; redirects are not followed", String::from_utf8_lossy(to.as_bytes()))
        }
        _ => format!("status {status}"),
    }
}

fn status_name(status: StatusCode) -> Name {
    format!("status_{}", status.as_u16()).into()
}

fn reason(rule: &ClassifyRule, status: StatusCode, view: &ResponseView<'_>) -> Name {
    match (&rule.reason, rule.outcome) {
        (_, Outcome::Ok | Outcome::Interrupted) => "".into(),
        (ReasonSource::Fixed(name), _) => name.clone(),
        (ReasonSource::Status, Outcome::Failed) => fail::STATUS.into(),
        (ReasonSource::Status, Outcome::Rejected) => status_name(status),
        (ReasonSource::Header { header, default }, _) => {
            let text = view.headers.get(header).and_then(|value| value.to_str().ok()).map(str::trim);
            text.filter(|text| !text.is_empty()).map_or_else(|| default.clone(), |text| label(text).into())
        }
    }
}

/// A header's value as a label: printable, bounded.
fn label(text: &str) -> String {
    text.chars().take(MAX_REASON).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}
