//! What the back ends say about themselves: health, queue, memory and Prometheus text. Read by probes and target
//! stats; never queued or delayed, since a page about the overload must answer in the overload.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use http::{Response, request};
use serde_json::{Value, json};

use super::{
    backend::{reply, with_type},
    gate::Limits,
    knobs::Knobs,
    respond::{Board, Shared},
};
use crate::model::clock::mono;

const GB: f64 = 1e9;

/// The limits of models that have none of their own.
pub(super) fn limits(knobs: &Knobs) -> Limits {
    Limits { parallel: knobs.parallel_limit, queue: knobs.queue_limit }
}

/// Answers a request for one of the pages about the target.
pub(super) fn answer(shared: &Arc<Shared>, knobs: &Knobs, head: &request::Parts, json: &Value) -> Response<Bytes> {
    match (head.method.as_str(), head.uri.path()) {
        ("GET", "/queue/stats") => queue(&shared.board(), knobs, head.uri.query()),
        ("GET", "/queue/memory") => memory(&mut shared.board(), knobs),
        ("GET", "/pool/stats") => {
            let stats = shared.board().backend.cache.stats(knobs);
            reply(200, &serde_json::to_value(stats).expect("plain values"))
        }
        ("GET", "/metrics") => metrics(&mut shared.board(), knobs),
        ("POST", "/admin/queue/update") => {
            let response = update_queue(&mut shared.board(), knobs, json);
            shared.limits_changed();
            response
        }
        ("POST", "/admin/cache/reset") => {
            shared.board().backend.cache.clear();
            reply(200, &json!({"status": "reset"}))
        }
        (_, path) if path.starts_with("/admin/") => {
            reply(404, &json!({"error": "there are POST /admin/queue/update and POST /admin/cache/reset"}))
        }
        _ => reply(405, &json!({"error": "method not allowed"})),
    }
}

/// `/health`, with the fields of the queue and those of the workflow.
pub(super) fn health(board: &mut Board, knobs: &Knobs) -> Response<Bytes> {
    let models = board.gate.stats(limits(knobs), None).len();
    let (status, helper) = if knobs.degraded { ("degraded", "unhealthy") } else { ("healthy", "healthy") };
    reply(
        200,
        &json!({
            "status": status,
            "model_server": {"status": "healthy"},
            "asr_ocr_server": {"status": helper},
            "database": "connected",
            "concurrency": {
                "default_parallel": knobs.parallel_limit,
                "default_queue_limit": knobs.queue_limit,
                "total_models": models,
                "memory": memory_json(board, knobs),
                "max_concurrent_requests": 15,
                "max_concurrent_model_calls": 10,
                "http_pool_size": 20,
            }
        }),
    )
}

/// `/queue/memory`; GB are 10⁹ bytes.
fn memory(board: &mut Board, knobs: &Knobs) -> Response<Bytes> {
    reply(200, &memory_json(board, knobs))
}

fn memory_json(board: &mut Board, knobs: &Knobs) -> Value {
    let used = board.backend.memory(knobs, mono());
    json!({
        "total_gb": knobs.memory_total as f64 / GB,
        "available_gb": knobs.memory_total.saturating_sub(used) as f64 / GB,
        "used_gb": used as f64 / GB,
        "percent": (used as f64 / knobs.memory_total.max(1) as f64 * 1e5).round() / 1e3,
        "recommended_parallel": 4,
    })
}

/// `/queue/stats`, of all models or of the one in `?model=`.
fn queue(board: &Board, knobs: &Knobs, query: Option<&str>) -> Response<Bytes> {
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
fn update_queue(board: &mut Board, knobs: &Knobs, body: &Value) -> Response<Bytes> {
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
fn metrics(board: &mut Board, knobs: &Knobs) -> Response<Bytes> {
    let mut text = String::with_capacity(1024);
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: f64| [(String::new(), value)];
    let memory = board.backend.memory(knobs, mono()) as f64;
    family("process_resident_memory_bytes", "gauge", "Memory, as the knobs say.", &one(memory));
    let application = [("{component=\"application\"}".to_owned(), memory)];
    family("gremlinsai_memory_usage_bytes", "gauge", "The same, under the chat API's name.", &application);
    let chats = board.backend.gremlins.conversations() as f64;
    family("gremlinsai_active_conversations", "gauge", "Conversations the chat API remembers.", &one(chats));
    let (requests, errors) = board.log.under("/api/");
    family("gremlinsai_api_requests_total", "counter", "Requests under /api answered.", &one(requests as f64));
    family(
        "gremlinsai_api_errors_total",
        "counter",
        "Of them, those with a status of 400 or more.",
        &one(errors as f64),
    );
    let pool = board.backend.cache.stats(knobs);
    let used = pool.utilization_percent / 100.0;
    family("practice_pool_utilization_ratio", "gauge", "Blocks of the pool that are taken, of 1.", &one(used));
    let looked_up = [("HIT", pool.cache_hits), ("MISS", pool.cache_misses)]
        .map(|(result, count)| (format!("{{result=\"{result}\"}}"), count as f64));
    family("practice_cache_requests_total", "counter", "Requests by what the cache knew.", &looked_up);
    let active = board.log.concurrent() as f64;
    family("practice_requests_in_flight", "gauge", "Requests received and not yet answered.", &one(active));
    let open = board.backend.matrixbot.active() as f64;
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
