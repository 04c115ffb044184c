//! A mail server that keeps what it gets, for `plimsoll demo`: a person sees the alert mails of the demo without
//! having a mail server, and none can leave the machine. Plain SMTP on the loopback interface only.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    io::BufStream,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use self::dialogue::{Dialogue, Step};
use crate::model::clock::{Clock as _, SystemClock};

mod dialogue;
mod lines;

/// The largest mail taken, in bytes.
pub const MAX_MAIL: usize = 1 << 20;
/// Mails kept; the oldest goes first, with its file.
pub const MAX_KEPT: usize = 100;
const MAX_CONNECTIONS: usize = 50;
/// How long a client may be silent.
const SILENCE: Duration = Duration::from_mins(5);

/// One mail as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Counts from 1.
    pub seq: u64,
    /// When its last line was read.
    pub at: Timestamp,
    /// The envelope's sender; empty for a bounce.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body as they were sent, dots unstuffed, lines ended by CRLF.
    pub raw: Bytes,
}

/// What has come in so far.
#[derive(Debug, Default)]
struct Inbox {
    received: u64,
    mails: VecDeque<Arc<Mail>>,
}

/// A running sink; clones are handles on the same one, and it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Where it listens.
    pub addr: SocketAddr,
    inbox: watch::Receiver<Inbox>,
    stop: Arc<watch::Sender<()>>,
}

/// Binds `listen`, which must be a loopback address, and serves on the current tokio runtime. With a `directory` each
/// mail is written there as `00001.eml`, `00002.eml`, … before it is accepted.
pub async fn start(listen: SocketAddr, directory: Option<PathBuf>) -> anyhow::Result<Sink> {
    anyhow::ensure!(
        listen.ip().is_loopback(),
        "failed to start the SMTP sink on {listen}: it takes any mail from anyone, so it listens on loopback only; \
         write 127.0.0.1:{}",
        listen.port()
    );
    if let Some(directory) = &directory {
        let created = tokio::fs::create_dir_all(directory).await;
        created.with_context(|| format!("failed to create {}", directory.display()))?;
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("failed to listen on {listen}"))?;
    let addr = listener.local_addr().context("failed to read the address it listens on")?;
    let (publish, inbox) = watch::channel(Inbox::default());
    let (stop, stopped) = watch::channel(());
    tokio::spawn(accept(listener, Arc::new(publish), directory.map(Arc::from), stopped));
    Ok(Sink { addr, inbox, stop: Arc::new(stop) })
}

impl Sink {
    /// Mails received, those no longer kept included.
    pub fn received(&self) -> u64 {
        self.inbox.borrow().received
    }

    /// The latest mails, oldest first.
    pub fn messages(&self) -> Vec<Arc<Mail>> {
        self.inbox.borrow().mails.iter().cloned().collect()
    }

    /// Waits until `n` mails have been received in all; the mails kept then. The error says how many there were.
    pub async fn wait_for(&self, n: u64, deadline: Duration) -> anyhow::Result<Vec<Arc<Mail>>> {
        let mut inbox = self.inbox.clone();
        let waited = timeout(deadline, inbox.wait_for(|inbox| inbox.received >= n)).await;
        let in_time = waited.is_ok_and(|enough| enough.is_ok());
        anyhow::ensure!(in_time, "{} of {n} mails came in {deadline:?}", self.received());
        Ok(self.messages())
    }

    /// Closes the listener and all connections. Returns when that is done.
    pub async fn stop(self) {
        self.stop.send_replace(());
        self.stop.closed().await;
    }
}

async fn accept(
    listener: TcpListener,
    inbox: Arc<watch::Sender<Inbox>>,
    directory: Option<Arc<Path>>,
    mut stopped: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, inbox.clone(), directory.clone())); }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// One client, until it quits, breaks off or is silent for too long.
async fn serve(stream: TcpStream, inbox: Arc<watch::Sender<Inbox>>, directory: Option<Arc<Path>>) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut stream = BufStream::new(stream);
    let mut dialogue = Dialogue::default();
    lines::write(&mut stream, "220 plimsoll practice sink ESMTP\r\n").await?;
    loop {
        let line = timeout(SILENCE, lines::read(&mut stream)).await.ok()??;
        match dialogue.line(&line) {
            Step::Reply(text) => lines::write(&mut stream, &text).await?,
            Step::Quit(text) => return lines::write(&mut stream, &text).await,
            Step::Data => {
                lines::write(&mut stream, "354 end with a line that is a dot\r\n").await?;
                let data = timeout(SILENCE, lines::read_data(&mut stream, MAX_MAIL)).await.ok()??;
                let text = match data {
                    Err(refusal) => refusal,
                    Ok(raw) => {
                        let (from, to) = dialogue.envelope();
                        keep(&inbox, directory.as_deref(), from, to, raw).await
                    }
                };
                dialogue.reset();
                lines::write(&mut stream, text).await?;
            }
        }
    }
}

/// Stores a mail; the reply to the client.
async fn keep(
    inbox: &watch::Sender<Inbox>,
    directory: Option<&Path>,
    from: String,
    to: Vec<String>,
    raw: Vec<u8>,
) -> &'static str {
    let raw = Bytes::from(raw);
    if let Some(directory) = directory {
        // The file comes first, under a name of its own: two connections may finish at once.
        let part = directory.join(format!(".{}.part", uuid::Uuid::new_v4()));
        if tokio::fs::write(&part, &raw).await.is_err() {
            return "451 the mail could not be written\r\n";
        }
        let seq = push(inbox, from, to, raw);
        let name = |seq: u64| directory.join(format!("{seq:05}.eml"));
        let _ = tokio::fs::rename(&part, name(seq)).await;
        if let Some(old) = seq.checked_sub(MAX_KEPT as u64) {
            let _ = tokio::fs::remove_file(name(old)).await;
        }
    } else {
        push(inbox, from, to, raw);
    }
    "250 kept\r\n"
}

fn push(inbox: &watch::Sender<Inbox>, from: String, to: Vec<String>, raw: Bytes) -> u64 {
    let at = SystemClock.now().wall;
    let mut seq = 0;
    inbox.send_modify(|inbox| {
        inbox.received += 1;
        seq = inbox.received;
        inbox.mails.push_back(Arc::new(Mail { seq, at, from, to, raw }));
        if inbox.mails.len() > MAX_KEPT {
            inbox.mails.pop_front();
        }
    });
    seq
}
