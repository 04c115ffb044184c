//! `plimsoll hit` and `plimsoll init`: what they send, what they say, and what they refuse.

use std::{path::Path, process::Output};

use plimsoll::practice::{
    knobs::Knobs,
    target::{self, Target},
};
use regex::Regex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{daemon::Plimsoll, refusing_port};

struct Place {
    folder: tempfile::TempDir,
    target: Target,
}

impl Place {
    async fn new() -> Self {
        let target = target::start(Knobs::ephemeral()).await.expect("a free port");
        Self { folder: tempfile::tempdir().expect("a temporary folder"), target }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        Plimsoll::run(self.folder.path(), arguments).await
    }

    /// `hit` on a path of the target, its result as JSON.
    async fn hit(&self, path: &str, arguments: &[&str]) -> (i32, Value) {
        let url = format!("{}{path}", self.target.url());
        let output = self.run(&[&["hit", &url], arguments, &["--quiet", "--json", "-"]].concat()).await;
        let code = output.status.code().expect("it was not killed");
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}")))
    }

    fn received(&self, path: &str) -> u64 {
        self.target.log().by_path.get(path).map_or(0, |log| log.received)
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Replaces what differs from run to run, and the bars that follow from it.
fn masked(text: &str) -> String {
    let text = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern").replace_all(text, "ADDRESS").into_owned();
    let text = Regex::new(r"\d[\d.]* (?:ns|µs|ms|s)\b").expect("a pattern").replace_all(&text, "TIME").into_owned();
    let text = Regex::new(r" +TIME").expect("a pattern").replace_all(&text, "  TIME").into_owned();
    Regex::new(r" +━* *(?m:$)").expect("a pattern").replace_all(&text, "").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_laid_out() {
    let place = Place::new().await;
    let url = format!("{}/health", place.target.url());
    let output = place.run(&["hit", &url]).await;
    assert_eq!((output.status.code(), place.received("/health")), (Some(0), 1), "{output:?}");
    insta::assert_snapshot!(masked(&out(&output)), @r"
    ok  200  GET http://ADDRESS/health

      dns              -
      connect  TIME
      ttfb  TIME
      transfer  TIME
      total  TIME
    ");
    let output = place.run(&["hit", &url, "--expect", "status == 404"]).await;
    assert_eq!(output.status.code(), Some(99));
    assert!(out(&output).contains("failed (expect): status is 200, expected == 404"), "{output:?}");
    let (_held, address) = refusing_port();
    let refused = out(&place.run(&["hit", &format!("http://{address}/")]).await);
    let row = refused.lines().find(|line| line.starts_with("  connect")).unwrap_or_else(|| panic!("{refused}"));
    assert!(row.ends_with("━  failed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_sent_to_the_unit() {
    let place = Place::new().await;
    let check = async |path: &str, arguments: &[&str], planned: u64| {
        let (code, run) = place.hit(path, arguments).await;
        assert_eq!((code, run["planned"].as_u64(), run["sent"].as_u64()), (0, Some(planned), Some(planned)), "{run}");
        assert_eq!(place.received(path), planned, "{arguments:?}");
    };
    check("/one", &[], 1).await;
    check("/many", &["-n", "100", "-c", "10"], 100).await;
    check("/default", &["-c", "4"], 200).await;
    check("/few", &["-n", "3"], 3).await;
    check("/uneven", &["-n", "101", "-c", "10"], 101).await;
    check("/rate", &["--rate", "50", "-n", "25"], 25).await;
    check("/odd", &["--rate", "7/s", "-n", "3"], 3).await;
    check("/time", &["--rate", "40/s", "-z", "500ms"], 20).await;
    let (code, run) = place.hit("/long", &["-z", "300ms", "-c", "3"]).await;
    assert_eq!((code, run["sent"].as_u64()), (0, Some(place.received("/long"))), "{run}");
    assert!(place.received("/long") >= 3, "{run}");
    check("/limit", &["-n", "20", "--threshold", "p95(latency) < 1m", "--no-keepalive"], 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_one_where_it_is_said() {
    let place = Place::new().await;
    place.target.patch(&serde_json::json!({"status": 503})).expect("known knobs");
    let (code, run) = place.hit("/a", &["-n", "4", "-c", "2"]).await;
    assert_eq!((code, run["outcomes"]["failed"].as_u64()), (99, Some(4)), "{run}");
    assert!(run["hints"][0].as_str().is_some_and(|hint| hint.contains("--reject 503")), "{run}");
    let (_, run) = place.hit("/a", &["-n", "4", "-c", "2", "--reject", "500,503"]).await;
    assert_eq!(run["outcomes"]["rejected"].as_u64(), Some(4), "{run}");
}

/// Answers one request with 500 and the request itself; gives the request.
async fn echo(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.expect("someone comes");
    let mut request = Vec::new();
    while !request.ends_with(b"Test 1\"}") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).await.expect("it sends");
        assert!(length > 0, "it ends early: {}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&part[..length]);
    }
    let head = format!("HTTP/1.1 500 Oh\r\ncontent-length: {}\r\n\r\n", request.len());
    stream.write_all(&[head.as_bytes(), &request].concat()).await.expect("it reads");
    String::from_utf8(request).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn method_headers_and_body_arrive_and_no_secret_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/api?x=1", listener.local_addr().expect("an address"));
    let echoed = tokio::spawn(echo(listener));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = r#"{"prompt": "Test ${n}"}"#;
    let arguments =
        ["hit", &url, "-X", "PUT", "-H", "Authorization: Bearer canary-4711", "-d", body, "--json", "run.json"];
    let output = Plimsoll::run(folder.path(), &arguments).await;
    let request = echoed.await.expect("it does not panic");
    assert!(request.starts_with("PUT /api?x=1 HTTP/1.1\r\n"), "{request}");
    for line in
        ["authorization: Bearer canary-4711\r\n", "content-type: application/json\r\n", r#"{"prompt": "Test 1"}"#]
    {
        assert!(request.contains(line), "{request}");
    }
    let kept = std::fs::read_to_string(folder.path().join("run.json")).expect("it was written");
    for shown in [out(&output), err(&output), kept] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert!(out(&output).contains("failed (status)"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_with_what_to_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_held, address) = refusing_port();
    let here = format!("http://{address}/");
    let mut said = String::new();
    for arguments in [
        &["https://api.example.com/x"][..],
        &["http://169.254.169.254/latest", "--allow", "http://169.254.169.254"],
        &["ftp://localhost/"],
        &["http://localhost:99999/"],
        &["http://me:secret@localhost/"],
        &[&here, "-n", "0"],
        &[&here, "-n", "10", "-z", "1s"],
        &[&here, "-z", "5"],
        &[&here, "--rate", "fast"],
        &[&here, "-m", "BREW"],
        &[&here, "-d", "@none.json"],
        &[&here, "-d", "${nn}"],
        &[&here, "--timeout", "soon"],
        &[&here, "-H", "a: 1", "-H", "A: 2"],
        &[&here, "--expect", "status = 200"],
        &[&here, "--threshold", "p95(latancy) < 1s"],
        &[&here, "--reject", "full"],
        &[&here, "--json", "-", "--samples", "-"],
    ] {
        let output = Plimsoll::run(folder.path(), &[&["hit"], arguments].concat()).await;
        let by_policy = arguments[0].contains("example.com") || arguments[0].contains("169.254");
        let code = if by_policy { 104 } else { 2 };
        assert_eq!((output.status.code(), out(&output)), (Some(code), String::new()), "{arguments:?}: {output:?}");
        said.push_str(&err(&output).replace(&folder.path().display().to_string(), "FOLDER"));
    }
    insta::assert_snapshot!(said, @r#"
    error: without a policy only this machine may be loaded, and https://api.example.com is another one
    help: if you may load it, add `--allow https://api.example.com`; for good, write `allow: ["https://api.example.com"]` into /etc/plimsoll/policy.yaml
    error: `169.254.169.254` is a link-local address (169.254.0.0/16), where clouds keep their metadata: it is never loaded
    help: name the service by its own address
    error: `ftp://localhost/` is neither http nor https
    help: write a URL such as http://localhost:8080/health
    error: `http://localhost:99999/` has a port that is none
    help: write a URL such as http://localhost:8080/health
    error: `http://***@localhost/` holds a user or a password: give them by `-H 'authorization: Basic …'`
    help: write a URL such as http://localhost:8080/health
    error: nothing is to be sent
    help: -n and -c are at least 1
    error: -n and -z both say when it ends
    help: leave one of them out
    error: `-z 5` is not a length of time
    help: write one such as 30s or 5m
    error: `--rate fast`: write a rate such as 10/s, 30/m or 100/h
    error: `-m brew` is not a method
    help: get, post, put, patch, delete, head or options
    error: `-d @FOLDER/none.json`: No such file or directory (os error 2)
    error: `nn` is not a variable here
    help: known here: vu, iteration, n, identity, user, run_id, now, now_ms, uuid, random, vars, secret, env, data
    error: `--timeout soon`: write a duration such as 500ms, 10s, 5m, 1h30m or 30d
    error: `-H A` is given twice
    help: join the values by a comma
    error: --expect: `=` does not compare
      status = 200
             ^
    help: write `==`
    error: --threshold: `latancy` is not a metric
      p95(latancy) < 1s
          ^
    help: did you mean `latency`?
    error: `full` is not a status
    help: write 429, 5xx or 500-504
    error: `--json -` and `--samples -` both write to standard output
    help: give one of them a file
    "#);
    let output = Plimsoll::run(folder.path(), &["hit", &here, "-H", "nothing"]).await;
    assert_eq!(output.status.code(), Some(2));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_what_runs_at_once_and_nothing_twice() {
    let place = Place::new().await;
    let url = format!("{}/health", place.target.url());
    let output = place.run(&["init", &url, "oncall@example.com"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(out(&output), @r"
    plimsoll.yaml is written. Next:

      plimsoll check        what it will do
      plimsoll run health   the probe, now
      plimsoll run steady   2 requests a second for 30 s, now
      plimsoll daemon       both on their schedules, and the page on http://127.0.0.1:9590

    oncall@example.com is told by mail through smtp://localhost:25; `smtp:` in the file names another relay.
    ");
    let written = read(&place.folder.path().join("plimsoll.yaml"));
    assert_eq!(place.run(&["check"]).await.status.code(), Some(0));
    let output = place.run(&["run", "health"]).await;
    assert_eq!((output.status.code(), place.received("/health")), (Some(0), 1), "{output:?}");
    let output = place.run(&["run", "steady", "--duration", "1s", "--rate", "4/s"]).await;
    assert_eq!((output.status.code(), place.received("/health")), (Some(0), 5), "{output:?}");

    let output = place.run(&["init", "http://localhost:1"]).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(err(&output).contains("plimsoll.yaml is there already"), "{output:?}");
    assert_eq!(read(&place.folder.path().join("plimsoll.yaml")), written);
    let output = place.run(&["init", "http://localhost:1", "--config", "other.yaml"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out(&output).contains("plimsoll run health --config other.yaml"), "{output:?}");
    for (arguments, word) in [(&["init", "http://"][..], "host"), (&["init", "http://localhost", "me"], "mail address")]
    {
        let output = place.run(&[arguments, &["--config", "third.yaml"]].concat()).await;
        assert!(output.status.code() == Some(2) && err(&output).contains(word), "{output:?}");
    }
    assert!(!place.folder.path().join("third.yaml").exists());
}
