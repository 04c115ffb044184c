//! Real components for tests: each on a free port of 127.0.0.1, with its files in a directory of its own, ended by its
//! process id. What a machine does not have is skipped with the reason, or fails where the environment says that
//! everything must be there.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use plimsoll::model::clock::mono;

pub(crate) mod daemon;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod otlp;
pub(crate) mod prometheus;
pub(crate) mod smtp;
pub(crate) mod varnish;

/// Labels or attributes by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// How long a component may take to come up, and anything that must happen at all to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The path of a program, or `None` with the reason printed. Panics instead where `CI=true` or
/// `PLIMSOLL_REQUIRE_COMPONENTS=1`.
pub(crate) fn require(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Says why a test does nothing, or panics where nothing may be skipped.
pub(crate) fn skip(reason: &str) {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    assert!(!set("CI", "true") && !set("PLIMSOLL_REQUIRE_COMPONENTS", "1"), "a component is missing: {reason}");
    eprintln!("skipped: {reason}");
}

/// Asks `probe` every 20 ms until it has an answer; panics with `what` after `deadline`.
pub(crate) async fn wait_until<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = mono() + deadline;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(mono() < end, "waited {deadline:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An HTTP client without proxies, redirects or kept connections: each request shows what the server does now.
pub(crate) fn http() -> reqwest::Client {
    // A second call finds it installed; both are the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.pool_max_idle_per_host(0).timeout(PATIENCE).build().expect("a client")
}

/// A port that refuses connections and that nobody else gets, for as long as the socket lives: bound, but not listening.
pub(crate) fn refusing_port() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A child process that ends with its handle, its output in files.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in `folder/NAME.log`; its standard input stays open as long as the handle.
    pub(crate) fn spawn(name: &str, command: &mut Command, folder: &Path) -> Self {
        let output = folder.join(format!("{name}.log"));
        let file = File::create(&output).expect("the folder is writable");
        let again = file.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::piped()).stdout(file).stderr(again).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, name: name.to_owned(), output }
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read(&self.output).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it takes connections; false when it ended first. Sends nothing, so that no log counts it.
    pub(crate) async fn listens(&mut self, addr: SocketAddr) -> bool {
        let name = self.name.clone();
        wait_until(&format!("{name} listens on {addr}"), PATIENCE, async || {
            if self.ended().is_some() {
                return Some(false);
            }
            TcpStream::connect(addr).is_ok().then_some(true)
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} printed:\n{}", self.name, self.output());
        }
    }
}

/// Starts a program that has to be told its port, on another one where someone was faster.
pub(crate) async fn on_free_port(start: impl Fn(u16) -> Process) -> (Process, SocketAddr) {
    for _ in 0..5 {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut process = start(addr.port());
        if process.listens(addr).await {
            return (process, addr);
        }
        eprintln!("{} ended: {}", process.name, process.output());
    }
    panic!("it did not start on five free ports");
}
