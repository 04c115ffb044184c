//! What templates may call. Whatever is random in them is drawn from the run's seed, the number of the iteration and the
//! number of the draw in it, so that a run can be repeated.

use base64::Engine as _;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// The functions; they are no variables.
pub const FUNCTIONS: [&str; 4] = ["words", "random_int", "pick", "b64"];

/// The name under which a scope hands out its draws; no template can write it.
pub const DRAW: &str = "(draw)";

/// Most words of one call.
const MAX_WORDS: u64 = 10_000;

/// A number that no other draw has: from the seed, the iteration and the number of the draw in it.
pub fn draw(seed: u64, n: u64, index: u64) -> u64 {
    // The finaliser of splitmix64: neighbours have nothing in common.
    let mut x = seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub(super) fn add_to(env: &mut Environment<'static>) {
    env.add_function("words", words);
    env.add_function("random_int", random_int);
    env.add_function("pick", pick);
    env.add_function("b64", |text: String| base64::engine::general_purpose::STANDARD.encode(text));
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn rng(state: &State<'_, '_>) -> Result<SmallRng, Error> {
    let draw = state.lookup(DRAW).and_then(|draw| u64::try_from(draw).ok());
    draw.map(SmallRng::seed_from_u64).ok_or_else(|| wrong("there is nothing random outside of a run"))
}

/// `words(10, 50)`: so many words, evenly chosen between the two.
fn words(state: &State<'_, '_>, least: u64, most: Option<u64>) -> Result<String, Error> {
    let most = most.unwrap_or(least);
    if least > most || most > MAX_WORDS {
        return Err(wrong(format!(
            "words({least}, {most}): write two numbers up to {MAX_WORDS}, the smaller one first"
        )));
    }
    let mut rng = rng(state)?;
    let count = rng.random_range(least..=most);
    let mut text = String::with_capacity(count as usize * 6);
    for index in 0..count {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
    }
    Ok(text)
}

/// `random_int(1, 6)`: both included.
fn random_int(state: &State<'_, '_>, least: i64, most: i64) -> Result<i64, Error> {
    if least > most {
        return Err(wrong(format!("random_int({least}, {most}): write the smaller number first")));
    }
    Ok(rng(state)?.random_range(least..=most))
}

/// `pick(["a", "b"])`: one of them.
fn pick(state: &State<'_, '_>, list: &Value) -> Result<Value, Error> {
    let count = list.len().filter(|count| *count > 0).ok_or_else(|| wrong("pick(…) takes a list that is not empty"))?;
    let index = rng(state)?.random_range(0..count);
    list.get_item_by_index(index)
}

/// Ordinary words, of every length that English has.
const WORDS: [&str; 64] = [
    "a",
    "the",
    "of",
    "and",
    "in",
    "to",
    "is",
    "it",
    "that",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "his",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
    "by",
    "word",
    "but",
    "what",
    "some",
    "we",
    "can",
    "out",
    "other",
    "were",
    "all",
    "there",
    "when",
    "use",
    "your",
    "how",
    "said",
    "each",
    "she",
    "which",
    "their",
    "time",
    "will",
    "way",
    "about",
    "many",
    "then",
    "would",
    "write",
    "like",
    "these",
    "long",
    "make",
    "thing",
    "see",
    "between",
    "number",
    "through",
    "question",
    "important",
    "information",
];
