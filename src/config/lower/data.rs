//! `data`: rows read when the configuration is loaded, each an object; and which of their fields templates may use.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
    sync::Arc,
};

use serde_json::{Map, Value as Json};

use super::{At, Lower, constants::reason};
use crate::{
    config::{raw, tree::Node},
    input,
    model::{
        Name,
        scenario::{Feed, FeedEnd, FeedOrder},
    },
};

/// Rows are kept in memory.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// Of one file.
const MAX_ROWS: usize = 500_000;

/// Rows by the name of their feed.
pub(super) type Feeds = BTreeMap<Name, Arc<Feed>>;

impl Lower<'_> {
    pub(super) fn data(&mut self, at: &At, raw: Option<&raw::Ordered<raw::Data>>) -> Feeds {
        let mut feeds = Feeds::new();
        for (name, raw) in raw.iter().flat_map(|data| &data.0) {
            let at = at.key(name);
            self.identifier(&at, name, "data");
            if let Some(feed) = self.feed(&at, raw) {
                feeds.insert(name.as_str().into(), Arc::new(feed));
            }
        }
        feeds
    }

    /// What templates may use of it: the fields of each feed; `None` for one that could not be read.
    pub(super) fn fields(&self, at: &At, feeds: &Feeds) -> BTreeMap<String, Option<BTreeSet<String>>> {
        let names = self.node(at).map(Node::entries).unwrap_or_default();
        let fields =
            |feed: &Arc<Feed>| feed.rows.iter().filter_map(Json::as_object).flat_map(Map::keys).cloned().collect();
        names.iter().map(|entry| (entry.key.clone(), feeds.get(entry.key.as_str()).map(fields))).collect()
    }

    fn feed(&mut self, at: &At, raw: &raw::Data) -> Option<Feed> {
        const HOW: &str = "write `file: rows.csv` or `values: [{name: a}, {name: b}]`";
        let rows = match (&raw.file, &raw.values) {
            (Some(file), None) => self.rows_of_file(&at.key("file"), file)?,
            (None, Some(values)) => self.rows(&at.key("values"), values.clone())?,
            (None, None) => {
                if !self.troubled(at) {
                    self.key_error(at, "data has rows", HOW);
                }
                return None;
            }
            (Some(_), Some(_)) => {
                self.key_error(&at.key("values"), "data is read from one place", HOW);
                return None;
            }
        };
        let order = match raw.order {
            Some(raw::OrderWord::Random) => FeedOrder::Random,
            Some(raw::OrderWord::Shuffle) => FeedOrder::Shuffle,
            Some(raw::OrderWord::Sequence) | None => FeedOrder::Sequence,
        };
        let on_end = match raw.on_end {
            Some(raw::OnEnd::Stop) => FeedEnd::Stop,
            Some(raw::OnEnd::Fail) => FeedEnd::Fail,
            Some(raw::OnEnd::Cycle) | None => FeedEnd::Cycle,
        };
        if order == FeedOrder::Random && on_end != FeedEnd::Cycle {
            let help = "write `order: shuffle` to take each row once, or leave `on_end` out";
            self.error(&at.key("on_end"), "rows in random order never end: any may be taken at any time", help);
        }
        Some(Feed { rows, order, on_end })
    }

    fn rows_of_file(&mut self, at: &At, file: &str) -> Option<Vec<Json>> {
        let path = self.resolve(at, file);
        let shown = path.display().to_string();
        let kind = Path::new(file).extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
        if !["csv", "tsv", "json"].contains(&kind.as_str()) {
            let help = "name a file that ends in .csv, .tsv or .json";
            self.error(at, format!("`{shown}`: what kind of file is it?"), help);
            return None;
        }
        let text = match input::read_text(&path, MAX_FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                let help = "rows are kept in memory: take a part of them";
                self.error(at, format!("`{shown}` is larger than {} MiB", MAX_FILE >> 20), help);
                return None;
            }
            Err(error) => {
                let reason = reason(&error);
                self.error(at, format!("`{shown}` cannot be read: {reason}"), "paths are relative to this file");
                return None;
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let rows = match kind.as_str() {
            "json" => match serde_json::from_str::<Json>(text) {
                Ok(Json::Array(rows)) => Ok(rows),
                Ok(_) => {
                    Err(("it holds no list".to_owned(), "write a list of maps: `[{\"q\": \"a\"}, {\"q\": \"b\"}]`"))
                }
                Err(error) => Err((format!("line {}: it is not JSON", error.line()), "check it with `jq . FILE`")),
            },
            "tsv" => of_csv(text, b'\t'),
            _ => of_csv(text, b','),
        };
        match rows {
            Ok(rows) => self.rows(at, rows),
            Err((message, help)) => {
                self.error(at, format!("`{shown}`: {message}"), help);
                None
            }
        }
    }

    /// Rows as objects; a single value is called `value`.
    fn rows(&mut self, at: &At, rows: Vec<Json>) -> Option<Vec<Json>> {
        if rows.is_empty() || rows.len() > MAX_ROWS {
            let message = match rows.len() {
                0 => "there are no rows".to_owned(),
                some => format!("there are {some} rows: the most is {MAX_ROWS}"),
            };
            self.error(at, message, "write at least one row, and no more than are needed");
            return None;
        }
        let objects = rows.into_iter().map(|row| match row {
            Json::Object(_) => row,
            single => Json::Object([("value".to_owned(), single)].into_iter().collect()),
        });
        Some(objects.collect())
    }

    /// Whether `${data.NAME.FIELD}` leads to something; `rest` is what follows `data.`.
    pub(super) fn field_there(&mut self, at: &At, offset: usize, rest: &str) {
        let mut parts = rest.split('.');
        let (Some(name), field) = (parts.next(), parts.next()) else { return };
        let Some(Some(fields)) = self.fields.get(name) else { return };
        let names: Vec<&str> = fields.iter().map(String::as_str).collect();
        let Some(field) = field else {
            let help = format!("write one of its fields: `${{data.{name}.{}}}`", names.first().unwrap_or(&"value"));
            return self.text_error(at, offset, format!("`data.{name}` is a whole row"), help);
        };
        if !fields.contains(field) {
            let help = crate::config::hints::did_you_mean(field, &names, "fields");
            self.text_error(at, offset, format!("`data.{name}` has no field `{field}`"), help);
        }
    }
}

/// The rows of a CSV file whose first line names the fields.
fn of_csv(text: &str, delimiter: u8) -> Result<Vec<Json>, (String, &'static str)> {
    const FIELDS: &str = "the first line names the fields, such as `user,question`; each further line has as many";
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| ("its first line cannot be read".to_owned(), FIELDS))?.clone();
    let fine = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(plain)
    };
    if let Some(bad) = header.iter().find(|name| !fine(name)) {
        let message = format!("`{}` is no name for a field", crate::config::check::short(bad));
        return Err((message, "the first line names the fields: letters, digits and _, beginning with a letter"));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            (format!("line {line} has not as many fields as the first, or is not closed"), FIELDS)
        })?;
        let row = header.iter().zip(&record).map(|(name, value)| (name.to_owned(), Json::from(value)));
        rows.push(Json::Object(row.collect()));
        if rows.len() > MAX_ROWS {
            break;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_csv() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = of_csv(text, b',').map(|rows| Json::Array(rows).to_string()).map_err(|(message, _)| message);
            assert_eq!(found.as_deref(), expected.map_err(ToOwned::to_owned).as_deref(), "{text}");
        };
        check("q,n\na,1\n\"b, c\",2\n", Ok(r#"[{"q":"a","n":"1"},{"q":"b, c","n":"2"}]"#));
        check("q\n", Ok("[]"));
        check("q,n\na\n", Err("line 2 has not as many fields as the first, or is not closed"));
        check("what is it?,n\na,b\n", Err("`what is it?` is no name for a field"));
    }
}
