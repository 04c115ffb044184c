//! The search for the breaking point: double until it breaks, then bisect, then confirm in a longer stage. A pure state
//! machine: it is told what became of a stage and says what to try next. When a confirmation fails, the stages were too
//! short to see it break, so from then on all are as long.

use std::time::Duration;

use crate::model::scenario::{SearchSpec, SearchVariable};

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchPlan {
    /// First value tried; above 0.
    pub start: f64,
    /// By how much it grows until it breaks; above 1.
    pub factor: f64,
    /// Nothing beyond is tried.
    pub max: f64,
    /// The found line and the lowest value that broke differ by no more than this share.
    pub precision: f64,
    /// Only whole values: users.
    pub whole: bool,
    /// Length of a stage.
    pub measure: Duration,
    /// Nothing is sent for this long between stages.
    pub cooldown: Duration,
    /// Length of the stage that confirms what was found; zero = none.
    pub confirm: Duration,
    /// The search ends by then.
    pub deadline: Duration,
}

impl From<&SearchSpec> for SearchPlan {
    fn from(spec: &SearchSpec) -> Self {
        Self {
            start: spec.start,
            factor: spec.factor,
            max: spec.max,
            precision: spec.precision,
            whole: spec.variable == SearchVariable::Vus,
            measure: spec.measure,
            cooldown: spec.cooldown,
            confirm: spec.confirm,
            deadline: spec.deadline,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// Send nothing for `pause`, then try `value` for `length`.
    Try {
        /// Rest before it.
        pause: Duration,
        /// What is tried.
        value: f64,
        /// For how long.
        length: Duration,
        /// Whether it confirms what was found.
        confirms: bool,
    },
    /// The search is over.
    Done(Found),
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The highest value that was sustained; `None` if not even the first was.
    pub line: Option<f64>,
    /// The lowest value above it that broke, and why.
    pub broke: Option<(f64, String)>,
    /// Why it ended.
    pub end: End,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The line is known within the precision.
    Found,
    /// `max` was sustained: the line is beyond.
    Max,
    /// Not even the first value was sustained.
    Doomed,
    /// No stage fits before the deadline; the line is what was sustained so far.
    Deadline,
}

impl End {
    /// The word used in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Max => "max",
            Self::Doomed => "doomed",
            Self::Deadline => "deadline",
        }
    }
}

/// A search in progress.
#[derive(Debug, Clone)]
pub struct Search {
    plan: SearchPlan,
    /// Values that were sustained, rising, and whether in a stage of the length that confirms.
    sustained: Vec<(f64, bool)>,
    broke: Option<(f64, String)>,
    begun: bool,
    /// A confirmation failed.
    refuted: bool,
    /// What is being tried, and whether it confirms.
    trying: Option<(f64, bool)>,
}

impl Search {
    /// At its beginning.
    pub fn new(plan: SearchPlan) -> Self {
        Self { plan, sustained: Vec::new(), broke: None, begun: false, refuted: false, trying: None }
    }

    /// What to do now, `elapsed` after the start.
    pub fn next(&mut self, elapsed: Duration) -> Move {
        if let Some(end) = self.ended() {
            return self.done(end);
        }
        let (value, confirms) = self.candidate();
        let length = if confirms { self.plan.confirm } else { self.plan.measure };
        let pause = if self.begun { self.plan.cooldown } else { Duration::ZERO };
        if elapsed + pause + length > self.plan.deadline {
            return self.done(End::Deadline);
        }
        self.trying = Some((value, confirms));
        Move::Try { pause, value, length, confirms }
    }

    /// What became of the stage that `next` asked for: `Err` says why it was not sustained.
    pub fn report(&mut self, result: Result<(), String>) {
        let Some((value, confirms)) = self.trying.take() else { return };
        self.begun = true;
        self.sustained.retain(|(sustained, _)| *sustained < value);
        match result {
            Ok(()) => self.sustained.push((value, confirms)),
            Err(why) => {
                self.refuted |= confirms;
                self.broke = Some((value, why));
            }
        }
    }

    fn line(&self) -> Option<f64> {
        self.sustained.last().map(|(value, _)| *value)
    }

    fn done(&self, end: End) -> Move {
        Move::Done(Found { line: self.line(), broke: self.broke.clone(), end })
    }

    /// Whether nothing is left to try, the confirmation included.
    fn ended(&self) -> Option<End> {
        match (self.sustained.last(), &self.broke) {
            (None, Some(_)) => Some(End::Doomed),
            (Some((_, confirmed)), broke) if self.narrow() && (*confirmed || self.plan.confirm.is_zero()) => {
                Some(if broke.is_none() { End::Max } else { End::Found })
            }
            _ => None,
        }
    }

    /// Whether line and break are as close as wanted, or the line is at its highest.
    fn narrow(&self) -> bool {
        let Some(line) = self.line() else { return false };
        match &self.broke {
            None => line >= self.plan.max,
            Some((broke, _)) => broke - line <= line * self.plan.precision || (self.plan.whole && broke - line <= 1.0),
        }
    }

    /// The next value, and whether its stage confirms.
    fn candidate(&self) -> (f64, bool) {
        let value = match (self.sustained.last(), &self.broke) {
            (None, _) => self.plan.start.min(self.plan.max),
            (Some((line, confirmed)), _) if self.narrow() || (self.refuted && !confirmed) => return (*line, true),
            (Some((line, _)), None) => (line * self.plan.factor).min(self.plan.max),
            (Some((line, _)), Some((broke, _))) => f64::midpoint(*line, *broke),
        };
        if !self.plan.whole {
            return (value, self.refuted);
        }
        // Above what holds, and below what broke.
        let least = self.line().map_or(1.0, |line| line + 1.0);
        (value.floor().max(least), self.refuted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan() -> SearchPlan {
        SearchPlan {
            start: 5.0,
            factor: 2.0,
            max: 2000.0,
            precision: 0.05,
            whole: false,
            measure: Duration::from_secs(30),
            cooldown: Duration::from_secs(20),
            confirm: Duration::from_mins(1),
            deadline: Duration::from_mins(30),
        }
    }

    /// Searches a target, returns what was tried and found, and how long it took.
    fn search(plan: SearchPlan, mut sustains: impl FnMut(f64, bool) -> bool) -> (Vec<f64>, Found, Duration) {
        let (mut search, mut elapsed, mut tried) = (Search::new(plan), Duration::ZERO, Vec::new());
        loop {
            match search.next(elapsed) {
                Move::Done(found) => return (tried, found, elapsed),
                Move::Try { pause, value, length, confirms } => {
                    elapsed += pause + length;
                    tried.push(value);
                    search.report(if sustains(value, confirms) { Ok(()) } else { Err("p95".to_owned()) });
                    assert!(tried.len() < 10_000, "it does not end");
                }
            }
        }
    }

    #[test]
    fn it_doubles_bisects_and_confirms() {
        let (tried, found, elapsed) = search(plan(), |value, _| value <= 100.0);
        assert_eq!(tried, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 120.0, 100.0, 110.0, 105.0, 100.0]);
        assert_eq!(found, Found { line: Some(100.0), broke: Some((105.0, "p95".to_owned())), end: End::Found });
        assert_eq!(elapsed, Duration::from_secs(10 * 30 + 10 * 20 + 60));
    }

    #[test]
    fn ends() {
        let check = |plan, sustains: fn(f64, bool) -> bool, line, end| {
            let (_, found, _) = search(plan, sustains);
            assert_eq!((found.line, found.end), (line, end));
        };
        check(plan(), |_, _| true, Some(2000.0), End::Max);
        check(plan(), |_, _| false, None, End::Doomed);
        check(SearchPlan { deadline: Duration::from_secs(100), ..plan() }, |_, _| true, Some(10.0), End::Deadline);
        check(SearchPlan { start: 3000.0, ..plan() }, |_, _| true, Some(2000.0), End::Max);
        check(
            SearchPlan { deadline: Duration::from_hours(9), ..plan() },
            |value, confirms| value <= 100.0 && !confirms,
            None,
            End::Doomed,
        );
        check(SearchPlan { start: 1.0, whole: true, ..plan() }, |value, _| value <= 7.0, Some(7.0), End::Found);
        check(
            SearchPlan { start: 1.0, confirm: Duration::ZERO, ..plan() },
            |value, _| value <= 1.0,
            Some(1.0),
            End::Found,
        );
    }

    #[test]
    fn what_does_not_hold_when_confirmed_is_searched_for_below() {
        let (_, found, _) = search(plan(), |value, confirms| value <= if confirms { 60.0 } else { 100.0 });
        let line = found.line.expect("a line");
        assert!((55.0..=60.0).contains(&line) && found.end == End::Found, "{found:?}");
    }

    proptest! {
        #[test]
        fn the_line_is_within_the_precision(threshold in 5.0f64..2000.0, factor in 1.2f64..4.0, precision in 0.005f64..0.3, whole: bool) {
            let plan = SearchPlan { factor, precision, whole, deadline: Duration::from_hours(99), ..plan() };
            let (tried, found, _) = search(plan, |value, _| value <= threshold);
            let line = found.line.expect("the start is sustained");
            prop_assert!(line <= threshold);
            if let Some((broke, _)) = found.broke {
                prop_assert!(broke > threshold);
                prop_assert!(broke - line <= line * precision + f64::from(u8::from(whole)) + 1e-9);
                prop_assert_eq!(found.end, End::Found);
            } else {
                prop_assert_eq!(found.end, End::Max);
            }
            let rising = (400.0f64.ln() / factor.ln()).ceil() * if whole { 2.0 } else { 1.0 };
            let halving = (factor / precision).log2().ceil();
            prop_assert!((tried.len() as f64) < rising + halving + 6.0, "{tried:?}");
            prop_assert!(!whole || tried.iter().all(|value| value.fract() == 0.0));
        }

        #[test]
        fn it_ends_before_the_deadline_whatever_the_target_does(answers in proptest::collection::vec(any::<bool>(), 1..64), minutes in 1u64..300) {
            let plan = SearchPlan { deadline: Duration::from_mins(minutes), ..plan() };
            let mut index = 0;
            let (_, found, elapsed) = search(plan, |_, _| {
                index += 1;
                answers[index % answers.len()]
            });
            prop_assert!(elapsed <= plan.deadline);
            prop_assert!(found.line.is_none_or(|line| found.broke.is_none_or(|(broke, _)| line < broke)));
        }
    }
}
