//! Each endpoint of each back end once, over a socket.

use std::{collections::BTreeMap, net::SocketAddr};

use plimsoll::practice::{stream::StreamLog, target};
use serde_json::{Value, json};

use super::{Knobs, Target, start};
use crate::support::http;

/// Sends a request and returns status, headers and JSON body.
async fn ask(target: &Target, method: &str, path: &str, body: Value) -> (u16, http::HeaderMap, Value) {
    let method = method.parse().expect("a method");
    let request = http().request(method, format!("{}{path}", target.url()));
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn get(target: &Target, path: &str) -> Value {
    ask(target, "GET", path, Value::Null).await.2
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_proxy() {
    let target = start(json!({"tokens": 3, "parallel_limit": 4})).await;
    let health = get(&target, "/health").await;
    assert_eq!((&health["status"], &health["concurrency"]["default_parallel"]), (&json!("healthy"), &json!(4)));
    let memory = get(&target, "/queue/memory").await;
    let keys: Vec<_> = memory.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["total_gb", "available_gb", "used_gb", "percent", "recommended_parallel"]);

    let body = json!({"model": "llama2", "prompt": "What is AI?", "stream": false});
    let (status, headers, answer) = ask(&target, "POST", "/api/generate", body).await;
    assert_eq!((status, &headers["x-wait-ms"], &answer["eval_count"]), (200, &"0".parse().expect("text"), &json!(3)));
    let limits = json!({"model": "llama2", "parallel_limit": 1, "queue_limit": 2});
    assert_eq!(ask(&target, "POST", "/admin/queue/update", limits).await.0, 200);
    let queues = get(&target, "/queue/stats?model=llama2").await;
    let model = &queues["models"]["llama2"];
    assert_eq!((&model["parallel_limit"], &model["total_processed"]), (&json!(1), &json!(1)));
    assert_eq!(ask(&target, "POST", "/admin/other", Value::Null).await.0, 404);

    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hi there"}]});
    let (_, _, answer) = ask(&target, "POST", "/v1/chat/completions", chat).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "You said: Hi there");
    assert_eq!(answer["usage"], json!({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_sent_token_by_token_and_logged() {
    let knobs = json!({"tokens": 4, "first_token": "30ms", "token_gap": "10ms", "token_stall": "80ms"});
    let target = start(knobs).await;
    let post = async |path: &str, body: Value| {
        let response = http().post(format!("{}{path}", target.url())).json(&body).send().await.expect("an answer");
        let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
        (kind, response.text().await.expect("a body"))
    };
    let (kind, lines) = post("/api/generate", json!({"model": "m", "prompt": "Hi", "stream": true})).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((kind.as_str(), lines.len()), ("application/x-ndjson", 5));
    let words: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
    assert_eq!((words.as_str(), &lines[3]["done"]), ("Practice makes perfect. Practice ", &json!(false)));
    assert_eq!((&lines[4]["done"], &lines[4]["eval_count"]), (&json!(true), &json!(4)));

    let body = json!({"stream": true, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let (kind, events) = post("/v1/chat/completions", body.clone()).await;
    let data: Vec<_> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!((kind.as_str(), data.len(), data[4]), ("text/event-stream", 5, "[DONE]"));
    let usage: Value = serde_json::from_str(data[3]).expect("JSON");
    assert_eq!(usage["usage"]["completion_tokens"], 2);
    let (_, events) = post("/v1/messages", body).await;
    assert!(events.contains("event: message_stop\n") && events.contains("\"output_tokens\":2"), "{events}");

    let logged: StreamLog = serde_json::from_value(get(&target, "/practice/streams").await).expect("a log");
    assert_eq!(logged, target.streams());
    let by_path: BTreeMap<_, _> = logged.streams.iter().map(|one| (&*one.path, one)).collect();
    let ollama = by_path["/api/generate"];
    assert_eq!((ollama.tokens, ollama.planned, ollama.gaps_ms.len(), ollama.complete), (4, 4, 3, true));
    assert!(ollama.first_token_ms.expect("it was sent") >= 30.0, "{ollama:?}");
    assert!(
        ollama.gaps_ms.iter().all(|gap| *gap >= 10.0) && ollama.gaps_ms[1] >= 90.0,
        "the stall is midway: {ollama:?}"
    );
    assert_eq!((by_path["/v1/chat/completions"].tokens, by_path["/v1/messages"].tokens), (2, 2));
    let last = get(&target, "/practice/streams?last=1").await;
    assert_eq!((&last["dropped"], last["streams"].as_array().map(Vec::len)), (&json!(2), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_left_is_logged_as_such_and_frees_its_place() {
    let target = start(json!({"tokens": 1000, "token_gap": "20ms", "parallel_limit": 1})).await;
    let body = json!({"model": "m", "stream": true});
    let mut response =
        http().post(format!("{}/api/generate", target.url())).json(&body).send().await.expect("an answer");
    response.chunk().await.expect("a token").expect("a token");
    assert_eq!(get(&target, "/queue/stats").await["models"]["m"]["active_requests"], 1);
    drop(response);
    let left = crate::support::wait_until("the stream is over", crate::support::PATIENCE, async || {
        target.streams().streams.pop()
    });
    let left = left.await;
    assert!(!left.complete && left.tokens >= 1 && left.tokens < 1000, "{left:?}");
    assert_eq!(get(&target, "/queue/stats").await["models"]["m"]["active_requests"], 0);
    assert_eq!(target.log().by_path["/api/generate"].unanswered, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_break_in_the_middle() {
    let target = start(json!({"tokens": 4})).await;
    let read = async |fault: &str| {
        let body = json!({"stream": true});
        let request = http().post(format!("{}/v1/chat/completions?fault={fault}", target.url())).json(&body);
        let mut response = request.send().await.expect("a head");
        let mut text = String::new();
        let ended = loop {
            match response.chunk().await {
                Ok(Some(bytes)) => text += &String::from_utf8_lossy(&bytes),
                Ok(None) => break true,
                Err(_) => break false,
            }
            if text.len() > 100_000 {
                break false;
            }
        };
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let whole = data.filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        (ended, whole, text.ends_with("data: [DONE]\n\n"))
    };
    assert_eq!(read("goaway").await, (true, 6, true));
    assert_eq!(read("reset_response_head").await, (false, 0, false));
    for fault in ["reset_mid_body", "close_mid_body", "truncated_chunk"] {
        assert_eq!(read(fault).await, (false, 2, false), "{fault}");
    }
    assert_eq!(read("bad_json").await, (true, 5, true));
    let (ended, tokens, _) = read("endless_body").await;
    assert!(!ended && tokens > 100, "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workflow() {
    let target = start(json!({"session_time": "200ms", "degraded": true})).await;
    assert_eq!(get(&target, "/health").await["status"], "degraded");
    let body = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"fir.wav\"\r\n\r\nRIFF\r\n--x--\r\n";
    let request = http().post(format!("{}/process", target.url())).body(body);
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    let begun: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(begun["file"], json!({"name": "fir.wav", "bytes": 4}));
    let id = begun["session_id"].as_str().expect("an id");
    let status = format!("/session/{id}/status");
    assert_eq!(get(&target, &status).await["status"], "pending");
    for stage in ["transcript", "summary", "violations", "narrative"] {
        let (status, ..) = ask(&target, "POST", "/validate", json!({"session_id": id, "stage": stage})).await;
        assert_eq!(status, 200);
    }
    let (_, _, review) = ask(&target, "POST", "/final_review", json!({"session_id": id})).await;
    crate::support::wait_until("it is done", crate::support::PATIENCE, async || {
        (get(&target, &status).await["status"] == "done").then_some(())
    })
    .await;
    let report = get(&target, &format!("/fir/{id}")).await;
    assert_eq!(report["fir_number"], review["fir_number"]);
    assert!(report["fir_number"].as_str().is_some_and(|number| number.starts_with("FIR-")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_semantic_cache() {
    // Six requests of three blocks are 90 %; a seventh would be above 95 %.
    let target = start(json!({"blocks": 20, "stall_for": "400ms", "leak_per_request": "1MB"})).await;
    let say = |n: u32| json!({"model": "m", "max_tokens": 40, "messages": [{"role": "user", "content": format!("Agent 1 request {n}")}]});
    let client = http();
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..10 {
        let request = client.post(format!("{}/v1/messages", target.url())).json(&say(n));
        sent.spawn(async move { request.send().await.expect("an answer").status().as_u16() });
    }
    let mut statuses = sent.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 429, 429, 429, 429]);
    let (_, headers, answer) = ask(&target, "POST", "/v1/messages", say(11)).await;
    assert_eq!((headers["x-cache"].as_bytes(), &answer["usage"]["output_tokens"]), (&b"HIT"[..], &json!(16)));
    let stats = get(&target, "/pool/stats").await;
    assert_eq!(
        (&stats["blocks_used"], &stats["total_rejected"], &stats["cache_hits"]),
        (&json!(0), &json!(4), &json!(6))
    );
    assert_eq!(ask(&target, "POST", "/admin/cache/reset", Value::Null).await.0, 200);
    assert_eq!(ask(&target, "POST", "/v1/messages", say(12)).await.1["x-cache"], "MISS");
    let metrics = get(&target, "/metrics").await;
    let metrics = metrics.as_str().expect("text");
    for line in [
        "process_resident_memory_bytes 268000000",
        "gremlinsai_memory_usage_bytes{component=\"application\"} 268000000",
        "practice_cache_requests_total{result=\"MISS\"} 1",
        "practice_pool_utilization_ratio 0",
    ] {
        assert!(metrics.lines().any(|written| written == line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limited_conversations() {
    let target = start(json!({"pool_limit": 4})).await;
    let open = async |user: &str| {
        let (status, headers, body) = ask(&target, "POST", "/conversations", json!({"user": user})).await;
        let reason = headers.get("x-reject-reason").map(|reason| reason.to_str().expect("text").to_owned());
        (status, reason, body["id"].as_str().unwrap_or_default().to_owned())
    };
    let (status, _, id) = open("anna").await;
    assert_eq!(status, 201);
    open("anna").await;
    open("anna").await;
    assert_eq!(open("anna").await.1.as_deref(), Some("user_limit"));
    assert_eq!(open("bert").await.0, 201);
    assert_eq!(open("carl").await.1.as_deref(), Some("pool_full"));
    let (_, headers, turn) =
        ask(&target, "POST", &format!("/conversations/{id}/turns"), json!({"message": "Hi"})).await;
    assert!(headers.contains_key("x-duration-ms") && headers.contains_key("x-wait-ms"), "{headers:?}");
    assert_eq!((&turn["turn"], &turn["reply"]), (&json!(1), &json!("You said: Hi")));
    assert_eq!(ask(&target, "DELETE", &format!("/conversations/{id}"), Value::Null).await.2["turns"], 1);
    let counts = get(&target, "/conversations").await;
    let of = |key: &str| counts[key].as_u64().expect("a number");
    assert_eq!((of("active"), of("started"), of("ended"), of("rejected")), (3, 4, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_api() {
    let target = start(json!({"path_latency": "/api/rag=150ms,/api/conversations/{id}/messages=1ms"})).await;
    let (status, _, begun) = ask(&target, "POST", "/api/conversations", json!({"title": "t"})).await;
    let id = begun["id"].as_str().expect("an id");
    assert_eq!(status, 201);
    let (_, _, said) = ask(&target, "POST", &format!("/api/conversations/{id}/messages"), json!({"q": "Hi"})).await;
    assert_eq!((&said["answer"], &said["conversation_id"]), (&json!("You said: Hi"), &json!(id)));
    assert_eq!(get(&target, &format!("/api/v1/conversations/{id}")).await["messages"], json!(["Hi"]));
    for path in ["/api/agents", "/api/rag"] {
        assert_eq!(ask(&target, "POST", path, json!({"query": "Why?"})).await.2["answer"], "You said: Why?");
    }
    for (path, key) in [("/api/health", "status"), ("/api/capabilities", "capabilities"), ("/api/v1/info", "name")] {
        assert!(!get(&target, path).await[key].is_null(), "{path}");
    }
    let log = target.log();
    let slow = log.requests.iter().find(|entry| &*entry.path == "/api/rag").expect("it was asked");
    assert!(slow.answered_ms.expect("it was answered") - slow.received_ms >= 150.0, "{slow:?}");
    assert_eq!(log.by_path["/api/conversations/{id}/messages"].by_status[&200], 1);
    let metrics = get(&target, "/metrics").await;
    assert!(metrics.as_str().expect("text").contains("gremlinsai_active_conversations 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_reach_the_controls() {
    // A stranger is whoever does not come from a loopback address; this machine's own other address will do.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: connecting a datagram socket only picks the address that would be used.
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr()).map(|addr| addr.ip());
    let Ok(own) = own else { return println!("skipped: this machine has no address but loopback") };
    for (open, expected) in [(false, 403), (true, 200)] {
        let listen = SocketAddr::new("0.0.0.0".parse().expect("an address"), 0);
        let target = target::start(Knobs { listen, open_control: open, ..Knobs::default() }).await.expect("a port");
        let url = format!("http://{}", SocketAddr::new(own, target.addr.port()));
        let status = async |path: &str| http().get(format!("{url}{path}")).send().await.expect("an answer").status();
        assert_eq!((status("/practice").await.as_u16(), status("/health").await.as_u16()), (expected, 200));
    }
}
