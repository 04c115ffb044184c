//! Evaluates a condition on one response. Nothing is parsed that the condition does not ask for.

use std::{borrow::Cow, cell::OnceCell, cmp::Ordering, time::Duration};

use serde_json::Value;

use crate::model::{
    expr::{Compare, Condition, Expect, Formula, Operand, Term},
    jsonpath,
    metric::{CustomMetric, MetricKind},
    units::{Quantity, Unit, human, human_seconds},
};

/// Longest explanation, characters.
const MAX_WHY: usize = 300;

/// Longest value quoted in an explanation, characters.
const MAX_VALUE: usize = 80;

/// A response as conditions see it.
pub struct ResponseView<'a> {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: &'a ::http::HeaderMap,
    /// The body; empty unless [`Expect::needs_body`].
    pub body: &'a [u8],
    /// The body as JSON, parsed by whoever first asks; `None` inside if it is not JSON.
    pub json: &'a OnceCell<Option<Value>>,
    /// Intended instant to last byte.
    pub latency: Duration,
    /// First byte written to last byte read.
    pub service_time: Duration,
    /// A captured value, `vu`, `iteration` or `n` by name.
    pub variable: &'a dyn Fn(&str) -> Option<Value>,
}

impl std::fmt::Debug for ResponseView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseView")
            .field("status", &self.status)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl ResponseView<'_> {
    /// Looks at variables only, where there is no answer.
    pub fn without_answer<T>(variable: &dyn Fn(&str) -> Option<Value>, look: impl FnOnce(&ResponseView<'_>) -> T) -> T {
        let (json, headers) = (OnceCell::from(None), ::http::HeaderMap::new());
        let zero = Duration::ZERO;
        look(&ResponseView {
            status: 0,
            headers: &headers,
            body: b"",
            json: &json,
            latency: zero,
            service_time: zero,
            variable,
        })
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.body).ok()).as_ref()
    }
}

impl CustomMetric {
    /// Whether the body must be kept for it.
    pub fn needs_body(&self) -> bool {
        match &self.kind {
            MetricKind::Rate(rate) => rate.needs_body(),
            MetricKind::Trend { formula, .. } => formula.needs_body(),
        }
    }

    /// What it records of a response that holds everything it looks at; `None` of any other. A rate is 0 or 1.
    pub fn of(&self, response: &ResponseView<'_>) -> Option<f64> {
        let operands = match &self.kind {
            MetricKind::Rate(rate) => rate.tree.operands(),
            MetricKind::Trend { formula, .. } => formula.tree.operands(),
        };
        let scope = Scope { response, groups: None };
        if !operands.into_iter().all(|operand| scope.exists(operand)) {
            return None;
        }
        match &self.kind {
            MetricKind::Rate(rate) => Some(if rate.eval(response).is_ok() { 1.0 } else { 0.0 }),
            MetricKind::Trend { formula, scale, .. } => formula.eval(response).map(|value| value * scale),
        }
    }
}

impl Expect {
    /// Whether the body must be kept for it.
    pub fn needs_body(&self) -> bool {
        needs_body(&self.tree)
    }

    /// Whether it holds; if not, why not, in words (`status is 503, expected == 200`; at most 300 characters).
    pub fn eval(&self, response: &ResponseView<'_>) -> Result<(), String> {
        Scope { response, groups: None }.holds(&self.tree).map_err(|why| clean(&why, MAX_WHY))
    }
}

impl Formula {
    /// Whether the body must be kept for it.
    pub fn needs_body(&self) -> bool {
        fn within(term: &Term) -> bool {
            match term {
                Term::Of(operand) => in_body(operand),
                Term::Math(left, _, right) => within(left) || within(right),
            }
        }
        within(&self.tree)
    }

    /// The number; `None` where a part of it is absent or no number, and where it would be divided by zero.
    pub fn eval(&self, response: &ResponseView<'_>) -> Option<f64> {
        fn number(scope: &Scope<'_, '_>, term: &Term) -> Option<f64> {
            match term {
                Term::Of(operand) => as_number(&scope.value(operand).ok()?),
                Term::Math(left, operator, right) => Some(operator.apply(number(scope, left)?, number(scope, right)?)),
            }
        }
        number(&Scope { response, groups: None }, &self.tree).filter(|value| value.is_finite())
    }
}

fn in_body(operand: &Operand) -> bool {
    matches!(operand, Operand::Body | Operand::Path(_))
}

fn needs_body(condition: &Condition) -> bool {
    let of = in_body;
    match condition {
        Condition::And(all) | Condition::Or(all) => all.iter().any(needs_body),
        Condition::Not(inner) => needs_body(inner),
        Condition::Compare { left, right, .. } | Condition::Contains { left, text: right, .. } => of(left) || of(right),
        Condition::In { left, any, .. } => of(left) || any.iter().any(of),
        Condition::Matches { left, .. } | Condition::Exists(left) => of(left),
        Condition::All { .. } => true,
    }
}

/// Where names are looked up.
struct Scope<'a, 'r> {
    response: &'a ResponseView<'r>,
    groups: Option<&'a regex::bytes::Captures<'a>>,
}

/// What an operand comes to.
#[derive(Debug, Clone, PartialEq)]
enum Found<'a> {
    /// Text of a body, header or match: compares with numbers by its digits.
    Text(Cow<'a, str>),
    /// A value of JSON: its type counts.
    Json(Cow<'a, Value>),
    /// A number as written, or the status.
    Number(f64),
    /// Seconds.
    Time(f64),
    /// A class of statuses.
    Class(u16),
}

impl Scope<'_, '_> {
    fn holds(&self, condition: &Condition) -> Result<(), String> {
        match condition {
            Condition::And(all) => all.iter().try_for_each(|part| self.holds(part)),
            Condition::Or(any) => self.any(any),
            Condition::Not(inner) => match self.holds(inner) {
                Ok(()) => Err(format!("{} holds, expected not to", in_words(inner))),
                Err(_) => Ok(()),
            },
            Condition::Compare { left, op, right } => {
                let (found, limit) = (self.value(left)?, self.value(right)?);
                let holds = compare(&found, *op, &limit)?;
                check(holds, || format!("{left} is {found}, expected {} {}", op.as_str(), said(right, &limit)))
            }
            Condition::In { left, any, negated } => {
                let found = self.value(left)?;
                let mut is_in = false;
                for item in any {
                    is_in |= compare(&found, Compare::Eq, &self.value(item)?)?;
                }
                check(is_in != *negated, || {
                    let items: Vec<String> = any.iter().map(ToString::to_string).collect();
                    let not = if *negated { "not " } else { "" };
                    format!("{left} is {found}, expected {not}in [{}]", items.join(", "))
                })
            }
            Condition::Contains { left, text, negated } => {
                let (found, text) = (self.bytes(left)?, self.bytes(text)?);
                check(contains(&found, &text) != *negated, || {
                    let does = if *negated { "contains" } else { "does not contain" };
                    format!("{left} {does} {:?}: {}", shown(&text), shown(&found))
                })
            }
            Condition::Matches { left, regex, negated } => {
                let found = self.bytes(left)?;
                check(regex.is_match(&found) != *negated, || {
                    let does = if *negated { "matches" } else { "does not match" };
                    format!("{left} {does} /{}/: {}", regex.as_str(), shown(&found))
                })
            }
            Condition::Exists(operand) => check(self.exists(operand), || match operand {
                Operand::Path(_) if self.response.json().is_none() => {
                    format!("the body is not JSON, expected {operand} in it")
                }
                Operand::Path(_) => format!("{operand} is not in the body"),
                _ => format!("{operand} is absent"),
            }),
            Condition::All { regex, each } => regex.captures_iter(self.response.body).try_for_each(|groups| {
                let scope = Scope { response: self.response, groups: Some(&groups) };
                let at = groups.get(0).map(|all| shown(all.as_bytes())).unwrap_or_default();
                scope.holds(each).map_err(|why| format!("at {at:?} in the body: {why}"))
            }),
        }
    }

    fn any(&self, any: &[Condition]) -> Result<(), String> {
        let mut whys = Vec::new();
        for part in any {
            match self.holds(part) {
                Ok(()) => return Ok(()),
                Err(why) => whys.push(why),
            }
        }
        Err(whys.join("; "))
    }

    fn exists(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Path(query) => self.response.json().is_some_and(|json| !query.query(json).is_empty()),
            Operand::Header(name) => self.response.headers.contains_key(name),
            Operand::Variable(name) => self.variable(name).is_some(),
            _ => true,
        }
    }

    /// A variable; `vars.model` is also looked for in the object `vars`.
    fn variable(&self, name: &str) -> Option<Value> {
        (self.response.variable)(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            let object = (self.response.variable)(first)?;
            rest.split('.').try_fold(&object, |value, part| value.get(part)).cloned()
        })
    }

    fn value<'s>(&'s self, operand: &'s Operand) -> Result<Found<'s>, String> {
        let response = self.response;
        Ok(match operand {
            Operand::Status => Found::Number(f64::from(response.status)),
            Operand::Latency => Found::Time(response.latency.as_secs_f64()),
            Operand::ServiceTime => Found::Time(response.service_time.as_secs_f64()),
            Operand::Body => Found::Text(String::from_utf8_lossy(response.body)),
            Operand::Header(name) => {
                let value = response.headers.get(name).ok_or_else(|| format!("{operand} is absent"))?;
                Found::Text(String::from_utf8_lossy(value.as_bytes()))
            }
            Operand::Path(query) => {
                let json = response.json().ok_or_else(|| format!("the body is not JSON, expected {operand} in it"))?;
                let nodes = query.query(json).all();
                match nodes.as_slice() {
                    [one] => Found::Json(Cow::Borrowed(*one)),
                    [] => return Err(format!("{operand} is not in the body")),
                    many => return Err(format!("{operand} finds {} values, expected exactly one", many.len())),
                }
            }
            Operand::Group(group) => {
                let found = self.groups.and_then(|groups| groups.get(*group));
                let text = found.ok_or_else(|| format!("{operand} took no part in the match"))?;
                Found::Text(String::from_utf8_lossy(text.as_bytes()))
            }
            Operand::Variable(name) => {
                Found::Json(Cow::Owned(self.variable(name).ok_or_else(|| format!("{name} is not set"))?))
            }
            Operand::Text(text) => Found::Text(Cow::Borrowed(text)),
            Operand::Number(Quantity { value, unit: Unit::Seconds }) => Found::Time(*value),
            Operand::Number(quantity) => Found::Number(quantity.value),
            Operand::Class(digit) => Found::Class(*digit),
            Operand::Bool(value) => Found::Json(Cow::Owned(Value::Bool(*value))),
            Operand::Null => Found::Json(Cow::Owned(Value::Null)),
        })
    }

    /// The bytes to look into.
    fn bytes<'s>(&'s self, operand: &'s Operand) -> Result<Cow<'s, [u8]>, String> {
        match operand {
            Operand::Body => Ok(Cow::Borrowed(self.response.body)),
            _ => Ok(match self.value(operand)? {
                Found::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                Found::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                Found::Json(value) => Cow::Owned(match value.as_ref() {
                    Value::String(text) => text.clone().into_bytes(),
                    other => other.to_string().into_bytes(),
                }),
                other => Cow::Owned(other.to_string().into_bytes()),
            }),
        }
    }
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    match (std::str::from_utf8(text), std::str::from_utf8(part)) {
        (Ok(text), Ok(part)) => text.contains(part),
        _ => part.is_empty() || text.windows(part.len()).any(|window| window == part),
    }
}

fn compare(left: &Found<'_>, op: Compare, right: &Found<'_>) -> Result<bool, String> {
    if matches!(op, Compare::Eq | Compare::Ne) {
        return Ok(equal(left, right) == (op == Compare::Eq));
    }
    let number = |found: &Found<'_>| as_number(found).ok_or_else(|| format!("{found} is not a number"));
    let (left, right) = (number(left)?, number(right)?);
    Ok(match op {
        Compare::Lt => left < right,
        Compare::Le => left <= right,
        Compare::Gt => left > right,
        Compare::Ge | Compare::Eq | Compare::Ne => left >= right,
    })
}

/// Text of a body, header or match that reads as a number is one; JSON must be a number.
fn as_number(found: &Found<'_>) -> Option<f64> {
    match found {
        Found::Number(value) | Found::Time(value) => Some(*value),
        Found::Text(text) => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
        Found::Json(value) => value.as_f64(),
        Found::Class(_) => None,
    }
}

fn equal(left: &Found<'_>, right: &Found<'_>) -> bool {
    match (left, right) {
        (Found::Number(status), Found::Class(digit)) | (Found::Class(digit), Found::Number(status)) => {
            *status as u16 / 100 == *digit
        }
        (Found::Text(left), Found::Text(right)) => left == right,
        (Found::Json(left), Found::Json(right)) => same_json(left, right),
        (Found::Text(text), Found::Json(value)) | (Found::Json(value), Found::Text(text)) => match value.as_ref() {
            Value::String(value) => value == text,
            Value::Number(number) => *text == number.to_string() || text.trim().parse().ok() == number.as_f64(),
            _ => false,
        },
        _ => match (as_number(left), as_number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right).is_some_and(Ordering::is_eq),
            _ => false,
        },
    }
}

/// Equal as JSON: 1 and 1.0 are the same number.
fn same_json(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// The limit in an explanation: what was written, and what it came to where that is not the same.
fn said(operand: &Operand, found: &Found<'_>) -> String {
    match operand {
        Operand::Variable(_) | Operand::Path(_) | Operand::Group(_) | Operand::Header(_) => {
            format!("{operand} ({found})")
        }
        _ => operand.to_string(),
    }
}

impl std::fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", clean(text, MAX_VALUE)),
            Self::Json(value) => f.write_str(&clean(&value.to_string(), MAX_VALUE)),
            Self::Number(value) => write!(f, "{value}"),
            Self::Time(seconds) => f.write_str(&human_seconds(*seconds)),
            Self::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Latency => f.write_str("latency"),
            Self::ServiceTime => f.write_str("service_time"),
            Self::Body => f.write_str("body"),
            Self::Header(name) => write!(f, "header[\"{name}\"]"),
            Self::Path(query) => f.write_str(&jsonpath::shown(query)),
            Self::Group(group) => write!(f, "${group}"),
            Self::Variable(name) => f.write_str(name),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(Quantity { value, unit: Unit::Count }) => write!(f, "{value}"),
            Self::Number(quantity) => f.write_str(&human(quantity.value, quantity.unit)),
            Self::Class(digit) => write!(f, "{digit}xx"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// A condition in short, for the explanation of a `not`.
fn in_words(condition: &Condition) -> String {
    match condition {
        Condition::Compare { left, op, right } => format!("{left} {} {right}", op.as_str()),
        Condition::Contains { left, text, .. } => format!("{left} contains {text}"),
        Condition::Matches { left, regex, .. } => format!("{left} =~ /{}/", regex.as_str()),
        Condition::Exists(operand) => format!("exists({operand})"),
        _ => "the condition after `not`".to_owned(),
    }
}

/// The start of some bytes, for an explanation.
fn shown(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_VALUE * 4)]), MAX_VALUE)
}

/// At most `max` characters, control characters replaced.
fn clean(text: &str, max: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let start: String = chars.by_ref().take(max).collect();
    if chars.next().is_none() { start } else { start.chars().take(max - 1).chain(['…']).collect() }
}
