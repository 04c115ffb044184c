//! What stands where a threshold measures: aggregations, and what is made of them.

use super::{
    check::check_kept,
    lex::{ExprError, Kind},
    names::METRICS,
    parse::Parser,
    parse_aggregate::{aggregation, dimension, not_a_call, plain, quantile},
};
use crate::model::{
    expr::{Aggregate, Aggregation, Dimension, Measure, Metric, Operator, Spread},
    units::{Quantity, Unit},
};

/// The quantiles in a run's summary, which is all that is left of a past run.
const KEPT_QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

impl Parser<'_> {
    /// A word, and what stands in the parentheses after it.
    pub(super) fn call(&mut self, word: &str, at: usize) -> Result<Measure, ExprError> {
        if *self.peek() != Kind::Symbol("(") {
            return match plain(word) {
                Some(metric) => self.plain(word, metric, at),
                None => Err(not_a_call(word, at)),
            };
        }
        match word {
            "drift" | "baseline" => return self.of_one(word),
            "ratio" => return self.ratio(),
            "share" => return self.share(),
            "variation" => return self.spread(word, Spread::Variation),
            "fairness" => return self.spread(word, Spread::Fairness),
            _ if plain(word).is_some() => {
                let error = ExprError::new(at, format!("`{word}` is one value, not a function"));
                return Err(error.help(format!("write {word} without parentheses")));
            }
            _ => {}
        }
        let by = if word == "p" { self.percentile_call()? } else { aggregation(word, at)? };
        self.expect("(").map_err(|error| error.help("write what it is of: `p95(latency) < 2s`"))?;
        let aggregate = self.aggregate(word, by, at)?;
        self.expect(")")?;
        Ok(Measure::Of(aggregate))
    }

    /// `elapsed{level=last}`.
    fn plain(&mut self, word: &str, metric: Metric, at: usize) -> Result<Measure, ExprError> {
        let selectors = if self.eat("{") { self.selectors()? } else { Vec::new() };
        let aggregate = Aggregate { by: Aggregation::Plain, metric, selectors, since_last_run: false };
        check_kept(&aggregate, word, at)?;
        Ok(Measure::Of(aggregate))
    }

    /// A gauge's reading at one moment.
    pub(super) fn gauge(&mut self, word: &str, at: usize) -> Result<Measure, ExprError> {
        if *self.peek() == Kind::Symbol("(") || METRICS.contains(&word) {
            let error = ExprError::new(at, "a condition on a moment looks at the target's gauges");
            return Err(error.help("write the name of a gauge and its limit, such as pool_used < 95%"));
        }
        let (by, metric) = (Aggregation::Plain, Metric::Stat(word.into()));
        Ok(Measure::Of(Aggregate { by, metric, selectors: Vec::new(), since_last_run: false }))
    }

    /// `drift(x)` and `baseline(x)`.
    fn of_one(&mut self, word: &str) -> Result<Measure, ExprError> {
        self.expect("(")?;
        let at = self.at();
        let inner = self.sum()?;
        self.expect(")")?;
        let fits = match (&inner, word) {
            (Measure::Of(aggregate), "drift") => aggregate.by != Aggregation::Plain,
            (Measure::Of(_) | Measure::Spread { .. }, "baseline") => true,
            _ => false,
        };
        if !fits {
            let error = ExprError::new(at, format!("`{word}` takes one aggregation"));
            return Err(error.help(format!("write {word}(p95(latency))")));
        }
        let kept = |part: &Measure| match part {
            Measure::Of(Aggregate { by: Aggregation::Quantile(q), .. }) => {
                KEPT_QUANTILES.iter().any(|kept| (kept - q).abs() < 1e-9)
            }
            _ => true,
        };
        if word == "baseline" && inner.any(&|part| !kept(part)) {
            let error = ExprError::new(at, "this percentile is not kept of past runs");
            return Err(error.help("p50, p90, p95, p99 and p99.9 are"));
        }
        let inner = Box::new(inner);
        Ok(if word == "drift" { Measure::Drift(inner) } else { Measure::Baseline(inner) })
    }

    /// `ratio(a, b)`: a / b.
    fn ratio(&mut self) -> Result<Measure, ExprError> {
        self.expect("(")?;
        let left = self.sum()?;
        self.expect(",").map_err(|error| error.help("write ratio(increase(rejected_total), increase(done_total))"))?;
        let right = self.sum()?;
        self.expect(")")?;
        Ok(Measure::Math(Box::new(left), Operator::Div, Box::new(right)))
    }

    /// `share(queued >= 90% * queue_limit)`.
    fn share(&mut self) -> Result<Measure, ExprError> {
        self.expect("(")?;
        let before = std::mem::replace(&mut self.gauges, true);
        let held = self.held();
        self.gauges = before;
        let held = held?;
        self.expect(")")?;
        Ok(Measure::Share(Box::new(held)))
    }

    /// `variation(p95(iteration), by=repeat)`, `fairness(iterations, by=user)`.
    fn spread(&mut self, word: &str, how: Spread) -> Result<Measure, ExprError> {
        const HELP: &str = "write fairness(iterations, by=user) or variation(p95(iteration), by=repeat)";
        self.expect("(")?;
        let at = self.at();
        let counted = matches!(self.peek(), Kind::Word(name) if METRICS.contains(name) && plain(name).is_none())
            && matches!(self.peek_second(), Kind::Symbol("," | "{" | ")"));
        let inner = if counted { Measure::Of(self.aggregate("count", Aggregation::Count, at)?) } else { self.sum()? };
        let Measure::Of(aggregate) = &inner else {
            return Err(ExprError::new(at, format!("`{word}` takes one aggregation")).help(HELP));
        };
        self.expect(",").map_err(|error| error.help(HELP))?;
        if !self.eat_word("by") || !self.eat("=") {
            return Err(self.unexpected("`by=` and a dimension").help(HELP));
        }
        let by_at = self.at();
        let Kind::Word(name) = *self.peek() else { return Err(self.unexpected("a dimension").help(HELP)) };
        self.take();
        let by = dimension(name, by_at)?;
        if !matches!(by, Dimension::Step | Dimension::Group(_)) {
            let error = ExprError::new(by_at, format!("`{name}` is no part of a run"));
            return Err(error.help("write step, level, burst, phase, repeat, user or a tag"));
        }
        check_kept(&aggregate.clone().selecting(&by, "x"), name, by_at)?;
        self.expect(")")?;
        Ok(Measure::Spread { how, of: Box::new(inner), by })
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
}
