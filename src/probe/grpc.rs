//! The gRPC health service (`grpc.health.v1.Health/Check`), over HTTP/2 with TLS or without, as the target's URL says.

use std::sync::Arc;

use ::http::{HeaderMap, Method, Request, header};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use super::{MAX_ANSWER, ProbeError, Reply, add_headers, failed};
use crate::{
    http::{
        exchange::{Keep, Want},
        h2::Session,
        request::AGENT,
        scope::Scope,
        stream::Meter,
    },
    model::{
        outcome::{Outcome, fail, reject},
        scenario::Target,
    },
};

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The question about `service`.
pub(super) fn request(target: &Target, service: &str, scope: &Arc<Scope>) -> Result<Request<Bytes>, ProbeError> {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.extend_from_slice(&message);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/grpc.health.v1.Health/Check", target.base.prefix))
        .header(header::HOST, target.base.authority())
        .header(header::USER_AGENT, AGENT)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body.freeze())
        .map_err(|error| failed(fail::PROTOCOL, error.to_string()))?;
    add_headers(request.headers_mut(), target, scope)?;
    Ok(request)
}

/// Asks over an open connection.
pub(super) async fn ask(session: &Session, request: &Request<Bytes>, meter: &Meter) -> Result<Reply, ProbeError> {
    let want = Want { body: Keep::All, headers: true, max_body: MAX_ANSWER as u64, room: None, sink: None };
    let (answer, trailers) = session.call(request, want, meter).await.map_err(|error| ProbeError {
        outcome: error.outcome(),
        reason: error.reason,
        detail: error.detail,
    })?;
    let reply =
        |body: Bytes| Reply { status: Some(answer.status), headers: answer.headers.clone(), body, ended: answer.ended };
    // Something before the service answered, in the words of HTTP: it is judged as such.
    if !answer.status.is_success() {
        return Ok(reply(answer.body.clone()));
    }
    status(trailers.as_ref().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(&answer.headers))?;
    let health = health(&answer.body)?;
    if health != "SERVING" {
        return Err(failed(fail::STATUS, format!("the service says {health}")));
    }
    Ok(reply(Bytes::from(serde_json::json!({"status": health}).to_string())))
}

/// The code of gRPC itself.
fn status(headers: &HeaderMap) -> Result<(), ProbeError> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(code) = text("grpc-status") else {
        return Err(failed(fail::PROTOCOL, "the answer has no grpc-status: it is not gRPC"));
    };
    let message = text("grpc-message").unwrap_or_default();
    let detail = format!("gRPC status {code} ({}) {message}", name(&code)).trim_end().to_owned();
    match code.as_str() {
        "0" => Ok(()),
        "8" => Err(ProbeError { outcome: Outcome::Rejected, reason: reject::EXHAUSTED, detail }),
        _ => Err(failed(fail::STATUS, detail)),
    }
}

fn name(code: &str) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    code.parse().ok().and_then(|code: usize| NAMES.get(code)).unwrap_or(&"no such code")
}

/// What the one message says.
fn health(body: &[u8]) -> Result<&'static str, ProbeError> {
    let fault = |why: &str| failed(fail::PROTOCOL, format!("the answer is no health message: {why}"));
    let (head, message) = body.split_at_checked(5).ok_or_else(|| fault("it is too short"))?;
    if head[0] != 0 {
        return Err(fault("it is compressed, which nobody asked for"));
    }
    if head[1..] != (message.len() as u32).to_be_bytes() {
        return Err(fault("its length is not what it says"));
    }
    let health = HealthCheckResponse::decode(message).map_err(|error| fault(&error.to_string()))?;
    Ok(match health.status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    })
}
