//! A client without a network, for the tests of the back ends.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use uuid::Uuid;

use super::{Backend, Call, Content};
use crate::{
    model::clock::{Now, mono},
    practice::knobs::Knobs,
};

/// A back end and the time it lives in.
pub(super) struct Client {
    pub(super) backend: Backend,
    pub(super) knobs: Knobs,
    pub(super) now: Now,
    ids: Cell<u64>,
}

impl Client {
    pub(super) fn new() -> Self {
        let now = Now { mono: mono(), wall: jiff::Timestamp::UNIX_EPOCH };
        Self { backend: Backend::default(), knobs: Knobs::default(), now, ids: Cell::new(0) }
    }

    pub(super) fn pass(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    pub(super) fn get(&mut self, path: &str) -> (u16, Value) {
        let (response, body) = self.send("GET", path, "", b"");
        (response.status().as_u16(), body)
    }

    pub(super) fn delete(&mut self, path: &str) -> (u16, Value) {
        let (response, body) = self.send("DELETE", path, "", b"");
        (response.status().as_u16(), body)
    }

    pub(super) fn post(&mut self, path: &str, json: &Value) -> (u16, Value) {
        let (response, body) = self.send("POST", path, "application/json", json.to_string().as_bytes());
        (response.status().as_u16(), body)
    }

    /// The answer, and its body where it is JSON.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (Response<Content>, Value) {
        let id = || {
            self.ids.set(self.ids.get() + 1);
            Uuid::from_u64_pair(self.ids.get() << 32, 0)
        };
        let json = serde_json::from_slice(body).unwrap_or(Value::Null);
        let body = Bytes::copy_from_slice(body);
        let call = Call { method, path, content_type, body: &body, json: &json, now: self.now, id: &id };
        let response = self.backend.work(&call, &self.knobs).response;
        let json = match response.body() {
            Content::Whole(bytes) => serde_json::from_slice(bytes).unwrap_or(Value::Null),
            Content::Tokens(_) => Value::Null,
        };
        (response, json)
    }
}
