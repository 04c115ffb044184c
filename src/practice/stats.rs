//! What the back ends say about themselves: health, queue, memory and Prometheus text. Read by probes and target
//! stats; never queued or delayed, since a page about the overload must answer in the overload.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{
    backend::{reply, with_type},
    gate::Limits,
    knobs::Knobs,
    respond::Board,
};

const GB: f64 = 1e9;

/// The limits of models that have none of their own.
pub(super) fn limits(knobs: &Knobs) -> Limits {
    Limits { parallel: knobs.parallel_limit, queue: knobs.queue_limit }
}

/// `/health`.
pub(super) fn health(board: &Board, knobs: &Knobs) -> Response<Bytes> {
    reply(
        200,
        &json!({
            "status": "healthy",
            "concurrency": {
                "default_parallel": knobs.parallel_limit,
                "default_queue_limit": knobs.queue_limit,
                "total_models": board.gate.stats(limits(knobs), None).len(),
                "memory": memory_json(board, knobs),
            }
        }),
    )
}

/// `/queue/memory`; GB are 10⁹ bytes.
pub(super) fn memory(board: &Board, knobs: &Knobs) -> Response<Bytes> {
    reply(200, &memory_json(board, knobs))
}

fn memory_json(board: &Board, knobs: &Knobs) -> Value {
    let used = board.backend.memory(knobs);
    json!({
        "total_gb": knobs.memory_total as f64 / GB,
        "available_gb": knobs.memory_total.saturating_sub(used) as f64 / GB,
        "used_gb": used as f64 / GB,
        "percent": (used as f64 / knobs.memory_total.max(1) as f64 * 1e5).round() / 1e3,
        "recommended_parallel": 4,
    })
}

/// `/queue/stats`, of all models or of the one in `?model=`.
pub(super) fn queue(board: &Board, knobs: &Knobs, query: Option<&str>) -> Response<Bytes> {
    let only = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("model=")));
    reply(
        200,
        &json!({
            "default_parallel": knobs.parallel_limit,
            "default_queue_limit": knobs.queue_limit,
            "models": board.gate.stats(limits(knobs), only),
        }),
    )
}

/// `POST /admin/queue/update`: limits of one model.
pub(super) fn update_queue(board: &mut Board, knobs: &Knobs, body: &Value) -> Response<Bytes> {
    const HELP: &str = r#"write {"model": "llama2", "parallel_limit": 4, "queue_limit": 512}"#;
    let known = ["model", "parallel_limit", "queue_limit"];
    let strict = body.as_object().is_some_and(|object| object.keys().all(|key| known.contains(&key.as_str())));
    let number = |key: &str| match &body[key] {
        Value::Null => Ok(None),
        value => value.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some).ok_or(()),
    };
    match (body["model"].as_str(), number("parallel_limit"), number("queue_limit")) {
        (Some(model), Ok(parallel), Ok(queue)) if strict && parallel != Some(0) => {
            let now = board.gate.set_limits(model, parallel, queue, limits(knobs));
            let limits = json!({"model": model, "parallel_limit": now.parallel, "queue_limit": now.queue});
            reply(200, &json!({"status": "updated", "model": model, "limits": limits}))
        }
        _ => reply(400, &json!({"error": HELP})),
    }
}

/// `/metrics` in Prometheus text format.
pub(super) fn metrics(board: &Board, knobs: &Knobs) -> Response<Bytes> {
    let mut text = String::with_capacity(1024);
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: f64| [(String::new(), value)];
    let memory = board.backend.memory(knobs) as f64;
    family("process_resident_memory_bytes", "gauge", "Memory, as the knobs say.", &one(memory));
    let active = board.log.concurrent() as f64;
    family("practice_requests_in_flight", "gauge", "Requests received and not yet answered.", &one(active));
    let open = board.backend.conversations() as f64;
    family("practice_conversations_open", "gauge", "Conversations open.", &one(open));
    let by_status: Vec<_> = board
        .log
        .by_status()
        .iter()
        .map(|(status, count)| (format!("{{status=\"{status}\"}}"), *count as f64))
        .collect();
    family("practice_answers_total", "counter", "Answers by status.", &by_status);
    let lanes = board.gate.stats(limits(knobs), None);
    let of_each = |value: fn(&super::gate::LaneStats) -> f64| -> Vec<(String, f64)> {
        lanes.iter().map(|(model, lane)| (format!("{{model=\"{}\"}}", escaped(model)), value(lane))).collect()
    };
    let queued = of_each(|lane| lane.queued_requests as f64);
    family("practice_queued_requests", "gauge", "Requests waiting, by model.", &queued);
    let rejected = of_each(|lane| lane.total_rejected as f64);
    family("practice_rejected_total", "counter", "Requests refused because the queue was full, by model.", &rejected);
    with_type(Response::new(Bytes::from(text)), "text/plain; version=0.0.4; charset=utf-8")
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
