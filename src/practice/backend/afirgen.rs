//! A workflow in five steps over one session: a file is taken in, four stages are validated, a report with a number
//! comes out, and somebody polls until it is done.

use std::time::Instant;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, Remembered, reply};
use crate::practice::knobs::Knobs;

/// What can be validated.
const STAGES: [&str; 5] = ["transcript", "summary", "violations", "narrative", "final_review"];

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Afirgen {
    sessions: Remembered<Session, 10_000>,
}

#[derive(Debug)]
struct Session {
    begun: Instant,
    wall: jiff::Timestamp,
    validated: Vec<&'static str>,
}

impl Session {
    fn number(&self, id: Uuid) -> String {
        let (hex, at) = (id.simple().to_string(), self.wall.strftime("%Y%m%d%H%M%S"));
        format!("FIR-{}-{at}", &hex[..8])
    }
}

impl Afirgen {
    /// `POST /process`: a file as multipart, or JSON.
    pub(super) fn process(&mut self, call: &Call<'_>) -> Response<Bytes> {
        let file = match multipart_file(call) {
            Ok(file) => file,
            Err(problem) => return reply(422, &json!({"detail": problem})),
        };
        let id = (call.id)();
        self.sessions.add(id, Session { begun: call.now.mono, wall: call.now.wall, validated: Vec::new() });
        reply(200, &json!({"session_id": id, "status": "pending", "current_step": STAGES[0], "file": file}))
    }

    /// `POST /validate` with a `stage`, and `POST /final_review`, the last of them.
    pub(super) fn validate(&mut self, call: &Call<'_>, stage: Option<&str>) -> Response<Bytes> {
        let wanted = stage.unwrap_or_else(|| call.json["stage"].as_str().unwrap_or_default());
        let Some((id, session)) = self.sessions.get(call.json["session_id"].as_str().unwrap_or_default()) else {
            return no_session();
        };
        let Some(stage) = STAGES.into_iter().find(|stage| *stage == wanted) else {
            return reply(422, &json!({"detail": format!("stage must be one of {}", STAGES.join(", "))}));
        };
        if !session.validated.contains(&stage) {
            session.validated.push(stage);
        }
        let mut answer = json!({"session_id": id, "stage": stage, "valid": true, "validated": session.validated});
        if stage == "final_review" {
            answer["fir_number"] = session.number(id).into();
        }
        reply(200, &answer)
    }

    /// `GET /session/{id}/status`: pending until `session_time` is over, then done.
    pub(super) fn status(&mut self, id: &str, call: &Call<'_>, knobs: &Knobs) -> Response<Bytes> {
        let Some((id, session)) = self.sessions.get(id) else { return no_session() };
        let age = call.now.mono.saturating_duration_since(session.begun);
        let status = if age < knobs.session_time { "pending" } else { "done" };
        let next = STAGES.into_iter().find(|stage| !session.validated.contains(stage));
        reply(200, &json!({"session_id": id, "status": status, "current_step": next, "validated": session.validated}))
    }

    /// `GET /fir/{id}`: the report of a session that is done.
    pub(super) fn fir(&mut self, id: &str, call: &Call<'_>, knobs: &Knobs) -> Response<Bytes> {
        let Some((id, session)) = self.sessions.get(id) else { return no_session() };
        if call.now.mono.saturating_duration_since(session.begun) < knobs.session_time {
            return reply(409, &json!({"detail": "the report is not done"}));
        }
        let number = session.number(id);
        let content = format!("First report {number}");
        reply(200, &json!({"session_id": id, "fir_number": number, "status": "done", "content": content}))
    }
}

fn no_session() -> Response<Bytes> {
    reply(404, &json!({"detail": "no such session"}))
}

/// Name and size of the file in a multipart body; null where the body is no multipart.
fn multipart_file(call: &Call<'_>) -> Result<Value, &'static str> {
    let Some(parameters) = call.content_type.strip_prefix("multipart/form-data") else { return Ok(Value::Null) };
    let boundary = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="));
    let boundary = boundary.ok_or("multipart/form-data has no boundary")?.trim_matches('"');
    let delimiter = format!("\r\n--{boundary}");
    let mut rest =
        call.body.strip_prefix(&delimiter.as_bytes()[2..]).ok_or("the body does not begin with its boundary")?;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_end = find(part, b"\r\n\r\n").ok_or("a part has no end of its head")?;
        let body = &part[head_end + 4..];
        let end = find(body, delimiter.as_bytes()).ok_or("the last part has no end: the body is cut short")?;
        let head = String::from_utf8_lossy(&part[..head_end]);
        if let Some(name) = head.split("filename=\"").nth(1) {
            let name = name.split('"').next().unwrap_or_default();
            return Ok(json!({"name": name, "bytes": end}));
        }
        rest = &body[end + delimiter.len()..];
    }
    Err("file is required")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::practice::backend::testing::Client;

    #[test]
    fn a_session_from_file_to_report() {
        let mut client = Client::new();
        client.knobs.session_time = Duration::from_secs(2);
        let body = b"--b\r\ncontent-disposition: form-data; name=\"lang\"\r\n\r\nen\r\n--b\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"fir.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
        let (response, begun) = client.send("POST", "/process", "multipart/form-data; boundary=b", body);
        assert_eq!(response.status(), 200);
        insta::assert_json_snapshot!(begun, @r#"
        {
          "session_id": "00000001-0000-0000-0000-000000000000",
          "status": "pending",
          "current_step": "transcript",
          "file": {
            "name": "fir.wav",
            "bytes": 4
          }
        }
        "#);
        let id = begun["session_id"].as_str().expect("an id");
        let status = format!("/session/{id}/status");
        let report = format!("/fir/{id}");
        assert_eq!((client.get(&status).1["status"].clone(), client.get(&report).0), (json!("pending"), 409));
        for stage in &STAGES[..4] {
            assert_eq!(client.post("/validate", &json!({"session_id": id, "stage": stage})).0, 200, "{stage}");
        }
        assert_eq!(client.post("/validate", &json!({"session_id": id, "stage": "nonsense"})).0, 422);
        let number = "FIR-00000001-19700101000000";
        assert_eq!(client.post("/final_review", &json!({"session_id": id})).1["fir_number"], number);
        client.pass(Duration::from_secs(2));
        let (_, done) = client.get(&status);
        assert_eq!((&done["status"], &done["current_step"]), (&json!("done"), &Value::Null));
        assert_eq!(client.get(&report).1["fir_number"], number);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut client = Client::new();
        let none = Uuid::nil();
        assert_eq!(client.get(&format!("/fir/{none}")).0, 404);
        assert_eq!(client.get("/session/0/status").0, 404);
        assert_eq!(client.post("/validate", &json!({"stage": "summary"})).0, 404);
        let mut check = |kind: &str, body: &[u8], expected: &str| {
            let (response, answer) = client.send("POST", "/process", kind, body);
            assert_eq!((response.status().as_u16(), answer["detail"].as_str()), (422, Some(expected)));
        };
        let kind = "multipart/form-data; boundary=b";
        check("multipart/form-data", b"--b--\r\n", "multipart/form-data has no boundary");
        check(kind, b"", "the body does not begin with its boundary");
        check(kind, b"--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n", "file is required");
        let cut = b"--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n12";
        check(kind, cut, "the last part has no end: the body is cut short");
    }
}
