//! What must never be shown: values under keys that name secrets, credentials in URLs and headers, and everything that
//! looks like one in a file that cannot even be parsed. Too much hidden is a nuisance, too little a leak.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::tree::{Node, Value};

/// Words that make a key sensitive wherever they stand in it.
const STEMS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "bearer",
    "credential",
    "cookie",
    "apikey",
    "privatekey",
    "accesskey",
];

/// Keys that hold a reference to a secret, not the secret.
const REFERENCES: &[&str] = &["from_env", "from_file", "from_credential", "max_tokens"];

static KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"["']?([A-Za-z0-9_.$-]+)["']?[ \t]*[:=]"#).expect("a constant expression"));
static BEARER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:bearer|basic)[ \t]+([A-Za-z0-9+/=_.~-]{6,})").expect("a constant expression")
});
static USERINFO: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"://([^/\s"'@$]*:[^/\s"'@]+)@"#).expect("a constant expression"));

/// Whether a key says where a secret is found.
pub(crate) fn is_reference(key: &str) -> bool {
    REFERENCES.contains(&key)
}

/// Whether the value of a key of this name is a secret. Near misses count: a misspelt `pasword` holds one too.
pub(crate) fn sensitive_key(key: &str) -> bool {
    if is_reference(key) {
        return false;
    }
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    STEMS.iter().any(|stem| {
        let slips = if stem.len() >= 8 { 2 } else { 1 };
        plain.contains(stem) || (plain.len() > 3 && strsim::damerau_levenshtein(&plain, stem) <= slips)
    })
}

/// Whether a variable of this name holds a secret: one that is about a secret, such as `token_url`, does not.
pub(crate) fn names_a_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    !is_reference(key) && STEMS.iter().any(|stem| plain.ends_with(stem))
}

/// Whether the value of a sensitive header holds no secret of its own: besides references only the name of an HTTP scheme
/// and those of parameters, as in `Bearer ${secret.x}` and `session=${secret.x}; lang=${vars.lang}`.
pub(crate) fn only_references_in_header(text: &str) -> bool {
    const SCHEMES: [&str; 9] = ["bearer", "basic", "token", "apikey", "key", "bot", "digest", "negotiate", "splunk"];
    let mut rest = text;
    let mut own = String::new();
    while let Some(at) = rest.find("${") {
        own.push_str(&rest[..at]);
        own.push(' ');
        let Some(end) = rest[at..].find('}') else { return false };
        rest = &rest[at + end + 1..];
    }
    own.push_str(rest);
    let parameter = |word: &str| word.trim_matches('"').strip_suffix('=').is_some_and(|name| !name.contains('='));
    own.split(|c: char| c.is_whitespace() || ",;:".contains(c))
        .map(|word| word.trim_matches('"'))
        .all(|word| word.is_empty() || parameter(word) || SCHEMES.contains(&word.to_ascii_lowercase().as_str()))
}

/// Whether a text holds nothing of its own besides references (`${secret.x}`) and the name of an HTTP scheme.
pub(crate) fn only_references(text: &str) -> bool {
    let mut rest = text;
    let mut own = String::new();
    let mut holes = 0;
    while let Some(at) = rest.find("${") {
        own.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else { return false };
        rest = &rest[at + end + 1..];
        holes += 1;
    }
    own.push_str(rest);
    let own = own.trim().trim_end_matches(':').trim();
    holes > 0 && ["", "bearer", "basic", "token", "apikey", "digest"].contains(&own.to_ascii_lowercase().as_str())
}

/// Byte ranges of a parsed file that are never shown.
pub(crate) fn of_tree(root: &Node, text: &str) -> Vec<Range<usize>> {
    let mut masks = patterns(text);
    walk(root, false, Names::None, &mut masks);
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if let Some(at) = line.find(" #").or_else(|| line.starts_with('#').then_some(0)) {
            line_masks(&line[at..], offset + at, &mut masks);
        }
        offset += line.len();
    }
    masks
}

/// What the keys of a map stand for, where they are the user's own words and tell nothing of the values.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// They are the language's.
    None,
    /// Of things that say more: `requests: {token: {post: /token}}`.
    OfThings,
    /// Of what is found in an answer, and where.
    OfPlaces,
    /// Of what is found in an event; a JSONPath is no secret.
    OfPaths,
}

impl Names {
    fn below(key: &str) -> Self {
        match key {
            "capture" => Self::OfPlaces,
            "stream" => Self::OfPaths,
            "requests" | "scenarios" | "targets" | "users" | "metrics" | "gauges" | "counters" | "receivers" => {
                Self::OfThings
            }
            _ => Self::None,
        }
    }

    /// Whether the key of this value only names it.
    fn name(self, value: &Node) -> bool {
        let path = |node: &Node| matches!(&node.value, Value::String { text, .. } if text.starts_with('$') && !text.starts_with("${"));
        match (self, &value.value) {
            (Self::None, _) => false,
            (Self::OfPlaces, _) => true,
            (Self::OfThings, value) => matches!(value, Value::Map(_)),
            (Self::OfPaths, Value::List(items)) => items.iter().all(path),
            (Self::OfPaths, _) => path(value),
        }
    }
}

fn walk(node: &Node, secret: bool, names: Names, masks: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let reference = is_reference(&entry.key) || names.name(&entry.node);
                let secret = !reference && (secret || sensitive_key(&entry.key));
                walk(&entry.node, secret, Names::below(&entry.key), masks);
            }
        }
        Value::List(items) => items.iter().for_each(|item| walk(item, secret, Names::None, masks)),
        Value::String { text, .. } if secret && !only_references(text) => masks.push(node.span.start..node.span.end),
        Value::Int(_) | Value::Float(_) if secret => masks.push(node.span.start..node.span.end),
        _ => {}
    }
}

/// Byte ranges of a file that could not be parsed: judged line by line, and rather too much than too little.
pub(crate) fn of_text(text: &str) -> Vec<Range<usize>> {
    let mut masks = patterns(text);
    let mut offset = 0;
    let mut below: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let indent = body.len() - body.trim_start().len();
        if below.is_some_and(|key| indent > key) && !body.is_empty() {
            if !REFERENCES.iter().any(|reference| body.contains(reference)) {
                masks.push(offset + indent..offset + body.len());
            }
        } else if !body.is_empty() {
            let opened = line_masks(body, offset, &mut masks);
            below = opened.then_some(indent);
        }
        offset += line.len();
    }
    masks
}

/// Masks the values of sensitive keys in a line; whether the last such key has its value on the lines below.
fn line_masks(line: &str, offset: usize, masks: &mut Vec<Range<usize>>) -> bool {
    let mut below = false;
    for found in KEY.captures_iter(line) {
        let (Some(all), Some(key)) = (found.get(0), found.get(1)) else { continue };
        if !sensitive_key(key.as_str()) {
            continue;
        }
        let rest = &line[all.end()..];
        let value = rest.trim_start();
        let start = all.end() + rest.len() - value.len();
        // `"${secret.x}"}]` ends the brackets around it too.
        let mut shorter = std::iter::successors(Some(value.trim_end()), |text| text.strip_suffix(['}', ']']));
        if shorter.any(|text| only_references(text.trim_matches(['"', '\'', ' ']))) {
            continue;
        }
        below = value.is_empty() || value.starts_with(['|', '>', '&', '"', '\'']);
        if REFERENCES.iter().any(|reference| value.contains(reference)) {
            continue;
        }
        masks.push(offset + start..offset + line.trim_end().len().max(start));
    }
    below
}

fn patterns(text: &str) -> Vec<Range<usize>> {
    let found = BEARER.captures_iter(text).chain(USERINFO.captures_iter(text));
    found.filter_map(|found| found.get(1)).map(|value| value.range()).collect()
}

/// A message without what looks like a credential.
pub(crate) fn scrub(text: &str) -> String {
    let mut out = text.to_owned();
    let mut ranges = patterns(text);
    ranges.sort_by_key(|range| std::cmp::Reverse(range.start));
    for range in ranges {
        out.replace_range(range, "***");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for key in
            ["password", "pasword", "API_TOKEN", "x-api-key", "Authorization", "client_secret", "secrets", "tokn"]
        {
            assert!(sensitive_key(key), "{key}");
        }
        for key in ["from_env", "timeout", "name", "path", "to", "max_tokens", "steps", "username"] {
            assert!(!sensitive_key(key), "{key}");
        }
    }

    #[test]
    fn words_of_the_user_are_no_secrets_but_what_stands_under_them_may_be() {
        let check = |text: &str, expected: &str| {
            let mut sources = crate::config::source::Sources::default();
            let index = sources.add(crate::config::source::Source::argument("--set".to_owned(), text.to_owned()));
            let mut problems = crate::config::diagnostic::Problems::default();
            let tree = crate::config::tree::parse(&sources.0[index], index, &mut problems).expect("parses");
            let mut masks = of_tree(&tree, text);
            masks.sort_by_key(|range| std::cmp::Reverse(range.start));
            let mut shown = text.to_owned();
            for range in masks {
                shown.replace_range(range, "***");
            }
            assert_eq!(shown, expected);
        };
        check("stream: {format: sse, token: $.x}", "stream: {format: sse, token: $.x}");
        check("stream: {token: [$.x, $.y]}", "stream: {token: [$.x, $.y]}");
        check("stream: {token: hunter2}", "stream: {token: ***}");
        check("metrics: {tokens: {trend: $.x}}", "metrics: {tokens: {trend: $.x}}");
        check(
            "requests: {token: {post: /t, json: {password: x}}}",
            "requests: {token: {post: /t, json: {password: ***}}}",
        );
        check("requests: {token: hunter2}", "requests: {token: ***}");
        check("capture: {token: {json: $.t}}", "capture: {token: {json: $.t}}");
    }

    #[test]
    fn references() {
        for text in ["${secret.a}", "Bearer ${secret.a}", "${env.USER}:${secret.a}"] {
            assert!(only_references(text), "{text}");
        }
        for text in ["hunter2", "Bearer abc", "${secret.a}x", ""] {
            assert!(!only_references(text), "{text}");
        }
    }

    #[test]
    fn references_in_headers() {
        for text in [
            "",
            "Bearer",
            "${secret.a}",
            "Bearer ${token}",
            "Token token=${secret.a}",
            "Basic ${secret.user}:${secret.password}",
            "session=${secret.a}; id=\"${b}\"",
        ] {
            assert!(only_references_in_header(text), "{text}");
        }
        for text in ["hunter2", "Bearer abc", "${secret.a}x", "session=abc", "a=b; c=${secret.c}", "Bearer x${n}"] {
            assert!(!only_references_in_header(text), "{text}");
        }
    }

    #[test]
    fn variables_that_hold_secrets() {
        for key in ["password", "api_token", "API_KEY", "client_secret"] {
            assert!(names_a_secret(key), "{key}");
        }
        for key in ["token_url", "max_tokens", "tokens", "password_field", "model", "secret_name"] {
            assert!(!names_a_secret(key), "{key}");
        }
    }

    #[test]
    fn a_broken_file_hides_too_much_rather_than_too_little() {
        let check = |text: &str, expected: &str| {
            let mut shown = text.to_owned();
            let mut masks = of_text(text);
            masks.sort_by_key(|range| std::cmp::Reverse(range.start));
            for range in masks {
                shown.replace_range(range, "***");
            }
            assert_eq!(shown, expected);
        };
        check("a: {username: u, password: \"x, y\", t: 1}", "a: {username: u, password: ***");
        check("secret: |\n  one\n  two\nb: 1", "secret: |\n  ***\n  ***\nb: 1".replace(": |", ": ***").as_str());
        check("smtp: \"smtp://me:hunter2@mail\"", "smtp: \"smtp://***@mail\"");
        check("password: ${secret.x}", "password: ${secret.x}");
        check("a: [{password: \"${secret.x}\"}]", "a: [{password: \"${secret.x}\"}]");
    }
}
