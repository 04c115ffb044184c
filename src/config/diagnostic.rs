//! Problems as people read them: what is wrong, where, the line itself with a caret, and what to write instead.

use std::fmt::Write as _;

use super::{
    mask,
    source::{Source, Sources, Span},
};
use crate::model::settings::Redactor;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// One problem of a configuration, free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the argument of the command line; empty where the problem has no place.
    pub file: String,
    /// From 1; 0 where there is no line.
    pub line: usize,
    /// From 1, in characters; 0 where there is no line.
    pub column: usize,
    /// Length of the place in characters, at least 1.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What to write or do instead.
    pub help: Option<String>,
    /// The line as shown and the column of the caret in it, from 0.
    snippet: Option<(String, usize)>,
}

/// Everything that is wrong with a configuration, sorted by file and place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Each problem once.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// All problems as text, with the count at the end; empty if there are none.
    pub fn to_string(&self, colour: bool) -> String {
        let mut out = String::new();
        for problem in &self.diagnostics {
            problem.render(&mut out, colour);
            out.push('\n');
        }
        if !self.diagnostics.is_empty() {
            let count = |n: usize, word: &str| (n > 0).then(|| format!("{n} {word}{}", if n == 1 { "" } else { "s" }));
            let counts: Vec<_> =
                [count(self.errors(), "error"), count(self.warnings(), "warning")].into_iter().flatten().collect();
            out.push_str(&counts.join(", "));
            out.push('\n');
        }
        out
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_string(false))
    }
}

impl std::error::Error for Report {}

impl Diagnostic {
    fn render(&self, out: &mut String, colour: bool) {
        let paint = |code: &str, text: &str| {
            if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let (word, code) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let line = self.line.to_string();
        let pad = " ".repeat(if self.snippet.is_some() { line.len() } else { 1 });
        let bar = paint("1;34", "|");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}: {}", paint(code, word), paint("1", &self.message));
        let arrow = paint("1;34", "-->");
        if self.line > 0 {
            let _ = writeln!(out, "{pad}{arrow} {}:{line}:{}", self.file, self.column);
        } else if !self.file.is_empty() {
            let _ = writeln!(out, "{pad}{arrow} {}", self.file);
        }
        if let Some((text, caret)) = &self.snippet {
            let room = text.chars().count().saturating_sub(*caret).max(1);
            let carets = paint(code, &"^".repeat(self.len.clamp(1, room)));
            let _ = writeln!(out, "{pad} {bar}\n{} {bar} {text}", paint("1;34", &line));
            let _ = writeln!(out, "{pad} {bar} {}{carets}", " ".repeat(*caret));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{pad} {} {}: {help}", paint("1;34", "="), paint("1", "help"));
        }
    }
}

/// A problem as it is found: a place and words.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) span: Option<Span>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// Notes an error.
    pub(crate) fn error(&mut self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), help.into());
    }

    /// Notes a warning.
    pub(crate) fn warning(&mut self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    fn push(&mut self, severity: Severity, span: Option<Span>, message: String, help: String) {
        self.0.push(Problem { severity, span, message, help: Some(help).filter(|help| !help.is_empty()) });
    }

    /// Whether there is an error among them.
    pub(crate) fn failed(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Sorted, each once, places looked up and everything secret hidden.
    pub(crate) fn report(mut self, sources: &Sources, redactor: &Redactor) -> Report {
        self.0.sort_by_key(|problem| problem.span.map(|span| (span.source, span.start)));
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        let literals = literals(sources);
        for problem in self.0 {
            let diagnostic = place(&problem, sources, &|text| literals.redact(&redactor.redact(text)));
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
        Report { diagnostics }
    }
}

/// What is hidden in one place is hidden wherever else it stands, if it is long enough not to be a common word.
fn literals(sources: &Sources) -> Redactor {
    let masked = |source: &Source| -> Vec<String> {
        let texts = source.masks.iter().filter_map(|mask| source.text.get(mask.clone()));
        texts.map(|text| text.trim_matches(['"', '\'', ' ', '\n']).to_owned()).filter(|text| text.len() >= 8).collect()
    };
    Redactor::new(sources.0.iter().flat_map(masked).collect())
}

fn place(problem: &Problem, sources: &Sources, redact: &dyn Fn(&str) -> String) -> Diagnostic {
    let safe = |text: &str| readable(&redact(&mask::scrub(text)));
    let mut diagnostic = Diagnostic {
        severity: problem.severity,
        file: String::new(),
        line: 0,
        column: 0,
        len: 1,
        message: safe(&problem.message),
        help: problem.help.as_deref().map(safe),
        snippet: None,
    };
    let Some((span, source)) = problem.span.and_then(|span| Some((span, sources.0.get(span.source)?))) else {
        return diagnostic;
    };
    diagnostic.file.clone_from(&source.name);
    if source.argument {
        return diagnostic;
    }
    let (line, range) = source.line(span.start.min(source.text.len()));
    diagnostic.line = line;
    diagnostic.column = source.text[range.start..span.start.clamp(range.start, range.end)].chars().count() + 1;
    if !range.is_empty() {
        let (text, caret, len) = shown_line(source, range, span);
        diagnostic.len = len;
        diagnostic.snippet = Some((redact(&text), caret));
    }
    diagnostic
}

/// Whether a character changes how others are shown rather than showing itself: a direction, a joiner, a tag. Text with
/// such characters can look like other text.
fn invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// A message as it may be shown: nothing in it moves the cursor or turns the text, and what it quotes between backticks
/// is cut to a readable length.
fn readable(text: &str) -> String {
    const QUOTED: usize = 120;
    const WHOLE: usize = 4000;
    let mut out = String::with_capacity(text.len().min(WHOLE));
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            out.push('`');
        }
        let limit = if index % 2 == 1 { QUOTED } else { WHOLE };
        let cut = part.char_indices().nth(limit).map_or(part.len(), |(at, _)| at);
        for c in part[..cut].chars() {
            if invisible(c) || (c.is_control() && c != '\n') {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        if cut < part.len() {
            out.push('…');
        }
        if out.len() > WHOLE {
            break;
        }
    }
    out
}

/// The line as it may be shown, the caret's column in it and its length: masked, without control characters, and cut
/// to a readable width around the caret.
fn shown_line(source: &Source, range: std::ops::Range<usize>, span: Span) -> (String, usize, usize) {
    const WIDTH: usize = 160;
    let mut shown: Vec<char> = Vec::new();
    let (mut caret, mut caret_end) = (None, 0);
    for (at, c) in source.text[range.clone()].char_indices() {
        let at = range.start + at;
        let masks = || source.masks.iter().filter(|mask| mask.contains(&at));
        let first_of_mask = masks().any(|mask| mask.start.max(range.start) == at);
        let before = shown.len();
        if masks().next().is_none() {
            match c {
                '\u{feff}' => shown.push(' '),
                c if c.is_control() => shown.push(' '),
                c if invisible(c) => shown.extend(c.escape_unicode()),
                c => shown.push(c),
            }
        } else if first_of_mask && !shown.ends_with(&['*', '*', '*']) {
            shown.extend("***".chars());
        }
        if at >= span.start {
            caret.get_or_insert(if shown.len() > before { before } else { shown.len().saturating_sub(3) });
            if at < span.end {
                caret_end = shown.len();
            }
        }
    }
    let caret = caret.unwrap_or(shown.len());
    let len = caret_end.saturating_sub(caret).max(1);
    let from = if caret > WIDTH * 3 / 4 { caret - WIDTH / 2 } else { 0 };
    let mut text: String = shown.iter().skip(from).take(WIDTH).collect();
    let mut column = caret - from;
    if from > 0 {
        text.insert(0, '…');
        column += 1;
    }
    if shown.len() > from + WIDTH {
        text.push('…');
    }
    (text.trim_end().to_owned(), column, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_readable() {
        let check = |text: &str, expected: &str| assert_eq!(readable(text), expected);
        check("`a` is not `b`", "`a` is not `b`");
        check("`a\u{202e}b`\u{1b}[1m", "`a\\u{202e}b`\\u{1b}[1m");
        check(&format!("`{}` is long", "é".repeat(20_000)), &format!("`{}…` is long", "é".repeat(120)));
        assert!(readable(&"`a` ".repeat(20_000)).len() < 5000);
    }

    #[test]
    fn lines_show_what_turns_text() {
        let mut sources = Sources::default();
        sources.add(Source::new("f".into(), ".".into(), "key: a\u{202e}b\n".into()));
        let mut problems = Problems::default();
        problems.error(Some(Span { source: 0, start: 9, end: 10 }), "`a\u{2066}` is bad", "");
        let shown = problems.report(&sources, &Redactor::new(Vec::new())).to_string(false);
        assert!(shown.contains("key: a\\u{202e}b") && shown.contains("`a\\u{2066}` is bad"), "{shown}");
    }
}
