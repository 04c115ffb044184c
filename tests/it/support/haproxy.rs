//! HAProxy before a slow back end: four ways to turn a request away, each counted by HAProxy itself.

use std::{collections::BTreeMap, net::SocketAddr, process::Command};

use tempfile::TempDir;

use super::{Process, http, on_free_port, require};

/// `/queue`: two at the back end, five may wait, for 450 ms at most, the rest is 503; `/rate`: more than ten within ten
/// seconds are 429 (a stick table); `/tarpit`: 429 after half a second; `/drop`: never an answer (silent-drop).
#[derive(Debug)]
pub(crate) struct HaProxy {
    pub(crate) addr: SocketAddr,
    _folder: TempDir,
    _process: Process,
}

const CONFIG: &str = r"
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout queue 450ms
    timeout tarpit 500ms
frontend all
    bind 127.0.0.1:@PORT@
    use_backend rate if { path_beg /rate }
    use_backend tarpit if { path_beg /tarpit }
    use_backend drop if { path_beg /drop }
    use_backend own if { path_beg /stats }
    default_backend queue
backend queue
    server one @BACK@ maxconn 2 maxqueue 5
backend rate
    stick-table type ip size 1k expire 1m store http_req_rate(10s)
    http-request track-sc0 src
    http-request return status 429 content-type text/plain string slow hdr retry-after 1 if { sc_http_req_rate(0) gt 10 }
    server one @BACK@
backend tarpit
    http-request tarpit deny_status 429
    server one @BACK@
backend drop
    http-request silent-drop
    server one @BACK@
backend own
    stats enable
    stats uri /stats
";

impl HaProxy {
    /// Before the server at `back`.
    pub(crate) async fn start(back: SocketAddr) -> Option<Self> {
        let program = require("haproxy")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let (process, addr) = on_free_port(|port| {
            let config = CONFIG.replace("@PORT@", &port.to_string()).replace("@BACK@", &back.to_string());
            std::fs::write(root.join("haproxy.cfg"), config).expect("it is ours");
            let mut command = Command::new(&program);
            command.arg("-db").arg("-f").arg(root.join("haproxy.cfg"));
            Process::spawn("haproxy", &mut command, root)
        })
        .await;
        Some(Self { addr, _folder: folder, _process: process })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Its own counts of a back end, by the names of its CSV: `hrsp_2xx`, `hrsp_4xx`, `dreq` and the like.
    pub(crate) async fn counts_of(&self, backend: &str) -> BTreeMap<String, u64> {
        let csv = http().get(self.url("/stats;csv")).send().await.expect("it answers").text().await.expect("text");
        let mut lines = csv.lines();
        let names = lines.next().expect("a head").trim_start_matches("# ").split(',');
        let own = lines.find(|line| line.starts_with(&format!("{backend},BACKEND,"))).expect("the back end is there");
        let numbers =
            names.zip(own.split(',')).filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        numbers.collect()
    }
}
