//! `agg(metric{selectors})`: the words of aggregations, metrics and selectors.

use super::{
    check::check_aggregate,
    lex::{ExprError, Kind, Token},
    names::{AGGREGATIONS, METRICS, SELECTORS, alias, slip, suggest},
    parse::{Parser, whole_regex},
};
use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Metric, Pattern, Selector},
    outcome::Outcome,
};

impl Parser<'_> {
    pub(super) fn aggregate(&mut self, word: &str, by: Aggregation, at: usize) -> Result<Aggregate, ExprError> {
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
    pub(super) fn selectors(&mut self) -> Result<Vec<Selector>, ExprError> {
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
            Kind::Symbol("<" | "<=" | ">" | ">=") => return self.numbered(key, by),
            _ => return Err(self.unexpected("`=`, `!=`, `=~`, `!~` or a comparison of numbers")),
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

    /// `turn>1`.
    fn numbered(&mut self, key: &str, by: Dimension) -> Result<Selector, ExprError> {
        let op_at = self.at();
        let Some(op) = self.compare()? else { return Err(self.unexpected("a comparison")) };
        if !matches!(by, Dimension::Group(_) | Dimension::Status) {
            let error = ExprError::new(op_at, format!("the values of `{key}` are no numbers"));
            return Err(error.help("write `=`, `!=`, `=~` or `!~`"));
        }
        let token = self.take();
        match &token.kind {
            Kind::Text(text) if let Ok(number) = text.parse::<f64>() => {
                Ok(Selector { by, value: Pattern::Number(op, number), negated: false })
            }
            _ => Err(ExprError::new(token.at, format!("`{key}` is compared with a number")).help("write {turn>1}")),
        }
    }
}

/// A bare name where an aggregation should be.
pub(super) fn not_a_call(word: &str, at: usize) -> ExprError {
    let error = ExprError::new(at, format!("`{word}` is not aggregated"));
    let times = ["latency", "service_time", "send_lag", "iteration", "ttft", "itl", "tpot"];
    error.help(match word {
        _ if times.contains(&word) => format!("write p95({word}), avg({word}) or max({word})"),
        "tokens_per_s" => "write avg(tokens_per_s) or p50(tokens_per_s)".to_owned(),
        "ok" | "rejected" | "failed" | "dropped" | "iterations" => format!("write rate({word}) or count({word})"),
        _ if AGGREGATIONS.contains(&word) => format!("write {word}(…)"),
        _ if aggregation(word, at).is_ok() => format!("write {word}(latency)"),
        _ if let Some(ours) = alias(word) => match ours {
            "requests" => "write rps(requests) or count(requests)".to_owned(),
            _ if times.contains(&ours) => format!("write p95({ours}), such as `p95({ours}) < 2s`"),
            _ => format!("write rate({ours}), such as `rate({ours}) < 1%`"),
        },
        _ => match suggest(word, METRICS) {
            Some(meant) => format!("did you mean `{meant}`? Aggregate it, such as p95(latency) or count(failed)"),
            None => format!("write last({word}), max({word}) or increase({word})"),
        },
    })
}

pub(super) fn aggregation(word: &str, at: usize) -> Result<Aggregation, ExprError> {
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
        "restarts" => Aggregation::Restarts,
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

pub(super) fn quantile(percent: f64, at: usize) -> Result<Aggregation, ExprError> {
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
        "ttft" => Metric::Ttft,
        "itl" => Metric::Itl,
        "tpot" => Metric::Tpot,
        "tokens" => Metric::Tokens,
        "tokens_per_s" => Metric::TokensPerS,
        "stalls" => Metric::Stalls,
        "samples_lost" => Metric::SamplesLost,
        "clock_steps" => Metric::ClockSteps,
        _ if plain(name).is_some() => {
            let error = ExprError::new(at, format!("`{name}` is one value: there is nothing to aggregate"));
            return Err(error.help(format!("write {name} < 30s, without an aggregation")));
        }
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

/// The metrics that are one value.
pub(super) fn plain(word: &str) -> Option<Metric> {
    match word {
        "elapsed" => Some(Metric::Elapsed),
        "safe_rate" => Some(Metric::SafeRate),
        "recovery" => Some(Metric::Recovery),
        _ => None,
    }
}

pub(super) fn dimension(key: &str, at: usize) -> Result<Dimension, ExprError> {
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
