//! A request's body is read here, once, before anybody acts on it: a body that is too long, too slow or broken then ends in
//! one place, and in the form of the API.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::refusal;

/// Bytes of a request's body.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// Passes a request on with its whole body, which has to be there within `time`.
pub(super) async fn whole(request: Request, next: Next, time: Duration) -> Response {
    let (parts, body) = request.into_parts();
    // Who only reads is not waited for.
    if parts.method == Method::GET || parts.method == Method::HEAD {
        return next.run(Request::from_parts(parts, Body::empty())).await;
    }
    match timeout(time, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is longer than {} KiB.", BODY_BYTES / 1024))
        }
        Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "The body is not what its head announces."),
        Err(_) => refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("The body was not there {} s after the head; send both at once.", time.as_secs_f64()),
        ),
    }
}
