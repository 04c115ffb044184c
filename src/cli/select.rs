//! `--select 'label and not label'`: which scenarios, by their labels (pure).

use crate::model::Name;

/// A condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Select {
    Label(String),
    Not(Box<Select>),
    And(Box<Select>, Box<Select>),
    Or(Box<Select>, Box<Select>),
}

/// Nested parentheses at most.
const MAX_DEPTH: u32 = 32;

impl Select {
    pub(super) fn holds(&self, labels: &[Name]) -> bool {
        match self {
            Self::Label(wanted) => labels.iter().any(|label| **label == **wanted),
            Self::Not(inner) => !inner.holds(labels),
            Self::And(left, right) => left.holds(labels) && right.holds(labels),
            Self::Or(left, right) => left.holds(labels) || right.holds(labels),
        }
    }
}

/// Parses `a and not (b or c)`; `and` binds tighter than `or`. The error is a sentence.
pub(super) fn parse(text: &str) -> Result<Select, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0 };
    let select = parser.either(0)?;
    match parser.peek() {
        None => Ok(select),
        Some(word) => Err(format!("`--select {text}`: `{word}` is not expected there; write: label and not label")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn either(&mut self, depth: u32) -> Result<Select, String> {
        let mut left = self.both(depth)?;
        while self.take("or") {
            left = Select::Or(Box::new(left), Box::new(self.both(depth)?));
        }
        Ok(left)
    }

    fn both(&mut self, depth: u32) -> Result<Select, String> {
        let mut left = self.one(depth)?;
        while self.take("and") {
            left = Select::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: u32) -> Result<Select, String> {
        if depth > MAX_DEPTH {
            return Err("`--select` is nested too deeply".to_owned());
        }
        if self.take("not") {
            return Ok(Select::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.either(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err("`--select`: a `)` is missing".to_owned()) };
        }
        match self.peek() {
            Some(word) if !["and", "or", ")"].contains(&word) => {
                let label = Select::Label(word.to_owned());
                self.at += 1;
                Ok(label)
            }
            _ => Err("`--select`: a label is missing; write: label and not label".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects() {
        let labels: Vec<Name> = vec!["stress".into(), "nightly".into()];
        let check = |text: &str, expected: bool| {
            assert_eq!(parse(text).unwrap_or_else(|error| panic!("{error}")).holds(&labels), expected, "{text}");
        };
        check("stress", true);
        check("stress and not slow", true);
        check("not stress or slow", false);
        check("slow or stress and nightly", true);
        check("not (slow or stress)", false);
        for bad in ["", "and", "a and", "(a", "a b", "a)", &"(".repeat(100)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
