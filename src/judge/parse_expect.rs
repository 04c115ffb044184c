//! `expect`, `until` and `when`: conditions on one response.

use ::http::HeaderName;

use super::{
    lex::{ExprError, Kind},
    names::suggest,
    parse::{Parser, bytes_regex},
    parse_aggregate::aggregation,
};
use crate::model::{
    expr::{Compare, Condition, Expect, Formula, Operand, Operator, Term},
    jsonpath,
    units::{Quantity, Unit},
};

/// What has a value in an `expect`, for did-you-mean.
const WORDS: [&str; 13] = [
    "status",
    "latency",
    "service_time",
    "body",
    "header",
    "exists",
    "all",
    "not",
    "true",
    "false",
    "null",
    "contains",
    "in",
];

/// Times of a streamed answer; they compare with durations.
const TIME_VARIABLES: [&str; 3] = ["ttft", "tpot", "itl"];

/// Parses a condition on one response, such as `status == 200 and latency < 1s`.
pub fn parse_expect(src: &str) -> Result<Expect, ExprError> {
    let mut parser = Parser::new(src)?;
    let tree = parser.or(false)?;
    match parser.peek() {
        Kind::End => Ok(Expect { source: src.trim().into(), tree }),
        _ => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

/// Parses a number made of one response, such as `$.usage.output_tokens / service_time`.
pub fn parse_formula(src: &str) -> Result<Formula, ExprError> {
    let mut parser = Parser::new(src)?;
    let tree = parser.terms()?;
    match parser.peek() {
        Kind::End => Ok(Formula { source: src.trim().into(), tree }),
        _ => Err(parser.unexpected("+, -, *, / or the end")),
    }
}

impl Parser<'_> {
    fn terms(&mut self) -> Result<Term, ExprError> {
        self.nested(|parser| {
            let mut left = parser.term()?;
            while let Some(operator) = parser.operator(&[Operator::Add, Operator::Sub]) {
                left = Term::Math(Box::new(left), operator, Box::new(parser.term()?));
            }
            Ok(left)
        })
    }

    fn term(&mut self) -> Result<Term, ExprError> {
        let mut left = self.number_of()?;
        while let Some(operator) = self.operator(&[Operator::Mul, Operator::Div]) {
            left = Term::Math(Box::new(left), operator, Box::new(self.number_of()?));
        }
        Ok(left)
    }

    fn operator(&mut self, of: &[Operator]) -> Option<Operator> {
        of.iter().copied().find(|operator| self.eat(operator.as_str()))
    }

    fn number_of(&mut self) -> Result<Term, ExprError> {
        if self.eat("(") {
            let inner = self.terms()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let at = self.at();
        match self.operand(false)? {
            Operand::Text(_) | Operand::Class(_) | Operand::Bool(_) | Operand::Null | Operand::Body => {
                let error = ExprError::new(at, "a trend is a number");
                Err(error.help("write what the response holds, such as $.usage.output_tokens / service_time"))
            }
            operand => Ok(Term::Of(operand)),
        }
    }

    /// `groups`: whether `$1` means something here.
    fn or(&mut self, groups: bool) -> Result<Condition, ExprError> {
        self.nested(|parser| {
            let mut any = vec![parser.and(groups)?];
            while parser.eat_word("or") {
                any.push(parser.and(groups)?);
            }
            Ok(if any.len() == 1 { any.remove(0) } else { Condition::Or(any) })
        })
    }

    fn and(&mut self, groups: bool) -> Result<Condition, ExprError> {
        let mut all = vec![self.not(groups)?];
        while self.eat_word("and") {
            all.push(self.not(groups)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::And(all) })
    }

    fn not(&mut self, groups: bool) -> Result<Condition, ExprError> {
        if self.eat_word("not") {
            return self.nested(|parser| Ok(Condition::Not(Box::new(parser.not(groups)?))));
        }
        let call = |parser: &Self, word: &str| {
            matches!(parser.peek(), Kind::Word(found) if *found == word) && *parser.peek_second() == Kind::Symbol("(")
        };
        if self.eat("(") {
            let inner = self.or(groups)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if call(self, "exists") {
            return self.exists();
        }
        if call(self, "all") {
            return self.all();
        }
        self.comparison(groups)
    }

    fn exists(&mut self) -> Result<Condition, ExprError> {
        self.take();
        self.expect("(")?;
        let at = self.at();
        let operand = self.operand(false)?;
        if !matches!(operand, Operand::Path(_) | Operand::Header(_) | Operand::Variable(_)) {
            return Err(ExprError::new(at, "this always exists")
                .help("write exists($.path), exists(header[\"name\"]) or exists(variable)"));
        }
        self.expect(")")?;
        Ok(Condition::Exists(operand))
    }

    fn all(&mut self) -> Result<Condition, ExprError> {
        const HELP: &str = r"write all(body =~ /Agent (\d+)/, $1 == vu)";
        let start = self.take().at;
        self.expect("(")?;
        if !self.eat_word("body") || !self.eat("=~") {
            return Err(ExprError::new(start, "`all` goes over the matches in the body").help(HELP));
        }
        let (at, text) = self.regex_text()?;
        let regex = bytes_regex(at, &text)?;
        self.expect(",").map_err(|error| error.help(HELP))?;
        let each = self.or(true)?;
        self.expect(")")?;
        if let Some(group) = largest_group(&each).filter(|group| *group >= regex.captures_len()) {
            let message = format!("the regular expression has no group ${group}");
            return Err(ExprError::new(at, message).help("put the part that is meant in parentheses"));
        }
        Ok(Condition::All { regex, each: Box::new(each) })
    }

    fn comparison(&mut self, groups: bool) -> Result<Condition, ExprError> {
        let left_at = self.at();
        let left = self.operand(groups)?;
        let negated = self.eat_word("not");
        if self.eat_word("contains") {
            text_only(&left, left_at, "contains")?;
            let at = self.at();
            let text = self.operand(groups)?;
            if matches!(text, Operand::Number(_) | Operand::Class(_) | Operand::Bool(_) | Operand::Null) {
                return Err(ExprError::new(at, "`contains` looks for text").help("put it in quotes"));
            }
            return Ok(Condition::Contains { left, text, negated });
        }
        if self.eat_word("in") {
            let any = self.list(&left, groups)?;
            return Ok(Condition::In { left, any, negated });
        }
        if negated {
            return Err(self.unexpected("`in` or `contains` after `not`"));
        }
        if let Kind::Symbol(symbol @ ("=~" | "!~")) = *self.peek() {
            self.take();
            text_only(&left, left_at, symbol)?;
            let (at, text) = self.regex_text()?;
            return Ok(Condition::Matches { left, regex: bytes_regex(at, &text)?, negated: symbol == "!~" });
        }
        let Some(op) = self.compare()? else { return Err(self.no_operator(&left, left_at)) };
        let right_at = self.at();
        let right = self.operand(groups)?;
        check_types(&left, op, &right, right_at)?;
        Ok(Condition::Compare { left, op, right })
    }

    /// A value stands alone where a condition is wanted.
    fn no_operator(&self, left: &Operand, at: usize) -> ExprError {
        let written = self.src[at..self.at()].trim();
        if let Operand::Variable(name) = left
            && let Some(meant) = suggest(name, WORDS)
        {
            let error = ExprError::new(at, format!("`{name}` is not a condition"));
            return error.help(format!("did you mean `{meant}`?"));
        }
        let error = self.unexpected("a comparison (==, !=, <, <=, >, >=, in, contains, =~, !~)");
        match left {
            _ if matches!(self.peek(), Kind::Word("is" | "equals" | "eq" | "be") | Kind::Symbol("=")) => {
                error.help(format!("write {written} == …, such as `status == 200`"))
            }
            Operand::Number(Quantity { value, unit: Unit::Count }) if (100.0..600.0).contains(value) => {
                error.help(format!("write status == {written}"))
            }
            Operand::Status => error.help("write `status == 200`, or `status in 2xx`"),
            Operand::Path(_) => error.help(format!("write exists({written}) or {written} == true")),
            Operand::Variable(_) => error.help(format!("write {written} == true or exists({written})")),
            _ => error,
        }
    }

    /// `[a, b]`, or one class of statuses.
    fn list(&mut self, left: &Operand, groups: bool) -> Result<Vec<Operand>, ExprError> {
        let item = |parser: &mut Self| {
            let at = parser.at();
            let item = parser.operand(groups)?;
            check_types(left, Compare::Eq, &item, at)?;
            Ok(item)
        };
        if matches!(self.peek(), Kind::Class(_)) {
            return Ok(vec![item(self)?]);
        }
        self.expect("[").map_err(|error| error.help("write a list such as [200, 201], or a class such as 2xx"))?;
        let mut any = vec![item(self)?];
        while self.eat(",") {
            any.push(item(self)?);
        }
        self.expect("]")?;
        Ok(any)
    }

    fn operand(&mut self, groups: bool) -> Result<Operand, ExprError> {
        const WANTED: &str = "a value (status, latency, body, header[\"name\"], $.path, a variable, a number or text)";
        let at = self.at();
        match self.peek().clone() {
            Kind::Word(word) => {
                self.take();
                self.word(word, at)
            }
            Kind::Symbol("-") => {
                self.take();
                match self.take().kind {
                    Kind::Number(Quantity { value, unit }) => Ok(Operand::Number(Quantity { value: -value, unit })),
                    _ => Err(ExprError::new(at, "expected a number after `-`")),
                }
            }
            Kind::Number(quantity) => Ok(self.literal(Operand::Number(quantity))),
            Kind::Class(digit) => Ok(self.literal(Operand::Class(digit))),
            Kind::Text(text) => Ok(self.literal(Operand::Text(text.into()))),
            Kind::Group(group) if groups => Ok(self.literal(Operand::Group(group))),
            Kind::Group(group) => Err(ExprError::new(at, format!("${group} is a group of a match, and there is none"))
                .help(r"groups are for all(body =~ /Agent (\d+)/, $1 == vu)")),
            Kind::Path(text) => {
                self.take();
                let query = jsonpath::parse(text).map_err(|error| {
                    let message = format!("`{text}` is not a JSONPath (RFC 9535): {}", error.message);
                    ExprError::new(at + error.position, message)
                })?;
                Ok(Operand::Path(query))
            }
            _ => Err(self.unexpected(WANTED)),
        }
    }

    fn literal(&mut self, operand: Operand) -> Operand {
        self.take();
        operand
    }

    fn word(&mut self, word: &str, at: usize) -> Result<Operand, ExprError> {
        Ok(match word {
            "status" => Operand::Status,
            "latency" => Operand::Latency,
            "service_time" => Operand::ServiceTime,
            "body" => Operand::Body,
            "true" => Operand::Bool(true),
            "false" => Operand::Bool(false),
            "null" => Operand::Null,
            "and" | "or" | "not" | "in" | "contains" => {
                return Err(
                    ExprError::new(at, format!("`{word}` has nothing to its left or right")).help("put text in quotes")
                );
            }
            "header" => return self.header(at),
            _ if *self.peek() == Kind::Symbol("(") => {
                let error = ExprError::new(at, format!("`{word}` is not a function of an `expect`"));
                if word == "p" || aggregation(word, at).is_ok() {
                    let help = "one answer has no percentile: write `latency < 2s`, or `p95(latency) < 2s` under `thresholds:`";
                    return Err(error.help(help));
                }
                return Err(match suggest(word, ["exists", "all", "header"]) {
                    Some(meant) => error.help(format!("did you mean `{meant}`?")),
                    None => error.help("there are exists(…), all(…) and header(…)"),
                });
            }
            name => Operand::Variable(name.into()),
        })
    }

    /// `header("name")` or `header["name"]`.
    fn header(&mut self, start: usize) -> Result<Operand, ExprError> {
        let close = if self.eat("(") {
            ")"
        } else if self.eat("[") {
            "]"
        } else {
            return Err(ExprError::new(start, "which header?").help("write header[\"x-cache\"]"));
        };
        let at = self.at();
        let Kind::Text(name) = self.peek().clone() else {
            return Err(self.unexpected("a header's name in quotes").help("write header[\"x-cache\"]"));
        };
        self.take();
        self.expect(close)?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ExprError::new(at, format!("`{}` is not a header's name", name.escape_debug())))?;
        Ok(Operand::Header(name))
    }
}

/// `contains` and `=~` look into text.
fn text_only(operand: &Operand, at: usize, op: &str) -> Result<(), ExprError> {
    match operand {
        Operand::Status | Operand::Latency | Operand::ServiceTime | Operand::Number(_) | Operand::Class(_) => {
            let error = ExprError::new(at, format!("`{op}` looks into text, and this is a number"));
            Err(error.help("compare numbers with ==, <, in [200, 201] or in 2xx"))
        }
        Operand::Bool(_) | Operand::Null => Err(ExprError::new(at, format!("`{op}` looks into text"))),
        _ => Ok(()),
    }
}

/// Whether the two sides can be compared, as far as that is known before there is a response.
fn check_types(left: &Operand, op: Compare, right: &Operand, at: usize) -> Result<(), ExprError> {
    let error = |message: &str, help: &str| Err(ExprError::new(at, message).help(help));
    match (left, right) {
        (Operand::Status, Operand::Class(_)) if matches!(op, Compare::Eq | Compare::Ne) => Ok(()),
        (_, Operand::Class(_)) | (Operand::Class(_), _) => {
            error("a class such as 2xx stands to the right of `status ==` and `status in`", "write status in 2xx")
        }
        (Operand::Status, Operand::Number(Quantity { unit: Unit::Count, value })) => {
            let possible = value.fract() == 0.0 && (100.0..=999.0).contains(value);
            if possible || !matches!(op, Compare::Eq | Compare::Ne) {
                return Ok(());
            }
            error("this is not a status", "a status has three digits, such as 200")
        }
        (Operand::Status, Operand::Path(_) | Operand::Variable(_) | Operand::Group(_)) => Ok(()),
        (Operand::Status, _) => error("a status is compared with a number", "write status == 200, or in [200, 201]"),
        (Operand::Latency | Operand::ServiceTime, right) => match right {
            Operand::Latency | Operand::ServiceTime | Operand::Number(Quantity { unit: Unit::Seconds, .. }) => Ok(()),
            Operand::Number(Quantity { unit: Unit::Count, value }) => {
                Err(ExprError::new(at, "the unit is missing").help(format!("write {value}s or {value}ms")))
            }
            _ => error("a time is compared with a duration", "write latency < 1s"),
        },
        (Operand::Variable(name), Operand::Number(Quantity { unit: Unit::Seconds, .. }))
            if TIME_VARIABLES.contains(&&**name) =>
        {
            Ok(())
        }
        (_, Operand::Number(Quantity { unit, .. })) if *unit != Unit::Count => {
            error("what is in a response has no unit", "write the number as it is in the response, without a unit")
        }
        (_, Operand::Text(_) | Operand::Bool(_) | Operand::Null) if !matches!(op, Compare::Eq | Compare::Ne) => {
            error("only numbers are compared by size", "write the number without quotes")
        }
        _ => Ok(()),
    }
}

/// The largest group that a condition mentions.
fn largest_group(condition: &Condition) -> Option<usize> {
    let of = |operand: &Operand| match operand {
        Operand::Group(group) => Some(*group),
        _ => None,
    };
    match condition {
        Condition::And(all) | Condition::Or(all) => all.iter().filter_map(largest_group).max(),
        Condition::Not(inner) => largest_group(inner),
        Condition::Compare { left, right, .. } | Condition::Contains { left, text: right, .. } => {
            of(left).max(of(right))
        }
        Condition::In { left, any, .. } => any.iter().filter_map(of).max().max(of(left)),
        Condition::Matches { left, .. } => of(left),
        Condition::Exists(_) | Condition::All { .. } => None,
    }
}
