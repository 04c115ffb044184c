//! The words of the grammar, and what was probably meant by one that is not among them.

/// Aggregations, as written before the parenthesis; `p95` stands for every `p` and a number.
pub const AGGREGATIONS: [&str; 22] = [
    "count",
    "rate",
    "rps",
    "avg",
    "mean",
    "min",
    "max",
    "med",
    "median",
    "p95",
    "first",
    "last",
    "growth",
    "slope",
    "increase",
    "restarts",
    "drift",
    "baseline",
    "ratio",
    "share",
    "variation",
    "fairness",
];

/// Built-in metrics; any other name is a stat of the target or a custom metric.
pub const METRICS: [&str; 25] = [
    "latency",
    "service_time",
    "send_lag",
    "iteration",
    "timing",
    "requests",
    "sent",
    "planned",
    "dropped",
    "ok",
    "rejected",
    "failed",
    "interrupted",
    "iterations",
    "ttft",
    "itl",
    "tpot",
    "tokens",
    "tokens_per_s",
    "stalls",
    "elapsed",
    "safe_rate",
    "recovery",
    "samples_lost",
    "clock_steps",
];

/// The metrics of streamed answers: a custom metric may be called so, and stands for it.
pub const STREAM_FIGURES: [&str; 6] = ["ttft", "itl", "tpot", "tokens", "tokens_per_s", "stalls"];

/// Built-in keys of selectors; any other name is a tag.
pub const SELECTORS: [&str; 13] = [
    "step", "status", "outcome", "reason", "timing", "level", "part", "phase", "user", "burst", "resource", "repeat",
    "turn",
];

/// What a metric of another tool, or in other words, is called here.
pub fn alias(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "errors" | "error" | "error_rate" | "failures" | "failure" | "fails" | "http_req_failed" => "failed",
        "http_req_duration" | "response_time" | "response_times" | "duration" | "rt" | "p95" | "p99" => "latency",
        "http_reqs" | "hits" | "calls" | "throughput" => "requests",
        "iteration_duration" => "iteration",
        "dropped_iterations" | "drops" | "skipped" => "dropped",
        "rejections" | "rejects" | "throttled" => "rejected",
        "success" | "successes" | "succeeded" | "passed" | "checks" | "success_rate" => "ok",
        "http_req_waiting" | "first_token" | "time_to_first_token" => "ttft",
        _ => return None,
    })
}

/// The candidate that was probably meant by `word`, if one is close.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let bound = (lower.chars().count() / 3).clamp(1, 3);
    let scored = candidates.into_iter().map(|name| (strsim::damerau_levenshtein(&lower, name), name));
    scored.filter(|(distance, _)| *distance <= bound).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// The candidate of which `word` is surely a slip of the pen: one letter off. For names that may also be the user's own.
pub(super) fn slip<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() < 4 {
        return None;
    }
    candidates.into_iter().find(|name| strsim::damerau_levenshtein(word, name) == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_in_the_documentation() {
        let page = include_str!("../../docs/expressions.md");
        for word in AGGREGATIONS.iter().chain(&METRICS).chain(&SELECTORS) {
            assert!(page.contains(&format!("`{word}`")) || page.contains(&format!("`{word}(")), "{word}");
        }
    }

    #[test]
    fn close_words_are_suggested() {
        let check = |word: &str, expected: Option<&str>| assert_eq!(suggest(word, METRICS), expected, "{word}");
        check("latncy", Some("latency"));
        check("Latency", Some("latency"));
        check("rejections", None);
        check("serviec_time", Some("service_time"));
        check("memory", None);
        assert_eq!(slip("request", METRICS), Some("requests"));
        assert_eq!(slip("queued", METRICS), None);
        assert_eq!(slip("usr", SELECTORS), None);
    }
}
