//! A step's request, filled in for one iteration (pure).

use std::{fmt::Write as _, sync::Arc};

use ::http::{
    HeaderMap, HeaderValue, Method, Request,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, USER_AGENT},
};
use bytes::{Bytes, BytesMut};
use http_body_util::Full;

use super::scope::Scope;
use crate::model::{
    scenario::{BodySpec, Part, PartData, RequestSpec, Target},
    template::{Template, percent_encode},
};

/// Sent with every request that names no other.
pub const AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"));

/// The request of `spec` to `target` with the variables of `scope`. The error says which part cannot be filled in.
pub fn build(spec: &RequestSpec, target: &Target, scope: &Arc<Scope>) -> Result<Request<Full<Bytes>>, String> {
    let path = fill(&spec.path, scope).map_err(|why| format!("path: {why}"))?;
    let mut headers = HeaderMap::with_capacity(target.headers.len() + spec.headers.len() + 4);
    let host = HeaderValue::try_from(target.base.authority()).map_err(|error| format!("host: {error}"))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let (body, kind) = body(&spec.body, scope)?;
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, kind);
    }
    for (name, template) in target.headers.iter().chain(&spec.headers) {
        headers.insert(name, header(name, template, scope)?);
    }
    if !body.is_empty() || spec.method == Method::POST || spec.method == Method::PUT || spec.method == Method::PATCH {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let uri = format!("{}{path}", target.base.prefix);
    let mut request = Request::builder()
        .method(&spec.method)
        .uri(uri.as_str())
        .body(Full::new(body))
        .map_err(|error| format!("path `{uri}`: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn fill(template: &Template, scope: &Arc<Scope>) -> Result<String, String> {
    match template.as_literal() {
        Some(text) => Ok(text.to_owned()),
        None => template.render(&scope.value()).map_err(|error| error.message),
    }
}

fn header(name: &HeaderName, template: &Template, scope: &Arc<Scope>) -> Result<HeaderValue, String> {
    let text = fill(template, scope).map_err(|why| format!("header {name}: {why}"))?;
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("header {name}: its value holds bytes a header cannot carry"))?;
    value.set_sensitive(name == ::http::header::AUTHORIZATION || name == ::http::header::COOKIE);
    Ok(value)
}

fn body(spec: &BodySpec, scope: &Arc<Scope>) -> Result<(Bytes, Option<HeaderValue>), String> {
    Ok(match spec {
        BodySpec::None => (Bytes::new(), None),
        BodySpec::Raw(bytes) => (bytes.clone(), None),
        BodySpec::Text(template) => (fill(template, scope).map_err(|why| format!("body: {why}"))?.into(), None),
        BodySpec::Json(template) => {
            let json = template.render(&scope.value()).map_err(|error| format!("json: {}", error.message))?;
            (json, Some(HeaderValue::from_static("application/json")))
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
    })
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
