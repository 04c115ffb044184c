//! Where an answer lands: the first matching rule decides, and each answer lands in exactly one outcome (pure).

use ::http::StatusCode;

use crate::{
    judge::ResponseView,
    model::{
        Name,
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
    let by_status = step.expect.iter().any(|expect| expect.asks_for(view.status));
    let (outcome, reason) = if step_ok(step, status) {
        (Outcome::Ok, Name::default())
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
        None => Landing { class: Classified { outcome: Outcome::Ok, reason: Name::default() }, detail: String::new() },
        Some(why) => {
            Landing { class: Classified { outcome: Outcome::Failed, reason: fail::EXPECT.into() }, detail: why }
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
        (Outcome::Ok, Name::default())
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

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;

    use ::http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::{
        judge::parse_expect,
        model::{
            scenario::{Action, RequestSpec},
            template::Template,
        },
    };

    fn land(expects: &[&str], status: u16, retry_after: bool) -> String {
        let request = RequestSpec::new(Method::GET, Template::literal("/"));
        let step = Step {
            expect: expects.iter().map(|expect| parse_expect(expect).expect("parses")).collect(),
            ..Step::new("step", Action::Http(Box::new(request)))
        };
        let mut headers = HeaderMap::new();
        if retry_after {
            headers.insert(::http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let json = OnceCell::new();
        let view = ResponseView {
            status,
            headers: &headers,
            body: b"{}",
            json: &json,
            latency: std::time::Duration::ZERO,
            service_time: std::time::Duration::ZERO,
            variable: &|_| None,
        };
        let class = classify(&step, &[], &view).class;
        format!("{} {}", class.outcome, class.reason).trim().to_owned()
    }

    #[test]
    fn by_default() {
        let check =
            |status, retry_after, expected: &str| assert_eq!(land(&[], status, retry_after), expected, "{status}");
        check(200, false, "ok");
        check(204, false, "ok");
        check(302, false, "failed status");
        check(404, false, "failed status");
        check(429, false, "rejected status_429");
        check(503, false, "failed status");
        check(503, true, "rejected status_503");
        check(500, true, "failed status");
    }

    #[test]
    fn an_expect_makes_a_status_ok_only_by_asking_for_it() {
        let check =
            |expect: &str, status, expected: &str| assert_eq!(land(&[expect], status, false), expected, "{expect}");
        check("status == 404", 404, "ok");
        check("status in [200, 404]", 404, "ok");
        check("status == 3xx", 302, "ok");
        check("status == 404", 200, "failed expect");
        check("status == 200", 500, "failed status");
        check("status != 404", 500, "failed status");
        check("not status == 404", 500, "failed status");
        check("status >= 200", 502, "failed status");
        check("status == 200 or latency < 5s", 500, "failed status");
        assert_eq!(land(&["status == 404", "exists($.x)"], 404, false), "failed expect");
    }
}
