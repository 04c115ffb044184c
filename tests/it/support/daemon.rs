//! The program under test, as a user starts it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Process, free_port, http, wait_until};

/// A running `plimsoll daemon` with a configuration and a data directory of its own. `kill -9` on drop.
#[derive(Debug)]
pub(crate) struct Plimsoll {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    pub(crate) process: Process,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Plimsoll {
    /// [`Plimsoll::start`] without an environment, ready.
    pub(crate) async fn daemon(config: &str) -> Self {
        Self::start(config, &[]).ready().await
    }

    /// Writes `config` to `plimsoll.yaml`, with `@LISTEN@` and `@DATA@` in it replaced by a free address and a data
    /// directory, and starts the daemon with `environment` on top of the test's own.
    pub(crate) fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let data = folder.path().join("data");
        let text = config.replace("@LISTEN@", &addr.to_string()).replace("@DATA@", &data.display().to_string());
        std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        let process = spawn(folder.path(), &environment);
        Self { addr, process, environment, folder }
    }

    /// Ends it with SIGKILL and starts it again on the same files; its output begins anew.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        self.kill().await;
        self.started_again().await
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        self.wait_end(PATIENCE).await;
    }

    /// Starts it again, after it has ended, on the same files; its output begins anew.
    pub(crate) async fn started_again(self) -> Self {
        let Self { addr, process, environment, folder } = self;
        drop(process);
        let process = spawn(folder.path(), &environment);
        Self { addr, process, environment, folder }.ready().await
    }

    /// A URL of its listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What it answers to a GET, as text.
    pub(crate) async fn text(&self, path: &str) -> String {
        let response = http().get(self.url(path)).send().await.expect("the daemon answers");
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.expect("text")
    }

    /// What it answers to a GET, as JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("JSON")
    }

    /// The finished runs of `scenario`, newest first.
    pub(crate) async fn runs(&self, scenario: &str) -> Vec<Value> {
        let mut answer = self.json(&format!("/api/v1/runs?scenario={scenario}&limit=200")).await;
        match answer["runs"].take() {
            Value::Array(runs) => runs,
            other => panic!("runs are a list: {other}"),
        }
    }

    /// `plimsoll ARGUMENTS --config …`, which has to succeed.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let all = [arguments, &["--config", "plimsoll.yaml"]].concat();
        let output = Self::run_with(self.folder.path(), &all, &self.environment).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// Its configuration.
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
        Self::run_with(folder, arguments, &[]).await
    }

    async fn run_with(folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(arguments).envs(environment.iter().cloned()).current_dir(folder).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE * 3, command.output()).await;
        ended.unwrap_or_else(|_| panic!("plimsoll {arguments:?} does not end")).expect("the program starts")
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(mut self) -> Self {
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

fn spawn(folder: &Path, environment: &[(String, String)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["daemon", "--config", "plimsoll.yaml"]).current_dir(folder);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::spawn("plimsoll", &mut command, folder)
}
