//! Rust read as text: just enough to tell code from comments, literals and tests. A parser would need a crate.

/// The line, from 1, of a place in a text.
pub(super) fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Whether it can stand in a name.
pub(super) fn ident(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// Where `word` stands, not as a part of a longer name.
pub(super) fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let whole = |at: usize| {
        let first = word.as_bytes()[0];
        let before = at == 0 || !ident(first) || !ident(bytes[at - 1]);
        let last = word.as_bytes()[word.len() - 1];
        before && (!ident(last) || bytes.get(at + word.len()).is_none_or(|c| !ident(*c)))
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| whole(*at)).collect()
}

/// Every path that starts with `crate::`, groups taken apart, as `room::module` (or what there is of it).
pub(super) fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate::") {
        let mut i = at + "crate::".len();
        let mut paths = Vec::new();
        use_tree(code.as_bytes(), &mut i, &[], &mut paths);
        found.extend(paths.into_iter().map(|(at, path)| {
            let names: Vec<_> = path.iter().filter(|name| *name != "self").take(2).cloned().collect();
            (at, names.join("::"))
        }));
    }
    found
}

fn use_tree(s: &[u8], i: &mut usize, prefix: &[String], out: &mut Vec<(usize, Vec<String>)>) {
    let skip = |i: &mut usize| {
        while s.get(*i).is_some_and(u8::is_ascii_whitespace) {
            *i += 1;
        }
    };
    skip(i);
    if s.get(*i) == Some(&b'{') {
        *i += 1;
        while *i < s.len() && s[*i] != b'}' {
            let before = *i;
            use_tree(s, i, prefix, out);
            while s.get(*i).is_some_and(|c| *c != b',' && *c != b'}') {
                *i += 1;
            }
            *i += usize::from(s.get(*i) == Some(&b',') || *i == before);
            skip(i);
        }
        *i += 1;
        return;
    }
    let start = *i;
    while s.get(*i).is_some_and(|c| ident(*c)) {
        *i += 1;
    }
    let mut path = prefix.to_vec();
    if *i > start {
        path.push(String::from_utf8_lossy(&s[start..*i]).into_owned());
    }
    if *i > start && s[*i..].starts_with(b"::") && s.get(*i + 2).is_some_and(|c| ident(*c) || *c == b'{') {
        *i += 2;
        return use_tree(s, i, &path, out);
    }
    if !path.is_empty() {
        out.push((start, path));
    }
}

/// Where functions with a body start and end.
pub(super) fn functions(code: &str) -> Vec<(usize, usize)> {
    let bytes = code.as_bytes();
    let body = |at: usize| {
        let mut depth = 0_i32;
        for (i, c) in bytes.iter().enumerate().skip(at) {
            match c {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                b'{' if depth == 0 => return Some((at, closing(bytes, i))),
                b';' if depth == 0 => return None,
                _ => {}
            }
        }
        None
    };
    words(code, "fn").into_iter().filter_map(body).collect()
}

/// The brace that closes the one at `open`.
fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code.iter().enumerate().skip(open) {
        match c {
            b'{' => depth += 1,
            b'}' if depth == 1 => return i,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len() - 1
}

/// `text` without the items marked `#[cfg(test)]`; `keep_lines` leaves their line ends where they are.
pub(super) fn without_tests(text: &str, keep_lines: bool) -> String {
    let code = blank(text);
    let mut out = String::new();
    let mut from = 0;
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        if at < from {
            continue;
        }
        let body = at + mark.len();
        let end = code[body..].find(['{', ';']).map_or(code.len() - 1, |i| match code.as_bytes()[body + i] {
            b'{' => closing(code.as_bytes(), body + i),
            _ => body + i,
        });
        out.push_str(&text[from..at]);
        from = end + 1;
        if keep_lines {
            out.push_str(&"\n".repeat(text[at..from].matches('\n').count()));
        }
    }
    out + &text[from..]
}

/// The text with comments, strings and characters blanked; lines and bytes stay where they are.
pub(super) fn blank(text: &str) -> String {
    let s = text.as_bytes();
    let mut out = s.to_vec();
    let mut i = 0;
    while i < s.len() {
        let end = match s[i] {
            b'/' if s[i..].starts_with(b"//") => i + s[i..].iter().position(|c| *c == b'\n').unwrap_or(s.len() - i),
            b'/' if s[i..].starts_with(b"/*") => block_comment(s, i),
            b'"' => quoted(s, i),
            b'r' if i == 0 || !ident(s[i - 1]) || s[i - 1] == b'b' => raw_string(s, i).unwrap_or(i),
            b'\'' => character(text, i),
            _ => i,
        };
        for c in out.iter_mut().take(end).skip(i).filter(|c| **c != b'\n') {
            *c = b' ';
        }
        i = end.max(i + 1);
    }
    String::from_utf8(out).expect("only whole tokens are blanked")
}

/// The end of a character literal; `at` itself for a lifetime.
fn character(text: &str, at: usize) -> usize {
    let s = text.as_bytes();
    if s.get(at + 1) == Some(&b'\\') {
        return (at + 3..s.len()).find(|i| s[*i] == b'\'').map_or(s.len(), |i| i + 1);
    }
    let width = text[at + 1..].chars().next().map_or(1, char::len_utf8);
    if s.get(at + 1 + width) == Some(&b'\'') { at + 2 + width } else { at }
}

fn block_comment(s: &[u8], mut i: usize) -> usize {
    let mut depth = 0;
    while i < s.len() {
        if s[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if s[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    i
}

fn quoted(s: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < s.len() && s[i] != b'"' {
        i += if s[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(s.len())
}

fn raw_string(s: &[u8], start: usize) -> Option<usize> {
    let hashes = s[start + 1..].iter().take_while(|c| **c == b'#').count();
    let open = start + 1 + hashes;
    if s.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let end = s[open + 1..].windows(close.len()).position(|w| w == close)?;
    Some(open + 1 + end + close.len())
}
