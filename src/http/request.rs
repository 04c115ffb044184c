//! A step's request, filled in for one iteration (pure).

use std::{cell::RefCell, collections::BTreeSet, fmt::Write as _, rc::Rc, sync::Arc};

use ::http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING, USER_AGENT},
};
use bytes::{Bytes, BytesMut};

use super::{
    auth,
    h1::encode,
    scope::{Row, Scope},
};
use crate::model::{
    scenario::{BodySpec, Part, PartData, RequestSpec, Target},
    template::{JsonTemplate, Template, percent_encode},
};

/// Sent with every request that names no other.
pub const AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"));

/// A longer body is not copied behind its head, but sent after it.
const COPIED_BODY: usize = 8 * 1024;

/// A request, and its bytes on an HTTP/1.1 connection.
#[derive(Debug)]
pub struct Outgoing {
    request: Request<Bytes>,
    /// The head, and the body behind it if it is short.
    wire: Bytes,
    /// What its body appended to a list.
    appended: Option<Box<serde_json::Value>>,
}

impl Outgoing {
    /// Puts the bytes of `request` together. Its headers say how long its body is.
    pub fn new(request: Request<Bytes>) -> Self {
        let mut wire = encode::head(request.method(), request.uri(), request.headers());
        if request.body().len() <= COPIED_BODY {
            wire.reserve_exact(request.body().len());
            wire.extend_from_slice(request.body());
        }
        Self { request, wire: wire.into(), appended: None }
    }

    /// What its body appended to a list last: `${sent}`.
    pub fn appended(&self) -> Option<&serde_json::Value> {
        self.appended.as_deref()
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// Its path and query.
    pub fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// All of it.
    pub fn request(&self) -> &Request<Bytes> {
        &self.request
    }

    /// What is sent over HTTP/1.1, in order.
    pub(super) fn wire(&self) -> [&[u8]; 2] {
        let body: &[u8] = self.request.body();
        [&self.wire, if body.len() <= COPIED_BODY { &[] } else { body }]
    }
}

/// The requests that are the same every time, put together once.
#[derive(Debug, Default)]
pub struct Literals(RefCell<Vec<Known>>);

/// Where a spec lies, and its request if nothing in it depends on a variable.
type Known = (*const RequestSpec, Option<Rc<Outgoing>>);

impl Literals {
    /// What [`build`] makes, or made before. `spec` is known by its place, so it and `target` must be those of one
    /// scenario, which stays where it is.
    pub fn get(&self, spec: &RequestSpec, target: &Target, scope: &Arc<Scope>) -> Result<Rc<Outgoing>, String> {
        let place = std::ptr::from_ref(spec);
        let mut known = self.0.borrow_mut();
        match known.iter().find(|(known, _)| *known == place) {
            Some((_, Some(request))) => Ok(request.clone()),
            Some((_, None)) => build(spec, target, scope).map(Rc::new),
            None => {
                let request = Rc::new(build(spec, target, scope)?);
                known.push((place, is_literal(spec, target).then(|| request.clone())));
                Ok(request)
            }
        }
    }
}

/// Whether nothing in it depends on a variable.
fn is_literal(spec: &RequestSpec, target: &Target) -> bool {
    let literal = |template: &Template| template.as_literal().is_some();
    let body = match &spec.body {
        BodySpec::None | BodySpec::Raw(_) => true,
        BodySpec::Text(template) => literal(template),
        BodySpec::Json(template) => matches!(template, JsonTemplate::Fixed(..)),
        BodySpec::Form(fields) => fields.iter().all(|(_, template)| literal(template)),
        // Its boundary is a new one each time.
        BodySpec::Multipart(_) => false,
    };
    let auth = spec.auth.is_some() || target.auth.is_some();
    !auth
        && body
        && literal(&spec.path)
        && target.headers.iter().chain(&spec.headers).all(|(_, template)| literal(template))
}

/// The request of `spec` to `target` with the variables of `scope`. The error says which part cannot be filled in.
pub fn build(spec: &RequestSpec, target: &Target, scope: &Arc<Scope>) -> Result<Outgoing, String> {
    build_with(spec, target, scope, |_| None)
}

/// The same with the cookies that a user sends to this path and query.
pub fn build_with(
    spec: &RequestSpec,
    target: &Target,
    scope: &Arc<Scope>,
    cookies: impl FnOnce(&str) -> Option<HeaderValue>,
) -> Result<Outgoing, String> {
    let path = fill(&spec.path, scope).map_err(|why| format!("path: {why}"))?;
    let mut headers = HeaderMap::with_capacity(target.headers.len() + spec.headers.len() + 4);
    let host = HeaderValue::try_from(target.base.authority()).map_err(|error| format!("host: {error}"))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let (body, kind, appended) = body(&spec.body, scope)?;
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, kind);
    }
    if target.http.gzip {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let uri = format!("{}{path}", target.base.prefix);
    if let Some(cookies) = cookies(&uri) {
        headers.insert(COOKIE, cookies);
    }
    for (name, template) in &target.headers {
        headers.insert(name, header(name, template, scope)?);
    }
    if let Some(auth) = spec.auth.as_ref().or(target.auth.as_ref()) {
        let (name, value) = auth::header(auth, scope)?;
        headers.insert(name, value);
    }
    for (name, template) in &spec.headers {
        headers.insert(name, header(name, template, scope)?);
    }
    if !body.is_empty() || spec.method == Method::POST || spec.method == Method::PUT || spec.method == Method::PATCH {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err("header transfer-encoding: a body is sent in one piece, with its length".to_owned());
    }
    let mut request = Request::builder()
        .method(&spec.method)
        .uri(uri.as_str())
        .body(body)
        .map_err(|error| format!("path `{uri}`: {error}"))?;
    *request.headers_mut() = headers;
    Ok(Outgoing { appended, ..Outgoing::new(request) })
}

/// The text of a template, filled in.
pub(super) fn fill(template: &Template, scope: &Arc<Scope>) -> Result<String, String> {
    match template.as_literal() {
        Some(text) => Ok(text.to_owned()),
        None => template
            .render(&scope.value())
            .map_err(|error| lacking(template.variables(), scope).unwrap_or(error.message)),
    }
}

/// Which of the names that a template uses have no value; `None` if all have one, and something else is wrong.
fn lacking(names: BTreeSet<String>, scope: &Scope) -> Option<String> {
    let has = |name: &str| {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let parts = rest.split('.').filter(|part| !part.is_empty());
        scope.get(first).is_some_and(|value| {
            let mut value = Some(&value);
            parts.for_each(|part| value = value.and_then(|value| value.get(part)));
            value.is_some()
        })
    };
    let say = |name: String| match scope
        .rows
        .iter()
        .find(|row| name.strip_prefix("data.").is_some_and(|of| is_of(of, row)))
    {
        Some(row) => format!("all rows of `data.{}` were taken", row.feed),
        None => format!("`{name}` has no value"),
    };
    let missing: Vec<String> = names.into_iter().filter(|name| !has(name)).map(say).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Whether a field is one of a feed of which there is no row left.
fn is_of(field: &str, row: &Row) -> bool {
    row.index.is_none() && field.split('.').next() == Some(&*row.feed)
}

fn header(name: &HeaderName, template: &Template, scope: &Arc<Scope>) -> Result<HeaderValue, String> {
    let text = fill(template, scope).map_err(|why| format!("header {name}: {why}"))?;
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("header {name}: its value holds bytes a header cannot carry"))?;
    value.set_sensitive(name == ::http::header::AUTHORIZATION || name == ::http::header::COOKIE);
    Ok(value)
}

/// A body, its media type, and what it appended to a list.
type Body = (Bytes, Option<HeaderValue>, Option<Box<serde_json::Value>>);

fn body(spec: &BodySpec, scope: &Arc<Scope>) -> Result<Body, String> {
    let (body, kind) = match spec {
        BodySpec::None => (Bytes::new(), None),
        BodySpec::Raw(bytes) => (bytes.clone(), None),
        BodySpec::Text(template) => (fill(template, scope).map_err(|why| format!("body: {why}"))?.into(), None),
        BodySpec::Json(template) => {
            let kind = Some(HeaderValue::from_static("application/json"));
            if let JsonTemplate::Fixed(_, text) = template {
                return Ok((text.clone(), kind, None));
            }
            let json = template
                .value(&scope.value())
                .map_err(|error| format!("json: {}", lacking(template.variables(), scope).unwrap_or(error.message)))?;
            let appended = template.appended_to(&json).map(Box::new);
            return Ok((json.to_string().into(), kind, appended));
        }
        BodySpec::Multipart(parts) => {
            let (body, kind) = multipart(parts, scope)?;
            (body, Some(kind))
        }
        BodySpec::Form(fields) => {
            let mut text = String::new();
            for (name, template) in fields {
                if !text.is_empty() {
                    text.push('&');
                }
                percent_encode(name, &mut text);
                text.push('=');
                let value = fill(template, scope).map_err(|why| format!("form field {name}: {why}"))?;
                percent_encode(&value, &mut text);
            }
            (text.into(), Some(HeaderValue::from_static("application/x-www-form-urlencoded")))
        }
    };
    Ok((body, kind, None))
}

/// RFC 7578. Names were checked when the configuration was loaded: they hold no quotes and no control characters.
fn multipart(parts: &[Part], scope: &Arc<Scope>) -> Result<(Bytes, HeaderValue), String> {
    let boundary = format!("plimsoll-{}", uuid::Uuid::new_v4().simple());
    let mut body = BytesMut::new();
    for part in parts {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", part.name);
        if let Some(name) = &part.file_name {
            let _ = write!(head, "; filename=\"{name}\"");
        }
        if let Some(kind) = &part.content_type {
            let _ = write!(head, "\r\nContent-Type: {kind}");
        }
        head.push_str("\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        match &part.data {
            PartData::File(bytes) => body.extend_from_slice(bytes),
            PartData::Text(template) => {
                let text = fill(template, scope).map_err(|why| format!("multipart field {}: {why}", part.name))?;
                body.extend_from_slice(text.as_bytes());
            }
        }
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind =
        HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}")).expect("a boundary is plain text");
    Ok((body.freeze(), kind))
}
