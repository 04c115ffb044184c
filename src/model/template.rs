//! Templates with `${…}`: compiled once when the configuration is loaded, strict about undeclared variables.
//!
//! What stands between the braces is a minijinja expression (`${captured.id}`, `${n + 1}`, `${name | upper}`); the
//! rest is literal, and `$${` is a literal `${`. Values come from untrusted answers too (captures), so the place where
//! a template stands says how its values are made safe there: see [`Escape`].

mod functions;

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use minijinja::{Environment, Expression, UndefinedBehavior, Value, value::ValueKind};

pub use functions::{DRAW, FUNCTIONS, draw};

use super::Name;

/// Shared by all expressions: strict, and with a fuel limit so that no template runs for ever.
static ENV: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(10_000));
    functions::add_to(&mut env);
    env
});

/// Longest expression in a hole, bytes.
const MAX_LENGTH: usize = 2048;
/// Brackets within each other.
const MAX_DEPTH: usize = 32;
/// Parts of a chain: `a.b | upper` has three.
const MAX_PARTS: usize = 64;

/// How a value is made safe where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    None,
    /// Percent-encoded as one path segment or query value: a captured `../admin` stays one segment.
    Path,
    /// Refused if it holds control characters: no header can be split.
    Header,
}

/// Why a template does not compile or render; `offset` counts bytes from the start of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub offset: usize,
}

/// A text with holes.
#[derive(Debug, Clone)]
pub struct Template {
    source: Name,
    escape: Escape,
    parts: Arc<[Part]>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Hole { expr: Expression<'static, 'static>, source: String },
}

impl Template {
    /// Compiles `source`.
    pub fn compile(source: &str, escape: Escape) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find("${") {
            let offset = source.len() - rest.len() + at;
            if rest[..at].ends_with('$') {
                text.push_str(&rest[..at - 1]);
                text.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            text.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let len = closing_brace(inner).ok_or_else(|| TemplateError {
                message: "`${` is not closed: write `}`, or `$${` for a literal `${`".into(),
                offset,
            })?;
            let hole = inner[..len].trim();
            if let Some(message) = too_large(hole) {
                return Err(TemplateError { message, offset });
            }
            let expr = ENV.compile_expression_owned(hole.to_owned()).map_err(|error| TemplateError {
                message: format!("`{hole}` is not an expression: {}", detail(&error)),
                offset,
            })?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Hole { expr, source: hole.to_owned() });
            rest = &inner[len + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.into(), escape, parts: parts.into() })
    }

    /// A template without holes.
    pub fn literal(text: &str) -> Self {
        Self { source: text.into(), escape: Escape::None, parts: Arc::new([Part::Text(text.to_owned())]) }
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, if there are no holes: the hot path renders nothing.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Names the template uses, as dotted paths (`n`, `vars.model`).
    pub fn variables(&self) -> BTreeSet<String> {
        let holes = self.parts.iter().filter_map(|part| match part {
            Part::Hole { expr, .. } => Some(expr),
            Part::Text(_) => None,
        });
        let names = holes.flat_map(|expr| expr.undeclared_variables(true));
        names.filter(|name| !FUNCTIONS.contains(&name.as_str())).collect()
    }

    /// The text with its holes filled from `vars`.
    pub fn render(&self, vars: &Value) -> Result<String, TemplateError> {
        let mut out = String::with_capacity(self.source.len() + 16);
        for part in &*self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole { expr, source } => {
                    let value = eval(expr, source, vars)?;
                    self.put(&mut out, &value, source)?;
                }
            }
        }
        Ok(out)
    }

    /// The value of a template that is one hole and nothing else: it keeps its type.
    fn sole_value(&self, vars: &Value) -> Option<Result<Value, TemplateError>> {
        match &*self.parts {
            [Part::Hole { expr, source }] => Some(eval(expr, source, vars)),
            _ => None,
        }
    }

    fn put(&self, out: &mut String, value: &Value, source: &str) -> Result<(), TemplateError> {
        let text = as_text(value);
        match self.escape {
            Escape::Path => percent_encode(&text, out),
            Escape::Header if text.chars().any(char::is_control) => {
                let message = format!("the value of `{source}` holds control characters, which a header cannot carry");
                return Err(TemplateError { message, offset: 0 });
            }
            Escape::None | Escape::Header => out.push_str(&text),
        }
        Ok(())
    }
}

/// As JSON would have it, but for text, which stands as it is: `true`, not `True`.
fn as_text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map => {
            serde_json::to_string(value).unwrap_or_else(|_| value.to_string())
        }
        _ => value.to_string(),
    }
}

/// Why an expression is not even parsed. What compiles, walks and drops its tree recurses, so a long chain would
/// overflow the stack.
fn too_large(hole: &str) -> Option<String> {
    if hole.len() > MAX_LENGTH {
        return Some(format!("an expression is {} bytes long: the most is {MAX_LENGTH}", hole.len()));
    }
    let (mut depth, mut parts, mut brackets) = (0_usize, 1_usize, 0_usize);
    for (_, c) in super::jsonpath::unquoted(hole) {
        match c {
            '(' | '[' | '{' => {
                depth += 1;
                brackets += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '.' | '|' | '+' | '-' | '*' | '/' | '%' | '~' | '!' | '<' | '>' | '=' => parts += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(format!("more than {MAX_DEPTH} brackets are nested in an expression"));
        }
    }
    let words = super::jsonpath::unquoted(hole).filter(|(_, c)| c.is_whitespace()).count();
    let parts = parts.max(words / 2).max(brackets);
    (parts > MAX_PARTS).then(|| format!("an expression has {parts} parts (dots, operators): the most is {MAX_PARTS}"))
}

fn eval(expr: &Expression<'static, 'static>, source: &str, vars: &Value) -> Result<Value, TemplateError> {
    let value = expr
        .eval(vars)
        .map_err(|error| TemplateError { message: format!("`{source}`: {}", detail(&error)), offset: 0 })?;
    if value.is_undefined() {
        return Err(TemplateError { message: format!("`{source}` has no value"), offset: 0 });
    }
    Ok(value)
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned)
}

/// Index of the `}` that ends an expression; braces within quotes or nested braces do not.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0u32, None);
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// RFC 3986: everything but unreserved characters.
pub fn percent_encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    if text == ".." || text == "." {
        // A segment of dots alone would be resolved away by the server.
        out.truncate(out.len() - text.len());
        out.push_str(&"%2E".repeat(text.len()));
    }
}

/// A JSON document whose strings are templates; a leaf that is just `"${x}"` keeps the type of x.
#[derive(Debug, Clone)]
pub enum JsonTemplate {
    /// No holes in it: serialised once.
    Fixed(Arc<serde_json::Value>, bytes::Bytes),
    /// A string with holes.
    Text(Template),
    /// Elements.
    Array(Vec<JsonTemplate>),
    /// Members, in order.
    Object(Vec<(String, JsonTemplate)>),
    /// A list that a variable holds, and more elements after it: `{append: [history, {role: user}]}`.
    Append(Name, Vec<JsonTemplate>),
}

impl JsonTemplate {
    /// Compiles every string in `value`. The error's offset counts within the string that is at fault.
    pub fn compile(value: &serde_json::Value) -> Result<Self, TemplateError> {
        Self::with_lists(value, &[])
    }

    /// The same where `{append: [LIST, …]}` stands for one of these lists and what comes after it.
    pub fn with_lists(value: &serde_json::Value, lists: &[String]) -> Result<Self, TemplateError> {
        use serde_json::Value as Json;
        let compile = |value: &Json| Self::with_lists(value, lists);
        if let Some((list, items)) = appended(value).filter(|(list, _)| lists.iter().any(|known| known == list)) {
            return Ok(Self::Append(list.into(), items.iter().map(compile).collect::<Result<_, _>>()?));
        }
        let compiled = match value {
            Json::String(text) if text.contains("${") => Self::Text(Template::compile(text, Escape::None)?),
            Json::Array(items) => Self::Array(items.iter().map(compile).collect::<Result<_, _>>()?),
            Json::Object(map) => Self::Object(
                map.iter().map(|(key, value)| Ok((key.clone(), compile(value)?))).collect::<Result<_, _>>()?,
            ),
            other => return Ok(Self::fixed(other.clone())),
        };
        Ok(match &compiled {
            Self::Array(items) if items.iter().all(Self::is_fixed) => Self::fixed(value.clone()),
            Self::Object(members) if members.iter().all(|(_, value)| value.is_fixed()) => Self::fixed(value.clone()),
            _ => compiled,
        })
    }

    fn fixed(value: serde_json::Value) -> Self {
        let text = value.to_string();
        Self::Fixed(Arc::new(value), text.into())
    }

    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(..))
    }

    /// Names the document uses.
    pub fn variables(&self) -> BTreeSet<String> {
        match self {
            Self::Fixed(..) => BTreeSet::new(),
            Self::Text(template) => template.variables(),
            Self::Array(items) => items.iter().flat_map(Self::variables).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, value)| value.variables()).collect(),
            Self::Append(list, items) => items.iter().flat_map(Self::variables).chain([list.to_string()]).collect(),
        }
    }

    /// What it appended last, of `rendered`, which is this document filled in: of a map with `content`, that.
    pub fn appended_to(&self, rendered: &serde_json::Value) -> Option<serde_json::Value> {
        match self {
            Self::Fixed(..) | Self::Text(_) => None,
            Self::Append(_, items) => {
                let last = rendered.as_array().filter(|_| !items.is_empty())?.last()?;
                Some(last.get("content").unwrap_or(last).clone())
            }
            Self::Array(items) => {
                let parts = items.iter().zip(rendered.as_array()?);
                parts.filter_map(|(item, rendered)| item.appended_to(rendered)).last()
            }
            Self::Object(members) => {
                let parts = members.iter().filter_map(|(key, value)| value.appended_to(rendered.get(key)?));
                parts.last()
            }
        }
    }

    /// The document as bytes, its holes filled from `vars`.
    pub fn render(&self, vars: &Value) -> Result<bytes::Bytes, TemplateError> {
        match self {
            Self::Fixed(_, text) => Ok(text.clone()),
            _ => Ok(self.value(vars)?.to_string().into()),
        }
    }

    /// The document, its holes filled from `vars`.
    pub fn value(&self, vars: &Value) -> Result<serde_json::Value, TemplateError> {
        Ok(match self {
            Self::Fixed(value, _) => (**value).clone(),
            Self::Text(template) => match template.sole_value(vars) {
                Some(value) => serde_json::to_value(value?).map_err(|error| TemplateError {
                    message: format!("`{}`: {error}", template.source()),
                    offset: 0,
                })?,
                None => serde_json::Value::String(template.render(vars)?),
            },
            Self::Array(items) => items.iter().map(|item| item.value(vars)).collect::<Result<_, _>>()?,
            Self::Object(members) => serde_json::Value::Object(
                members.iter().map(|(key, value)| Ok((key.clone(), value.value(vars)?))).collect::<Result<_, _>>()?,
            ),
            Self::Append(list, items) => {
                let held = vars.get_attr(list).ok().and_then(|held| serde_json::to_value(held).ok());
                let Some(serde_json::Value::Array(mut held)) = held else {
                    return Err(TemplateError { message: format!("`append`: `{list}` is not a list"), offset: 0 });
                };
                for item in items {
                    held.push(item.value(vars)?);
                }
                held.into()
            }
        })
    }
}

/// The list and the elements of `{append: [LIST, …]}`.
pub fn appended(value: &serde_json::Value) -> Option<(&str, &[serde_json::Value])> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    let (list, items) = map.get("append")?.as_array()?.split_first()?;
    Some((list.as_str()?, items))
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render(source: &str, escape: Escape) -> Result<String, String> {
        let vars = context! { n => 7, id => "../a b", bad => "x\r\ny", vars => context! { model => "llama2" } };
        Template::compile(source, escape).and_then(|template| template.render(&vars)).map_err(|error| error.message)
    }

    #[test]
    fn renders() {
        let check = |source: &str, escape, expected: &str| {
            assert_eq!(render(source, escape).as_deref(), Ok(expected), "{source}");
        };
        check("plain", Escape::None, "plain");
        check("Test ${n} of ${vars.model}", Escape::None, "Test 7 of llama2");
        check("a $${n} b", Escape::None, "a ${n} b");
        check("${n + 1}", Escape::None, "8");
        check("${'}'}", Escape::None, "}");
        check("${n == 7} ${none} ${[n, 'a']}", Escape::None, r#"true null [7,"a"]"#);
        check("/s/${id}/x", Escape::Path, "/s/..%2Fa%20b/x");
        check("/s/${'..'}/x", Escape::Path, "/s/%2E%2E/x");
        check("", Escape::None, "");
    }

    #[test]
    fn refuses() {
        let check = |source: &str, escape, part: &str| {
            let error = render(source, escape).expect_err(source);
            assert!(error.contains(part), "{source}: {error}");
        };
        check("${n", Escape::None, "not closed");
        check("${n +}", Escape::None, "not an expression");
        check("${nobody}", Escape::None, "nobody");
        check("${bad}", Escape::Header, "control characters");
    }

    #[test]
    fn expressions_are_bounded() {
        let check = |hole: String, part: &str| {
            let error = render(&format!("${{{hole}}}"), Escape::None).expect_err("refused");
            assert!(error.contains(part), "{error}");
        };
        for unit in [".a", "|upper", "+n", "[0]", "(n)", " or n"] {
            check(format!("n{}", unit.repeat(50_000)), "bytes long");
        }
        check(format!("n{}", ".a".repeat(64)), "has 65 parts");
        check(format!("n{}", "|upper".repeat(300)), "has 301 parts");
        check(format!("{}n", "not ".repeat(300)), "parts");
        check(format!("n{}", "[0]".repeat(300)), "parts");
        check(format!("n{}", "()".repeat(300)), "parts");
        check("(".repeat(33), "brackets are nested");
        let text = "x".repeat(100_000);
        assert_eq!(render(&text, Escape::None), Ok(text), "text around the holes is not limited here");
    }

    #[test]
    fn what_is_appended_comes_after_the_list() {
        let source = serde_json::json!({"m": {"append": ["history", {"role": "user", "content": "${q}"}]}, "n": 1});
        let template = JsonTemplate::with_lists(&source, &["history".to_owned()]).expect("compiles");
        let filled = template.value(&context! { q => "hi", history => vec!["a", "b"] }).expect("renders");
        assert_eq!(filled.to_string(), r#"{"m":["a","b",{"role":"user","content":"hi"}],"n":1}"#);
        assert_eq!(template.appended_to(&filled), Some("hi".into()));
        assert_eq!(template.variables(), BTreeSet::from(["history".to_owned(), "q".to_owned()]));
        assert!(template.value(&context! { q => "hi", history => 1 }).is_err());
        // Where there is no such list, it is a body like any other.
        let other = JsonTemplate::compile(&source).expect("compiles").value(&context! { q => "hi" });
        assert_eq!(other.expect("renders")["m"]["append"][0], "history");
    }

    #[test]
    fn json_keeps_types_and_escapes() {
        let source = serde_json::json!({"n": "${n}", "text": "n=${n}", "quote": "${q}", "list": [1, "${n}"], "fixed": {"a": [1]}});
        let template = JsonTemplate::compile(&source).expect("compiles");
        let body = template.render(&context! { n => 7, q => "say \"hi\"" }).expect("renders");
        assert_eq!(
            std::str::from_utf8(&body).expect("UTF-8"),
            r#"{"n":7,"text":"n=7","quote":"say \"hi\"","list":[1,7],"fixed":{"a":[1]}}"#
        );
        assert_eq!(template.variables(), BTreeSet::from(["n".to_owned(), "q".to_owned()]));
    }
}
