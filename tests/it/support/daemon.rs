//! The program under test, as a user starts it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use tempfile::TempDir;

use super::{PATIENCE, Process, free_port, http, wait_until};

/// A running `plimsoll daemon` with a configuration and a data directory of its own. `kill -9` on drop.
#[derive(Debug)]
pub(crate) struct Plimsoll {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    pub(crate) process: Process,
    folder: TempDir,
}

impl Plimsoll {
    /// Writes `config` to `plimsoll.yaml`, with `@LISTEN@` and `@DATA@` in it replaced by a free address and a data
    /// directory, starts the daemon and waits until it is ready.
    pub(crate) async fn daemon(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let data = folder.path().join("data");
        let text = config.replace("@LISTEN@", &addr.to_string()).replace("@DATA@", &data.display().to_string());
        std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
        let process = spawn(folder.path());
        let daemon = Self { addr, process, folder };
        daemon.ready().await
    }

    /// Ends it with SIGKILL and starts it again on the same files; its output begins anew.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        self.process.signal(rustix::process::Signal::KILL);
        self.wait_end(PATIENCE).await;
        let Self { addr, process, folder } = self;
        drop(process);
        let process = spawn(folder.path());
        Self { addr, process, folder }.ready().await
    }

    /// A URL of its listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("plimsoll.yaml")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Waits until it has ended.
    pub(crate) async fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        wait_until("the daemon ends", deadline, async || self.process.ended()).await
    }

    /// Runs the program to its end with `arguments` in `folder`, off the runtime; ends it after [`PATIENCE`] × 3.
    pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(arguments).current_dir(folder).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE * 3, command.output()).await;
        ended.unwrap_or_else(|_| panic!("plimsoll {arguments:?} does not end")).expect("the program starts")
    }

    async fn ready(mut self) -> Self {
        let client = http();
        let url = self.url("/-/ready");
        wait_until("the daemon is ready", PATIENCE, async || {
            assert!(self.process.ended().is_none(), "the daemon ended: {}", self.process.output());
            client.get(&url).send().await.ok().filter(|response| response.status() == 200)
        })
        .await;
        self
    }
}

fn spawn(folder: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["daemon", "--config", "plimsoll.yaml"]).current_dir(folder);
    Process::spawn("plimsoll", &mut command, folder)
}
