//! `plimsoll run --notify` while a daemon holds the data directory: mails as the daemon's would be, with a memory for
//! each configuration.

use std::{path::Path, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use plimsoll::{
    model::clock::{Clock as _, SystemClock},
    practice::{
        knobs::Knobs,
        smtp_sink::{self, Mail, Sink},
        target::{self, Target},
    },
    store::Store,
};
use serde_json::json;

use crate::support::free_port;

/// A project whose data directory someone else holds.
struct Project {
    folder: tempfile::TempDir,
    target: Target,
    _daemon: Store,
}

impl Project {
    async fn new(relay: &str) -> Self {
        let target = target::start(Knobs::ephemeral()).await.expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            r#"
version: 1
daemon: {{data_dir: data, listen: "127.0.0.1:1"}}
targets: {{api: {{base_url: "{}"}}}}
scenarios:
  health:
    load: {{executor: probe}}
    steps: [{{get: /health}}]
alerts:
  receivers:
    on_call: {{email: {{to: [oncall@example.com], from: plimsoll@example.com, smtp: "smtp://{relay}"}}}}
"#,
            target.url()
        );
        std::fs::write(folder.path().join("plimsoll.yaml"), text).expect("it is ours");
        let held = Store::open(&folder.path().join("data"), SystemClock.now().wall).expect("nobody has it");
        Self { folder, target, _daemon: held.store }
    }

    /// Runs with `--notify`; gives what it said of mails.
    async fn run(&self, state: &Path, status: Option<u16>, code: i32) -> String {
        self.target.patch(&json!({"status": status})).expect("known knobs");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["run", "health", "--notify", "--quiet"]).current_dir(self.folder.path());
        let output = command.env("XDG_STATE_HOME", state).kill_on_drop(true).output().await.expect("it starts");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn field(mail: &Mail, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&mail.raw).replace("\r\n ", " ");
    let head = text.split("\r\n\r\n").next()?.to_owned();
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(ToOwned::to_owned))
}

async fn sink(listen: &str) -> Sink {
    smtp_sink::start(listen.parse().expect("an address"), None).await.expect("a free port")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_mails_what_fires_and_in_the_same_thread_that_it_is_over() {
    let sink = sink("127.0.0.1:0").await;
    let state = tempfile::tempdir().expect("a temporary folder");
    let one = Project::new(&sink.addr.to_string()).await;
    let other = Project::new(&sink.addr.to_string()).await;
    let subject = "critical] api: health rate_ok";
    let said = one.run(state.path(), Some(500), 99).await;
    assert_eq!(said, format!("mailed oncall@example.com: [FIRING {subject}\n"));
    // A scenario of the same name in another project is another one.
    assert_eq!(other.run(state.path(), None, 0).await, "");
    // It is told once.
    assert_eq!(one.run(state.path(), Some(500), 99).await, "");
    let said = one.run(state.path(), None, 0).await;
    assert_eq!(said, format!("mailed oncall@example.com: Re: [RESOLVED {subject}\n"));
    assert_eq!(one.run(state.path(), None, 0).await, "");

    let mails = sink.messages();
    let [firing, resolved] = mails.as_slice() else { panic!("two mails: {mails:?}") };
    assert_eq!(field(resolved, "In-Reply-To"), field(firing, "Message-ID"));
    for mail in [firing, resolved] {
        let date = rfc2822::parse(&field(mail, "Date").expect("a date")).expect("of a mail").timestamp();
        let age = SystemClock.now().wall.duration_since(date);
        assert!(!age.is_negative() && age.unsigned_abs() < Duration::from_mins(2), "{date}, {age} ago");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_sent_the_next_time() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let relay = format!("127.0.0.1:{}", free_port());
    let project = Project::new(&relay).await;
    let started = SystemClock.now().wall;
    let said = project.run(state.path(), Some(500), 99).await;
    let start = "note: the mail to oncall@example.com was not sent; the next --notify tries again: ";
    assert!(said.starts_with(start), "{said}");
    let failed = SystemClock.now().wall;
    let sink = sink(&relay).await;
    // The first mail goes before the one that says that it is over, with the date of its decision.
    project.run(state.path(), None, 0).await;
    let mails = sink.messages();
    let [firing, resolved] = mails.as_slice() else { panic!("two mails: {mails:?}") };
    assert_eq!(field(firing, "X-Plimsoll-Kind").as_deref(), Some("firing"));
    assert_eq!(field(resolved, "In-Reply-To"), field(firing, "Message-ID"));
    let date = rfc2822::parse(&field(firing, "Date").expect("a date")).expect("of a mail").timestamp();
    let second = |at: Timestamp| at.as_second();
    assert!(second(started) <= second(date) && date <= failed, "{date}");
}
