use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    model::{clock::ManualClock, run::Verdict},
    telemetry::{metrics::testing as telemetry, own::OwnStats},
    web::{Server, serve, testing},
};

/// A listener on a port of its own, and the ends that the daemon would hold.
struct Daemon {
    address: SocketAddr,
    server: Server,
    stop: watch::Sender<bool>,
    commands: mpsc::Receiver<Command>,
    own: Arc<OwnStats>,
    metrics: watch::Sender<Arc<Snapshot>>,
    clock: Arc<ManualClock>,
}

fn daemon(change: impl FnOnce(&mut StatusView)) -> Daemon {
    let clock = Arc::new(ManualClock::at(testing::NOW));
    let mut view = testing::bad();
    view.beat = crate::model::clock::Clock::mono(&*clock);
    change(&mut view);
    let (commands, receiver) = mpsc::channel(1);
    let own = Arc::new(OwnStats::default());
    let (metrics, published) = watch::channel(telemetry::after_one_run());
    let state = WebState {
        // The sender is gone; what was published last stays readable.
        status: watch::channel(Arc::new(view)).1,
        metrics: published,
        commands,
        own: Arc::clone(&own),
        clock: clock.clone(),
    };
    let (stop, stopped) = watch::channel(false);
    let server = serve(([127, 0, 0, 1], 0).into(), state, stopped).expect("a free port");
    Daemon { address: server.address, server, stop, commands: receiver, own, metrics, clock }
}

/// Sends a request and reads the whole answer.
fn ask(address: SocketAddr, head: &str) -> String {
    ask_with(address, head, "")
}

/// The same with a body.
fn ask_with(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the listener accepts");
    let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
    let host = if fields.to_lowercase().contains("host:") { String::new() } else { format!("Host: {address}\r\n") };
    let fields: String = fields.lines().flat_map(|field| [field.trim(), "\r\n"]).collect();
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\n{host}{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text");
    answer
}

fn status_of(answer: &str) -> &str {
    &answer[9..12]
}

/// Asks, and answers the one command that this brings.
fn ask_answering(daemon: &mut Daemon, head: &str, reply: impl FnOnce(Command) + Send) -> String {
    let address = daemon.address;
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || ask(address, head));
        reply(daemon.commands.blocking_recv().expect("a command"));
        asking.join().expect("an answer")
    })
}

#[test]
fn metrics_and_probes_of_life() {
    let daemon = daemon(|_| ());
    let metrics = ask(daemon.address, "GET /metrics\nHost: plimsoll.monitoring.svc:9590");
    assert_eq!(status_of(&metrics), "200", "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{metrics}");
    assert!(metrics.contains("\nplimsoll_requests_total{outcome=\"ok\",scenario=\"sustained\",step=\"generate\"} 7\n"));
    let again = ask(daemon.address, "GET /metrics");
    let text = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, text)| text.to_owned());
    assert_eq!(text(&again), text(&metrics), "the same snapshot");
    assert_eq!(daemon.own.renderings().count, 1, "is rendered once");
    daemon.metrics.send(telemetry::after_one_run()).expect("it listens");
    assert_eq!(status_of(&ask(daemon.address, "GET /metrics")), "200");
    assert_eq!(daemon.own.renderings().count, 2, "and the next one anew");
    let probes = |wanted: &str| {
        for head in ["GET /-/healthy", "HEAD /-/healthy", "GET /-/ready", "HEAD /-/ready"] {
            let answer = ask(daemon.address, head);
            assert_eq!(status_of(&answer), wanted, "{head}");
        }
    };
    probes("200");
    daemon.clock.advance(PULSE.checked_sub(Duration::from_millis(1)).expect("is longer"));
    probes("200");
    daemon.clock.advance(Duration::from_millis(1));
    probes("503");
    daemon.stop.send(true).expect("it listens");
    daemon.server.join();
    assert!(TcpStream::connect(daemon.address).is_err(), "nobody listens any more");
}

#[test]
fn not_ready_is_not_dead() {
    let daemon = daemon(|view| view.ready = false);
    assert_eq!(status_of(&ask(daemon.address, "GET /-/healthy")), "200");
    assert_eq!(status_of(&ask(daemon.address, "GET /-/ready")), "503");
}

#[test]
fn every_answer_is_fenced() {
    let daemon = daemon(|_| ());
    for (head, status) in [
        ("GET /", "200"),
        ("GET /metrics", "200"),
        ("GET /nowhere", "404"),
        ("GET /\nHost: evil.example", "403"),
        ("GET /api/v1/pause", "405"),
        ("DELETE /", "405"),
        ("GET /mail/x", "404"),
    ] {
        let answer = ask(daemon.address, head);
        assert_eq!(status_of(&answer), status, "{head}: {answer}");
        for header in [
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{head}: {header}");
        }
    }
    let refused = ask(daemon.address, "GET /\nHost: evil.example");
    assert!(refused.contains("The Host header names another machine."), "{refused}");
}

#[test]
fn commands_of_other_pages_go_nowhere() {
    let mut daemon = daemon(|_| ());
    for path in ["/api/v1/pause", "/api/v1/resume", "/api/v1/trigger/health"] {
        for fields in
            ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null", "Host: evil.example"]
        {
            let answer = ask(daemon.address, &format!("POST {path}\n{fields}"));
            assert_eq!(status_of(&answer), "403", "{path} {fields}: {answer}");
        }
    }
    assert!(daemon.commands.try_recv().is_err(), "nothing reached the daemon");
}

#[test]
fn commands_are_passed_on_and_answered() {
    let mut daemon = daemon(|_| ());
    let trigger = |answer: Result<String, String>| {
        move |command| match command {
            Command::Trigger { scenario, reply } => {
                assert_eq!(scenario, "health");
                reply.send(answer).expect("somebody waits");
            }
            other => panic!("{other:?}"),
        }
    };
    let answer = ask_answering(&mut daemon, "POST /api/v1/trigger/health", trigger(Ok("r1".to_owned())));
    assert!(status_of(&answer) == "200" && answer.ends_with("\r\n\r\n{\"run_id\":\"r1\"}"), "{answer}");
    let answer = ask_answering(&mut daemon, "POST /api/v1/trigger/health", trigger(Err("It is paused.".to_owned())));
    assert!(status_of(&answer) == "409" && answer.ends_with("{\"error\":\"It is paused.\"}"), "{answer}");
    let form = format!(
        "POST /api/v1/trigger/health\nOrigin: http://{}\nSec-Fetch-Site: same-origin\nAccept: text/html\n\
         Content-Type: application/x-www-form-urlencoded",
        daemon.address
    );
    let answer = ask_answering(&mut daemon, &form, trigger(Ok("r2".to_owned())));
    assert!(status_of(&answer) == "303" && answer.contains("location: /\r\n"), "{answer}");
    assert_eq!(status_of(&ask(daemon.address, "POST /api/v1/trigger/nobody")), "404");
    let answer = ask_answering(&mut daemon, "POST /api/v1/pause", |command| match command {
        Command::Pause { reason, reply } => {
            assert_eq!(reason, "asked for over HTTP");
            reply.send(Ok(())).expect("somebody waits");
        }
        other => panic!("{other:?}"),
    });
    assert!(answer.ends_with("{\"paused\":true}"), "{answer}");
}

#[test]
fn a_busy_or_stopping_daemon_says_so() {
    let mut daemon = daemon(|_| ());
    let (address, resume) = (daemon.address, "POST /api/v1/resume");
    std::thread::scope(|scope| {
        let first = scope.spawn(move || ask(address, resume));
        // The first command fills the queue, whose bound is one here.
        while daemon.commands.is_empty() {
            std::thread::yield_now();
        }
        let second = ask(address, resume);
        assert!(status_of(&second) == "503" && second.contains("busy"), "{second}");
        drop(daemon.commands.blocking_recv());
        assert!(first.join().expect("an answer").contains("Plimsoll is stopping."));
    });
    daemon.commands.close();
    assert!(ask(address, resume).contains("Plimsoll is stopping."));
}

#[test]
fn runs_and_mails_are_read_through_the_owner() {
    let mut daemon = daemon(|_| ());
    let answer =
        ask_answering(&mut daemon, "GET /api/v1/runs?scenario=sustained&limit=9999", |command| match command {
            Command::Runs { scenario, limit, reply } => {
                assert_eq!((scenario.as_deref(), limit), (Some("sustained"), 200));
                reply.send(Ok(vec![telemetry::summary(Verdict::Fail)])).expect("somebody waits");
            }
            other => panic!("{other:?}"),
        });
    assert!(answer.contains("{\"runs\":[{\"schema\":\"plimsoll/run/1\""), "{answer}");
    let mail = |found: bool| {
        move |command| match command {
            Command::Mail { id: 7, reply } => reply.send(Ok(found.then(testing::mail))).expect("somebody waits"),
            other => panic!("{other:?}"),
        }
    };
    let answer = ask_answering(&mut daemon, "GET /mail/7.eml", mail(true));
    assert!(
        answer.contains("content-type: message/rfc822")
            && answer.contains("\r\n\r\nSubject: [FIRING critical] ollama\r\n")
    );
    let answer = ask_answering(&mut daemon, "GET /mail/7", mail(true));
    assert!(answer.contains("content-type: text/html") && answer.contains("sandbox=\"\""), "{answer}");
    assert_eq!(status_of(&ask_answering(&mut daemon, "GET /mail/7", mail(false))), "404");
}

#[test]
fn a_run_is_a_page_and_a_document() {
    let mut daemon = daemon(|_| ());
    let run = |found: bool| {
        move |command| match command {
            Command::Run { id, reply } => {
                assert_eq!(id, "r-1");
                let mut run = telemetry::summary(Verdict::Fail);
                run.run_id = id;
                run.hints = vec!["<script>alert(1)</script>".to_owned()];
                reply.send(Ok(found.then_some(run))).expect("somebody waits");
            }
            other => panic!("{other:?}"),
        }
    };
    let answer = ask_answering(&mut daemon, "GET /runs/r-1", run(true));
    assert!(status_of(&answer) == "200" && answer.contains("content-type: text/html"), "{answer}");
    for part in ["<span class=\"pill bad\">fail</span>", "href=\"/api/v1/runs/r-1\"", "FAIL  ", "hint: &lt;script&gt;"]
    {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(!answer.contains("<script"), "{answer}");
    let answer = ask_answering(&mut daemon, "GET /api/v1/runs/r-1", run(true));
    assert!(answer.contains("content-type: application/json") && answer.contains("\"run_id\":\"r-1\""), "{answer}");
    for head in ["GET /runs/r-1", "GET /api/v1/runs/r-1"] {
        assert_eq!(status_of(&ask_answering(&mut daemon, head, run(false))), "404", "{head}");
    }
}

#[test]
fn the_status_as_json() {
    let daemon = daemon(|_| ());
    let answer = ask(daemon.address, "GET /api/v1/status");
    let body: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("has a body").1).expect("JSON");
    assert_eq!(body["uptime_s"], 4.0 * 86_400.0);
    assert_eq!(body["scenarios"][1]["last"]["verdict"], "fail");
    assert_eq!(body["scenarios"][1]["last"]["outcomes"]["rejected"], 30);
    assert_eq!(body["firing"][0]["severity"], "critical");
    assert_eq!(body["outbox"]["queued"], 1);
    assert_eq!(body["mails"][0]["state"], "queued");
    assert!(body.get("beat").is_none());
}

/// The sentence of a refusal in the form of the API.
fn error_of(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").expect("has a body").1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("JSON: {answer}"));
    body["error"].as_str().expect("a sentence").to_owned()
}

#[test]
fn every_refusal_of_the_api_is_json() {
    let mut daemon = daemon(|_| ());
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(body::BODY_BYTES));
    for (head, body, status, says) in [
        ("GET /api/v1/runs?limit=many", "", "400", "limit: invalid digit"),
        ("GET /api/v1/runs?limit=1&limit=2", "", "400", "duplicate field `limit`"),
        ("GET /?refresh=off&refresh=on", "", "400", "duplicate field `refresh`"),
        ("GET /api/v1/runs/%ff", "", "400", "Invalid UTF-8"),
        ("GET /api/v1/nothing", "", "404", "no such page"),
        ("GET /api/v1/pause", "", "405", "the header Allow"),
        ("POST /api/v1/pause", "{\"reason\": ", "400", "EOF while parsing"),
        ("POST /api/v1/pause", "maintenance", "400", "Send {\"reason\": \"why\"}, or nothing."),
        ("POST /api/v1/pause", "{\"reason\": 5}", "400", "invalid type: integer `5`, expected a string"),
        ("POST /api/v1/pause", "{\"reason\": null}", "400", "expected a string"),
        ("POST /api/v1/pause", &long, "413", "longer than 64 KiB"),
    ] {
        let answer = ask_with(daemon.address, head, body);
        assert_eq!(status_of(&answer), status, "{head}: {answer}");
        assert!(error_of(&answer).contains(says), "{head}: {answer}");
    }
    assert!(ask(daemon.address, "GET /api/v1/pause").contains("\r\nallow: POST\r\n"));
    assert!(daemon.commands.try_recv().is_err(), "nothing reached the daemon");
}

#[test]
fn a_reason_is_one_short_line() {
    for (body, wanted) in [
        ("", "asked for over HTTP"),
        ("{}", "asked for over HTTP"),
        ("{\"reason\": \" \\n\\u0000 \"}", "asked for over HTTP"),
        ("{\"reason\": \" the  cluster is\\r\\nupgraded\\u001b[31m \"}", "the cluster is upgraded [31m"),
    ] {
        assert_eq!(reason(body.as_bytes()).as_deref(), Ok(wanted), "{body}");
    }
    let long = format!("{{\"reason\": \"{}\"}}", "ü".repeat(300));
    assert_eq!(reason(long.as_bytes()), Ok("ü".repeat(REASON_CHARS)));
}
