//! A server that does nothing but answer, in a process and on a core of its own: nginx where it is installed, else one of
//! ours. `/slow` takes a second, and is always one of ours.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use plimsoll::load::host;
use tokio::{net::TcpSocket, runtime::Builder};

use crate::measure::{TARGET_CORE, is_there, until};

pub(crate) struct Server {
    pub(crate) name: &'static str,
    fast: (SocketAddr, Child),
    slow: (SocketAddr, Child),
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let slow = own();
        let (name, fast) = if is_there("nginx") { ("nginx, one process", nginx(&folder)) } else { ("our own", own()) };
        Self { name, fast, slow, _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base(path))
    }

    /// The address that answers this path.
    pub(crate) fn base(&self, path: &str) -> String {
        format!("http://{}", if path == "/slow" { self.slow.0 } else { self.fast.0 })
    }

    /// Of the one that answers at once.
    pub(crate) fn pid(&self) -> u32 {
        self.fast.1.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in [&mut self.fast.1, &mut self.slow.1] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", TARGET_CORE, program]);
    command
}

fn own() -> (SocketAddr, Child) {
    let program = std::env::current_exe().expect("our own path");
    let mut child = pinned(&program.display().to_string())
        .arg("--serve")
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("taskset (util-linux) is there");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("its address");
    (line.trim().parse().expect("an address"), child)
}

fn nginx(folder: &tempfile::TempDir) -> (SocketAddr, Child) {
    let free = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = free.local_addr().expect("an address");
    drop(free);
    let place = folder.path().display();
    let paths: Vec<String> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {place}/{name};"))
        .collect();
    let config = format!(
        "daemon off; master_process off; worker_rlimit_nofile 20000; pid {place}/pid; error_log {place}/error warn;
         events {{ worker_connections 18000; }}
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {}
           server {{ listen {addr} backlog=16384; location / {{ return 200 '{{\"ok\":true}}'; }} }} }}",
        paths.join(" ")
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).expect("it is writable");
    let child = pinned("nginx").arg("-c").arg(&file).stderr(Stdio::null()).spawn().expect("it starts");
    until(|| TcpStream::connect(addr).is_ok());
    (addr, child)
}

/// What our own server's process does.
pub(crate) fn serve() {
    let _few_connections_then = host::raise_files();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let listener = socket.listen(16_384).expect("it listens");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("a pipe");
        // Ends with the process that started it, which holds the other end of this pipe.
        std::thread::spawn(|| {
            let _ = std::io::stdin().lines().next();
            std::process::exit(0);
        });
        loop {
            let (stream, _) = listener.accept().await.expect("it accepts");
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let answer = service_fn(async |request: hyper::Request<Incoming>| {
                    if request.uri().path() == "/slow" {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}"))))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
}
