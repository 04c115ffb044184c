//! `plimsoll target`: the practice target on its own.

use super::{knobs::Knobs, target};

/// A back end to practise on: bounded queue (503), rate limit and pool (429), sessions, a memory gauge, stalls, hangs
/// and resets, with a log of its own to count against.
///
/// All flags can be changed while it runs by `POST /practice` with a JSON object of the same names (underscores for
/// dashes).
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
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
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
  curl {url}/practice                                   # all knobs
  curl '{url}/practice/log?last=5'                      # its own count of what it saw
Ctrl-C ends it.
"#
    )
}
