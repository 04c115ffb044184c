//! One minute of the main job: a cron probe and a sustained load against a rate limit, watched by Prometheus and an
//! OTLP receiver, with an alert that fires and resolves by mail. Every count is compared with someone else's, to the
//! unit.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use plimsoll::{
    model::clock::{Clock as _, SystemClock},
    telemetry::catalogue::{Family, Kind},
};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Labels, PATIENCE,
    daemon::Plimsoll,
    nginx::Nginx,
    otlp::OtlpReceiver,
    prometheus::Prometheus,
    require,
    smtp::{PASSWORD, Received, SmtpServer, USER},
    wait_until,
};

/// A secret of the target's; like the mail server's password it must never be seen again.
const TOKEN: &str = "token-of-the-target-4711";

/// Due instants of the probe are this many milliseconds apart.
const PERIOD: i64 = 10_000;

const CONFIG: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
secrets:
  smtp: {from_env: SMTP_PASSWORD}
  token: {from_env: TARGET_TOKEN}
targets:
  nginx:
    base_url: "@NGINX@"
    headers: {authorization: "Bearer ${secret.token}"}
    http: {connections: 20}
scenarios:
  probe:
    schedule: {cron: "*/10 * * * * *"}
    load: {executor: probe}
    steps:
      - get: /health
        expect: [status == 200]
    thresholds:
      - {expr: rate(ok) == 100%, severity: critical}
    # How late this machine is does not matter here.
    valid_if: [p99(send_lag) < 30s]
  sustained:
    intent: overload
    load: {executor: constant-arrival-rate, rate: 50/s, duration: 60s}
    steps:
      - get: /rate
    thresholds:
      - rate(rejected) > 5%
      - count(failed) == 0
      - count(dropped) == 0
    valid_if: [p99(send_lag) < 30s]
alerts:
  receivers:
    on_call:
      email:
        to: [oncall@example.com]
        from: plimsoll@example.com
        smtp: "smtp://@SMTP@"
        tls: required
        tls_ca: "@CA@"
        username: @USER@
        password: "${secret.smtp}"
  group_wait: 1s
  group_interval: 2s
telemetry:
  otlp: {endpoint: "@OTLP@", interval: 1s}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_seconds_against_nginx() {
    let (Some(nginx), Some(smtp)) = (Nginx::start().await, SmtpServer::start().await) else { return };
    let otlp = OtlpReceiver::start().await;
    let config = CONFIG
        .replace("@NGINX@", &format!("http://{}", nginx.addr))
        .replace("@SMTP@", &smtp.addr.to_string())
        .replace("@CA@", &smtp.ca.display().to_string())
        .replace("@USER@", USER)
        .replace("@OTLP@", &otlp.endpoint());
    let environment = [("SMTP_PASSWORD", PASSWORD), ("TARGET_TOKEN", TOKEN), ("PLIMSOLL_LOG", "trace,rustls=info")];
    let mut daemon = Plimsoll::start(&config, &environment).ready().await;
    let Some(prometheus) = Prometheus::start(daemon.addr).await else { return };

    daemon.command(&["trigger", "sustained"]).await;
    let mails = outage(&daemon, &nginx, &smtp).await;
    let run = wait_until("the sustained run ends", PATIENCE * 2, async || daemon.runs("sustained").await.pop()).await;

    equals_the_log(&run, &nginx);
    let ended: Timestamp = run["ended_at"].as_str().expect("a time").parse().expect("a time");
    scraped(&daemon, &prometheus, &run, ended).await;
    pushed(&daemon, &otlp, ended).await;
    thread(&mails);
    assert_eq!(smtp.messages().await, mails, "no mail beyond these two");
    assert_eq!(smtp.refused().await, []);
    let surfaces = surfaces(&daemon, &mails).await;

    let status = daemon.json("/api/v1/status").await;
    let stopped = SystemClock.now().wall;
    daemon.process.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait_end(PATIENCE).await.success(), "{}", daemon.process.output());
    ledger(&daemon, &nginx, status["started_at"].as_str().expect("a time").parse().expect("a time"), stopped);
    no_secret(&daemon, surfaces);
}

/// The probe passes, fails while the target is not well, and passes again: the mails of that.
async fn outage(daemon: &Plimsoll, nginx: &Nginx, smtp: &SmtpServer) -> Vec<Received> {
    let verdict = async || Some(daemon.runs("probe").await.first()?["verdict"].clone());
    assert_eq!(wait_until("a probe ends", PATIENCE, verdict).await, "pass");
    nginx.set_well(false);
    let firing = smtp.wait_for(1, PATIENCE).await;
    assert_eq!(firing.len(), 1);
    let status = daemon.json("/api/v1/status").await;
    let alerts: Vec<_> = status["firing"].as_array().expect("a list").iter().map(|alert| &alert["alert"]).collect();
    assert_eq!(alerts, ["rate_ok"], "that nothing was ok says nothing new");
    assert!(daemon.text("/").await.contains("rate(ok) == 100%"));
    nginx.set_well(true);
    smtp.wait_for(2, PATIENCE).await
}

/// (a) What the run counted is what nginx wrote down.
fn equals_the_log(run: &Value, nginx: &Nginx) {
    let log = nginx.counts_of("/rate");
    let (ok, rejected) = (log[&200], log[&429]);
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(ok >= 290 && rejected >= 2500, "{log:?}");
    assert_eq!(run["outcomes"], json!({"ok": ok, "rejected": rejected, "failed": 0, "interrupted": 0}));
    assert_eq!(run["rejected"], json!({"status_429": rejected}));
    assert_eq!(run["status"], json!({"200": ok, "429": rejected}));
    let planned = run["planned"].as_u64().expect("a count");
    assert!(planned.abs_diff(3000) <= 1 && run["sent"] == planned && ok + rejected == planned, "{run}");
    assert_eq!(run["verdict"], "pass", "{run}");
    eprintln!("nginx: {log:?}; planned {planned}, send_lag {}", run["send_lag_s"]);
}

/// Counters of the sustained scenario: name and labels to value.
type Counters = BTreeMap<(String, Labels), u64>;

fn outcomes(counters: &Counters) -> BTreeMap<&str, u64> {
    let requests = counters.iter().filter(|((name, _), _)| name == "plimsoll_requests_total");
    requests.map(|((_, labels), value)| (labels["outcome"].as_str(), *value)).collect()
}

/// (b) Prometheus never saw it down, and has what the run and `/metrics` have.
async fn scraped(daemon: &Plimsoll, prometheus: &Prometheus, run: &Value, ended: Timestamp) {
    let fresh = ended.as_second() as f64 + 5.0;
    wait_until("a scrape after the end", PATIENCE, async || {
        prometheus.raw_last("up").await.first().filter(|sample| sample.at >= fresh).map(drop)
    })
    .await;
    for (query, least) in [("min_over_time(up[1h])", 1.0), ("count_over_time(up[1h])", 50.0)] {
        let samples = prometheus.query(query).await;
        assert_eq!(samples.len(), 1, "{query}");
        assert!(samples[0].value >= least, "{query}: {samples:?}");
        eprintln!("{query} = {}", samples[0].value);
    }
    let text = daemon.text("/metrics").await;
    lint(&text).await;
    let shown = counters(&text);
    for (outcome, count) in outcomes(&shown) {
        assert_eq!(run["outcomes"][outcome], count, "{outcome}");
    }
    assert_eq!(outcomes(&shown).len(), 4, "{shown:?}");
    let selector = r#"{scenario="sustained",__name__=~"plimsoll_.*_total"}"#;
    let held = prometheus.raw_last(selector).await.into_iter().map(|mut sample| {
        sample.labels.retain(|name, _| name != "job" && name != "instance");
        let name = sample.labels.remove("__name__").expect("a name");
        ((name, sample.labels), sample.value as u64)
    });
    assert_eq!(held.collect::<Counters>(), shown, "Prometheus has what /metrics shows");
    eprintln!("{} counters are the same in /metrics and Prometheus: {:?}", shown.len(), outcomes(&shown));
}

/// `promtool check metrics` finds nothing to say.
async fn lint(text: &str) {
    let Some(promtool) = require("promtool") else { return };
    let mut command = tokio::process::Command::new(promtool);
    command.args(["check", "metrics"]).stdin(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).await.expect("it reads");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
}

/// The counters of the sustained scenario in a text exposition; no label value here holds a comma or a quote.
fn counters(text: &str) -> Counters {
    let line = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels: Labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
        let ours = name.ends_with("_total") && labels.get("scenario")? == "sustained";
        ours.then(|| ((name.to_owned(), labels), value.parse::<f64>().expect("a number") as u64))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

/// (c) The OTLP receiver has the same counters.
async fn pushed(daemon: &Plimsoll, otlp: &OtlpReceiver, ended: Timestamp) {
    let fresh = (ended.as_second() as u64 + 5) * 1_000_000_000;
    let sustained = [("scenario", "sustained")];
    wait_until("an export after the end", PATIENCE, async || {
        otlp.last("plimsoll.arrivals", &sustained).first().filter(|point| point.at >= fresh).map(drop)
    })
    .await;
    let mut held = Counters::new();
    for spec in Family::ALL.iter().map(|family| family.spec()).filter(|spec| spec.kind == Kind::Counter) {
        for point in otlp.last(spec.otlp, &sustained) {
            assert!(point.monotonic, "{}", spec.otlp);
            held.insert((spec.name.to_owned(), point.attributes), point.value as u64);
        }
    }
    assert_eq!(held, counters(&daemon.text("/metrics").await), "OTLP has what /metrics shows");
    eprintln!("{} counters are the same in OTLP: {:?}", held.len(), outcomes(&held));
}

/// (d) The second mail answers the first, and both were protected.
fn thread(mails: &[Received]) {
    let [firing, resolved] = mails else { panic!("two mails: {mails:?}") };
    for mail in mails {
        assert!(mail.tls && mail.authenticated && mail.acknowledged, "{mail:?}");
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("plimsoll@example.com", &["oncall@example.com".into()][..])
        );
    }
    let subject = firing.header("Subject");
    let base = subject.strip_prefix("[FIRING critical] ").unwrap_or_else(|| panic!("{subject}"));
    assert_eq!(resolved.header("Subject"), format!("Re: [RESOLVED critical] {base}"));
    let id = firing.header("Message-ID");
    assert!(id.starts_with('<') && id.ends_with("@example.com>"), "{id}");
    assert_eq!((resolved.header("In-Reply-To"), resolved.header("References")), (id.clone(), id.clone()));
    assert!(resolved.header("Message-ID") != id && firing.header("In-Reply-To").is_empty());
    eprintln!("{subject} / {}", resolved.header("Subject"));
}

/// Every due instant of the time from `started` to `stopped` is in the ledger once, ran, and left one run, which sent
/// one request.
fn ledger(daemon: &Plimsoll, nginx: &Nginx, started: Timestamp, stopped: Timestamp) {
    let file = daemon.data().join("plimsoll.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    let rows = |sql: &str| -> Vec<(i64, String)> {
        let mut statement = database.prepare(sql).expect("good SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    let ledger = rows("SELECT due_ms, fate || ' ' || detail FROM ledger WHERE scenario = 'probe' ORDER BY due_ms");
    // The clock may strike while the signal is on its way.
    let first = started.as_millisecond().div_euclid(PERIOD) * PERIOD + PERIOD;
    let (end, late) = (stopped.as_millisecond() - 1000, stopped.as_millisecond() + 5000);
    let instants: Vec<i64> = ledger.iter().map(|(due, _)| *due).collect();
    let wanted: Vec<i64> = (0..).map(|n| first + n * PERIOD).take(instants.len()).collect();
    assert_eq!(instants, wanted, "each due instant, once");
    let last = *instants.last().expect("the probe was due");
    assert!(last + PERIOD > end && last <= late, "from {started} to {stopped}: {instants:?}");
    let runs = rows(
        "SELECT CAST(unixepoch(json_extract(document, '$.due_at')) AS INTEGER) * 1000, 'ran ' || run_id
         FROM runs WHERE scenario = 'probe' ORDER BY 1",
    );
    assert_eq!(runs, ledger, "each due instant left its run");
    let asked: u64 = nginx.counts_of("/health").values().sum();
    assert_eq!(asked, ledger.len() as u64, "each run sent one request");
    eprintln!("ledger: {} due instants, each ran once", ledger.len());
}

/// What a person or a program can be shown.
async fn surfaces(daemon: &Plimsoll, mails: &[Received]) -> Vec<(String, Vec<u8>)> {
    let mut surfaces = Vec::new();
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/runs?limit=200", "/mail/1", "/mail/1.eml", "/mail/2"] {
        surfaces.push((path.to_owned(), daemon.text(path).await.into_bytes()));
    }
    surfaces.extend(mails.iter().map(|mail| ("a mail".to_owned(), mail.raw.clone().into_bytes())));
    surfaces
}

/// No secret is on any surface, in the log or in the data directory, neither plain nor as it goes over the wire.
fn no_secret(daemon: &Plimsoll, mut surfaces: Vec<(String, Vec<u8>)>) {
    surfaces.push(("the log".to_owned(), daemon.process.output().into_bytes()));
    files(&daemon.data(), &mut surfaces);
    // printf '\0plimsoll\0correct horse' | base64; printf 'correct horse' | base64
    let secrets = [PASSWORD, TOKEN, "AHBsaW1zb2xsAGNvcnJlY3QgaG9yc2U", "Y29ycmVjdCBob3JzZQ"];
    for (name, bytes) in &surfaces {
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{name} holds {secret}");
        }
    }
    assert!(surfaces.iter().any(|(name, bytes)| name.ends_with("plimsoll.db") && !bytes.is_empty()));
    assert!(surfaces.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 10_000);
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).expect("it is ours")));
        }
    }
}
