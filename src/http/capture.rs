//! Values kept of an answer for later steps (pure).

use crate::{
    judge::ResponseView,
    model::scenario::{Capture, CaptureFrom},
};

/// Longest text kept of a header or a regular expression's match, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// Longest JSON that is kept, in bytes: each user may hold one of each capture.
const MAX_JSON: usize = 256 * 1024;

/// What `capture` finds: its value, its default, or nothing. The error says what a required capture looked for.
pub fn find(capture: &Capture, view: &ResponseView<'_>) -> Result<Option<serde_json::Value>, String> {
    let found = match &capture.from {
        CaptureFrom::Json(path) => {
            let json = view.json.get_or_init(|| serde_json::from_slice(view.body).ok());
            let found = json.as_ref().and_then(|json| path.query(json).first());
            if let Some(found) = found.filter(|found| view.body.len() > MAX_JSON && found.to_string().len() > MAX_JSON)
            {
                let kind = if found.is_array() { "list" } else { "value" };
                return Err(format!("capture `{}` found a {kind} of more than {} KiB", capture.name, MAX_JSON / 1024));
            }
            found.cloned()
        }
        CaptureFrom::Header(name) => {
            view.headers.get(name).and_then(|value| value.to_str().ok()).map(|text| clip(text).into())
        }
        CaptureFrom::Cookie(name) => cookie(view, name).map(|text| clip(text).into()),
        CaptureFrom::Regex { regex, group } => {
            let text = String::from_utf8_lossy(view.body);
            regex.captures(&text).and_then(|found| found.get(*group)).map(|found| clip(found.as_str()).into())
        }
    };
    match (found, &capture.default) {
        (Some(value), _) => Ok(Some(value)),
        (None, Some(default)) => Ok(Some(default.clone())),
        (None, None) if capture.required => {
            Err(format!("capture `{}` found nothing: {}", capture.name, place(capture)))
        }
        (None, None) => Ok(None),
    }
}

/// Whether it looks into the body.
pub fn needs_body(capture: &Capture) -> bool {
    !matches!(capture.from, CaptureFrom::Header(_) | CaptureFrom::Cookie(_))
}

fn place(capture: &Capture) -> String {
    match &capture.from {
        CaptureFrom::Json(path) => format!("no {path} in the body"),
        CaptureFrom::Header(name) => format!("no header {name}"),
        CaptureFrom::Cookie(name) => format!("no cookie {name} is set"),
        CaptureFrom::Regex { regex, group } => format!("no group {group} of /{regex}/ in the body"),
    }
}

/// The value of the last `Set-Cookie` of that name.
fn cookie<'a>(view: &ResponseView<'a>, name: &str) -> Option<&'a str> {
    let set = view.headers.get_all(::http::header::SET_COOKIE).iter().rev();
    let mut pairs = set.filter_map(|value| value.to_str().ok()?.split(';').next()?.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
