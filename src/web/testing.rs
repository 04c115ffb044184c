//! A daemon's state for the tests of the page and the routes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::view::{AlertView, MailView, OutboxView, RunView, ScenarioView, StatusView};
use crate::{
    model::{
        clock,
        run::{OutcomeCounts, Severity, Trigger, Verdict},
    },
    store::rows::{MailState, NewMail, OutboxMail},
};

pub(super) const NOW: Timestamp = Timestamp::constant(1_763_724_000, 0);

fn ago(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

pub(super) fn run(scenario: &str, verdict: Verdict, ended: i64, outcomes: [u64; 4], dropped: u64) -> RunView {
    let [ok, rejected, failed, interrupted] = outcomes;
    let answered = ok + rejected + failed;
    RunView {
        run_id: format!("019a-{scenario}-{ended}"),
        scenario: scenario.to_owned(),
        trigger: Trigger::Cron,
        verdict,
        reasons: match verdict {
            Verdict::Pass => vec![],
            _ => vec!["rate(rejected) <= 5%: 20 % of 150 requests were rejected".to_owned()],
        },
        started_at: ago(ended + 30),
        ended_at: ago(ended),
        duration_s: 30.3,
        planned: ok + rejected + failed + interrupted + dropped,
        dropped,
        outcomes: OutcomeCounts { ok, rejected, failed, interrupted },
        p95_s: (ok > 0).then_some(0.412),
        rejected_share: (answered > 0).then(|| rejected as f64 / answered as f64),
    }
}

fn scenario(name: &str, executor: &str, schedule: &str, last: Option<RunView>, next: Option<i64>) -> ScenarioView {
    ScenarioView {
        name: name.into(),
        description: None,
        target: "ollama".into(),
        url: "http://localhost:8080".into(),
        executor: executor.into(),
        schedule: schedule.into(),
        last,
        next_run: next.map(|seconds| ago(-seconds)),
        running: 0,
        in_flight: 0,
    }
}

/// Nothing configured, nothing run.
pub(super) fn fresh() -> StatusView {
    StatusView {
        version: "0.1.0".into(),
        started_at: ago(10),
        at: NOW,
        beat: clock::mono(),
        ready: true,
        timezone: "UTC".into(),
        paused: None,
        troubles: vec![],
        scenarios: vec![],
        firing: vec![],
        outbox: OutboxView::default(),
        mails: vec![],
        runs: vec![],
    }
}

/// A calm day.
pub(super) fn calm() -> StatusView {
    let passed = run("health", Verdict::Pass, 12, [1, 0, 0, 0], 0);
    let mut sustained = scenario(
        "sustained",
        "constant-arrival-rate",
        "*/10 * * * * UTC",
        Some(run("sustained", Verdict::Pass, 400, [2980, 20, 0, 0], 0)),
        Some(200),
    );
    sustained.running = 1;
    sustained.in_flight = 17;
    StatusView {
        started_at: ago(4 * 86_400),
        scenarios: vec![
            scenario("health", "probe", "every 30s", Some(passed.clone()), Some(18)),
            sustained,
            scenario("ten_at_once", "per-vu-iterations", "manual", None, None),
        ],
        runs: vec![passed, run("sustained", Verdict::Pass, 400, [2980, 20, 0, 0], 0)],
        ..fresh()
    }
}

/// A bad one: markup in whatever comes from outside.
pub(super) fn bad() -> StatusView {
    let failed = run("sustained", Verdict::Fail, 400, [118, 30, 2, 0], 12);
    let mut view = calm();
    view.scenarios[1].last = Some(failed.clone());
    view.scenarios[0].description = Some("Is it <b>there</b>?".to_owned());
    view.runs.insert(1, failed);
    view.runs.push(run("ten_at_once", Verdict::Interrupted, 90_000, [4, 0, 0, 6], 0));
    view.runs.push(run("health", Verdict::NoData, 172_800, [0, 0, 0, 0], 0));
    view.firing = vec![
        AlertView {
            scenario: "sustained".to_owned(),
            target: "ollama".to_owned(),
            alert: "rate_rejected".to_owned(),
            severity: Severity::Critical,
            what: "rate(rejected) <= 5%".to_owned(),
            since: ago(400),
            value: Some(0.2),
            limit: Some(0.05),
            unit: "ratio".to_owned(),
            runbook: Some("https://wiki.example.com/queue".to_owned()),
        },
        AlertView {
            scenario: "sustained".to_owned(),
            target: "ollama".to_owned(),
            alert: "p95_latency".to_owned(),
            severity: Severity::Warning,
            what: "p95(latency) < 2s".to_owned(),
            since: ago(3600),
            value: Some(2.41),
            limit: Some(2.0),
            unit: "s".to_owned(),
            runbook: Some("javascript:alert(1)".to_owned()),
        },
    ];
    view.outbox = OutboxView { queued: 1, sent: 4, dead: 0 };
    view.mails = vec![
        MailView::from(&mail()),
        MailView {
            id: 6,
            state: "sent",
            attempts: 1,
            last_error: None,
            sent_at: Some(ago(3599)),
            kind: "firing".to_owned(),
            subject: "[FIRING warning] ollama: p95(latency) < 2s".to_owned(),
            created: ago(3600),
            recipient: "oncall@example.com".to_owned(),
        },
    ];
    view
}

pub(super) fn mail() -> OutboxMail {
    let html = "<html><body style=\"font-family:sans-serif\"><h1 style=\"color:#a61b1b\">sustained is rejected</h1>\
        <script>alert(1)</script><p>20 % of the requests to <b>ollama</b> were rejected; the limit is 5 %.</p></body></html>";
    let bytes = format!(
        "Subject: [FIRING critical] ollama\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b\"\r\n\r\n--b\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n20 % were rejected.\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
         {html}\r\n--b--\r\n"
    );
    OutboxMail {
        id: 7,
        mail: NewMail {
            incident: "ollama/1".to_owned(),
            receiver: "on_call".into(),
            recipient: "oncall@example.com".to_owned(),
            kind: "firing".to_owned(),
            subject: "[FIRING critical] ollama: rate(rejected) <= 5%".to_owned(),
            message_id: "<p.1@example.com>".to_owned(),
            bytes: bytes.into_bytes(),
            created: ago(390),
        },
        state: MailState::Queued,
        attempts: 2,
        not_before: NOW + Duration::from_secs(20),
        last_error: Some("connection refused by mail.example.com:587".to_owned()),
        sent_at: None,
    }
}
