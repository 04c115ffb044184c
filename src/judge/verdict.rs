//! What a run comes to, and what is held against it without being asked for.
//!
//! First match wins: interrupted, fail by what lateness cannot cause, invalid, fail by latency or throughput, no data,
//! pass. So an outage is never "invalid", our own lateness never a breach, and a run that measured nothing never a pass.

use super::{
    evaluate::{Evidence, evaluate, sentence},
    parse_threshold::parse_threshold,
};
use crate::model::{
    expr::{Aggregate, Aggregation, Compare, Measure, Metric, Threshold},
    outcome::Outcome,
    run::{STOPPED, ThresholdReport, ThresholdResult, Verdict},
    scenario::{Executor, LimitSpec, Load},
};

/// What is expected of a scenario that says nothing of it.
#[derive(Debug, Clone, Copy)]
pub enum Nature<'a> {
    /// One iteration: it goes well.
    Probe,
    /// Nearly all goes well, and nearly all is sent.
    Load,
    /// Rejections are wanted: anything goes well.
    Overload,
    /// What is held is granted, what goes beyond is rejected, what was freed is granted again.
    Limit(&'a LimitSpec),
}

impl Nature<'_> {
    /// What must hold of the outcomes.
    fn of_outcomes(self) -> Vec<&'static str> {
        match self {
            Self::Probe => vec!["rate(ok) == 100%"],
            Self::Load => vec!["rate(ok) >= 99%"],
            Self::Overload => Vec::new(),
            Self::Limit(spec) => {
                let parts = [
                    (spec.hold, "rate(ok{part=hold}) == 100%"),
                    (spec.over, "rate(rejected{part=over}) == 100%"),
                    (spec.bystanders, "rate(ok{part=bystander}) == 100%"),
                    (spec.free, "rate(ok{part=retry}) == 100%"),
                ];
                parts.into_iter().filter_map(|(count, expr)| (count > 0).then_some(expr)).collect()
            }
        }
    }
}

/// Thresholds that hold without being written: shares of what became of requests (of a load, of dropped ones too) until
/// one names ok, rejected or failed or the overload is intended, and always that anything was ok, unless a threshold
/// demands as much itself.
pub fn implicit_thresholds(own: &[Threshold], nature: Nature<'_>) -> Vec<Threshold> {
    let mut added = Vec::new();
    if !own.iter().any(Threshold::names_outcome) {
        added.extend(nature.of_outcomes().into_iter().map(default_threshold));
        // Shares are of what was answered: a target that hangs answers little, and what it kept from being sent counts too.
        if matches!(nature, Nature::Load) && !own.iter().any(names_drops) {
            added.push(default_threshold("rate(dropped) <= 1%"));
        }
    }
    if !own.iter().any(demands_ok) {
        added.push(default_threshold("count(ok) > 0"));
    }
    for threshold in &mut added {
        if own.iter().any(|other| other.name == threshold.name) {
            threshold.name = format!("implicit_{}", threshold.name).into();
        }
    }
    added
}

/// Whether it fails a run with nothing ok: `count(ok)` of all requests has a limit of at least 1 from below, at any time.
/// What is graded may only warn, and what a condition or a least number of samples switches off may not be judged at all.
fn demands_ok(threshold: &Threshold) -> bool {
    let (op, limit) = match (&threshold.left, &threshold.right) {
        (left, Measure::Number(limit)) if counts_ok(left) => (threshold.op, limit.value),
        (Measure::Number(limit), right) if counts_ok(right) => (threshold.op.mirrored(), limit.value),
        _ => return false,
    };
    let least = match op {
        Compare::Gt => limit >= 0.0,
        Compare::Ge | Compare::Eq => limit >= 1.0,
        Compare::Lt | Compare::Le | Compare::Ne => false,
    };
    let always = threshold.over.is_none() && threshold.grades.is_none() && threshold.only_while.is_none();
    least && always && threshold.min_samples <= 1
}

fn names_drops(threshold: &Threshold) -> bool {
    let about = |metric: &Metric| matches!(metric, Metric::Dropped | Metric::Sent | Metric::Planned);
    threshold.aggregates().iter().any(|aggregate| about(&aggregate.metric))
}

/// `count(ok)`, of all of them.
fn counts_ok(measure: &Measure) -> bool {
    matches!(measure, Measure::Of(Aggregate { by: Aggregation::Count, metric: Metric::Outcome(Outcome::Ok), selectors, .. })
        if selectors.is_empty())
}

/// What must hold of the generator where `valid_if` says nothing: no step of the clock beyond 2 s, from 100 requests on
/// p99(send_lag) within 50 ms or a tenth of the period, whichever is longer, and nothing dropped because we noticed it
/// too late.
pub fn default_valid_if(load: &Load) -> Vec<Threshold> {
    let period_ms = match &load.executor {
        Executor::ConstantArrivalRate { rate, .. } => 1000.0 / rate.per_second(),
        _ => 0.0,
    };
    let limit = (period_ms / 10.0).clamp(50.0, 3_600_000.0);
    let lag = default_threshold(&format!("p99(send_lag) <= {}ms", limit.round()));
    vec![
        default_threshold("count(clock_steps) == 0"),
        Threshold { min_samples: 100, ..lag },
        default_threshold("count(dropped{reason=generator}) == 0"),
    ]
}

fn default_threshold(src: &str) -> Threshold {
    let threshold = parse_threshold(src).expect("the default thresholds are constant and valid");
    Threshold { implicit: true, ..threshold }
}

/// Why what was measured cannot be trusted, in words; empty where `valid_if` holds. What has no data says nothing. The
/// windows are those of thresholds, which may have the same names: here the whole run counts.
pub fn invalid_reasons(valid_if: &[Threshold], evidence: &Evidence<'_>) -> Vec<String> {
    let whole = Evidence { windows: None, ..*evidence };
    let judged = valid_if.iter().map(|threshold| (threshold, evaluate(threshold, &whole)));
    let failed = judged.filter(|(_, report)| report.result == ThresholdResult::Fail);
    failed.map(|(threshold, report)| sentence(threshold, &report)).collect()
}

/// What the run comes to, and why in sentences; a pass has no reasons. `sent` is the number of requests sent.
pub fn verdict(
    interrupted: bool,
    thresholds: &[(Threshold, ThresholdReport)],
    invalid_reasons: &[String],
    sent: u64,
) -> (Verdict, Vec<String>) {
    let sentences = |wanted: &dyn Fn(&Threshold, ThresholdResult) -> bool| -> Vec<String> {
        let chosen = thresholds.iter().filter(|(threshold, report)| wanted(threshold, report.result));
        chosen.map(|(threshold, report)| sentence(threshold, report)).collect()
    };
    if interrupted {
        return (Verdict::Interrupted, vec![STOPPED.to_owned()]);
    }
    let certain = sentences(&|threshold, result| result == ThresholdResult::Fail && !threshold.is_about_time());
    let of_time = sentences(&|threshold, result| result == ThresholdResult::Fail && threshold.is_about_time());
    let no_data = sentences(&|_, result| result == ThresholdResult::NoData);
    if !certain.is_empty() {
        let more = if invalid_reasons.is_empty() {
            of_time
        } else {
            vec![format!("latency and throughput say nothing: {}", invalid_reasons.join("; "))]
        };
        return (Verdict::Fail, [certain, more].concat());
    }
    if !invalid_reasons.is_empty() {
        return (Verdict::Invalid, invalid_reasons.to_vec());
    }
    if !of_time.is_empty() {
        return (Verdict::Fail, of_time);
    }
    if sent == 0 {
        return (Verdict::NoData, [vec!["nothing was sent".to_owned()], no_data].concat());
    }
    if no_data.is_empty() { (Verdict::Pass, Vec::new()) } else { (Verdict::NoData, no_data) }
}

/// The exit code of `run` for a verdict.
pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 99,
        Verdict::Interrupted => 105,
        Verdict::Invalid => 111,
        Verdict::NoData => 112,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_demand_lifts_the_demand_that_anything_is_ok() {
        let check = |src: &str, lifted: bool| {
            let own = [parse_threshold(src).expect(src)];
            let added = implicit_thresholds(&own, Nature::Load);
            assert_eq!(added.iter().all(|threshold| &*threshold.source != "count(ok) > 0"), lifted, "{src}");
        };
        for lax in ["count(ok) >= 0", "count(ok) != 5", "count(ok) == 0", "count(ok) < 5", "count(ok) >= 0.5"] {
            check(lax, false);
        }
        for strict in ["count(ok) > 0", "count(ok) >= 1", "count(ok) > 7", "count(ok) == 3"] {
            check(strict, true);
        }
        check("count(ok{step=a}) >= 1", false);
        check("count(ok) > 0 over 30s", false);
        // What may only warn, or may not be judged, demands nothing.
        let plain = parse_threshold("count(ok) >= 1000").expect("parses");
        let graded = Threshold { grades: Some(crate::model::expr::Grades { warn: None, fail: None }), ..plain.clone() };
        let rare = Threshold { min_samples: 100, ..plain };
        for own in [graded, rare] {
            let added = implicit_thresholds(std::slice::from_ref(&own), Nature::Load);
            assert!(added.iter().any(|threshold| &*threshold.source == "count(ok) > 0"), "{own:?}");
        }
    }
}
