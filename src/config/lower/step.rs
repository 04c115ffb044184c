//! Steps and named requests: one request each, with what is expected and kept of its answer. How an iteration goes through
//! them is in `course`.

mod capture;
mod content;
mod course;
mod state;
mod stream;

use std::{sync::Arc, time::Duration};

use http::Method;

use super::{At, Lower, Scope, probe, variables::Asked};
use crate::{
    config::{check::short, hints, raw},
    model::{
        expr::Expect,
        scenario::{Action, BodySpec, Capture, OkStatus, RequestSpec, Step},
        template::{Escape, FUNCTIONS, JsonTemplate, Template},
    },
};

/// A body file is read when the configuration is loaded, and kept.
const MAX_BODY_FILE: u64 = 10 * 1024 * 1024;

/// Words that a template or a condition reads as something else than a variable.
const RESERVED: &[&str] =
    &["none", "true", "false", "null", "None", "True", "False", "and", "or", "not", "in", "is", "if", "else"];

/// A step as written, with the named request it uses.
pub(super) struct Written<'a> {
    pub(super) step: (&'a raw::Step, &'a At),
    base: Option<(&'a raw::Step, At)>,
}

impl<'a> Written<'a> {
    /// A field of the step, or of its named request, and where it stands.
    pub(super) fn field<T>(&self, key: &str, read: impl Fn(&'a raw::Step) -> Option<&'a T>) -> Option<(&'a T, At)> {
        let own = read(self.step.0).map(|value| (value, self.step.1.key(key)));
        own.or_else(|| self.base.as_ref().and_then(|(base, at)| Some((read(base)?, at.key(key)))))
    }

    /// A field of both: the request's first.
    pub(super) fn both<T>(&self, key: &str, read: impl Fn(&'a raw::Step) -> Option<&'a T>) -> Vec<(&'a T, At)> {
        let base = self.base.as_ref().and_then(|(base, at)| Some((read(base)?, at.key(key))));
        base.into_iter().chain(read(self.step.0).map(|value| (value, self.step.1.key(key)))).collect()
    }
}

impl Lower<'_> {
    /// Lowers a list of steps. `captures` holds what earlier steps keep, and grows.
    pub(super) fn steps(&mut self, at: &At, steps: &[raw::Step], captures: &mut Vec<String>) -> Vec<Step> {
        let mut out = Vec::with_capacity(steps.len());
        for (index, raw) in steps.iter().enumerate() {
            let known = captures.clone();
            let at = at.index(index);
            if let Some(step) = self.step(&at, raw, Scope::Run(&known)) {
                captures.extend(step.capture.iter().map(|capture| capture.name.to_string()));
                out.push(step);
            } else {
                // What it was meant to keep is known: one error for the step is enough.
                captures
                    .extend(raw.capture.iter().flat_map(|captures| captures.0.iter().map(|(name, _)| name.clone())));
            }
        }
        out
    }

    /// Checks the named requests by themselves, so that an unused one is right too.
    pub(super) fn unused_requests(&mut self) {
        self.twice("requests");
        for (index, file) in self.files.iter().enumerate() {
            for (name, raw) in file.raw.requests.iter().flat_map(|requests| &requests.0) {
                let at = At::root(index).key("requests").key(name);
                self.name(&at, name, "a request");
                if raw.request.is_some() {
                    self.error(
                        &at.key("request"),
                        "a named request does not use another one",
                        "write its method: `get: /path`",
                    );
                } else {
                    self.step(&at, raw, Scope::Any);
                }
            }
        }
    }

    pub(super) fn step(&mut self, at: &At, raw: &raw::Step, scope: Scope<'_>) -> Option<Step> {
        let base = match &raw.request {
            Some(name) => Some(self.named(&at.key("request"), name)?),
            None => None,
        };
        if let (Some(name), true) = (&raw.request, methods(raw).next().is_some() || probe::keys(raw).next().is_some()) {
            let message = format!("a step has a method or `request: {name}`, not both");
            self.error(&at.key("request"), message, "remove one of them");
        }
        let written = Written { step: (raw, at), base };
        // What the loop goes through is known in the step, and nowhere else.
        let outer = scope;
        let repeat = self.rounds(&written, outer);
        let mut inner = if let Scope::Run(names) = outer { names.to_vec() } else { Vec::new() };
        inner.extend(repeat.iter().map(|repeat| repeat.name.to_string()));
        let scope = if matches!(outer, Scope::Run(_)) { Scope::Run(&inner) } else { outer };
        let (action, label) = self.action(&written, scope)?;
        let until = written.field("until", |step| step.until.as_ref()).is_some();
        let timeout = written
            .field("timeout", |step| step.timeout.as_ref())
            .filter(|_| !until)
            .map(|(text, at)| self.duration(&at, Some(text), Duration::ZERO, Duration::from_millis(1)));
        self.stream_unread |= raw.stream.is_none() && self.node(&at.key("stream")).is_some();
        let keeps = self.keeps(raw);
        // What a loop captures is there in its next round.
        let (rounds, later) = if repeat.is_some() { (keeps, Vec::new()) } else { (Vec::new(), keeps) };
        let seen: Vec<String> = inner.iter().cloned().chain(rounds).collect();
        let asked = Asked {
            scope: if matches!(outer, Scope::Run(_)) { Scope::Run(&seen) } else { outer },
            later: &later,
            streamed: self.stream_unread || written.field("stream", |step| step.stream.as_ref()).is_some(),
            text: true,
        };
        let expect = self.expectations(&written, asked);
        let mut capture: Vec<Capture> = Vec::new();
        for (fields, at) in written.both("capture", |step| step.capture.as_ref()) {
            for (name, raw) in &fields.0 {
                let found = self.capture(&at.key(name), name, raw);
                capture.retain(|known| *known.name != **name);
                capture.extend(found);
            }
        }
        let ok = written.field("ok", |step| step.ok.as_ref()).map(|(list, at)| self.ok_status(&at, list));
        let ok = ok.or_else(|| match &action {
            Action::Http(_) => None,
            Action::Probe(spec) => Some(super::probe::ok(spec)),
        });
        let name = raw.name.clone().or_else(|| raw.request.clone()).or_else(|| written.base.as_ref()?.0.name.clone());
        if let Some(name) = &raw.name {
            self.name(&at.key("name"), name, "a request");
        }
        let name = name.unwrap_or(label);
        let course = self.course(&written, outer, repeat, asked);
        let tags = self.tags(&written, scope, course.repeat.as_ref());
        Some(Step {
            timeout,
            expect,
            push: self.push(&written, scope, &capture),
            capture,
            on_rejected: course.on_rejected,
            on_failed: course.on_failed,
            ok,
            when: course.when,
            repeat: course.repeat,
            until: course.until,
            stream: written.field("stream", |step| step.stream.as_ref()).map(|(raw, at)| self.stream(&at, raw)),
            tags,
            think: course.think,
            ..Step::new(name.as_str(), action)
        })
    }

    /// What the step does, and its name if it is given none.
    fn action(&mut self, written: &Written<'_>, scope: Scope<'_>) -> Option<(Action, String)> {
        let (raw, at) = match &written.base {
            Some((base, at)) => (*base, at),
            None => (written.step.0, written.step.1),
        };
        if let Some(key) = probe::keys(raw).next() {
            let others = methods(raw).map(|(key, ..)| key).chain(probe::keys(raw).skip(1)).chain(bodies(raw));
            let headers = raw.headers.is_some().then_some("headers");
            if let Some(other) = others.chain(headers).next() {
                let help = "write a step for each; what a probe sends stands within it";
                self.key_error(&at.key(other), format!("`{key}` and `{other}` do not go together"), help);
            }
            let spec = self.probe(at, raw, scope)?;
            let label = fit(&spec.to_string());
            return Some((Action::Probe(Arc::new(spec)), label));
        }
        let (method, path_text, path_at) = self.method(written)?;
        let path = self.path(&path_at, path_text, scope);
        let mut headers = Vec::new();
        for (fields, at) in written.both("headers", |step| step.headers.as_ref()) {
            for header in self.headers(&at, Some(fields), scope) {
                headers.retain(|(name, _)| *name != header.0);
                headers.push(header);
            }
        }
        let body = self.body(written, scope);
        let label = label(&method, path_text);
        let request = RequestSpec { method, path, headers, body, auth: self.own_auth(written, scope) };
        Some((Action::Http(Box::new(request)), label))
    }

    fn expectations(&mut self, written: &Written<'_>, asked: Asked<'_>) -> Vec<Expect> {
        let mut expect = Vec::new();
        for (list, at) in written.both("expect", |step| step.expect.as_ref()) {
            for (index, text) in list.iter() {
                let at = at.item(index);
                let Some(condition) = self.expect(&at, &text.0) else { continue };
                self.variables(&at, &text.0, &condition.tree.variables(), asked);
                expect.push(condition);
            }
        }
        expect
    }

    /// A named request of any file. `None` if there is none, or it could not be read.
    fn named<'s>(&mut self, at: &At, name: &str) -> Option<(&'s raw::Step, At)>
    where
        Self: 's,
    {
        let files = self.files;
        for (index, file) in files.iter().enumerate() {
            if let Some(raw) = file.raw.requests.as_ref().and_then(|requests| requests.get(name)) {
                let base = At::root(index).key("requests").key(name);
                return raw.request.is_none().then_some((raw, base));
            }
        }
        let known = self.section("requests");
        if !known.contains(&name) {
            let help = if known.is_empty() {
                format!("write `requests: {{{}: {{get: /path}}}}`", short(name))
            } else {
                hints::did_you_mean(name, &known, "requests")
            };
            self.error(at, format!("there is no request `{}`", short(name)), help);
        }
        None
    }

    fn method<'s>(&mut self, written: &Written<'s>) -> Option<(Method, &'s str, At)> {
        let (raw, at) = match &written.base {
            Some((base, at)) => (*base, at),
            None => (written.step.0, written.step.1),
        };
        let mut found = methods(raw);
        let Some((key, method, path)) = found.next() else {
            if !self.troubled(at) {
                self.error(
                    at,
                    "a request has a method and a path",
                    "write `get: /path`, `post: /path` or `request: NAME`",
                );
            }
            return None;
        };
        if let Some((other, ..)) = found.next() {
            self.key_error(
                &at.key(other),
                format!("a request has one method: here are `{key}` and `{other}`"),
                "write a step for each",
            );
        }
        Some((method, path, at.key(key)))
    }

    pub(super) fn path(&mut self, at: &At, text: &str, scope: Scope<'_>) -> Template {
        if text.contains("://") && !text.starts_with('/') {
            self.error(
                at,
                format!("`{}` is a URL: a step has a path", short(text)),
                "write the host as `base_url` of a target, and here `/path`",
            );
        } else if !text.starts_with('/') {
            self.error(
                at,
                format!("`{}` is not a path", short(text)),
                format!("a path begins with `/`: write `/{}`", short(text)),
            );
        }
        let template = self.template(at, text, Escape::Path, scope);
        if let Some(offset) = literal_space(text) {
            self.text_error(
                at,
                offset,
                "a path holds no white space, `#` or control characters",
                "write %20 for a space, %23 for #",
            );
        }
        template
    }

    fn body(&mut self, written: &Written<'_>, scope: Scope<'_>) -> BodySpec {
        // A step's own body replaces that of its named request, whatever its form.
        let has_own = bodies(written.step.0).next().is_some();
        let (raw, at) = match &written.base {
            Some((base, at)) if !has_own => (*base, at),
            _ => (written.step.0, written.step.1),
        };
        let mut found = bodies(raw);
        let Some(first) = found.next() else { return BodySpec::None };
        if let Some(second) = found.next() {
            self.key_error(
                &at.key(second),
                format!("a request has one body: here are `{first}` and `{second}`"),
                "remove one of them",
            );
        }
        let at = at.key(first);
        if let Some(json) = &raw.json {
            return self.json_body(&at, json, scope);
        }
        if let Some(form) = &raw.form {
            let fields = form.0.iter().map(|(name, value)| {
                let template = self.template(&at.key(name), &value.text(), Escape::None, scope);
                (name.as_str().into(), template)
            });
            return BodySpec::Form(fields.collect());
        }
        if let Some(parts) = &raw.multipart {
            return self.multipart(&at, parts, scope);
        }
        if let Some(text) = &raw.body {
            return BodySpec::Text(self.template(&at, &text.0, Escape::None, scope));
        }
        raw.body_file.as_deref().map_or(BodySpec::None, |file| self.body_file(&at, file))
    }

    fn json_body(&mut self, at: &At, json: &serde_json::Value, scope: Scope<'_>) -> BodySpec {
        let before = self.problems.0.len();
        self.json_leaves(at, json, scope);
        match JsonTemplate::with_lists(json, &self.lists) {
            Ok(template) => BodySpec::Json(template),
            Err(error) => {
                if self.problems.0.len() == before {
                    self.error(at, error.message, "templates are written `${name}`");
                }
                BodySpec::None
            }
        }
    }

    /// Checks each text of a JSON body at its own place.
    pub(super) fn json_leaves(&mut self, at: &At, json: &serde_json::Value, scope: Scope<'_>) {
        match json {
            serde_json::Value::String(text) if text.contains("${") => {
                self.template(at, text, Escape::None, scope);
            }
            serde_json::Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.json_leaves(&at.index(index), item, scope));
            }
            serde_json::Value::Object(map) => {
                map.iter().for_each(|(key, value)| self.json_leaves(&at.key(key), value, scope));
            }
            _ => {}
        }
    }

    fn body_file(&mut self, at: &At, file: &str) -> BodySpec {
        self.read_body(at, file, MAX_BODY_FILE).map_or(BodySpec::None, BodySpec::Raw)
    }

    /// A file that is sent, of at most `room` bytes.
    fn read_body(&mut self, at: &At, file: &str, room: u64) -> Option<bytes::Bytes> {
        let path = self.resolve(at, file);
        let shown = path.display().to_string();
        match crate::input::read_bounded(&path, room) {
            Ok(bytes) => return Some(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                let message = if room == MAX_BODY_FILE {
                    format!("`{shown}` is larger than 10 MiB")
                } else {
                    format!("`{shown}` makes the body larger than 10 MiB")
                };
                self.error(at, message, "send a smaller body");
            }
            Err(error) => {
                let reason = super::constants::reason(&error);
                self.error(at, format!("`{shown}` cannot be read: {reason}"), "paths are relative to this file");
            }
        }
        None
    }

    /// The name of a value that templates and conditions use.
    pub(super) fn own_name(&mut self, at: &At, name: &str, what: &str) {
        self.identifier(at, name, what);
        if super::BUILT_IN.contains(&name) || ["vars", "secret", "env", "target", "data", "sent"].contains(&name) {
            self.key_error(at, format!("`{name}` is a variable of Plimsoll's own"), "choose another name");
        } else if RESERVED.contains(&name) || FUNCTIONS.contains(&name) {
            let help = format!("choose another name, such as `{}_`", name.to_ascii_lowercase());
            self.key_error(at, format!("`{name}` is a word of templates: it can name no value"), help);
        }
    }

    fn ok_status(&mut self, at: &At, list: &raw::StatusList) -> OkStatus {
        match list {
            raw::OneOrMany::One(raw::Status::Range(word)) if word == "any" => OkStatus::Any,
            _ => OkStatus::Of(self.statuses(at, list)),
        }
    }
}

/// The methods of a step with their keys and paths.
fn methods(raw: &raw::Step) -> impl Iterator<Item = (&'static str, Method, &str)> {
    let all = [
        ("get", Method::GET, &raw.get),
        ("post", Method::POST, &raw.post),
        ("put", Method::PUT, &raw.put),
        ("patch", Method::PATCH, &raw.patch),
        ("delete", Method::DELETE, &raw.delete),
        ("head", Method::HEAD, &raw.head),
        ("options", Method::OPTIONS, &raw.options),
    ];
    all.into_iter().filter_map(|(key, method, path)| Some((key, method, path.as_ref()?.0.as_str())))
}

/// The keys of the bodies of a step.
fn bodies(raw: &raw::Step) -> impl Iterator<Item = &'static str> + use<> {
    let all = [
        ("json", raw.json.is_some()),
        ("form", raw.form.is_some()),
        ("body", raw.body.is_some()),
        ("body_file", raw.body_file.is_some()),
        ("multipart", raw.multipart.is_some()),
    ];
    all.into_iter().filter_map(|(key, there)| there.then_some(key))
}

/// `METHOD path`, without the query, at most 80 characters: the name of a request that has none.
fn label(method: &Method, path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    fit(&format!("{method} {path}"))
}

fn fit(label: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "_.:/ ${}-".contains(c) { c } else { '_' };
    label.chars().map(fine).take(80).collect::<String>().trim_end().to_owned()
}

/// The place of a character outside of `${…}` that a path cannot hold.
fn literal_space(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' || depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            c if depth == 0 && (c.is_whitespace() || c.is_control() || c == '#') => return Some(at),
            _ => {}
        }
        previous = c;
    }
    None
}
