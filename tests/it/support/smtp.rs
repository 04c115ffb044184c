//! A real SMTP server: aiosmtpd with STARTTLS and AUTH, and faults on demand.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::Deserialize;
use tempfile::TempDir;

use super::{PATIENCE, Process, http, require, skip, wait_until};

pub(crate) const USER: &str = "plimsoll";
pub(crate) const PASSWORD: &str = "correct horse";
const AIOSMTPD: &str = "aiosmtpd==1.4.6";

/// The server, its certificate (for `localhost` and `127.0.0.1`) signed by a CA of this test alone.
#[derive(Debug)]
pub(crate) struct SmtpServer {
    /// Where it takes mail.
    pub(crate) addr: SocketAddr,
    /// The CA's certificate, PEM.
    pub(crate) ca: PathBuf,
    control: String,
    client: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

/// A mail as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Headers and body, byte for byte.
    pub(crate) raw: String,
    pub(crate) tls: bool,
    pub(crate) authenticated: bool,
    /// Was the client told that it was taken?
    pub(crate) acknowledged: bool,
}

/// What the server does with the next mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Ok,
    /// Stores the mail and cuts the connection before the 250.
    Drop,
    /// Refuses after DATA with 451.
    Busy,
    /// Stores the mail and never answers.
    Hang,
    /// Stores the mail and says 250 once another mode is set.
    Late,
    /// Takes the connection and never greets.
    Mute,
}

#[derive(Deserialize)]
struct Ports {
    smtp: u16,
    control: u16,
}

#[derive(Deserialize)]
struct Kept {
    messages: Vec<Received>,
    refused: Vec<Received>,
    connections: u64,
}

impl Received {
    /// A header field's value, unfolded; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let head = self.raw.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }
}

impl SmtpServer {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_on(0).await
    }

    /// On a port that was chosen before; 0 = a free one.
    pub(crate) async fn start_on(port: u16) -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        certificate(root);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/smtp_server.py");
        let mut command = Command::new(python);
        command.arg(script).arg(root.join("cert.pem")).arg(root.join("key.pem")).args([
            USER,
            PASSWORD,
            &port.to_string(),
        ]);
        let mut process = Process::spawn("smtp", &mut command, root);
        let ports: Ports = wait_until("the SMTP server says its ports", PATIENCE, async || {
            assert!(process.ended().is_none(), "the SMTP server ended: {}", process.output());
            process.output().lines().find_map(|line| serde_json::from_str(line).ok())
        })
        .await;
        Some(Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, ports.smtp)),
            ca: root.join("ca.pem"),
            control: format!("http://127.0.0.1:{}", ports.control),
            client: http(),
            _process: process,
            _folder: folder,
        })
    }

    /// The mails it stored, oldest first.
    pub(crate) async fn messages(&self) -> Vec<Received> {
        self.kept().await.messages
    }

    /// The mails it refused with 451.
    pub(crate) async fn refused(&self) -> Vec<Received> {
        self.kept().await.refused
    }

    /// Connections so far.
    pub(crate) async fn connections(&self) -> u64 {
        self.kept().await.connections
    }

    /// Waits for at least `n` stored mails.
    pub(crate) async fn wait_for(&self, n: usize, deadline: Duration) -> Vec<Received> {
        wait_until(&format!("{n} mails"), deadline, async || {
            let messages = self.messages().await;
            (messages.len() >= n).then_some(messages)
        })
        .await
    }

    /// Does so the next `times` times; 0 until told otherwise.
    pub(crate) async fn set(&self, mode: Mode, times: u32) {
        let name = match mode {
            Mode::Ok => "ok",
            Mode::Drop => "drop",
            Mode::Busy => "451",
            Mode::Hang => "hang",
            Mode::Late => "late",
            Mode::Mute => "mute",
        };
        let body = serde_json::json!({"mode": name, "times": times});
        let response = self.client.put(format!("{}/mode", self.control)).json(&body).send().await;
        assert_eq!(response.expect("the server answers").status(), 200);
    }

    async fn kept(&self) -> Kept {
        let response = self.client.get(format!("{}/messages", self.control)).send().await.expect("the server answers");
        response.json().await.expect("mails as JSON")
    }
}

/// `ca.pem`, and `cert.pem` with `key.pem` signed by it.
fn certificate(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("it is ours");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let names = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("good names");
    let leaf = names.signed_by(&key, &issuer).expect("a certificate");
    write("ca.pem", issuer.pem());
    write("cert.pem", leaf.pem());
    write("key.pem", key.serialize_pem());
}

/// A Python that has aiosmtpd, made once per build folder.
fn python() -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        let system = require("python3")?;
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smtp-venv");
        let python = place.join("bin/python");
        let works = |python: &Path| {
            Command::new(python).args(["-c", "import aiosmtpd"]).output().is_ok_and(|output| output.status.success())
        };
        if works(&python) {
            return Some(python);
        }
        let run = |program: &Path, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            if !output.status.success() {
                skip(&format!("{} {arguments:?}: {}", program.display(), String::from_utf8_lossy(&output.stderr)));
            }
            output.status.success().then_some(())
        };
        run(&system, &["-m", "venv", "--clear", place.to_str()?])?;
        run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", AIOSMTPD])?;
        Some(python)
    })
    .clone()
}
