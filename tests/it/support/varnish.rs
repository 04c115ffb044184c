//! Varnish before a slow back end that it asks for no more than three answers at once.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Process, on_free_port, require};

/// Different URLs beyond three at once are 503; equal ones wait for one answer, and then come from the cache
/// (`x-cache: HIT`).
#[derive(Debug)]
pub(crate) struct Varnish {
    pub(crate) addr: SocketAddr,
    varnishstat: PathBuf,
    folder: TempDir,
    _process: Process,
}

const CONFIG: &str = r#"
vcl 4.1;
backend slow { .host = "127.0.0.1"; .port = "@PORT@"; .max_connections = 3; }
sub vcl_backend_response { set beresp.ttl = 1m; }
sub vcl_deliver {
    if (obj.hits > 0) { set resp.http.x-cache = "HIT"; } else { set resp.http.x-cache = "MISS"; }
}
"#;

impl Varnish {
    /// Before the server at `back`, which is on loopback.
    pub(crate) async fn start(back: SocketAddr) -> Option<Self> {
        let (program, varnishstat) = (require("varnishd")?, require("varnishstat")?);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        std::fs::write(root.join("default.vcl"), CONFIG.replace("@PORT@", &back.port().to_string()))
            .expect("it is ours");
        let (process, addr) = on_free_port(|port| {
            let mut command = Command::new(&program);
            // In the foreground, without a change of user, and without a shell for others to reach.
            command.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,16m", "-p", "thread_pool_min=20"]);
            command.arg("-a").arg(format!("127.0.0.1:{port}"));
            command.arg("-n").arg(root.join("work")).arg("-f").arg(root.join("default.vcl"));
            Process::spawn("varnishd", &mut command, root)
        })
        .await;
        Some(Self { addr, varnishstat, folder, _process: process })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// One of its own counters, such as `MAIN.backend_busy`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let mut command = Command::new(&self.varnishstat);
        command.arg("-n").arg(self.folder.path().join("work")).args(["-1", "-f", name]).stdin(Stdio::null());
        let output = command.output().expect("varnishstat starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = text.split_whitespace().nth(1).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("{name}: {output:?}"))
    }
}
