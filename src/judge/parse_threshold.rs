//! Thresholds: `agg(metric{selectors}) op value [over W [for H]]`, with arithmetic on both sides.

use std::time::Duration;

use super::{
    check::{check_aggregate, check_sides},
    lex::{ExprError, Kind, Token},
    names::{AGGREGATIONS, METRICS, SELECTORS, slip, suggest},
    parse::{Parser, whole_regex},
    slug::slug,
};
use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Measure, Metric, Operator, Pattern, Selector, Threshold},
    outcome::Outcome,
    run::Severity,
    units::{Quantity, Unit},
};

/// Longest window, so that a judge's memory is bounded.
const MAX_WINDOW: Duration = Duration::from_hours(1);

/// The quantiles in a run's summary, which is all that is left of a past run.
const KEPT_QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

const EXAMPLE: &str = "write a threshold such as p95(latency) < 2s or rate(rejected) <= 5%";

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
    let drifts = |side: &Measure| side.any(&|part| matches!(part, Measure::Drift(_)));
    if over.is_some() && (drifts(&left) || drifts(&right)) {
        return Err(ExprError::new(window_at, "`drift` looks at the whole run").help("leave out `over`"));
    }
    if *parser.peek() != Kind::End {
        let error = parser.unexpected("`over` or the end");
        return Err(match parser.peek() {
            Kind::Word("and" | "or") => error.help("write two thresholds: each is judged and reported by itself"),
            _ => error,
        });
    }
    let measured = |side: &Measure| side.any(&|part| matches!(part, Measure::Of(_)));
    if !measured(&left) {
        if !measured(&right) {
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
        left,
        op,
        right,
        over,
        hold,
    })
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<Measure, ExprError> {
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
            Kind::Word(word) => {
                self.take();
                self.call(word, at)
            }
            Kind::Class(_) => Err(self.unexpected("a number with a unit, or an aggregation").help(EXAMPLE)),
            _ => Err(self.unexpected("an aggregation such as p95(latency), or a number").help(EXAMPLE)),
        }
    }

    /// What stands in the parentheses of `word`.
    fn call(&mut self, word: &str, at: usize) -> Result<Measure, ExprError> {
        if *self.peek() != Kind::Symbol("(") {
            return Err(not_a_call(word, at));
        }
        if matches!(word, "drift" | "baseline") {
            self.expect("(")?;
            let inner_at = self.at();
            let inner = self.sum()?;
            self.expect(")")?;
            let nested = inner.any(&|part| matches!(part, Measure::Drift(_) | Measure::Baseline(_)));
            let alone = matches!(&inner, Measure::Of(_));
            if nested || !alone {
                let error = ExprError::new(inner_at, format!("`{word}` takes one aggregation"));
                return Err(error.help(format!("write {word}(p95(latency))")));
            }
            if let (Measure::Of(Aggregate { by: Aggregation::Quantile(q), .. }), "baseline") = (&inner, word)
                && !KEPT_QUANTILES.iter().any(|kept| (kept - q).abs() < 1e-9)
            {
                let error = ExprError::new(inner_at, "this percentile is not kept of past runs");
                return Err(error.help("p50, p90, p95, p99 and p99.9 are"));
            }
            let inner = Box::new(inner);
            return Ok(if word == "drift" { Measure::Drift(inner) } else { Measure::Baseline(inner) });
        }
        let by = if word == "p" { self.percentile_call()? } else { aggregation(word, at)? };
        self.expect("(")?;
        let aggregate = self.aggregate(word, by, at)?;
        self.expect(")")?;
        Ok(Measure::Of(aggregate))
    }

    /// The `(99.9)` of `p(99.9)(latency)`.
    fn percentile_call(&mut self) -> Result<Aggregation, ExprError> {
        self.expect("(")?;
        let at = self.at();
        let Kind::Number(Quantity { value, unit: Unit::Count }) = *self.peek() else {
            return Err(self.unexpected("a percentile").help("write p(95)(latency) or p95(latency)"));
        };
        self.take();
        self.expect(")")?;
        quantile(value, at)
    }

    fn aggregate(&mut self, word: &str, by: Aggregation, at: usize) -> Result<Aggregate, ExprError> {
        let metric_at = self.at();
        let Kind::Word(name) = *self.peek() else {
            return Err(self.unexpected("a metric such as latency, rejected or the name of a stat"));
        };
        self.take();
        let metric = metric(name, metric_at)?;
        let selectors = if self.eat("{") { self.selectors()? } else { Vec::new() };
        let since_last_run = self.eat_word("since");
        if since_last_run && !self.eat_word("last_run") {
            return Err(self.unexpected("`last_run`").help("write increase(rejected_total since last_run)"));
        }
        if since_last_run && by != Aggregation::Increase {
            let error = ExprError::new(metric_at, "only an increase reaches back to the run before");
            return Err(error.help(format!("write increase({name} since last_run)")));
        }
        let aggregate = Aggregate { by, metric, selectors, since_last_run };
        check_aggregate(&aggregate, word, name, at, metric_at)?;
        Ok(aggregate)
    }

    /// Up to and with the closing brace.
    fn selectors(&mut self) -> Result<Vec<Selector>, ExprError> {
        let mut found = Vec::new();
        loop {
            found.push(self.selector()?);
            if self.eat("}") {
                return Ok(found);
            }
            self.expect(",").map_err(|error| error.help("write {step=chat,outcome=rejected}"))?;
        }
    }

    fn selector(&mut self) -> Result<Selector, ExprError> {
        let at = self.at();
        let Kind::Word(key) = *self.peek() else {
            return Err(self.unexpected("the key of a selector").help("write {step=chat}"));
        };
        self.take();
        let by = dimension(key, at)?;
        let (matches, negated) = match self.peek() {
            Kind::Symbol("=" | "==") => (false, false),
            Kind::Symbol("!=") => (false, true),
            Kind::Symbol("=~") => (true, false),
            Kind::Symbol("!~") => (true, true),
            _ => return Err(self.unexpected("`=`, `!=`, `=~` or `!~`")),
        };
        self.take();
        let (at, text) = match self.take() {
            Token { kind: Kind::Text(text), at, .. } if !text.is_empty() => (at, text),
            Token { kind: Kind::Regex(text), at, .. } => (at, text),
            token => return Err(ExprError::new(token.at, format!("`{key}` has no value")).help("write {step=chat}")),
        };
        let value = if matches { Pattern::Matches(whole_regex(at, &text)?) } else { value(&by, &text, at)? };
        Ok(Selector { by, value, negated })
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

/// A bare name where an aggregation should be.
fn not_a_call(word: &str, at: usize) -> ExprError {
    let error = ExprError::new(at, format!("`{word}` is not aggregated"));
    let times = ["latency", "service_time", "send_lag", "iteration"];
    error.help(match word {
        _ if times.contains(&word) => format!("write p95({word}), avg({word}) or max({word})"),
        "ok" | "rejected" | "failed" | "dropped" => format!("write rate({word}) or count({word})"),
        _ if AGGREGATIONS.contains(&word) => format!("write {word}(…)"),
        _ => match suggest(word, METRICS) {
            Some(meant) => format!("did you mean `{meant}`? Aggregate it, such as p95(latency) or count(failed)"),
            None => format!("write last({word}), max({word}) or increase({word})"),
        },
    })
}

fn aggregation(word: &str, at: usize) -> Result<Aggregation, ExprError> {
    Ok(match word {
        "count" => Aggregation::Count,
        "rate" => Aggregation::Share,
        "rps" => Aggregation::PerSecond,
        "avg" | "mean" => Aggregation::Mean,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "med" | "median" => Aggregation::Quantile(0.5),
        "first" => Aggregation::First,
        "last" => Aggregation::Last,
        "growth" => Aggregation::Growth { absolute: false },
        "slope" => Aggregation::Slope,
        "increase" => Aggregation::Increase,
        _ => {
            if let Some(percent) = word.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok()) {
                // p999 is the usual shorthand of p(99.9).
                let percent = if percent > 100.0 && word.starts_with("p99") && !word.contains('.') {
                    percent / 10_f64.powf(word.len() as f64 - 3.0)
                } else {
                    percent
                };
                return quantile(percent, at);
            }
            let error = ExprError::new(at, format!("`{word}` is not an aggregation"));
            return Err(match suggest(word, AGGREGATIONS) {
                Some(meant) => error.help(format!("did you mean `{meant}`?")),
                None => error.help(format!("there are {} and p95", AGGREGATIONS.join(", "))),
            });
        }
    })
}

fn quantile(percent: f64, at: usize) -> Result<Aggregation, ExprError> {
    if percent > 0.0 && percent <= 100.0 {
        return Ok(Aggregation::Quantile((percent * 1e6).round() / 1e8));
    }
    Err(ExprError::new(at, format!("{percent} is not a percentile")).help("a percentile is above 0 and at most 100"))
}

fn metric(name: &str, at: usize) -> Result<Metric, ExprError> {
    Ok(match name {
        "requests" => Metric::Requests,
        "sent" => Metric::Sent,
        "planned" => Metric::Planned,
        "dropped" => Metric::Dropped,
        "ok" => Metric::Outcome(Outcome::Ok),
        "rejected" => Metric::Outcome(Outcome::Rejected),
        "failed" => Metric::Outcome(Outcome::Failed),
        "interrupted" => Metric::Outcome(Outcome::Interrupted),
        "iterations" => Metric::Iterations,
        "iteration" => Metric::Iteration,
        "latency" => Metric::Latency,
        "service_time" => Metric::ServiceTime,
        "send_lag" => Metric::SendLag,
        "timing" => Metric::Timing,
        "samples_lost" => Metric::SamplesLost,
        "clock_steps" => Metric::ClockSteps,
        "blocked" | "dns" | "connect" | "tls" | "ttfb" | "transfer" => {
            let error = ExprError::new(at, format!("`{name}` is a part of a request's time"));
            return Err(error.help(format!("write timing{{timing={name}}}")));
        }
        _ => match slip(name, METRICS) {
            Some(meant) => {
                let error = ExprError::new(at, format!("`{name}` is not a metric"));
                return Err(error.help(format!("did you mean `{meant}`?")));
            }
            None => Metric::Stat(name.into()),
        },
    })
}

fn dimension(key: &str, at: usize) -> Result<Dimension, ExprError> {
    Ok(match key {
        "step" => Dimension::Step,
        "status" => Dimension::Status,
        "outcome" => Dimension::Outcome,
        "reason" => Dimension::Reason,
        "timing" => Dimension::Timing,
        _ if SELECTORS.contains(&key) => Dimension::Group(key.into()),
        _ => match slip(key, SELECTORS) {
            Some(meant) => {
                let error = ExprError::new(at, format!("`{key}` is not a selector"));
                return Err(error.help(format!("did you mean `{meant}`?")));
            }
            None => Dimension::Group(key.into()),
        },
    })
}

/// A value as the dimension has it.
fn value(by: &Dimension, text: &str, at: usize) -> Result<Pattern, ExprError> {
    let one_of = |words: &[&str]| {
        if words.contains(&text) {
            return Ok(Pattern::Is(text.into()));
        }
        let error = ExprError::new(at, format!("`{text}` is not a value of `{}`", by.as_str()));
        Err(match suggest(text, words.iter().copied()) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error.help(format!("there are {}", words.join(", "))),
        })
    };
    match by {
        Dimension::Outcome => one_of(&["ok", "rejected", "failed", "interrupted"]),
        Dimension::Timing => one_of(&["blocked", "dns", "connect", "tls", "ttfb", "transfer"]),
        Dimension::Status => match text.strip_suffix("xx").map_or_else(|| text.parse(), str::parse::<u16>) {
            Ok(class @ 1..=5) if text.ends_with("xx") => Ok(Pattern::Class(class)),
            Ok(100..=999) if !text.ends_with("xx") => Ok(Pattern::Is(text.into())),
            _ => Err(ExprError::new(at, format!("`{text}` is not a status")).help("write 503 or 5xx")),
        },
        Dimension::Step | Dimension::Reason | Dimension::Group(_) => Ok(Pattern::Is(text.into())),
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
        Measure::Number(_) => {}
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
