//! YAML as a tree that remembers where everything stands, with bounds on whatever a hostile or broken file could make
//! grow: size, nodes (aliases expanded), depth.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};
use serde_json::Value as Json;

use super::{
    diagnostic::Problems,
    source::{Source, Span},
};

/// Bytes of a file.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Nodes of a file, aliases expanded.
pub(crate) const MAX_NODES: usize = 50_000;
/// Maps and lists within each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it is.
    pub(crate) span: Span,
}

/// A YAML 1.2 value (core schema).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    String {
        /// Escapes resolved.
        text: String,
        /// Written in quotes or as a block, so that it is text whatever it looks like.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file; a key that stands twice is here twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// One step of a path into a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seg {
    /// Into a map.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl Node {
    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value under a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Where a path leads, as far as it goes: the value if it is a scalar, else the key it stands under.
    pub(crate) fn locate(&self, path: &[Seg]) -> Span {
        let mut node = self;
        let mut here = first_line(self);
        for seg in path {
            match (seg, &node.value) {
                (Seg::Key(key), Value::Map(entries)) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == *key) else { return here };
                    node = &entry.node;
                    here = if node.is_collection() || node.value == Value::Null { entry.key_span } else { node.span };
                }
                (Seg::Index(index), Value::List(items)) => {
                    let Some(item) = items.get(*index) else { return here };
                    node = item;
                    here = if node.is_collection() { first_line(node) } else { node.span };
                }
                _ => return here,
            }
        }
        here
    }

    /// The value a path leads to.
    pub(crate) fn at(&self, path: &[Seg]) -> Option<&Node> {
        path.iter().try_fold(self, |node, seg| match (seg, &node.value) {
            (Seg::Key(key), Value::Map(_)) => node.get(key),
            (Seg::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        })
    }

    /// The value a path leads to, to be changed.
    pub(crate) fn at_mut(&mut self, path: &[Seg]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, seg| match (seg, &mut node.value) {
            (Seg::Key(key), Value::Map(entries)) => {
                entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.node)
            }
            (Seg::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// The span of the last key of a path, or of the value where there is none.
    pub(crate) fn locate_key(&self, path: &[Seg]) -> Span {
        if let Some((Seg::Key(key), parent)) = path.split_last()
            && let Some(entry) = self.at(parent).and_then(|node| node.entries().iter().find(|entry| entry.key == *key))
        {
            return entry.key_span;
        }
        self.locate(path)
    }

    /// Whether it is a map or a list.
    pub(crate) fn is_collection(&self) -> bool {
        matches!(self.value, Value::Map(_) | Value::List(_))
    }

    /// What it is, for a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// As JSON; the first of two equal keys counts.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => i64::try_from(*value)
                .map(Json::from)
                .or_else(|_| u64::try_from(*value).map(Json::from))
                .unwrap_or_else(|_| Json::from(*value as f64)),
            Value::Float(value) => Json::from(*value),
            Value::String { text, .. } => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                let mut map = serde_json::Map::new();
                for entry in entries {
                    if !map.contains_key(&entry.key) {
                        map.insert(entry.key.clone(), entry.node.to_json());
                    }
                }
                Json::Object(map)
            }
        }
    }
}

/// The first entry's key or the first item of a collection: short enough to underline.
fn first_line(node: &Node) -> Span {
    match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
        Value::List(items) => items.first().map_or(node.span, first_line),
        _ => node.span,
    }
}

/// Parses the text of `source`, which is the `index`th. `None` if it is not YAML within the bounds; an empty file is
/// an empty map. Problems that leave a usable tree (keys that stand twice) are noted too.
pub(crate) fn parse(source: &Source, index: usize, problems: &mut Problems) -> Option<Node> {
    let mut builder =
        Builder { source, index, problems, stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    let mut parser = Parser::new_from_str(&source.text);
    while let Some(event) = Parser::<StrInput<'_>>::next_event(&mut parser) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.scan_error(&error);
                return None;
            }
        };
        let start = source.offset(span.start.line(), span.start.col());
        let end = source.offset(span.end.line(), span.end.col()).max(start);
        let span = Span { source: index, start, end };
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                builder.problems.error(
                    Some(span),
                    "a second document begins here",
                    "remove the `---`, or put the part below it into a file of its own and `include:` it",
                );
                return None;
            }
        }
        builder.event(event, span)?;
    }
    let root =
        builder.root.take().unwrap_or(Node { value: Value::Null, span: Span { source: index, start: 0, end: 0 } });
    Some(root)
}

/// A collection that is being read.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, Span)>,
    is_map: bool,
}

struct Builder<'a> {
    source: &'a Source,
    index: usize,
    problems: &'a mut Problems,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.as_deref(), span);
                let node = self.scalar(&text, style, span);
                let size = count(&node);
                self.keep(anchor, &node, size);
                self.put(node, size)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), span);
                self.open(Value::List(Vec::new()), anchor, span, false)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), span);
                self.open(Value::Map(Vec::new()), anchor, span, true)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop()?;
                let mut node = open.node;
                node.span.end = span.end.max(node.span.start);
                let size = count(&node);
                self.keep(open.anchor, &node, size);
                self.attach(node)
            }
            Event::Alias(anchor) => {
                let Some((mut node, size)) = self.anchors.get(&anchor).cloned() else {
                    self.problems.error(
                        Some(span),
                        "an alias refers to something that contains it",
                        "write the value out",
                    );
                    return None;
                };
                node.span = if node.is_collection() { node.span } else { span };
                if self.stack.len() + depth(&node) > MAX_DEPTH {
                    return self.too_deep(span);
                }
                self.put(node, size)
            }
            _ => Some(()),
        }
    }

    fn no_tag(&mut self, tag: Option<&Tag>, span: Span) {
        let Some(tag) = tag else { return };
        let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
        self.problems.error(
            Some(span),
            format!("`{handle}{}` is a tag: a configuration has none", tag.suffix),
            "remove it; a value in quotes is text",
        );
    }

    fn scalar(&self, text: &str, style: ScalarStyle, span: Span) -> Node {
        let quoted = style != ScalarStyle::Plain;
        let value = if quoted { Value::String { text: text.to_owned(), quoted } } else { core_scalar(text) };
        // A plain scalar's span may run on into the white space that follows it.
        let raw = &self.source.text[span.start..span.end];
        Node { value, span: Span { end: span.start + raw.trim_end().len(), ..span } }
    }

    fn keep(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn open(&mut self, value: Value, anchor: usize, span: Span, is_map: bool) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            return self.too_deep(span);
        }
        self.grow(1, span)?;
        self.stack.push(Open { node: Node { value, span }, anchor, key: None, is_map });
        Some(())
    }

    fn too_deep(&mut self, span: Span) -> Option<()> {
        self.problems.error(
            Some(span),
            format!("maps and lists are nested more than {MAX_DEPTH} deep"),
            "a configuration needs about ten levels; look for a run of brackets",
        );
        None
    }

    fn grow(&mut self, by: usize, span: Span) -> Option<()> {
        self.nodes += by;
        if self.nodes > MAX_NODES {
            self.problems.error(
                Some(span),
                format!("the file holds more than {MAX_NODES} values, aliases written out"),
                "split it with `include:`, or write fewer aliases",
            );
            return None;
        }
        Some(())
    }

    fn put(&mut self, node: Node, size: usize) -> Option<()> {
        self.grow(size, node.span)?;
        self.attach(node)
    }

    /// Puts a finished node where it belongs: a key, a value, an item or the root.
    fn attach(&mut self, node: Node) -> Option<()> {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        if !open.is_map {
            if let Value::List(items) = &mut open.node.value {
                items.push(node);
            }
            return Some(());
        }
        if let Some((key, key_span)) = open.key.take() {
            if let Value::Map(entries) = &mut open.node.value {
                if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                    let line = self.source.line(first.key_span.start).0;
                    self.problems.error(
                        Some(key_span),
                        format!("`{key}` stands here twice"),
                        format!("it is on line {line} already: keep one of them"),
                    );
                }
                entries.push(Entry { key, key_span, node });
            }
            return Some(());
        }
        if node.is_collection() {
            self.problems.error(
                Some(first_line(&node)),
                "a key is a map or a list",
                "quote it if it is text, such as `\"${x}\": …`",
            );
            return None;
        }
        let key = match &node.value {
            Value::String { text, .. } => text.clone(),
            _ => self.source.text[node.span.start..node.span.end].to_owned(),
        };
        if key == "<<" {
            self.problems.error(
                Some(node.span),
                "merge keys (`<<`) are not part of YAML 1.2",
                "write the keys out, or name a request once under `requests:` and use `request: NAME`",
            );
        }
        open.key = Some((key, node.span));
        Some(())
    }

    fn scan_error(&mut self, error: &ScanError) {
        let at = self.source.offset(error.marker().line(), error.marker().col());
        let (line, _) = self.source.line(at.min(self.source.text.len()));
        let tab = self.source.text.lines().take(line + 1).enumerate().find_map(|(number, text)| {
            let indent = &text[..text.len() - text.trim_start().len()];
            (!text.trim().is_empty()).then(|| indent.find('\t')).flatten().map(|column| (number + 1, column))
        });
        if let Some((line, column)) = tab {
            let start = self.source.offset(line, column);
            let span = Span { source: self.index, start, end: start + 1 };
            self.problems.error(
                Some(span),
                "a tab in the indentation: YAML is indented with spaces",
                "replace each tab by two spaces",
            );
            return;
        }
        let start = at.min(self.source.text.len());
        let span = Span { source: self.index, start, end: start + 1 };
        let (message, help) = explain(error.info(), self.source, span);
        self.problems.error(Some(span), message, help);
    }
}

/// The parser's words, and what usually is the matter.
fn explain(info: &str, source: &Source, span: Span) -> (String, &'static str) {
    let (_, range) = source.line(span.start);
    let line = &source.text[range];
    let in_flow = line.contains('[') || line.contains('{');
    let selector = ["latency{", "ok{", "failed{", "rejected{", "dropped{", "${"].iter().any(|word| line.contains(word));
    let help = if info.contains("block") {
        "check the indentation of this line and the one above"
    } else if in_flow && selector {
        "within [ ] and { } a text that holds braces is quoted: write [\"p95(latency{outcome=rejected}) < 200ms\"]"
    } else if info.contains("mapping values are not allowed") {
        "quote a text that holds `: `, and check that the line is indented like its neighbours"
    } else if info.contains("undefined alias") || info.contains("unknown anchor") {
        "`*name` refers to an `&name` above it in the same file; quote a text that begins with `*`"
    } else if info.contains("cannot start any token") {
        "a text that begins with @ or ` or % is quoted"
    } else if in_flow {
        "look for a bracket, brace or quote that is not closed"
    } else {
        "check the indentation of this line and the one above, and that every quote is closed"
    };
    (format!("this is not YAML: {info}"), help)
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| 1 + count(&entry.node)).sum(),
        // Long texts weigh more, so that aliases to one of them are bounded too.
        Value::String { text, .. } => text.len() / 256,
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}

/// A plain scalar under the core schema of YAML 1.2: `yes`, `on` and `1:30` are text.
pub(crate) fn core_scalar(text: &str) -> Value {
    let string = || Value::String { text: text.to_owned(), quoted: false };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).map_or_else(|_| string(), |value| Value::Int(value.into()));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).map_or_else(|_| string(), |value| Value::Int(value.into()));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit()) {
        return text.parse().map_or_else(|_| string(), Value::Int);
    }
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    match text.parse::<f64>() {
        Ok(value) if numeric && value.is_finite() => Value::Float(value),
        _ => string(),
    }
}
