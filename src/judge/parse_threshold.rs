//! Thresholds: `agg(metric{selectors}) op value [over W [for H]]`, with arithmetic on both sides; grades; conditions on
//! the gauges of one moment.

use std::time::Duration;

use super::{
    check_units::{check_limit, check_sides},
    lex::{ExprError, Kind},
    parse::Parser,
    slug::slug,
};
use crate::model::{
    expr::{Aggregation, Grades, Held, Limit, Measure, Operator, Threshold},
    run::Severity,
    units::{Quantity, Unit},
};

/// Longest window, so that a judge's memory is bounded.
const MAX_WINDOW: Duration = Duration::from_hours(1);

pub(super) const EXAMPLE: &str = "write a threshold such as p95(latency) < 2s or rate(rejected) <= 5%";

/// Parses a condition on a run, such as `p95(latency{level=last}) < 3 * p95(latency{level=first})`. Severity and the other
/// options have their defaults.
pub fn parse_threshold(src: &str) -> Result<Threshold, ExprError> {
    let mut parser = Parser::new(src)?;
    let at = parser.at();
    let mut left = parser.sum()?;
    let Some(mut op) = parser.compare()? else {
        return Err(parser.unexpected("a comparison (<, <=, >, >=, ==, !=)").help(EXAMPLE));
    };
    let right_at = parser.at();
    let mut right = parser.sum()?;
    let window_at = parser.at();
    let (over, hold) = parser.window()?;
    if over.is_some() {
        fits_a_window(&left, window_at)?;
        fits_a_window(&right, window_at)?;
    }
    if *parser.peek() != Kind::End {
        let error = parser.unexpected("`over` or the end");
        return Err(match parser.peek() {
            Kind::Word("and" | "or") => error.help("write two thresholds: each is judged and reported by itself"),
            _ => error,
        });
    }
    if !is_measured(&left) {
        if !is_measured(&right) {
            return Err(ExprError::new(0, "nothing is measured here").help(EXAMPLE));
        }
        std::mem::swap(&mut left, &mut right);
        op = op.mirrored();
    }
    settle(&mut left, &mut right);
    check_sides(&left, &right, at, right_at)?;
    let name = slug(&left);
    Ok(Threshold {
        source: src.trim().into(),
        name: name.into(),
        severity: Severity::default(),
        abort_on_fail: false,
        delay_abort_eval: Duration::ZERO,
        for_runs: 1,
        min_samples: 0,
        implicit: false,
        runbook: None,
        hint: None,
        only_while: None,
        grades: None,
        left,
        op,
        right,
        over,
        hold,
    })
}

/// Which text of a graded threshold an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GradePart {
    /// What is measured.
    Of,
    /// `pass:`
    Pass,
    /// `warn:`
    Warn,
    /// `fail:`
    Fail,
}

/// Parses `{of: elapsed, pass: "< 25s", warn: "< 35s", fail: "> 40s"}`; the offset of an error counts within the text that
/// it is about.
pub fn parse_graded(
    of: &str,
    pass: &str,
    warn: Option<&str>,
    fail: Option<&str>,
) -> Result<Threshold, (GradePart, ExprError)> {
    let of = of.trim_end();
    let parse = |part: GradePart, limit: &str| {
        let whole = parse_threshold(&format!("{of} {limit}")).and_then(|threshold| match threshold.over {
            Some(_) => Err(ExprError::new(of.len() + 1, "grades are of the whole run").help("leave out `over`")),
            None => Ok(threshold),
        });
        whole.map_err(|error| match error.offset.checked_sub(of.len() + 1) {
            Some(offset) => (part, ExprError { offset, ..error }),
            None => (GradePart::Of, error),
        })
    };
    let threshold = parse(GradePart::Pass, pass)?;
    let limit = |part: GradePart, text: Option<&str>| -> Result<Option<Limit>, (GradePart, ExprError)> {
        let Some(text) = text else { return Ok(None) };
        let Threshold { op, right, .. } = parse(part, text)?;
        check_limit(&threshold.left, &right).map_err(|error| (part, error))?;
        Ok(Some(Limit { op, right }))
    };
    let (warned, failed) = (limit(GradePart::Warn, warn)?, limit(GradePart::Fail, fail)?);
    let written = [("warn", warn), ("fail", fail)];
    let others: Vec<String> =
        written.iter().filter_map(|(word, text)| Some(format!("{word} {}", text.as_ref()?.trim()))).collect();
    let source = if others.is_empty() {
        threshold.source.to_string()
    } else {
        format!("{} ({})", threshold.source, others.join(", "))
    };
    let grades = (!others.is_empty()).then_some(Grades { warn: warned, fail: failed });
    Ok(Threshold { source: source.into(), grades, ..threshold })
}

/// Parses a condition on the target's gauges at one moment, such as `pool_used < 95%`.
pub fn parse_held(src: &str) -> Result<Held, ExprError> {
    let mut parser = Parser::new(src)?;
    parser.gauges = true;
    let held = parser.held()?;
    if *parser.peek() != Kind::End {
        return Err(parser.unexpected("the end"));
    }
    Ok(held)
}

fn is_measured(side: &Measure) -> bool {
    side.any(&|part| matches!(part, Measure::Of(_) | Measure::Share(_)))
}

/// Some things are of the whole run.
fn fits_a_window(side: &Measure, at: usize) -> Result<(), ExprError> {
    let mut whole = None;
    side.visit(&mut |part| match part {
        Measure::Drift(_) => whole = Some("drift"),
        Measure::Of(aggregate) if aggregate.by == Aggregation::Plain => whole = Some(aggregate.metric.as_str()),
        _ => {}
    });
    match whole {
        Some(word) => Err(ExprError::new(at, format!("`{word}` looks at the whole run")).help("leave out `over`")),
        None => Ok(()),
    }
}

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Result<Measure, ExprError> {
        self.nested(|parser| parser.chain(&[("+", Operator::Add), ("-", Operator::Sub)], Self::product))
    }

    fn product(&mut self) -> Result<Measure, ExprError> {
        self.chain(&[("*", Operator::Mul), ("/", Operator::Div)], Self::factor)
    }

    /// A left-associative chain; as deep as it is long, so it counts as nesting too.
    fn chain(
        &mut self,
        operators: &[(&str, Operator)],
        part: fn(&mut Self) -> Result<Measure, ExprError>,
    ) -> Result<Measure, ExprError> {
        let mut left = part(self)?;
        for length in 1.. {
            let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.eat(symbol)) else { break };
            if length > super::parse::MAX_DEPTH {
                return Err(ExprError::new(self.at(), "the expression has too many terms"));
            }
            left = Measure::Math(Box::new(left), *operator, Box::new(part(self)?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Measure, ExprError> {
        let at = self.at();
        match self.peek().clone() {
            Kind::Number(quantity) => {
                self.take();
                Ok(Measure::Number(quantity))
            }
            Kind::Symbol("-") => {
                self.take();
                match self.take().kind {
                    Kind::Number(Quantity { value, unit }) => Ok(Measure::Number(Quantity { value: -value, unit })),
                    _ => Err(ExprError::new(at, "expected a number after `-`")),
                }
            }
            Kind::Symbol("(") => {
                self.take();
                let inner = self.sum()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Word(word) if self.gauges => {
                self.take();
                self.gauge(word, at)
            }
            Kind::Word(word) => {
                self.take();
                self.call(word, at)
            }
            Kind::Class(_) => Err(self.unexpected("a number with a unit, or an aggregation").help(EXAMPLE)),
            _ if self.gauges => Err(self.unexpected("the name of a gauge, or a number")),
            _ => Err(self.unexpected("an aggregation such as p95(latency), or a number").help(EXAMPLE)),
        }
    }

    /// `queued >= 90% * queue_limit`: gauges of one moment.
    pub(super) fn held(&mut self) -> Result<Held, ExprError> {
        let at = self.at();
        let mut left = self.sum()?;
        let Some(mut op) = self.compare()? else {
            return Err(self.unexpected("a comparison").help("write a gauge and its limit, such as pool_used < 95%"));
        };
        let right_at = self.at();
        let mut right = self.sum()?;
        let source = self.src[at..self.at()].trim().into();
        if !is_measured(&left) {
            if !is_measured(&right) {
                return Err(ExprError::new(at, "no gauge is looked at").help("write pool_used < 95%"));
            }
            std::mem::swap(&mut left, &mut right);
            op = op.mirrored();
        }
        check_sides(&left, &right, at, right_at)?;
        Ok(Held { source, left, op, right })
    }

    /// `over W [for H]`.
    fn window(&mut self) -> Result<(Option<Duration>, Duration), ExprError> {
        if !self.eat_word("over") {
            if matches!(self.peek(), Kind::Word("for")) {
                return Err(ExprError::new(self.at(), "`for` needs a window").help("write over 1m for 2m"));
            }
            return Ok((None, Duration::ZERO));
        }
        let at = self.at();
        let over = self.duration()?;
        if over < Duration::from_secs(1) || over > MAX_WINDOW {
            return Err(ExprError::new(at, "the window is too short or too long").help("1s to 1h"));
        }
        let hold = if self.eat_word("for") { self.duration()? } else { Duration::ZERO };
        Ok((Some(over), hold))
    }

    fn duration(&mut self) -> Result<Duration, ExprError> {
        match *self.peek() {
            Kind::Number(Quantity { value, unit: Unit::Seconds }) if (0.0..=31_557_600.0).contains(&value) => {
                self.take();
                Ok(Duration::from_nanos((value * 1e9).round() as u64))
            }
            _ => Err(self.unexpected("a duration such as 30s or 1m")),
        }
    }
}

/// Lets the units of the limit decide what `rate` and `growth` are.
fn settle(left: &mut Measure, right: &mut Measure) {
    let both = [&*left, &*right];
    let names = |unit: Unit| {
        both.iter().any(|side| side.any(&|part| matches!(part, Measure::Number(quantity) if quantity.unit == unit)))
    };
    let per_second = names(Unit::PerSecond)
        || both.iter().any(|side| {
            side.any(&|part| matches!(part, Measure::Of(aggregate) if aggregate.by == Aggregation::PerSecond))
        });
    let ratio = names(Unit::Ratio);
    apply(left, per_second, ratio);
    apply(right, per_second, ratio);
}

fn apply(side: &mut Measure, per_second: bool, ratio: bool) {
    match side {
        // What varies has a limit of its own kind: how much, not how many.
        Measure::Number(_) | Measure::Share(_) | Measure::Spread { .. } => {}
        Measure::Of(aggregate) => match &mut aggregate.by {
            by @ Aggregation::Share if per_second => *by = Aggregation::PerSecond,
            Aggregation::Growth { absolute } => *absolute = !ratio,
            _ => {}
        },
        Measure::Drift(inner) | Measure::Baseline(inner) => apply(inner, per_second, ratio),
        Measure::Math(left, _, right) => {
            apply(left, per_second, ratio);
            apply(right, per_second, ratio);
        }
    }
}
