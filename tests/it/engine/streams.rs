//! Streamed answers as the engine measured them, beside the log of the target that sent them: token for token.
//! The figures of time are in the benchmark: `cargo bench --bench engine -- streams`.

use plimsoll::model::run::StreamSummary;
use serde_json::json;

use super::{Done, practice, run, settings};

/// A way to stream: its name, the request, and how it is read.
const SHAPES: [(&str, &str, &str); 3] = [
    ("OpenAI", "post: /v1/chat/completions, json: {stream: true, max_tokens: \"${n * 3}\"}", "sse"),
    (
        "Anthropic",
        "post: /v1/messages, json: {stream: true, max_tokens: \"${n * 3}\"}",
        "{format: sse, token: $.delta.text, usage: $.usage.output_tokens, done: 'event: message_stop'}",
    ),
    ("Ollama", "post: /api/generate, json: {stream: true, options: {num_predict: \"${n * 3}\"}}", "ndjson"),
];

/// Six users with four streams each; the n-th asks for 3·n tokens.
async fn streams(version: &str, request: &str, stream: &str) -> (Done, Vec<plimsoll::practice::stream::StreamEntry>) {
    let target = practice(json!({"tokens": 100_000, "first_token": "2ms..8ms", "token_gap": "0ms..2ms"})).await;
    let http = format!("    http: {{version: '{version}', timeout: 30s}}");
    let scenario = format!(
        "    load: {{executor: per-vu-iterations, vus: 6, iterations: 4}}\n    steps: [{{{request}, stream: {stream}}}]"
    );
    let done = run(&settings(&target.url(), &http, &scenario)).await;
    let log = target.streams();
    assert_eq!(log.dropped, 0);
    (done, log.streams)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_is_counted_once() {
    for (shape, request, stream) in SHAPES {
        for version in ["1.1", "h2c"] {
            let (done, log) = streams(version, request, stream).await;
            let case = format!("{shape} over {version}");
            assert_eq!(done.ledger(), "ok=24", "{case}: {:?}", done.run.first_failure);
            assert!(log.len() == 24 && log.iter().all(|one| one.complete && one.tokens == one.planned), "{case}");
            let sent: Vec<f64> = log.iter().map(|one| f64::from(one.tokens)).collect();
            // All of 3 to 72: 3 · 24 · 25 / 2.
            assert_eq!(sent.iter().sum::<f64>() as u64, 900, "{case}");
            let StreamSummary { ttft_s, itl_s, tpot_s, tokens, tokens_total, .. } =
                done.run.streams.as_ref().unwrap_or_else(|| panic!("{case}: streams"));
            assert_eq!((*tokens_total, tokens.count), (900, 24), "{case}");
            assert_eq!((tokens.min, tokens.max), (3.0, 72.0), "{case}");
            assert_eq!((ttft_s.count, tpot_s.count), (24, 24), "{case}");
            // One gap fewer than tokens in each: what comes in one read is told apart too.
            let gaps: usize = log.iter().map(|one| one.gaps_ms.len()).sum();
            assert_eq!((gaps, itl_s.count), (876, 876), "{case}");
            // What the target waited on purpose cannot have been missed by who measures outside of it.
            let first = log.iter().filter_map(|one| one.first_token_ms).fold(f64::MAX, f64::min) / 1000.0;
            assert!(ttft_s.min >= first, "{case}: {} {first}", ttft_s.min);
            let whole = log.iter().map(|one| one.total_ms).fold(f64::MAX, f64::min) / 1000.0;
            assert!(done.run.latency_s["ok"].max >= whole, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_count_is_counted() {
    // Without `usage` an event with a token is one.
    let stream = "{format: sse, token: '$.choices[0].delta.content', done: '[DONE]'}";
    for version in ["1.1", "h2c"] {
        let (done, log) = streams(version, SHAPES[0].1, stream).await;
        let sent: u32 = log.iter().map(|one| one.tokens).sum();
        let found = done.run.streams.as_ref().expect("streams");
        assert_eq!((u64::from(sent), found.tokens_total), (900, 900));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stands_still_between_tokens_is_seen_to_stall() {
    let target = practice(json!({"tokens": 10, "token_stall": "400ms"})).await;
    for version in ["1.1", "h2c"] {
        let scenario = "    load: {executor: per-vu-iterations, vus: 3, iterations: 2}
    steps: [{post: /api/generate, json: {stream: true}, stream: {format: ndjson, token: $.response, done: $.done, stall: 200ms}}]";
        let http = format!("    http: {{version: '{version}'}}");
        let done = run(&settings(&target.url(), &http, scenario)).await;
        assert_eq!(done.ledger(), "ok=6", "{:?}", done.run.first_failure);
        let found = done.run.streams.as_ref().expect("streams");
        assert!(found.stalls >= 6 && found.itl_s.max >= 0.4, "{found:?}");
    }
    assert!(target.streams().streams.iter().all(|one| one.gaps_ms.iter().any(|gap| *gap >= 400.0)));
}
