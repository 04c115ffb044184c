//! How soon a target is well again after a phase: fed with each second of the run, of which it keeps the last `hold`.

use std::{sync::Arc, time::Duration};

use super::{
    check_units::unit_of,
    evaluate::{Evidence, History, judge, value_of},
    needs::Needs,
    parse_threshold::parse_threshold,
    window::Window,
};
use crate::{
    measure::data::RunData,
    model::{
        expr::{Dimension, Measure, Threshold},
        run::ThresholdResult,
        scenario::RecoverySpec,
        units::{Quantity, human_seconds},
    },
};

/// Seconds that say nothing else: a window is at least this long.
const SHORTEST: Duration = Duration::from_secs(1);

/// Watches one recovery.
#[derive(Debug)]
pub struct Recovery {
    until: Vec<Threshold>,
    history: Arc<History>,
    needs: Needs,
    /// The run up to the end of the phase: what other phases are compared with.
    before: RunData,
    /// Once the phase is over: when that was, and the last seconds.
    after: Option<(Duration, Window)>,
    hold: Duration,
    within: Duration,
    /// From the end of the phase to the start of the stretch in which everything held.
    reached: Option<Duration>,
    /// The run has come so far.
    seen: Duration,
}

impl Recovery {
    /// Nothing is known yet.
    pub fn new(spec: &RecoverySpec, history: Arc<History>) -> Self {
        Self {
            until: spec.until.clone(),
            history,
            needs: Needs::of(&spec.until.iter().collect::<Vec<_>>()),
            before: RunData::default(),
            after: None,
            hold: spec.hold.max(SHORTEST),
            within: spec.within,
            reached: None,
            seen: Duration::ZERO,
        }
    }

    /// The phase ended at `at` (since the start of the run). What is measured of other phases is settled with this.
    pub fn phase_ended(&mut self, at: Duration) {
        if self.after.is_some() {
            return;
        }
        self.after = Some((at, Window::new(Some(self.hold))));
        let evidence = Evidence { data: &self.before, history: &self.history, windows: None, clock_steps: 0 };
        for threshold in &mut self.until {
            let units = &self.history.units;
            for side in [&mut threshold.left, &mut threshold.right] {
                settle(side, &|measure| {
                    let value = value_of(measure, &evidence)?;
                    Some(Measure::Number(Quantity { value, unit: unit_of(measure, measure, units) }))
                });
            }
        }
        self.before = RunData::default();
    }

    /// Takes in what was measured in the `length` before `at` (since the start of the run).
    pub fn push(&mut self, second: &RunData, length: Duration, at: Duration) {
        self.seen = self.seen.max(at);
        if self.reached.is_some() {
            return;
        }
        let second = self.needs.strip(second, length);
        let Some((ended, window)) = &mut self.after else { return self.before.merge(&second) };
        if !window.add(second) {
            return;
        }
        let data = window.merged();
        let evidence = Evidence { data: &data, history: &self.history, windows: None, clock_steps: 0 };
        if self.until.iter().all(|threshold| judge(threshold, &evidence).result == ThresholdResult::Pass) {
            self.reached = Some(at.saturating_sub(*ended).saturating_sub(data.window));
        }
    }

    /// From the end of the phase to when the target was well, and stayed so for `hold`; `None` as long as it is not.
    pub fn reached(&self) -> Option<Duration> {
        self.reached
    }

    /// Whether it can no longer be reached in time: nothing more needs to be waited for.
    pub fn is_lost(&self, at: Duration) -> bool {
        let deadline = |(ended, _): &(Duration, Window)| *ended + self.within + self.hold;
        self.reached.is_none() && self.after.as_ref().is_some_and(|after| at > deadline(after))
    }

    /// For [`Findings::recovery_s`](crate::measure::data::Findings): infinite where it was not reached in time; `None`
    /// where the phase did not end, or the run ended before that could be told.
    pub fn finding(&self) -> Option<f64> {
        let (ended, _) = self.after.as_ref()?;
        if let Some(reached) = self.reached {
            return Some(reached.as_secs_f64());
        }
        // Seconds are no sharper than that.
        let told = self.seen + SHORTEST >= *ended + self.within + self.hold;
        told.then_some(f64::INFINITY)
    }
}

/// `recovery <= within`: what is held against the run.
pub fn recovery_threshold(spec: &RecoverySpec) -> Threshold {
    let limit = human_seconds(spec.within.as_secs_f64()).replace(' ', "");
    let exact = format!("recovery <= {}s", spec.within.as_secs_f64());
    let threshold = parse_threshold(&exact).expect("a number of seconds is a limit");
    Threshold { source: format!("recovery <= {limit}").into(), ..threshold }
}

/// Replaces what is of a named phase by its value, where there is one.
fn settle(side: &mut Measure, value: &dyn Fn(&Measure) -> Option<Measure>) {
    match side {
        Measure::Of(aggregate) => {
            let of_a_phase = |by: &Dimension| matches!(by, Dimension::Group(name) if &**name == "phase");
            if aggregate.selectors.iter().any(|selector| of_a_phase(&selector.by))
                && let Some(number) = value(side)
            {
                *side = number;
            }
        }
        Measure::Math(left, _, right) => {
            settle(left, value);
            settle(right, value);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
