//! Text to tokens, each with its byte offset. A slash begins a regular expression only after `=~` and `!~`, and between
//! braces a value runs to the next comma or brace, so that a step's name needs no quotes.

use crate::model::units::{self, Quantity};

/// Longest expression, bytes.
pub(super) const MAX_LENGTH: usize = 2048;

/// Why an expression is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Where, in bytes from the start of the expression.
    pub offset: usize,
}

impl ExprError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, offset }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'a> {
    /// A name: letters, digits and underscores, parts joined by dots.
    Word(&'a str),
    /// A number with its unit.
    Number(Quantity),
    /// `2xx`: the first digit.
    Class(u16),
    /// Quoted text, unescaped; or the bare value of a selector.
    Text(String),
    /// Between slashes.
    Regex(String),
    /// A JSONPath query.
    Path(&'a str),
    /// `$1`.
    Group(usize),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) at: usize,
    pub(super) end: usize,
}

const SYMBOLS: [&str; 22] = [
    "==", "!=", "<=", ">=", "=~", "!~", "&&", "||", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", "+", "-", "*",
    "/",
];

/// Splits `src` into tokens, the last being [`Kind::End`].
pub(super) fn tokens(src: &str) -> Result<Vec<Token<'_>>, ExprError> {
    if src.len() > MAX_LENGTH {
        let message = format!("the expression is {} bytes long", src.len());
        return Err(ExprError::new(0, message).help(format!("at most {MAX_LENGTH} bytes are read: split it")));
    }
    let mut lexer = Lexer { src, at: 0, in_braces: false };
    let mut found: Vec<Token<'_>> = Vec::new();
    loop {
        let token = lexer.next(found.last().map(|token| &token.kind))?;
        let done = token.kind == Kind::End;
        found.push(token);
        if done {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    src: &'a str,
    at: usize,
    in_braces: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.src[self.at..]
    }

    fn next(&mut self, previous: Option<&Kind<'_>>) -> Result<Token<'a>, ExprError> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        let at = self.at;
        let kind = self.kind(previous)?;
        Ok(Token { kind, at, end: self.at })
    }

    fn kind(&mut self, previous: Option<&Kind<'_>>) -> Result<Kind<'a>, ExprError> {
        let Some(first) = self.rest().chars().next() else { return Ok(Kind::End) };
        let after = |symbols: &[&str]| matches!(previous, Some(Kind::Symbol(symbol)) if symbols.contains(symbol));
        if first == '/' && after(&["=~", "!~"]) {
            return self.delimited('/').map(Kind::Regex);
        }
        if matches!(first, '"' | '\'') {
            return self.delimited(first).map(Kind::Text);
        }
        if self.in_braces && after(&["=", "==", "!=", "=~", "!~", "<", "<=", ">", ">="]) {
            let length = self.rest().find([',', '}']).unwrap_or(self.rest().len());
            let value = self.rest()[..length].trim_end();
            self.at += length;
            return Ok(Kind::Text(value.to_owned()));
        }
        match first {
            '$' => self.dollar(),
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => Ok(Kind::Word(self.word())),
            _ => self.symbol(first),
        }
    }

    fn symbol(&mut self, first: char) -> Result<Kind<'a>, ExprError> {
        let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) else {
            let error = ExprError::new(self.at, format!("`{}` is not understood here", first.escape_debug()));
            return Err(match first {
                '!' => error.help("write `not`, `!=` or `!~`"),
                '%' => error.help("write the unit right after the number: 5%"),
                '≤' => error.help("write <="),
                '≥' => error.help("write >="),
                _ => error,
            });
        };
        match *symbol {
            "{" => self.in_braces = true,
            "}" => self.in_braces = false,
            "&&" => return Err(ExprError::new(self.at, "`&&` is not an operator").help("write `and`")),
            "||" => return Err(ExprError::new(self.at, "`||` is not an operator").help("write `or`")),
            _ => {}
        }
        self.at += symbol.len();
        Ok(Kind::Symbol(symbol))
    }

    /// A name; `.` joins parts (`vars.model`), and the digits of a percentile (`p99.9`).
    fn word(&mut self) -> &'a str {
        let start = self.at;
        let bytes = self.src.as_bytes();
        let part = |mut at: usize| {
            while bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
                at += 1;
            }
            at
        };
        self.at = part(start);
        while bytes.get(self.at) == Some(&b'.') && part(self.at + 1) > self.at + 1 {
            self.at = part(self.at + 1);
        }
        &self.src[start..self.at]
    }

    fn number(&mut self) -> Result<Kind<'a>, ExprError> {
        let start = self.at;
        let rest = self.rest();
        let in_number = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%');
        let mut length = rest.find(|c: char| !in_number(c)).unwrap_or(rest.len());
        let text = &rest[..length];
        if let Some(digit) = text.strip_suffix("xx").filter(|digit| digit.len() == 1) {
            self.at += length;
            return match digit.parse() {
                Ok(digit @ 1..=5) => Ok(Kind::Class(digit)),
                _ => {
                    Err(ExprError::new(start, format!("`{text}` is not a class of statuses")).help("write 1xx to 5xx"))
                }
            };
        }
        if let Some(per) = rest[length..].strip_prefix('/') {
            let per = &per[..per.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(per.len())];
            if matches!(per, "s" | "sec" | "m" | "min" | "h" | "d") {
                length += 1 + per.len();
            }
        }
        let text = &rest[..length];
        self.at += length;
        let quantity = units::parse_quantity(text)
            .map_err(|why| ExprError::new(start, format!("`{text}` is not a number with a unit")).help(why))?;
        Ok(Kind::Number(quantity))
    }

    /// `$1` or a JSONPath query: segments for as long as they last, brackets balanced outside of quotes.
    fn dollar(&mut self) -> Result<Kind<'a>, ExprError> {
        let start = self.at;
        let bytes = self.src.as_bytes();
        let digits = bytes[start + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            self.at = start + 1 + digits;
            return self.src[start + 1..self.at].parse().ok().filter(|group| *group <= 99).map(Kind::Group).ok_or_else(
                || ExprError::new(start, "a group has a number up to 99").help("write $1 for the first group"),
            );
        }
        self.at = start + 1;
        loop {
            match (bytes.get(self.at), bytes.get(self.at + 1)) {
                (Some(b'['), _) => self.brackets(start)?,
                (Some(b'.'), Some(next)) if *next == b'*' => self.at += 2,
                (Some(b'.'), Some(next)) if is_member(*next) || *next == b'.' || *next == b'[' => {
                    self.at += 1;
                    if bytes.get(self.at) == Some(&b'.') {
                        self.at += 1;
                    }
                    if bytes.get(self.at) == Some(&b'*') {
                        self.at += 1;
                    }
                    while bytes.get(self.at).copied().is_some_and(is_member) {
                        self.at += 1;
                    }
                }
                _ => return Ok(Kind::Path(&self.src[start..self.at])),
            }
        }
    }

    fn brackets(&mut self, start: usize) -> Result<(), ExprError> {
        let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
        for (index, byte) in self.rest().bytes().enumerate() {
            match (quote, byte) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), b'\\') => escaped = true,
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'[') => depth += 1,
                (None, b']') if depth == 1 => {
                    self.at += index + 1;
                    return Ok(());
                }
                (None, b']') => depth -= 1,
                _ => {}
            }
        }
        Err(ExprError::new(start, "a bracket of the JSONPath is not closed").help("close it with `]`"))
    }

    /// Text up to the closing delimiter. In quotes `\n`, `\t`, `\\` and the quote are escapes; in a regular expression
    /// only `\/` is ours.
    fn delimited(&mut self, delimiter: char) -> Result<String, ExprError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((index, c)) = chars.next() {
            if c == delimiter {
                self.at = start + index + c.len_utf8();
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, c)) if c == delimiter => text.push(c),
                Some((_, '\\')) if delimiter != '/' => text.push('\\'),
                Some((_, 'n')) if delimiter != '/' => text.push('\n'),
                Some((_, 't')) if delimiter != '/' => text.push('\t'),
                Some((_, other)) => text.extend(['\\', other]),
                None => {}
            }
        }
        let what = if delimiter == '/' { "the regular expression" } else { "the text" };
        Err(ExprError::new(start, format!("{what} is not closed")).help(format!("close it with `{delimiter}`")))
    }
}

/// A character of a member name in a JSONPath's shorthand; bytes above 127 belong to letters.
fn is_member(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(src: &str) -> Vec<Kind<'_>> {
        tokens(src).unwrap_or_else(|error| panic!("{src}: {error:?}")).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn a_slash_is_a_regular_expression_only_after_a_match_operator() {
        assert_eq!(kinds(r"body =~ /a\/b\d/")[2], Kind::Regex(r"a/b\d".to_owned()));
        assert_eq!(kinds("a / b")[1], Kind::Symbol("/"));
    }

    #[test]
    fn paths_end_where_the_query_ends() {
        let check = |src: &str, expected: &str| assert_eq!(kinds(src)[0], Kind::Path(expected), "{src}");
        check("$.a.b == 1", "$.a.b");
        check("$.models[*].n > 1", "$.models[*].n");
        check(r#"$["a ] b"].c in [1]"#, r#"$["a ] b"].c"#);
        check("$..name contains 'x'", "$..name");
        check("$.a[?@.b == 'c'].d == 1", "$.a[?@.b == 'c'].d");
        check("$ == 1", "$");
        check("$.größe == 1", "$.größe");
        check("$.*", "$.*");
    }

    #[test]
    fn values_in_braces_need_no_quotes() {
        let text = |text: &str| Kind::Text(text.to_owned());
        let found = kinds("latency{step=GET /a b, status!=5xx,reason='x,y'}");
        assert!(found.contains(&text("GET /a b")) && found.contains(&text("5xx")) && found.contains(&text("x,y")));
    }

    #[test]
    fn units_stay_with_their_number() {
        let check = |src: &str, count: usize| assert_eq!(kinds(src).len(), count + 1, "{src}");
        for one in ["10/s", "1MB/h", "5%", "0/min", "1m30s", "2xx", "10_000", "5pp"] {
            check(one, 1);
        }
        check("10 / 2", 3);
        check("2/x", 3);
    }
}
