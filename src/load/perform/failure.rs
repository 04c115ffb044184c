//! Why a request has no answer.

use std::time::Duration;

use ::http::StatusCode;

use crate::{
    http::{
        dial::{self, DialError},
        exchange::ExchangeError,
        stream::Meter,
    },
    model::outcome::{CLIENT_ABORT, DropReason, Outcome, fail},
};

/// What kept a request from its answer.
pub(in crate::load) struct Failure {
    pub(in crate::load) outcome: Outcome,
    pub(in crate::load) reason: &'static str,
    pub(in crate::load) detail: String,
    pub(in crate::load) status: Option<StatusCode>,
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self { outcome: Outcome::Failed, reason: error.reason, detail: error.detail, status: None }
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        Self { outcome: error.outcome(), reason: error.reason, detail: error.detail, status: error.status }
    }
}

/// Ends when no byte has come within the limit, if there is one.
pub(super) async fn no_first_byte(limit: Option<Duration>, meter: &Meter) -> Failure {
    let Some(limit) = limit else { return std::future::pending().await };
    tokio::time::sleep(limit).await;
    if meter.first_read().is_some() {
        std::future::pending::<()>().await;
    }
    meter.note_time_out();
    let detail = format!("no first byte of the answer within {limit:?}");
    Failure { outcome: Outcome::Failed, reason: fail::TIMEOUT, detail, status: None }
}

/// Ends when the client does not wait any longer, if it is one of those.
pub(super) async fn gone(after: Option<Duration>) -> Failure {
    let Some(after) = after else { return std::future::pending().await };
    tokio::time::sleep(after).await;
    let detail = format!("the client was gone after {after:?}");
    Failure { outcome: Outcome::Interrupted, reason: CLIENT_ABORT, detail, status: None }
}

/// Why nothing was sent, if nothing was.
pub(in crate::load) fn refusal(failure: &Failure) -> Option<DropReason> {
    match failure.reason {
        dial::POLICY => Some(DropReason::Policy),
        dial::GENERATOR => Some(DropReason::Generator),
        reason if reason == DropReason::Deadline.as_str() => Some(DropReason::Deadline),
        _ => None,
    }
}
