//! `plimsoll target`: the practice target on its own.

use tokio::signal::unix::{SignalKind, signal};

use super::{knobs::Knobs, target};

/// What `plimsoll target --help` says first.
pub const ABOUT: &str = r#"A server to practise on: five kinds of back end on one port, faults by knob,
and a log of its own to count against. HTTP/1.1, and HTTP/2 by prior knowledge.

LLM queue       POST /api/generate (NDJSON), /v1/chat/completions (SSE)
                GET /health, /queue/stats, /queue/memory
                POST /admin/queue/update
workflow        POST /process, /validate, /final_review
                GET /session/ID/status, /fir/ID
semantic cache  POST /v1/messages (`x-cache`; 429 above 95 % of the pool)
                GET /pool/stats, /metrics; POST /admin/cache/reset
conversations   POST and GET /conversations (429 at the limits)
                POST /conversations/ID/turns, DELETE /conversations/ID
chat API        /api/conversations, …/ID, …/ID/messages, /api/agents, /api/rag,
                /api/health, /api/capabilities, /api/info; also under /api/v1
anything else   {"ok":true}

What it did: GET /practice/log (counts by path, status and fault) and
GET /practice/streams (each token as it was sent); POST /practice/reset forgets.
What waited in the queue says how long in `x-wait-ms`.

All flags can be changed while it runs: POST /practice with a JSON object of the
same names, underscores for dashes; null is the default again. /practice and
/admin answer this machine only."#;

/// The arguments of `plimsoll target`.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetArgs {
    /// How it behaves.
    #[command(flatten)]
    pub knobs: Knobs,
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn main(args: TargetArgs) -> anyhow::Result<()> {
    let target = target::start(args.knobs).await?;
    print!("{}", hints(&target.url()));
    let mut terminated = signal(SignalKind::terminate())?;
    // They pause and release daemons; whoever sends them to all of us does not mean to end this.
    drop((signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    let log = target.log();
    target.stop().await;
    println!("received {}, answered {}", log.received, log.answered);
    Ok(())
}

/// What to try, for a person who has just started it.
fn hints(url: &str) -> String {
    format!(
        r#"The practice target listens on {url}. Try:
  curl {url}/health
  curl -X POST {url}/api/generate -d '{{"model":"llama2","prompt":"Hi","stream":false}}'
  curl {url}/queue/stats
  curl -X POST {url}/practice -d '{{"latency":"200ms","parallel_limit":4,"queue_limit":2}}'   # 503 beyond
  curl -X POST {url}/practice -d '{{"stall_for":"3s"}}'                                      # no answer for 3 s
  curl -X POST {url}/practice -d '{{"status":503}}'      # an outage; {{"status":null}} ends it
  curl -m 9 '{url}/?fault=slow_drip'                    # one answer that goes wrong; --help lists the faults
  curl -N -X POST {url}/v1/chat/completions -d '{{"stream":true}}'
  curl {url}/practice                                   # all knobs
  curl '{url}/practice/log?last=5'                      # its own count of what it saw
Ctrl-C ends it.
"#
    )
}
