//! The texts a configuration consists of, and places in them: what turns a byte offset into `file:line:column`.

use std::{ops::Range, path::PathBuf};

/// A place in one of the [`Sources`]; offsets count bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// Index of the source.
    pub(crate) source: usize,
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
}

impl Span {
    /// A part of the span, `len` bytes from `offset` on, kept within it.
    pub(crate) fn part(self, offset: usize, len: usize) -> Self {
        let start = (self.start + offset).min(self.end);
        Self { start, end: (start + len).min(self.end), ..self }
    }
}

/// One text: a file, or an argument of the command line that stands for a part of one.
#[derive(Debug)]
pub(crate) struct Source {
    /// As shown to the user.
    pub(crate) name: String,
    /// The folder that relative paths in it start from.
    pub(crate) dir: PathBuf,
    /// The whole text.
    pub(crate) text: String,
    /// Byte ranges that are never shown.
    pub(crate) masks: Vec<Range<usize>>,
    /// An argument rather than a file: it has no lines.
    pub(crate) argument: bool,
    line_starts: Vec<usize>,
}

impl Source {
    /// A file's text.
    pub(crate) fn new(name: String, dir: PathBuf, text: String) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, dir, text, masks: Vec::new(), argument: false, line_starts }
    }

    /// An argument of the command line.
    pub(crate) fn argument(name: String, text: String) -> Self {
        Self { argument: true, ..Self::new(name, PathBuf::new(), text) }
    }

    /// Byte offset of a line (from 1) and a column (from 0, in characters).
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.line_starts.get(line.saturating_sub(1)) else { return self.text.len() };
        self.text[start..].char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// Line (from 1) of a byte offset and the line's bytes without its end.
    pub(crate) fn line(&self, offset: usize) -> (usize, Range<usize>) {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[line - 1];
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        (line, start..end)
    }
}

/// All texts of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<Source>);

impl Sources {
    /// Adds one; its index.
    pub(crate) fn add(&mut self, source: Source) -> usize {
        self.0.push(source);
        self.0.len() - 1
    }

    /// The text a span covers.
    pub(crate) fn text(&self, span: Span) -> &str {
        self.0.get(span.source).and_then(|source| source.text.get(span.start..span.end)).unwrap_or_default()
    }
}
