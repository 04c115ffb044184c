//! Finds and reads the files of a configuration, within bounds and with clear words about what is not text.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    diagnostic::Problems,
    lower,
    source::{Source, Sources, Span},
    tree::{MAX_BYTES, Node, Value},
};
use crate::input;

/// At most so many files are included.
const MAX_FILES: usize = 1000;

/// At most so many names in folders are looked at for all patterns together.
const MAX_ENTRIES: usize = 20_000;

/// Where a configuration is looked for when none is named.
pub(crate) const SEARCH: [&str; 2] = ["plimsoll.yaml", "/etc/plimsoll/plimsoll.yaml"];

/// Reads one file. `named` is where it is named, for the error; its index in the sources, or `None`.
pub(crate) fn read(path: &Path, named: Option<Span>, sources: &mut Sources, problems: &mut Problems) -> Option<usize> {
    let shown = path.display().to_string();
    let fail = |problems: &mut Problems, why: String, help: &str| {
        problems.error(named, format!("`{shown}` {why}"), help);
        None
    };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::NotFound => {
                    "check the path; it is relative to the file that names it, or to the current folder"
                }
                _ => "check who may read it",
            };
            return fail(problems, format!("cannot be read: {}", lower::reason(&error)), help);
        }
    };
    if !meta.is_file() {
        return fail(problems, "is not a file".to_owned(), "name a YAML file");
    }
    if meta.len() > MAX_BYTES as u64 {
        let size = meta.len() as f64 / f64::from(1 << 20);
        return fail(
            problems,
            format!("has {size:.1} MiB: the most is 1 MiB"),
            "a configuration of that size is probably not one; split it with `include:`",
        );
    }
    let bytes = match input::read_bounded(path, MAX_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(error) => {
            return fail(problems, format!("cannot be read: {}", lower::reason(&error)), "check who may read it");
        }
    };
    let bad = bytes_problem(&bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let index = sources.add(Source::new(shown, dir, text));
    if let Some((offset, message, help)) = bad {
        let source = &mut sources.0[index];
        source.masks = super::mask::of_text(&source.text);
        problems.error(Some(Span { source: index, start: offset, end: offset + 1 }), message, help);
        return None;
    }
    Some(index)
}

/// What makes bytes no text: where, what, and what to do.
fn bytes_problem(bytes: &[u8]) -> Option<(usize, String, &'static str)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Some((0, "the file is UTF-16".to_owned(), "save it as UTF-8 without a byte order mark"));
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        return Some((
            0,
            "the file begins with a byte order mark".to_owned(),
            "save it as UTF-8 without a byte order mark",
        ));
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let message = format!("byte {:#04x} is not UTF-8", bytes[at]);
        return Some((at, message, "save the file as UTF-8"));
    }
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((
        at,
        "the file holds a NUL byte: it is not text".to_owned(),
        "write the file anew; a crash of an editor or a disk may have done this",
    ))
}

/// The files that `include:` names, each once, with the place that names it.
pub(crate) fn included(root: &Node, dir: &Path, main: &Path, problems: &mut Problems) -> Vec<(PathBuf, Span)> {
    let Some(node) = root.get("include") else { return Vec::new() };
    let items: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut files: Vec<(PathBuf, Span)> = Vec::new();
    let mut seen = BTreeSet::new();
    let main = canonical(main);
    let mut budget = MAX_ENTRIES;
    for item in items {
        // Anything else is the checker's business.
        let Value::String { text, .. } = &item.value else { continue };
        let pattern = text.contains(['*', '?']);
        let found = if pattern { expand(dir, text, &mut budget) } else { Some(vec![dir.join(text)]) };
        let Some(found) = found else {
            problems.error(
                Some(item.span),
                format!("`{text}` matches too much: more than {MAX_ENTRIES} files and folders were looked at"),
                "name the folder, and use `*` for the file only, such as `scenarios/*.yaml`",
            );
            return Vec::new();
        };
        if found.is_empty() {
            problems.warning(
                Some(item.span),
                format!("no file matches `{text}`"),
                "patterns are relative to this file; `*` and `?` match within a name",
            );
        }
        for path in found {
            let real = canonical(&path);
            if real == main {
                if !pattern {
                    problems.error(
                        Some(item.span),
                        "the file includes itself",
                        "include only files that hold scenarios, targets, requests or vars",
                    );
                }
            } else if seen.insert(real) {
                files.push((path, item.span));
            }
        }
    }
    if files.len() > MAX_FILES {
        problems.error(
            Some(node.span),
            format!("{} files are included: the most is {MAX_FILES}", files.len()),
            "put several scenarios into one file",
        );
        files.clear();
    }
    files
}

/// The path that all names of a file share, as far as it can be found out.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The files that match a pattern, in the order of their names; hidden ones only when the pattern says so.
/// `None` if more names than `budget` would have to be looked at; what is used is taken from it.
fn expand(dir: &Path, pattern: &str, budget: &mut usize) -> Option<Vec<PathBuf>> {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { dir.to_path_buf() }];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut next = Vec::new();
        for base in found {
            if !part.contains(['*', '?']) {
                next.push(base.join(part));
                continue;
            }
            let here = if base.as_os_str().is_empty() { Path::new(".") } else { base.as_path() };
            // A folder costs one even if it is empty or no folder.
            *budget = budget.checked_sub(1)?;
            let mut names: Vec<String> = Vec::new();
            for entry in fs::read_dir(here).into_iter().flatten() {
                *budget = budget.checked_sub(1)?;
                let Some(name) = entry.ok().and_then(|entry| entry.file_name().into_string().ok()) else { continue };
                if matches(part, &name) && (part.starts_with('.') || !name.starts_with('.')) {
                    names.push(name);
                }
            }
            names.sort();
            next.extend(names.into_iter().map(|name| base.join(name)));
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    Some(found)
}

/// `*` is any run of characters, `?` one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern, name, expected| assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        check("*.yaml", "a.yaml", true);
        check("*.yaml", "a.yml", false);
        check("a?c*", "abcd", true);
        check("*a*b", "xaxxb", true);
        check("*a*b", "xaxxbx", false);
        check("", "", true);
    }

    #[test]
    fn patterns_look_at_so_many_names_only() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["a", "b"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
            fs::write(dir.path().join(name).join("x.yaml"), "").expect("written");
        }
        let check = |pattern: &str, budget: usize, expected: Option<usize>| {
            let found = expand(dir.path(), pattern, &mut { budget }).map(|found| found.len());
            assert_eq!(found, expected, "{pattern} {budget}");
        };
        check("*/*.yaml", 100, Some(2));
        check("*/*.yaml", 7, Some(2));
        check("*/*.yaml", 6, None);
        check("a/x.yaml", 0, Some(1));
    }
}
