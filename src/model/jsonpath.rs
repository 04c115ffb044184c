//! JSONPath, with bounds. The library parses by recursion and reads a nested filter twice at each level, so that a hostile or broken
//! query would overflow the stack or take for ever: what is too long or too deep never reaches it.

use serde_json_path::JsonPath;

/// Longest query, bytes.
const MAX_LENGTH: usize = 2048;
/// Brackets within each other, round ones included.
const MAX_DEPTH: usize = 32;
/// Filters within each other: for each level the library reads what is inside at least twice.
const MAX_FILTERS: usize = 6;

/// Why a text is no JSONPath.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonPathError {
    /// What is wrong; may be empty.
    pub message: String,
    /// Where, in bytes from the start.
    pub position: usize,
}

/// Parses an RFC 9535 query of at most 2,048 bytes and 32 brackets within each other.
pub fn parse(text: &str) -> Result<JsonPath, JsonPathError> {
    bounded(text)?;
    JsonPath::parse(text).map_err(|error| JsonPathError {
        message: error.message().to_owned(),
        position: text.floor_char_boundary(error.position()),
    })
}

fn bounded(text: &str) -> Result<(), JsonPathError> {
    let fault = |position, message| Err(JsonPathError { message, position });
    if text.len() > MAX_LENGTH {
        return fault(0, format!("it is {} bytes long, the most is {MAX_LENGTH}", text.len()));
    }
    // For each open bracket, whether it holds a filter.
    let mut open: Vec<bool> = Vec::new();
    for (at, c) in unquoted(text) {
        match c {
            '[' | '(' => open.push(false),
            '?' => open.last_mut().into_iter().for_each(|filter| *filter = true),
            ']' | ')' => drop(open.pop()),
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return fault(at, format!("more than {MAX_DEPTH} brackets are nested"));
        }
        if open.iter().filter(|filter| **filter).count() > MAX_FILTERS {
            return fault(at, format!("more than {MAX_FILTERS} filters are nested"));
        }
    }
    Ok(())
}

/// The query as people write it: the library shows `$..x` with one dot too many.
pub fn shown(query: &JsonPath) -> String {
    let text = query.to_string();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut dots = 0;
    for (at, c) in unquoted(&text) {
        dots = if c == '.' { dots + 1 } else { 0 };
        if dots == 3 {
            out.push_str(&text[copied..at]);
            copied = at + 1;
        }
    }
    out + &text[copied..]
}

/// The characters outside of quotes, with their offsets.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut escaped) = (None, false);
    text.char_indices().filter(move |(_, c)| {
        match (quote, *c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(*c),
            (None, _) => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_bounded() {
        let check = |text: String, part: &str| {
            let error = parse(&text).expect_err("refused").message;
            assert!(error.contains(part), "{error}");
        };
        for unit in ["[?@", "[?(", "(", "[?!(", "!(", "[?count(@"] {
            check(format!("$[?{}", unit.repeat(200)), "are nested");
            check(format!("$[?{}", unit.repeat(20_000)), "bytes long");
        }
        check(format!("${}", ".a".repeat(2000)), "4001 bytes long");
    }

    #[test]
    fn what_is_within_the_bounds_ends_soon() {
        let closing = |unit: &str| {
            unit.chars()
                .rev()
                .filter_map(|c| match c {
                    '[' => Some(']'),
                    '(' => Some(')'),
                    _ => None,
                })
                .collect::<String>()
        };
        let check = |unit: &str, levels: usize, within: bool| {
            let text = format!("$[?{}@.a{}]", unit.repeat(levels), closing(unit).repeat(levels));
            assert_eq!(bounded(&text).is_ok(), within, "{text}");
            let _ = parse(&text);
            let _ = parse(&format!("$[?{}", unit.repeat(levels)));
        };
        for unit in ["(", "!(", "count(", "length("] {
            check(unit, 31, true);
            check(unit, 32, false);
        }
        for unit in ["@[?", "!@[?", "@.a[?(", "count(@[?", "@[0, ?"] {
            check(unit, 5, true);
            check(unit, 6, false);
        }
        let _ = parse(&format!("$[?{}", "!".repeat(2000)));
        let _ = parse(&format!("$[?@.a{}]", "&&@.a".repeat(390)));
    }

    #[test]
    fn good_queries_stay_good() {
        for text in
            ["$", "$.items[0].id", "$..x", "$['((((((((((((((((((((((((((((((((((((((((']", "$[?count(@.a) > 1]"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
        parse(&format!("${}", "[0]".repeat(600))).expect("brackets beside each other are not nested");
    }

    #[test]
    fn shown_as_written() {
        for text in ["$..x", "$.a..*", "$['a...b']..c"] {
            let query = parse(text).expect("a query");
            assert_eq!(parse(&shown(&query)).expect("still a query"), query, "{}", shown(&query));
        }
        assert_eq!(shown(&parse("$..x").expect("a query")), "$..x");
    }
}
