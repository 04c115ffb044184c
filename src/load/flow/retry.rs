//! When a step is tried again (pure).

use std::time::Duration;

use ::http::{HeaderMap, header::RETRY_AFTER};
use jiff::Timestamp;

use crate::model::scenario::{Reaction, Retry, Step};

/// A target may ask for no longer a pause than this.
const LONGEST: Duration = Duration::from_hours(1);

/// The pause before the try after so many failed ones (from 1), or what the target asked for if that is longer.
pub(crate) fn pause(retry: &Retry, failed: u32, asked: Option<Duration>) -> Duration {
    let (first, last) = retry.backoff;
    let pause = first.saturating_mul(1 << (failed - 1).min(30)).min(last.max(first));
    match asked {
        Some(asked) if retry.honor_retry_after => pause.max(asked.min(LONGEST)),
        _ => pause,
    }
}

/// What the answer's `Retry-After` asks for, where the step obeys it.
pub(crate) fn after(step: &Step, headers: &HeaderMap, now: impl Fn() -> Timestamp) -> Option<Duration> {
    let obeys = |reaction: &Reaction| matches!(reaction, Reaction::Retry(retry) if retry.honor_retry_after);
    if !obeys(&step.on_rejected) && !obeys(&step.on_failed) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now())).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderValue, Method};

    use super::*;
    use crate::model::{
        scenario::{Action, RequestSpec},
        template::Template,
    };

    #[test]
    fn pauses_double_up_to_the_last_and_obey_the_target() {
        let s = Duration::from_secs;
        let check = |failed, asked: Option<u64>, honor_retry_after, expected| {
            let retry = Retry { max: 9, backoff: (s(1), s(10)), honor_retry_after };
            assert_eq!(pause(&retry, failed, asked.map(s)), s(expected), "{failed} {asked:?}");
        };
        check(1, None, true, 1);
        check(2, None, true, 2);
        check(4, None, true, 8);
        check(5, None, true, 10);
        check(u32::MAX, None, true, 10);
        check(1, Some(7), true, 7);
        check(1, Some(7), false, 1);
        check(4, Some(2), true, 8);
        check(1, Some(1_000_000), true, 3600);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let request = RequestSpec::new(Method::GET, Template::literal("/"));
        let retry =
            Reaction::Retry(Retry { max: 1, backoff: (Duration::ZERO, Duration::ZERO), honor_retry_after: true });
        let step = Step { on_rejected: retry, ..Step::new("step", Action::Http(Box::new(request))) };
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a timestamp");
        let check = |value: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(after(&step, &headers, || now), expected.map(Duration::from_secs), "{value}");
        };
        check("3", Some(3));
        check("Sat, 21 Nov 2026 12:00:30 GMT", Some(30));
        check("Sat, 21 Nov 2026 11:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        let plain = Step { on_rejected: Reaction::Stop, ..step.clone() };
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("3"))]);
        assert_eq!(after(&plain, &headers, || now), None, "nobody asked");
    }
}
