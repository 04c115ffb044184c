//! What is understood, what is not, and that nothing panics.

use proptest::prelude::*;

use super::*;
use crate::model::{
    expr::{Aggregation, Measure},
    metric::{CustomMetric, MetricKind},
    units::Unit,
};

/// Every threshold, `sustain`, `until` and `valid_if` of the published vocabulary, with its slug.
const THRESHOLDS: &[(&str, &str)] = &[
    ("increase(target_rejected since last_run) <= 100", "increase_target_rejected"),
    ("last(memory_used) < 90%", "last_memory_used"),
    ("max(waited) < 10s", "max_waited"),
    ("rate(ok) == 100%", "rate_ok"),
    ("avg(latency) < 30s", "avg_latency"),
    ("count(failed{reason=timeout}) == 0", "count_failed_reason_timeout"),
    ("count(rejected) >= 5", "count_rejected"),
    ("count(failed) == 0", "count_failed"),
    ("p95(latency{outcome=rejected}) < 200ms", "p95_latency_outcome_rejected"),
    ("rate(ok{level=last}) >= 95%", "rate_ok_level_last"),
    ("p95(latency{level=last}) < 3 * p95(latency{level=first})", "p95_latency_level_last"),
    ("rate(rejected) <= 5%", "rate_rejected"),
    ("p95(latency) < 2s", "p95_latency"),
    ("rate(failed) < 1% over 1m for 2m", "rate_failed"),
    ("count(dropped) == 0", "count_dropped"),
    ("p99(send_lag) < 5ms", "p99_send_lag"),
    ("growth(memory) < 30MB", "growth_memory"),
    ("rate(ok{burst=last}) >= rate(ok{burst=first}) - 5pp", "rate_ok_burst_last"),
    ("count(iterations) == 500", "count_iterations"),
    ("rate(cache_hit) > 80%", "rate_cache_hit"),
    ("p95(latency{user=short}) < 1.5 * baseline(p95(latency{user=short}))", "p95_latency_user_short"),
    ("p95(iteration) < 30s", "p95_iteration"),
    ("p95(latency{step=validate,stage=violations}) < 8s", "p95_latency_step_validate_stage_violations"),
    ("rate(ok) >= 95%", "rate_ok"),
    ("rate(requests) > 100/s", "rps_requests"),
    ("count(ok{part=hold}) == 10", "count_ok_part_hold"),
    ("count(rejected{part=over}) == 1", "count_rejected_part_over"),
    ("count(ok{part=retry}) == 1", "count_ok_part_retry"),
    ("last(active) == 0", "last_active"),
    ("p95(latency) < 1.2 * p95(latency{phase=baseline})", "p95_latency"),
    ("rate(rejected) == 0%", "rate_rejected"),
    ("max(memory_used) < 90%", "max_memory_used"),
    ("slope(queued) <= 0/min", "slope_queued"),
    ("growth(memory) < 5%", "growth_memory"),
    ("slope(memory) < 1MB/h", "slope_memory"),
    ("drift(p95(latency)) < 10%", "drift_p95_latency"),
    ("rate(failed) < 1%", "rate_failed"),
    ("p95(ttft) < 500ms", "p95_ttft"),
    ("p99(itl) < 100ms", "p99_itl"),
    ("avg(tokens_per_s) > 20", "avg_tokens_per_s"),
    ("rate(good) > 95%", "rate_good"),
    ("count(stalls) == 0", "count_stalls"),
    ("increase(target_rejected) > 100 over 1h", "increase_target_rejected"),
    ("safe_rate >= 50/s", "safe_rate"),
    ("safe_rate >= 85% * baseline(safe_rate)", "safe_rate"),
    (
        "ratio(increase(rejected_by_target), increase(processed_by_target)) <= 5%",
        "increase_rejected_by_target_increase_processed_by_target",
    ),
    ("share(queued >= 90% * queue_limit) < 50%", "share_queued"),
    ("rate(cache_hit{turn>1}) > 80%", "rate_cache_hit_turn_above_1"),
    ("fairness(iterations, by=user) > 0.9", "fairness_count_iterations_by_user"),
    ("variation(p95(iteration), by=repeat) < 15%", "variation_p95_iteration_by_repeat"),
    ("rate(failed{status=5xx}) == 0%", "rate_failed_status_5xx"),
    ("elapsed < 30s", "elapsed"),
    ("restarts(target) == 0", "restarts_target"),
    ("rate(dropped{reason=generator}) < 1%", "rate_dropped_reason_generator"),
    // Beyond the vocabulary.
    ("elapsed{level=last} < 2 * elapsed{level=first}", "elapsed_level_last"),
    ("fairness(count(ok{step=chat}), by=user) > 90%", "fairness_count_ok_step_chat_by_user"),
    ("rate(iterations) >= 99%", "rate_iterations"),
    ("rate(iterations{outcome=failed,level>=2}) < 1%", "rate_iterations_outcome_failed_level_from_2"),
    ("rps(iterations) > 3/s", "rps_iterations"),
    ("p95(iteration{outcome=ok}) < 3s", "p95_iteration_outcome_ok"),
    ("rps(tokens) > 500/s", "rps_tokens"),
    ("avg(tokens) > 10", "avg_tokens"),
    ("avg(tokens_per_s) > 20/s", "avg_tokens_per_s"),
    ("recovery < 30s", "recovery"),
    ("count(tokens) / elapsed > 20/s", "count_tokens_elapsed"),
    ("p(99.9)(latency) < 1s", "p999_latency"),
    ("p99.9(latency) < 1s", "p999_latency"),
    ("p999(latency) < 1s", "p999_latency"),
    ("p(95)(latency) < 2s", "p95_latency"),
    ("med(service_time) < 1s", "p50_service_time"),
    ("rps(requests) > 100/s", "rps_requests"),
    ("2s > p95(latency)", "p95_latency"),
    ("max(timing{timing=blocked}) < 10ms", "max_timing_timing_blocked"),
    ("count(requests{status=5xx}) == 0", "count_requests_status_5xx"),
    ("p95(latency{step='GET /a, b'}) < 1s", "p95_latency_step_get_a_b"),
    ("p95(latency{step!=login}) < 1s", "p95_latency_step_not_login"),
    ("p95(latency{step=~/chat.*/}) < 1s", "p95_latency_step_chat"),
    ("p95(latency{step=GET /api/users}) < 1s", "p95_latency_step_get_api_users"),
    ("count(samples_lost) == 0", "count_samples_lost"),
    ("max(memory) - first(memory) < 1GiB", "max_memory_first_memory"),
    ("rate(dropped{reason=generator}) < 1%", "rate_dropped_reason_generator"),
];

const EXPECTS: &[&str] = &[
    "status == 200",
    "exists($.concurrency.default_parallel)",
    "$.status in ['healthy', 'degraded']",
    "latency < 1s",
    r"all(body =~ /Agent (\d+)/, $1 == vu)",
    "hit == 'HIT'",
    "$.status == 'done'",
    "ttft < 500ms and tpot < 50ms",
    "exists(header['retry-after']) or body contains 'queue'",
    "body contains 'Database connection'",
    "status in [200, 201]",
    "status in 2xx",
    "status == 2xx",
    "status in [2xx, 304]",
    "service_time <= 1m30s",
    "body contains \"a \\\"b\\\"\"",
    "body =~ /re/",
    "body !~ /re\\/x/",
    "header(\"x-cache\") == \"HIT\"",
    "header['x'] =~ /h/",
    "not (status == 500 or status == 502) and $.a.b[0] == -1.5",
    "$.n >= vu",
    "$.a[?@.b == 'c'].d == null",
    "$.model == vars.model",
    "status not in [500, 503]",
    "body not contains 'error'",
];

#[test]
fn the_vocabulary_is_understood() {
    for (src, slug) in THRESHOLDS {
        let threshold = parse_threshold(src).unwrap_or_else(|error| panic!("{src}: {error:?}"));
        assert_eq!((&*threshold.source, &*threshold.name), (*src, *slug));
    }
    for src in EXPECTS {
        let expect = parse_expect(src).unwrap_or_else(|error| panic!("{src}: {error:?}"));
        assert_eq!(&*expect.source, *src);
    }
}

#[test]
fn the_unit_of_the_limit_decides_what_rate_and_growth_are() {
    let by = |src: &str| match parse_threshold(src).expect(src).left {
        Measure::Of(aggregate) => aggregate.by,
        other => panic!("{src}: {other:?}"),
    };
    assert_eq!(by("rate(rejected) <= 5%"), Aggregation::Share);
    assert_eq!(by("rate(rejected) <= 5/s"), Aggregation::PerSecond);
    assert_eq!(by("growth(memory) < 5%"), Aggregation::Growth { absolute: false });
    assert_eq!(by("growth(memory) < 30MB"), Aggregation::Growth { absolute: true });
    assert_eq!(by("p(99.9)(latency) < 1s"), Aggregation::Quantile(0.999));
}

#[test]
fn names_are_found() {
    let parsed = |src: &str| parse_threshold(src).expect(src);
    assert_eq!(parsed("max(waited) < 2 * avg(queued)").stats().collect::<Vec<_>>(), ["waited", "queued"]);
    assert_eq!(parsed("p95(latency{stage=x,level=1}) < 8s").tags().collect::<Vec<_>>(), ["stage"]);
    for (src, expected) in [
        ("rate(rejected) <= 5%", true),
        ("count(failed{reason=timeout}) == 0", true),
        ("count(requests{outcome=failed}) == 0", true),
        ("p95(latency{outcome=rejected}) < 1s", false),
        ("count(interrupted) == 0", false),
        ("p95(latency) < 1s", false),
    ] {
        assert_eq!(parsed(src).names_outcome(), expected, "{src}");
    }
    for (src, expected) in [
        ("rate(rejected) <= 5%", false),
        ("rate(ok) > 5/s", true),
        ("p95(latency) < 1s", true),
        ("count(dropped) == 0", true),
        ("last(memory) < 1GB", false),
        ("count(requests{status=5xx}) == 0", false),
    ] {
        assert_eq!(parsed(src).is_about_time(), expected, "{src}");
    }
}

#[test]
fn a_limit_must_have_the_unit_of_its_stat() {
    let units = [("memory".into(), Unit::Bytes), ("active".into(), Unit::Count), ("used".into(), Unit::Ratio)].into();
    let check = |src: &str, fits: bool| {
        assert_eq!(check_units(&parse_threshold(src).expect(src), &units).is_ok(), fits, "{src}");
    };
    check("last(memory) < 1GB", true);
    check("last(memory) < 1", false);
    check("growth(memory) < 5%", true);
    check("growth(memory) < 30MB", true);
    check("growth(memory) < 30", false);
    check("slope(memory) < 1MB/h", true);
    check("slope(memory) < 1/h", false);
    check("last(active) == 0", true);
    check("slope(active) <= 0/min", true);
    check("last(active) < 90%", false);
    check("max(used) < 90%", true);
    check("max(used) < 90", false);
    check("last(unknown) < 90", true);
    check("share(active >= 90% * active) < 50%", true);
    check("last(active) <= last(active) * 90%", true);
    check("last(used) <= 2 * first(used)", true);
    check("last(active) <= 2 * last(used)", false);
}

/// Source, offset, message, help.
type Refusal = (&'static str, usize, &'static str, &'static str);

fn refused<T: std::fmt::Debug>(cases: &[Refusal], parse: impl Fn(&str) -> Result<T, ExprError>) {
    for (src, offset, message, help) in cases {
        let error = parse(src).expect_err(src);
        let found = (error.offset, error.message.as_str(), error.help.as_deref().unwrap_or_default());
        assert!(
            found.0 == *offset && found.1.contains(message) && found.2.contains(help),
            "{src}\n  expected {offset}: {message} ({help})\n  found    {}: {} ({})",
            found.0,
            found.1,
            found.2
        );
    }
}

#[test]
fn thresholds_are_refused_with_a_reason() {
    refused(
        &[
            ("", 0, "empty", ""),
            ("   ", 0, "empty", ""),
            ("p95(latency)", 12, "expected a comparison", "p95(latency) < 2s"),
            ("p95(latency) < 2", 15, "the unit is missing", "2s"),
            ("rate(rejected) <= 5", 18, "the unit is missing", "5%"),
            ("rate(rejected) <= 5s", 18, "a share cannot be compared with a time", "5%"),
            ("count(failed) == 0%", 17, "a count cannot be compared with a share", "5"),
            ("rate(requests) > 100", 0, "a share of what", "100/s"),
            ("p95(latncy) < 2s", 4, "`latncy` is not a metric", "did you mean `latency`"),
            ("latency < 2s", 0, "not aggregated", "p95(latency)"),
            ("rejected <= 5%", 0, "not aggregated", "rate(rejected)"),
            ("queued >= 50", 0, "not aggregated", "last(queued)"),
            ("tokens_per_s > 20", 0, "not aggregated", "avg(tokens_per_s)"),
            ("max(elapsed) < 25s", 4, "one value", "write elapsed < 30s"),
            ("elapsed(latency) < 25s", 0, "not a function", "without parentheses"),
            ("elapsed < 25", 10, "the unit is missing", "2s"),
            ("elapsed < 25s over 1m", 14, "`elapsed` looks at the whole run", "over"),
            ("elapsed{step=a} < 25s", 0, "not kept by `step`", "level, phase"),
            ("safe_rate{level=1} >= 50/s", 0, "not kept by `level`", "leave"),
            ("safe_rate >= 50ms", 13, "a rate per second cannot be compared with a time", "100/s"),
            ("avg(tokens_per_s) > 20ms", 20, "cannot be compared", "100/s"),
            ("rate(tokens) > 5%", 0, "a share of what", ""),
            ("rate(tokens) > 5", 0, "a share of what", "100/s"),
            ("growth(tokens) < 5%", 0, "`growth` does not fit `tokens`", "avg(tokens)"),
            ("count(ttft) == 0", 0, "`count` does not fit `ttft`", "p95(ttft)"),
            ("p95(stalls) < 1", 0, "does not fit `stalls`", "count(stalls)"),
            ("p95(itl{status=200}) < 1s", 4, "not kept by `status`", ""),
            ("rate(ok{turn>x}) > 1%", 13, "compared with a number", "{turn>1}"),
            ("rate(ok{step>1}) > 1%", 12, "no numbers", "`=~`"),
            ("rate(ok{outcome>1}) > 1%", 15, "no numbers", ""),
            ("share(latency > 1s) < 5%", 6, "looks at the target's gauges", "pool_used"),
            ("share(max(queued) > 1) < 5%", 6, "looks at the target's gauges", ""),
            ("share(queued) < 5%", 12, "expected a comparison", "pool_used < 95%"),
            ("share(1 < 2) < 5%", 6, "no gauge", ""),
            ("share(queued > 1) < 5", 20, "the unit is missing", "5%"),
            ("fairness(iterations) > 0.9", 19, "expected `,`", "by=user"),
            ("fairness(iterations, user) > 0.9", 21, "expected `by=`", "by=user"),
            ("fairness(iterations, by=status) > 0.9", 24, "no part of a run", "phase"),
            ("fairness(iterations, by=usr) > 0.9 over 1", 40, "expected a duration", ""),
            ("fairness(iterations, by=step) > 0.9", 24, "not kept by `step`", ""),
            ("variation(1 + p95(latency), by=repeat) < 5%", 10, "takes one aggregation", "p95(iteration)"),
            ("variation(p95(latency), by=repeat) < 5", 37, "the unit is missing", "5%"),
            ("ratio(count(ok)) < 5%", 15, "expected `,`", "ratio("),
            ("baseline(elapsed + 1s) < 5s", 9, "takes one aggregation", ""),
        ],
        parse_threshold,
    );
}

#[test]
fn aggregations_are_refused_with_a_reason() {
    refused(
        &[
            ("drift(elapsed) < 5%", 6, "takes one aggregation", ""),
            ("p95(sevice_time) < 1s", 4, "not a metric", "did you mean `service_time`"),
            ("p95(tttf) < 1s", 4, "not a metric", "did you mean `ttft`"),
            ("elapsd < 25s", 0, "not aggregated", "did you mean `elapsed`"),
            ("coutn(failed) == 0", 0, "`coutn` is not an aggregation", "did you mean `count`"),
            ("quantile(latency) < 1s", 0, "not an aggregation", "there are count"),
            ("p0(latency) < 1s", 0, "0 is not a percentile", "above 0"),
            ("p101(latency) < 1s", 0, "not a percentile", ""),
            ("p(x)(latency) < 1s", 2, "expected a percentile", "p95"),
            ("count(latency) < 1", 0, "`count` does not fit `latency`", "p95(latency)"),
            ("p95(failed) < 1", 0, "`p95` does not fit `failed`", "count(failed)"),
            ("last(latency) < 1s", 0, "does not fit", "a time"),
            ("p95(latency{stpe=a}) < 1s", 12, "`stpe` is not a selector", "did you mean `step`"),
            ("p95(latency{outcome=rejectd}) < 1s", 20, "not a value of `outcome`", "did you mean `rejected`"),
            ("p95(latency{status=200}) < 1s", 4, "not kept by `status`", "leave"),
            ("count(rejected{status=5xx}) == 0", 6, "not kept by `status`", "requests{status=5xx}"),
            ("count(failed{status=5xx,reason=expect}) == 0", 6, "by status or by reason", ""),
            ("count(requests{status=9xx}) == 0", 22, "not a status", "5xx"),
            ("p95(send_lag{step=a}) < 1s", 4, "not kept by `step`", ""),
            ("p95(timing) < 1s", 4, "which part", "timing{timing=ttfb}"),
            ("p95(ttfb) < 1s", 4, "part of a request's time", "timing{timing=ttfb}"),
            ("p95(latency{step=}) < 1s", 17, "has no value", ""),
            ("p95(latency{step=a) < 1s", 24, "expected `,`", ""),
            ("p95(latency{step=~/(/}) < 1s", 18, "does not compile", ""),
            ("p95(latency) < 2s over 10ms", 23, "window", "1s to 1h"),
            ("p95(latency) < 2s over 2h", 23, "window", "1s to 1h"),
            ("p95(latency) < 2s for 1m", 18, "`for` needs a window", "over 1m for 2m"),
            ("p95(latency) < 2s and rate(ok) > 1%", 18, "expected `over` or the end", "two thresholds"),
            ("p95(latency) = 2s", 13, "`=` does not compare", "=="),
            ("p95(latency) < 2 parsecs", 17, "expected `over` or the end", ""),
            ("p95(latency) < 2parsecs", 15, "not a number with a unit", "is not a unit"),
            ("p95(latency) ≤ 2s", 13, "not understood", "<="),
            ("1 < 2", 0, "nothing is measured", ""),
            ("p95(latency) < rate(ok) + 1", 15, "a share + a count", "5pp"),
            ("p95(latency) < 2s - 5pp", 15, "a time - percentage points", "shares"),
            ("count(failed since last_run) == 0", 6, "only an increase", ""),
            ("increase(x since yesterday) < 1", 17, "expected `last_run`", ""),
            ("drift(drift(p95(latency))) < 1%", 6, "takes one aggregation", ""),
            ("max(memory{timing=dns}) < 1GB", 4, "not kept by `timing`", ""),
            ("p95(latency < 2s", 12, "expected `)`", ""),
            ("drift(p95(latency)) < 1% over 1m", 25, "looks at the whole run", "over"),
            ("p97(latency) < 2 * baseline(p97(latency))", 28, "not kept of past runs", "p95"),
        ],
        parse_threshold,
    );
}

#[test]
fn conditions_on_gauges_are_refused_with_a_reason() {
    refused(
        &[
            ("rate(rejected) == 0%", 0, "looks at the target's gauges", "pool_used < 95%"),
            ("latency < 1s", 0, "looks at the target's gauges", ""),
            ("pool_used", 9, "expected a comparison", ""),
            ("pool_used < 95% over 1m", 16, "expected the end", ""),
            ("1 < 2", 0, "no gauge", ""),
        ],
        parse_held,
    );
    for good in ["pool_used < 95%", "queued < 95% * queued.limit", "0 == active", "used - 5pp < 90%"] {
        assert_eq!(&*parse_held(good).expect(good).source, good);
    }
}

#[test]
fn formulas_are_refused_with_a_reason() {
    refused(
        &[
            ("", 0, "empty", ""),
            ("'text'", 0, "a trend is a number", "service_time"),
            ("$.a /", 5, "expected a value", ""),
            ("$.a > 1", 4, "expected +, -, *, / or the end", ""),
            ("body", 0, "a trend is a number", ""),
        ],
        parse_formula,
    );
    for good in ["tokens / service_time", "header['x-wait-ms']", "($.a + $.b) * 2 - vu", "latency"] {
        assert_eq!(&*parse_formula(good).expect(good).source, good);
    }
}

#[test]
fn grades_are_one_threshold() {
    let graded = |of, pass, warn, fail| parse_graded(of, pass, warn, fail);
    let threshold = graded("elapsed", "< 25s", Some("< 35s"), Some("> 40s")).expect("good");
    assert_eq!((&*threshold.source, &*threshold.name), ("elapsed < 25s (warn < 35s, fail > 40s)", "elapsed"));
    assert_eq!(graded("rate(ok)", "== 100%", None, None).expect("good").grades.map(|_| ()), None);
    let refused = |of, pass, warn, fail| {
        let (part, error) = graded(of, pass, warn, fail).expect_err("refused");
        format!("{part:?} {}: {}", error.offset, error.message)
    };
    insta::assert_snapshot!(refused("elapsd", "< 25s", None, None), @"Of 0: `elapsd` is not aggregated");
    insta::assert_snapshot!(refused("elapsed", "25s", None, None), @"Pass 0: expected a comparison (<, <=, >, >=, ==, !=), found `25s`");
    insta::assert_snapshot!(refused("elapsed", "< 25s", Some("< 35%"), None), @"Warn 2: a time cannot be compared with a share");
    insta::assert_snapshot!(refused("rate(ok)", "> 95%", None, Some("< 3/s")), @"Fail 0: a share cannot be compared with a rate per second");
    insta::assert_snapshot!(refused("p95(latency)", "< 1s over 1m", None, None), @"Pass 0: grades are of the whole run");
}

#[test]
fn custom_metrics_are_used_as_what_they_are() {
    let custom = [
        CustomMetric { name: "good".into(), kind: MetricKind::Rate(parse_expect("status == 200").expect("good")) },
        CustomMetric {
            name: "wait".into(),
            kind: MetricKind::Trend {
                formula: parse_formula("header['x-wait']").expect("good"),
                unit: Unit::Seconds,
                scale: 0.001,
            },
        },
    ];
    let check = |src: &str, part: &str| {
        let found = check_custom(&parse_threshold(src).expect(src), &custom);
        let said = found.err().map(|error| error.message).unwrap_or_default();
        assert!(if part.is_empty() { said.is_empty() } else { said.contains(part) }, "{src}: {said}");
    };
    for good in ["rate(good{turn>1}) > 80%", "count(good) > 3", "p95(wait{step=a}) < 1s", "max(memory) < 1GB"] {
        check(good, "");
    }
    check("p95(good) > 1", "is a rate");
    check("last(wait) < 1s", "is a trend");
    check("max(memory{level=1}) < 1GB", "stats are not selected from");
    let units = [("wait".into(), Unit::Seconds)].into();
    let unit = check_units(&parse_threshold("p95(wait) < 5").expect("parsed"), &units).expect_err("a unit is missing");
    assert_eq!(unit.message, "the unit is missing");
}

#[test]
fn expects_are_refused_with_a_reason() {
    refused(
        &[
            ("", 0, "empty", ""),
            ("status", 6, "expected a comparison", ""),
            ("status = 200", 7, "`=` does not compare", "=="),
            ("status == 20", 10, "not a status", "three digits"),
            ("status == '200'", 10, "compared with a number", "status == 200"),
            ("status == 200 && latency < 1s", 14, "`&&`", "`and`"),
            ("status == 200 latency < 1s", 14, "expected `and`, `or` or the end", ""),
            ("latency < 1", 10, "the unit is missing", "1s"),
            ("latency < 1MB", 10, "compared with a duration", ""),
            ("$.a < 90%", 6, "has no unit", "without a unit"),
            ("$.ready", 7, "expected a comparison", "exists($.ready)"),
            ("statsu", 0, "not a condition", "did you mean `status`"),
            ("exists(status)", 7, "always exists", ""),
            ("exist($.a)", 0, "not a function", "did you mean `exists`"),
            ("$.a[ == 1", 0, "not closed", "]"),
            ("$.a[?@..] == 1", 8, "not a JSONPath", ""),
            ("body contains 5", 14, "looks for text", "quotes"),
            ("status contains '5'", 0, "this is a number", "2xx"),
            ("body =~ /(?=a)/", 8, "does not compile", "look-ahead"),
            ("body =~ /a", 8, "not closed", "/"),
            ("body contains \"a", 14, "not closed", "\""),
            ("$1 == vu", 0, "there is none", "all("),
            ("all(body =~ /a/, $1 == vu)", 12, "no group $1", "parentheses"),
            ("all(header['a'] =~ /a/, status == 200)", 0, "matches in the body", ""),
            ("header == 'x'", 0, "which header", "header["),
            ("header['a b'] == 'x'", 7, "not a header's name", ""),
            ("status in 200", 10, "expected `[`", "2xx"),
            ("$.a in 2xx", 7, "a class such as 2xx", "status in 2xx"),
            ("!exists($.a)", 0, "not understood", "`not`"),
            ("$.a < 'b'", 6, "only numbers", ""),
            ("(status == 200", 14, "expected `)`, found the end", ""),
        ],
        parse_expect,
    );
}

#[test]
fn length_and_depth_are_bounded() {
    let long = format!("status == {}", "1".repeat(3000));
    assert!(parse_expect(&long).expect_err("long").message.contains("bytes long"));
    for open in ["(", "not ", "not("] {
        let deep = format!("{}status == 200", open.repeat(200));
        assert!(parse_expect(&deep).expect_err(open).message.contains("nests too deeply"), "{open}");
    }
    let deep = format!("{}1 < 2", "(".repeat(200));
    assert!(parse_threshold(&deep).expect_err("deep").message.contains("nests too deeply"));
    let wide = format!("{}1 < count(ok)", "1+".repeat(200));
    assert!(parse_threshold(&wide).expect_err("wide").message.contains("too many terms"));
}

fn errors(src: &str) -> impl Iterator<Item = ExprError> {
    let all = [parse_expect(src).err(), parse_threshold(src).err(), parse_formula(src).err(), parse_held(src).err()];
    all.into_iter().flatten()
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(src in ".{0,80}") {
        for error in errors(&src) {
            prop_assert!(error.offset <= src.len() && src.is_char_boundary(error.offset), "{src:?}: {error:?}");
        }
    }

    #[test]
    fn no_arrangement_of_the_words_makes_the_parsers_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "p95", "(", ")", "latency", "{", "}", "step", "=", "==", "a", ",", "<", "2s", "5%", "rate", "ok", "$.a", "$1", "[", "]",
            "'x'", "body", "=~", "/re/", "/", "not", "and", "or", "in", "2xx", "header", "exists", "all", "-", "+", "*", "over", "1m",
            "for", "baseline", "drift", "share", "ratio", "fairness", "by", "elapsed", ">", "user", "count", "growth", "since", "last_run", "é", "\"", "$", ".",
        ]), 0..24),
        glue in prop::sample::select(vec!["", " "]),
    ) {
        let src = words.join(glue);
        for error in errors(&src) {
            prop_assert!(error.offset <= src.len() && src.is_char_boundary(error.offset), "{src:?}: {error:?}");
        }
    }
}
