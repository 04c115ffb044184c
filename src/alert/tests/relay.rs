//! A relay that does what the script says, for tests: each connection takes the next script, the last one stays.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What the relay does at one point of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Says this line.
    Say(&'static str),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Drop,
}

use Reply::{Drop, Hang, Say};

#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    pub(super) banner: Reply,
    pub(super) ehlo: Reply,
    pub(super) starttls: Reply,
    pub(super) auth: Reply,
    pub(super) mail: Reply,
    pub(super) rcpt: Reply,
    pub(super) data: Reply,
    pub(super) dot: Reply,
}

impl Script {
    /// Takes everything; offers AUTH.
    pub(super) const GOOD: Self = Self {
        banner: Say("220 relay"),
        ehlo: Say("250-relay\r\n250 AUTH PLAIN LOGIN"),
        starttls: Say("220 go"),
        auth: Say("235 welcome"),
        mail: Say("250 ok"),
        rcpt: Say("250 ok"),
        data: Say("354 go on"),
        dot: Say("250 queued"),
    };
    /// The same, with STARTTLS.
    pub(super) const STARTTLS: Self =
        Self { ehlo: Say("250-relay\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"), ..Self::GOOD };
}

/// What a connection brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The lines before DATA.
    pub(super) commands: Vec<String>,
    /// The message as it came over the wire, without the final dot.
    pub(super) wire: Vec<u8>,
    /// It was encrypted when AUTH or MAIL came.
    pub(super) encrypted: bool,
}

impl Heard {
    /// The message, dot-stuffing undone.
    pub(super) fn message(&self) -> Vec<u8> {
        let text = String::from_utf8(self.wire.clone()).expect("mails are ASCII");
        text.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect::<String>().into_bytes()
    }
}

#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: tokio::task::JoinHandle<()>,
}

impl std::ops::Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub(super) async fn start(scripts: &[Script], tls: Option<TlsAcceptor>, implicit: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let mut scripts: VecDeque<Script> = scripts.iter().copied().collect();
        let book = heard.clone();
        let task = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().copied() };
                talks.spawn(talk(socket, script.expect("at least one script"), tls.clone(), implicit, book.clone()));
            }
        });
        Self { port, heard, task }
    }

    pub(super) async fn plain(scripts: &[Script]) -> Self {
        Self::start(scripts, None, false).await
    }

    /// One entry for each conversation that reached the end of a message.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("no holder panics").clone()
    }
}

async fn talk(
    socket: TcpStream,
    script: Script,
    tls: Option<TlsAcceptor>,
    implicit: bool,
    book: Arc<Mutex<Vec<Heard>>>,
) {
    let mut heard = Heard::default();
    if implicit {
        let acceptor = tls.expect("implicit TLS needs a certificate");
        if let Ok(stream) = acceptor.accept(socket).await {
            heard.encrypted = true;
            let _ = converse(&mut BufReader::new(stream), script, &mut heard, &book, true).await;
        }
        return;
    }
    let mut plain = BufReader::new(socket);
    if converse(&mut plain, script, &mut heard, &book, true).await == Some(Upgrade) {
        let acceptor = tls.expect("STARTTLS needs a certificate");
        if let Ok(stream) = acceptor.accept(plain.into_inner()).await {
            heard.encrypted = true;
            let _ = converse(&mut BufReader::new(stream), script, &mut heard, &book, false).await;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Upgrade;

/// Goes through one connection; `None` when it is over.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    script: Script,
    heard: &mut Heard,
    book: &Mutex<Vec<Heard>>,
    banner: bool,
) -> Option<Upgrade> {
    if banner {
        answer(stream, script.banner).await?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        heard.commands.push(line.clone());
        match line.split(' ').next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" => answer(stream, script.ehlo).await?,
            "STARTTLS" => {
                answer(stream, script.starttls).await?;
                return Some(Upgrade);
            }
            "AUTH" => answer(stream, script.auth).await?,
            "MAIL" => answer(stream, script.mail).await?,
            "RCPT" => answer(stream, script.rcpt).await?,
            "DATA" => {
                answer(stream, script.data).await?;
                if matches!(script.data, Say(reply) if reply.starts_with('3')) {
                    heard.wire = message(stream).await?;
                    book.lock().expect("no holder panics").push(heard.clone());
                    answer(stream, script.dot).await?;
                }
            }
            "QUIT" => {
                answer(stream, Say("221 bye")).await?;
                return None;
            }
            _ => answer(stream, Say("250 ok")).await?,
        }
    }
}

async fn message<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    loop {
        let start = wire.len();
        if stream.read_until(b'\n', &mut wire).await.ok()? == 0 {
            return None;
        }
        if &wire[start..] == b".\r\n" {
            wire.truncate(start);
            return Some(wire);
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, reply: Reply) -> Option<()> {
    match reply {
        Say(line) => stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.ok(),
        Hang => std::future::pending().await,
        Drop => None,
    }
}
