//! Whether the times of streamed answers are the true ones: those that we measured beside those that the target noted when
//! it handed over its tokens, stream by stream.

use plimsoll::{
    model::run::StreamSummary,
    practice::{
        knobs::Knobs,
        target::{self, Target},
    },
};
use tokio::runtime::Builder;

use crate::{ours, table::cell};

/// Streams of each shape and protocol in a round.
const STREAMS: usize = 40;

/// How an answer is streamed: its name, the request, and how it is read.
const SHAPES: [(&str, &str, &str); 3] = [
    ("OpenAI, SSE", "post: /v1/chat/completions, json: {stream: true}", "sse"),
    (
        "Anthropic, SSE",
        "post: /v1/messages, json: {stream: true}",
        "{format: sse, token: $.delta.text, usage: $.usage.output_tokens, done: 'event: message_stop'}",
    ),
    ("Ollama, NDJSON", "post: /api/generate, json: {stream: true}", "ndjson"),
];

/// How far what we measured is from what the target noted, in seconds, and how often we counted otherwise than it did.
pub(crate) struct Streams {
    name: String,
    first_token: Vec<f64>,
    gap: Vec<f64>,
    miscounted: u64,
}

/// Every shape over both protocols. A stream has two tokens, so that its one gap stands in its document as it is.
pub(crate) fn measure() -> Vec<Streams> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let target = runtime.block_on(target::start(Knobs::ephemeral())).expect("a free port");
    let knobs = serde_json::json!({"tokens": 2, "first_token": "5ms..50ms", "token_gap": "1ms..30ms"});
    target.patch(&knobs).expect("known knobs");
    let all = SHAPES.iter().flat_map(|shape| ["1.1", "h2c"].map(|version| of_kind(&target, version, *shape))).collect();
    runtime.block_on(target.stop());
    all
}

fn of_kind(target: &Target, version: &str, (shape, request, stream): (&str, &str, &str)) -> Streams {
    let load = "executor: per-vu-iterations, vus: 1, iterations: 1";
    let text = format!(
        "version: 1\ntargets: {{t: {{base_url: '{}', http: {{version: '{version}'}}}}}}\n\
         scenarios: {{s: {{load: {{{load}}}, steps: [{{{request}, stream: {stream}}}]}}}}\n",
        target.url()
    );
    let name = format!("{shape} over {}", if version == "1.1" { "HTTP/1.1" } else { "HTTP/2" });
    let mut all = Streams { name, first_token: Vec::new(), gap: Vec::new(), miscounted: 0 };
    for _ in 0..STREAMS {
        target.reset();
        let StreamSummary { ttft_s, itl_s, tokens_total, .. } = ours::once(&text).streams.unwrap_or_default();
        // The end of our run is not the end of the target's stream, which it notes a moment later.
        let noted = std::iter::repeat_with(|| target.streams().streams.pop());
        let noted = noted.inspect(|_| std::thread::yield_now()).take(1_000_000).flatten().next().expect("a stream");
        let first = noted.first_token_ms.unwrap_or(f64::NAN) / 1000.0;
        let gap = noted.gaps_ms.first().copied().unwrap_or(f64::NAN) / 1000.0;
        all.first_token.push((ttft_s.max - first).abs());
        all.gap.push((itl_s.max - gap).abs());
        all.miscounted += u64::from(tokens_total != u64::from(noted.tokens) || itl_s.count != 1);
    }
    all
}

/// The quantile `q` of some values.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1]
}

pub(crate) fn print(rounds: &[Vec<Streams>]) {
    println!(
        "\nStreamed answers beside the target's own log: differences in ms, median (least–greatest) of the rounds\n"
    );
    println!("| stream | figure | p50 | p95 | p99 |\n|---|---|---|---|---|");
    for kind in 0..rounds.first().map_or(0, Vec::len) {
        let of_kind = || rounds.iter().map(|round| &round[kind]);
        for (figure, first) in [("to the first token", true), ("between tokens", false)] {
            let at = |q| {
                let values = of_kind().map(|one| if first { &one.first_token } else { &one.gap });
                cell(values.map(|values| quantile(values, q) * 1e3), 2)
            };
            println!("| {} | {figure} | {} | {} | {} |", rounds[0][kind].name, at(0.5), at(0.95), at(0.99));
        }
    }
    let miscounted: u64 = rounds.iter().flatten().map(|kind| kind.miscounted).sum();
    println!("\nStreams whose tokens were counted otherwise than by the target: {miscounted}");
}
