//! `plimsoll demo`: practice target, SMTP sink, daemon and page in one process, and a story to watch; and
//! `plimsoll target`, the practice target alone.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::Notify;

use super::{args::DemoArgs, out, run::Signals};
use crate::{
    config::{self, Options},
    daemon::shell::Daemon,
    model::clock::{self, SystemClock},
    practice::{
        command::{self, TargetArgs},
        knobs::Knobs,
        smtp_sink::{self, Sink},
        target::{self, Target},
    },
};

/// What it runs; the places in `@…@` are filled in.
const CONFIG: &str = include_str!("../../config/demo.yaml");

/// The shop is left alone for this long.
const CALM: Duration = Duration::from_secs(12);

/// After the alert's mail, before the shop recovers.
const AFTER_MAIL: Duration = Duration::from_secs(2);

/// `--once` waits no longer than this for the end of the story.
const PATIENCE: Duration = Duration::from_mins(2);

/// The healthy shop, as knobs of the practice target: 4 at once, 2 wait, 20 ms each.
fn healthy() -> serde_json::Value {
    serde_json::json!({"latency": "20ms", "parallel_limit": 4, "queue_limit": 2})
}

/// Overrun: one at a time and 60 ms each is 16 orders a second, where 25 come.
fn overrun() -> serde_json::Value {
    serde_json::json!({"latency": "60ms", "parallel_limit": 1, "queue_limit": 2})
}

/// Runs the practice target.
pub(super) fn target(args: TargetArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(command::main(args))?;
    Ok(0)
}

/// Tells the story until Ctrl-C, or with `--once` until its end.
pub(super) fn main(args: &DemoArgs) -> anyhow::Result<u8> {
    let dir = Dir::new(args.dir.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let told = runtime.block_on(demo(args, &dir.path));
    runtime.shutdown_timeout(Duration::from_secs(1));
    told
}

async fn demo(args: &DemoArgs, dir: &Path) -> anyhow::Result<u8> {
    let story = Story { start: clock::mono() };
    let shop = target::start(Knobs::ephemeral().patched(&healthy())?).await?;
    let mails = dir.join("mails");
    fs::create_dir_all(&mails).with_context(|| format!("failed to make {}", mails.display()))?;
    let sink = smtp_sink::start((Ipv4Addr::LOCALHOST, 0).into(), Some(mails.clone())).await?;
    let listen = free(args.listen)?;
    let path = dir.join("plimsoll.yaml");
    let text = CONFIG
        .replace("@LISTEN@", &listen.to_string())
        .replace("@DIR@", &dir.display().to_string())
        .replace("@TARGET@", &shop.addr.to_string())
        .replace("@SMTP@", &sink.addr.to_string());
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    let loaded = config::load(&Options::from_process(Some(path.clone()))).map_err(|report| {
        anyhow::anyhow!("the demo's configuration is not accepted here:\n{}", report.to_string(false))
    })?;
    let daemon = Daemon::start(loaded.settings, Arc::new(SystemClock)).await?;
    let page = format!("http://{}", daemon.address);
    story.intro(&page, &path, &mails, &shop.url())?;
    let ending = Arc::new(Notify::new());
    let running = tokio::spawn(daemon.run(ending.clone()));
    let mut signals = Signals::new()?;
    let told = tokio::select! {
        told = story.tell(&shop, &sink, &mails, &page) => Some(told),
        () = signals.next() => None,
        () = tokio::time::sleep(PATIENCE), if args.once => {
            Some(Err(anyhow::anyhow!("the story did not end within {PATIENCE:?}")))
        }
    };
    if matches!(told, Some(Ok(()))) && !args.once {
        signals.next().await;
    }
    if args.dir.is_none() {
        story.say("the mails are removed with the demo; `plimsoll demo --dir DIR` keeps them")?;
    }
    ending.notify_one();
    running.await??;
    sink.stop().await;
    shop.stop().await;
    told.unwrap_or(Ok(())).map(|()| 0)
}

/// `wanted`, or a free port of the same address where it is taken.
fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let any = SocketAddr::new(wanted.ip(), 0);
    let socket = TcpListener::bind(wanted).or_else(|_| TcpListener::bind(any));
    socket.and_then(|socket| socket.local_addr()).with_context(|| format!("failed to listen on {}", wanted.ip()))
}

struct Story {
    start: Instant,
}

impl Story {
    fn say(&self, text: &str) -> anyhow::Result<()> {
        let seconds = clock::mono().saturating_duration_since(self.start).as_secs();
        out::print(&format!("{:02}:{:02}  {text}\n", seconds / 60, seconds % 60))?;
        Ok(())
    }

    fn intro(&self, page: &str, config: &Path, mails: &Path, shop: &str) -> anyhow::Result<()> {
        out::print(&format!(
            "\n  Plimsoll watches a small shop on this machine. Nothing leaves it.\n\n  \
             page      {page}            open it now\n  \
             metrics   {page}/metrics\n  \
             mails     {}\n  \
             scenario  {}\n  \
             the shop  {shop}           curl it; POST /practice changes it\n\n",
            mails.display(),
            config.display()
        ))?;
        self.say("the shop is well: a probe every 5 s, 25 orders/s every 8 s, ten customers at once every 20 s")
    }

    async fn tell(&self, shop: &Target, sink: &Sink, mails: &Path, page: &str) -> anyhow::Result<()> {
        tokio::time::sleep(CALM).await;
        shop.patch(&overrun())?;
        self.say("the shop is overrun now: it serves 16 orders/s and turns the rest away with 503")?;
        let firing = self.mail(sink, mails, 1).await?;
        self.say(&format!("the on-call engineer has mail: {firing}"))?;
        tokio::time::sleep(AFTER_MAIL).await;
        shop.patch(&healthy())?;
        self.say("the shop has recovered; the next runs will see it")?;
        let resolved = self.mail(sink, mails, 2).await?;
        self.say(&format!("and it is over: {resolved}"))?;
        self.say(&format!("that is the whole story; the daemon goes on at {page} until Ctrl-C"))
    }

    async fn mail(&self, sink: &Sink, mails: &Path, n: u64) -> anyhow::Result<String> {
        let received = sink.wait_for(n, PATIENCE).await?;
        let mail = received.get(n as usize - 1).context("the mail is no longer kept")?;
        let text = String::from_utf8_lossy(&mail.raw);
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("(no subject)");
        Ok(format!("{subject}\n       {}", mails.join(format!("{n:05}.eml")).display()))
    }
}

/// The demo's directory; removed at the end unless the user named it.
struct Dir {
    path: PathBuf,
    keep: bool,
}

impl Dir {
    fn new(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let keep = named.is_some();
        let path = named.unwrap_or_else(|| std::env::temp_dir().join(format!("plimsoll-demo-{}", std::process::id())));
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !self.keep {
            // What stays behind is in the directory for temporary files.
            let _left = fs::remove_dir_all(&self.path).is_err();
        }
    }
}
