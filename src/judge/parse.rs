//! What both parsers share: a cursor over the tokens, bounded in depth, and words for what it found.

use super::lex::{ExprError, Kind, Token, tokens};
use crate::model::expr::Compare;

/// How deep parentheses, calls and `not` may nest.
pub(super) const MAX_DEPTH: usize = 32;

/// Largest compiled regular expression, bytes.
const MAX_REGEX: usize = 1 << 20;

/// A cursor over the tokens of an expression.
pub(super) struct Parser<'a> {
    pub(super) src: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    depth: usize,
    /// Names are gauges, read at one moment; nothing is aggregated.
    pub(super) gauges: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(src: &'a str) -> Result<Self, ExprError> {
        let parser = Self { src, tokens: tokens(src)?, next: 0, depth: 0, gauges: false };
        match parser.peek() {
            Kind::End => Err(ExprError::new(0, "the expression is empty")),
            _ => Ok(parser),
        }
    }

    pub(super) fn token(&self) -> &Token<'a> {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub(super) fn peek(&self) -> &Kind<'a> {
        &self.token().kind
    }

    /// The token after the next one.
    pub(super) fn peek_second(&self) -> &Kind<'a> {
        &self.tokens[(self.next + 1).min(self.tokens.len() - 1)].kind
    }

    /// Offset of the next token.
    pub(super) fn at(&self) -> usize {
        self.token().at
    }

    pub(super) fn take(&mut self) -> Token<'a> {
        let token = self.token().clone();
        self.next += 1;
        token
    }

    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Kind::Symbol(found) if *found == symbol);
        self.next += usize::from(found);
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Kind::Word(found) if *found == word);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), ExprError> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// One more level of nesting around what `inner` reads.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ExprError>) -> Result<T, ExprError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let error = ExprError::new(self.at(), "the expression nests too deeply");
            return Err(error.help(format!("at most {MAX_DEPTH} levels are read: split it")));
        }
        let found = inner(self);
        self.depth -= 1;
        found
    }

    /// "expected …, found …".
    pub(super) fn unexpected(&self, wanted: &str) -> ExprError {
        let token = self.token();
        let found = match token.kind {
            Kind::End => "the end".to_owned(),
            _ => format!("`{}`", &self.src[token.at..token.end]),
        };
        ExprError::new(token.at, format!("expected {wanted}, found {found}"))
    }

    /// A comparison operator, if one is next.
    pub(super) fn compare(&mut self) -> Result<Option<Compare>, ExprError> {
        let Kind::Symbol(symbol) = *self.peek() else { return Ok(None) };
        let op = match symbol {
            "==" => Compare::Eq,
            "!=" => Compare::Ne,
            "<" => Compare::Lt,
            "<=" => Compare::Le,
            ">" => Compare::Gt,
            ">=" => Compare::Ge,
            "=" => return Err(ExprError::new(self.at(), "`=` does not compare").help("write `==`")),
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(op))
    }

    /// A regular expression's text: between slashes or in quotes.
    pub(super) fn regex_text(&mut self) -> Result<(usize, String), ExprError> {
        match self.peek() {
            Kind::Regex(_) | Kind::Text(_) => match self.take() {
                Token { kind: Kind::Regex(text) | Kind::Text(text), at, .. } => Ok((at, text)),
                token => Err(ExprError::new(token.at, "expected a regular expression")),
            },
            _ => Err(self.unexpected("a regular expression between slashes")),
        }
    }
}

/// Compiles a regular expression for bodies and headers.
pub(super) fn bytes_regex(at: usize, text: &str) -> Result<regex::bytes::Regex, ExprError> {
    let built = regex::bytes::RegexBuilder::new(text).size_limit(MAX_REGEX).build();
    built.map_err(|error| regex_error(at, &error))
}

/// Compiles the regular expression of a selector, which must match a whole value.
pub(super) fn whole_regex(at: usize, text: &str) -> Result<regex::Regex, ExprError> {
    // Checked alone first: what is unbalanced could otherwise escape from the group around it.
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(MAX_REGEX).build();
    build(text).and_then(|_| build(&format!("^(?:{text})$"))).map_err(|error| regex_error(at, &error))
}

fn regex_error(at: usize, error: &regex::Error) -> ExprError {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    let error = ExprError::new(at, format!("the regular expression does not compile: {last}"));
    if text.contains("look-around") {
        error.help("look-ahead and look-behind are not supported: match what surrounds it and use a group")
    } else {
        error
    }
}
