//! One look at an event's JSON. Plain paths (`$.a[0].b`) are followed while it is parsed, and nothing is built; any other
//! query builds the value, once.

use serde::de::DeserializeSeed;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::model::jsonpath;

/// What an event holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// A token.
    pub(super) token: bool,
    /// The target's own count of tokens.
    pub(super) usage: Option<u64>,
    /// It is the last one.
    pub(super) done: bool,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Token,
    Usage,
    Done,
}

impl Found {
    fn note(&mut self, want: Want, says: bool, number: Option<f64>) {
        match want {
            Want::Token => self.token |= says,
            Want::Done => self.done |= says,
            Want::Usage => {
                let number = number.filter(|number| *number >= 0.0).map(|number| number as u64);
                self.usage = number.or(self.usage);
            }
        }
    }
}

/// Looks for tokens, usage and the end in an event.
#[derive(Debug)]
pub(super) enum Probe {
    /// Every event is a token; nothing is parsed.
    Any,
    /// All paths are plain.
    Plain(Node),
    /// At least one is not.
    Queries(Vec<(Want, JsonPath)>),
}

/// A place in the JSON on the way to what is looked for.
#[derive(Debug, Default)]
pub(super) struct Node {
    wants: Vec<Want>,
    next: Vec<(Part, Node)>,
}

/// A step of a plain path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(String),
    Index(usize),
}

impl Probe {
    pub(super) fn new(token: &[JsonPath], usage: Option<&JsonPath>, done: Option<&JsonPath>) -> Self {
        let tokens = token.iter().map(|path| (Want::Token, path));
        let usage = usage.map(|path| (Want::Usage, path));
        let done = done.map(|path| (Want::Done, path));
        let wanted: Vec<(Want, &JsonPath)> = tokens.chain(usage).chain(done).collect();
        if wanted.is_empty() {
            return Self::Any;
        }
        let mut root = Node::default();
        let all_plain = wanted.iter().all(|(want, path)| plain(path).map(|parts| root.add(&parts, *want)).is_some());
        if all_plain && !token.is_empty() {
            return Self::Plain(root);
        }
        Self::Queries(wanted.into_iter().map(|(want, path)| (want, path.clone())).collect())
    }

    /// `None` where it is not JSON.
    pub(super) fn look(&self, data: &[u8]) -> Option<Found> {
        let mut found = Found::default();
        match self {
            Self::Any => found.token = !data.is_empty(),
            Self::Plain(root) => {
                let mut json = serde_json::Deserializer::from_slice(data);
                Walk { node: root, found: &mut found }.deserialize(&mut json).ok()?;
                json.end().ok()?;
            }
            Self::Queries(queries) => {
                let json: Value = serde_json::from_slice(data).ok()?;
                found.token = !queries.iter().any(|(want, _)| *want == Want::Token);
                for (want, query) in queries {
                    for value in query.query(&json).iter() {
                        found.note(*want, says(value), value.as_f64());
                    }
                }
            }
        }
        Some(found)
    }
}

/// Whether a value says anything: neither false, null nor empty.
fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// The steps of a query that names one place, by names and indices from the start.
fn plain(path: &JsonPath) -> Option<Vec<Part>> {
    let text = jsonpath::shown(path);
    let mut rest = text.strip_prefix('$')?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']')?;
            let quoted = |quote| inner.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote));
            let part = match quoted('\'').or_else(|| quoted('"')) {
                Some(name) if !name.contains(['\\', '\'', '"', '[']) => Part::Name(name.to_owned()),
                Some(_) => return None,
                None => Part::Index(inner.parse().ok()?),
            };
            (part, after)
        } else {
            let member = rest.strip_prefix('.')?;
            let (name, after) = member.split_at(member.find(['.', '[']).unwrap_or(member.len()));
            if name.is_empty() || name == "*" {
                return None;
            }
            (Part::Name(name.to_owned()), after)
        };
        parts.push(part);
        rest = after;
    }
    Some(parts)
}

impl Node {
    fn add(&mut self, parts: &[Part], want: Want) {
        let Some((first, rest)) = parts.split_first() else { return self.wants.push(want) };
        let at = self.next.iter().position(|(part, _)| part == first).unwrap_or_else(|| {
            self.next.push((first.clone(), Self::default()));
            self.next.len() - 1
        });
        self.next[at].1.add(rest, want);
    }
}

/// Follows a node while the JSON goes by.
struct Walk<'a> {
    node: &'a Node,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn note(self, says: bool, number: Option<f64>) {
        self.node.wants.iter().for_each(|want| self.found.note(*want, says, number));
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<(), E> {
        self.note(is, None);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.note(true, Some(number as f64));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.note(true, Some(number as f64));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.note(true, Some(number));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.note(!text.is_empty(), None);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.note(false, None);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut any = false;
        while let Some(at) = map.next_key_seed(Key(self.node))? {
            any = true;
            match at {
                Some(at) => map.next_value_seed(Walk { node: &self.node.next[at].1, found: &mut *self.found })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.note(any, None);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let wanted = self.node.next.iter().find(|(part, _)| *part == Part::Index(index));
            let more = match wanted {
                Some((_, node)) => seq.next_element_seed(Walk { node, found: &mut *self.found })?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
            index += 1;
        }
        self.note(index > 0, None);
        Ok(())
    }
}

/// A member's name: which of the node's next ones it is.
struct Key<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.next.iter().position(|(part, _)| matches!(part, Part::Name(wanted) if wanted == name)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> JsonPath {
        jsonpath::parse(text).expect("a query")
    }

    #[test]
    fn plain_paths_are_told_from_queries() {
        let check = |text: &str, is: bool| assert_eq!(plain(&path(text)).is_some(), is, "{text}");
        for text in ["$", "$.a", "$.a.b_c", "$.choices[0].delta.content", "$['a b'].c", "$[0][1]", "$.größe"] {
            check(text, true);
        }
        for text in ["$..a", "$.a[*]", "$.*", "$.a[-1]", "$.a[0:2]", "$['a','b']", "$[?@.a]", "$['a]b']", r"$['a\'b']"]
        {
            check(text, false);
        }
        assert_eq!(
            plain(&path("$.choices[0]['delta'].content")),
            Some(vec![
                Part::Name("choices".into()),
                Part::Index(0),
                Part::Name("delta".into()),
                Part::Name("content".into())
            ])
        );
    }

    #[test]
    fn what_is_in_an_event() {
        let probe = Probe::new(&[path("$.t"), path("$.m.c")], Some(&path("$.u.n")), Some(&path("$.d")));
        assert!(matches!(probe, Probe::Plain(_)));
        let check = |data: &str, token, usage, done| {
            assert_eq!(probe.look(data.as_bytes()), Some(Found { token, usage, done }), "{data}");
        };
        check("{}", false, None, false);
        check(r#"{"t":"x","d":false}"#, true, None, false);
        check(r#"{"t":"","m":{"c":"\u00e9"}}"#, true, None, false);
        check(r#"{"t":null,"m":[1,2],"u":null}"#, false, None, false);
        check(r#"{"u":{"n":17,"t":"not here"},"d":true}"#, false, Some(17), true);
        check(r#"{"u":{"n":"17"},"d":"stop"}"#, false, None, true);
        check("[{\"t\":\"x\"}]", false, None, false);
        check("3", false, None, false);
        for data in ["", "{", "[DONE]", "{} {}", "{\"a\":\"\x01\"}", "{'t':1}"] {
            assert_eq!(probe.look(data.as_bytes()), None, "{data}");
        }
        assert_eq!(Probe::new(&[], None, None).look(b"text"), Some(Found { token: true, usage: None, done: false }));
        let only_usage = Probe::new(&[], Some(&path("$.u")), None);
        assert_eq!(only_usage.look(br#"{"u":3}"#), Some(Found { token: true, usage: Some(3), done: false }));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ab\u{e9}\"]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn following_plain_paths_finds_what_queries_find(value in json()) {
            let (token, usage, done) = ([path("$.a"), path("$.b[1].c")], path("$.a.b"), path("$[0].a"));
            let plain = Probe::new(&token, Some(&usage), Some(&done));
            prop_assert!(matches!(plain, Probe::Plain(_)));
            let mut queries: Vec<(Want, JsonPath)> = token.into_iter().map(|path| (Want::Token, path)).collect();
            queries.extend([(Want::Usage, usage), (Want::Done, done)]);
            let text = value.to_string();
            prop_assert_eq!(plain.look(text.as_bytes()), Probe::Queries(queries).look(text.as_bytes()));
        }
    }
}
