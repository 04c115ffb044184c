//! nginx with `limit_req`: a rate limit nobody here wrote, and a log of its own to count against.

use std::{collections::BTreeMap, net::SocketAddr, process::Command};

use tempfile::TempDir;

use super::{Process, on_free_port, require};

/// `/` answers 200 at any rate; `/rate` takes 5 per second and 5 more at once, beyond 429 with Retry-After; `/rate503`
/// the same with a bare 503; `/queue` delays up to 10 at 20 per second; `/drop` closes the connection; `/conn` takes a
/// second, four at once, and answers 429 to the rest; `/health` answers 200 as long as it is well.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) addr: SocketAddr,
    folder: TempDir,
    _process: Process,
}

const CONFIG: &str = r#"
daemon off;
master_process off;
pid nginx.pid;
error_log error.log notice;
events { worker_connections 2048; }
http {
    log_format plain '$status $request_method $request_uri $msec';
    access_log access.log plain;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000;
    default_type text/plain;
    limit_req_zone $binary_remote_addr zone=rate:1m rate=5r/s;
    limit_req_zone $binary_remote_addr zone=rate503:1m rate=5r/s;
    limit_req_zone $binary_remote_addr zone=queue:1m rate=20r/s;
    limit_conn_zone $binary_remote_addr zone=conn:1m;
    map $status $after { 429 1; default ""; }
    server {
        listen 127.0.0.1:@PORT@ backlog=4096;
        root html;
        location / { try_files /ok.txt =404; }
        location = /rate {
            limit_req zone=rate burst=5 nodelay;
            limit_req_status 429;
            add_header Retry-After $after always;
            try_files /ok.txt =404;
        }
        location = /rate503 { limit_req zone=rate503 burst=5 nodelay; try_files /ok.txt =404; }
        location = /queue { limit_req zone=queue burst=10; try_files /ok.txt =404; }
        location = /conn { limit_conn conn 4; limit_conn_status 429; limit_rate 1000; try_files /long.txt =404; }
        location = /drop { return 444; }
        location = /health { try_files /well.txt =404; }
    }
}
"#;

impl Nginx {
    pub(crate) async fn start() -> Option<Self> {
        let program = require("nginx")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        std::fs::create_dir(root.join("html")).expect("it is empty");
        std::fs::write(root.join("html/ok.txt"), "ok\n").expect("it is ours");
        // A second's worth goes out at once, the rest a second later.
        std::fs::write(root.join("html/long.txt"), "x".repeat(1500)).expect("it is ours");
        std::fs::write(root.join("html/well.txt"), "well\n").expect("it is ours");
        let (process, addr) = on_free_port(|port| {
            std::fs::write(root.join("nginx.conf"), CONFIG.replace("@PORT@", &port.to_string())).expect("it is ours");
            let mut command = Command::new(&program);
            command.arg("-p").arg(root).arg("-e").arg(root.join("error.log")).args(["-c", "nginx.conf"]);
            Process::spawn("nginx", &mut command, root)
        })
        .await;
        Some(Self { addr, folder, _process: process })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Makes `/health` answer 200, or 404.
    pub(crate) fn set_well(&self, well: bool) {
        let file = self.folder.path().join("html/well.txt");
        let done = if well { std::fs::write(file, "well\n") } else { std::fs::remove_file(file) };
        done.expect("it is ours");
    }

    /// Answers by status, as its access log has them. A line is written when its request ends.
    pub(crate) fn counts_by_status(&self) -> BTreeMap<u16, u64> {
        self.counts(|_| true)
    }

    /// The same of one path.
    pub(crate) fn counts_of(&self, path: &str) -> BTreeMap<u16, u64> {
        self.counts(|uri| uri == path)
    }

    fn counts(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<u16, u64> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let mut counts = BTreeMap::new();
        for line in log.lines() {
            let mut words = line.split(' ');
            let (Some(status), Some(_method), Some(uri)) = (words.next(), words.next(), words.next()) else { continue };
            if wanted(uri) {
                *counts.entry(status.parse().expect("a status")).or_default() += 1;
            }
        }
        counts
    }
}
