//! The components themselves: each does what the tests that lean on it take for granted.

use std::collections::BTreeMap;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point},
};
use plimsoll::practice::{knobs::Knobs, target};
use prost::Message as _;

use crate::support::{
    PATIENCE,
    daemon::Plimsoll,
    http,
    nginx::Nginx,
    otlp::OtlpReceiver,
    prometheus::Prometheus,
    smtp::{Mode, PASSWORD, SmtpServer, USER},
    wait_until,
};

#[tokio::test(flavor = "multi_thread")]
async fn nginx_limits_and_counts() {
    let Some(nginx) = Nginx::start().await else { return };
    let client = http();
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let response = client.get(nginx.url("/rate")).send().await.expect("nginx answers");
        assert_eq!(response.headers().contains_key("retry-after"), response.status() == 429);
        *seen.entry(response.status().as_u16()).or_insert(0_u64) += 1;
    }
    assert!(seen[&200] >= 6 && seen[&429] >= 1, "{seen:?}");
    let response = client.get(nginx.url("/")).send().await.expect("nginx answers");
    assert_eq!(response.status(), 200);
    let refused = wait_until("a 503", PATIENCE, async || {
        let response = client.get(nginx.url("/rate503")).send().await.expect("nginx answers");
        (response.status() == 503).then_some(response)
    })
    .await;
    assert!(!refused.headers().contains_key("retry-after"));
    assert!(client.get(nginx.url("/drop")).send().await.is_err());
    wait_until("the log has them", PATIENCE, async || (nginx.counts_of("/rate") == seen).then_some(())).await;
    assert_eq!(nginx.counts_of("/"), BTreeMap::from([(200, 1)]));
    assert_eq!(nginx.counts_by_status()[&503], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_practice_target() {
    let target = target::start(Knobs { memory: 123_000_000, ..Knobs::ephemeral() }).await.expect("a target");
    let Some(prometheus) = Prometheus::start(target.addr).await else { return };
    wait_until("it is up", PATIENCE, async || {
        prometheus.query("up == 1").await.first().map(|sample| assert_eq!(sample.labels["job"], "plimsoll"))
    })
    .await;
    let memory = prometheus.raw_last("process_resident_memory_bytes").await;
    assert_eq!(memory.len(), 1);
    assert!((memory[0].value - 123e6).abs() < f64::EPSILON && memory[0].at > 1e9);
    assert!((prometheus.query("scalar(up) + 1").await[0].value - 2.0).abs() < f64::EPSILON);
}

async fn send(server: &SmtpServer, deadline: std::time::Duration) -> Result<(), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Certificate::from_pem(&std::fs::read(&server.ca).expect("the CA")).expect("PEM");
    let tls = TlsParameters::builder("localhost".to_owned())
        .certificate_store(CertificateStore::None)
        .add_root_certificate(ca)
        .build()
        .expect("TLS");
    let mailer = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(server.addr.port())
        .tls(Tls::Required(tls))
        .credentials(Credentials::new(USER.to_owned(), PASSWORD.to_owned()))
        .build();
    let mail = Message::builder()
        .from("plimsoll@example.com".parse().expect("an address"))
        .to("oncall@example.com".parse().expect("an address"))
        .subject("A test")
        .body("It works.\r\n.dots too".to_owned())
        .expect("a mail");
    let sent = tokio::time::timeout(deadline, mailer.send(mail)).await;
    sent.map_err(|_| "hangs".to_owned())?.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smtp_server_takes_mail_and_fails_on_demand() {
    let Some(server) = SmtpServer::start().await else { return };
    send(&server, PATIENCE).await.expect("it takes the mail");
    let mails = server.wait_for(1, PATIENCE).await;
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("plimsoll@example.com", &["oncall@example.com".to_owned()][..])
    );
    assert!(mails[0].tls && mails[0].authenticated && mails[0].acknowledged);
    assert!(mails[0].raw.ends_with("\r\n.dots too\r\n"), "{}", mails[0].raw);

    server.set(Mode::Busy, 1).await;
    assert!(send(&server, PATIENCE).await.expect_err("451").contains("451"));
    assert_eq!((server.messages().await.len(), server.refused().await.len()), (1, 1));

    server.set(Mode::Drop, 1).await;
    send(&server, PATIENCE).await.expect_err("it is cut off before the 250");
    assert!(!server.wait_for(2, PATIENCE).await[1].acknowledged);

    let short = std::time::Duration::from_secs(2);
    for mode in [Mode::Hang, Mode::Mute] {
        server.set(mode, 1).await;
        assert_eq!(send(&server, short).await, Err("hangs".to_owned()), "{mode:?}");
    }
    server.set(Mode::Ok, 0).await;
    send(&server, PATIENCE).await.expect("it takes mail again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_otlp_receiver_decodes() {
    let receiver = OtlpReceiver::start().await;
    let attribute = |value: &str| KeyValue {
        key: "scenario".to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let point = |scenario: &str, value: i64| NumberDataPoint {
        attributes: vec![attribute(scenario)],
        value: Some(number_data_point::Value::AsInt(value)),
        ..NumberDataPoint::default()
    };
    let sum = Sum { data_points: vec![point("a", 1), point("b", 2)], is_monotonic: true, ..Sum::default() };
    let metric =
        Metric { name: "plimsoll.requests".to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let export = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let url = format!("{}/v1/metrics", receiver.endpoint());
    let response = http().post(url).body(export.encode_to_vec()).send().await.expect("it answers");
    assert_eq!(response.status(), 200);
    assert_eq!(receiver.exports(), [export]);
    let points = receiver.last("plimsoll.requests", &[("scenario", "b")]);
    assert_eq!(points.len(), 1);
    assert!((points[0].value - 2.0).abs() < f64::EPSILON && points[0].monotonic);
    assert_eq!((points[0].unit.as_str(), points[0].sum, points[0].at), ("", None, 0));
    assert_eq!(receiver.last("plimsoll.requests", &[]).len(), 2);
    assert_eq!(points[0].name, "plimsoll.requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_starts_dies_and_starts_again() {
    const CONFIG: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
targets:
  nobody: {base_url: "http://127.0.0.1:9"}
scenarios:
  by_hand:
    load: {executor: probe}
    steps: [{get: /}]
"#;
    let daemon = Plimsoll::daemon(CONFIG).await;
    assert!(daemon.data().is_dir());
    let mut daemon = daemon.killed_and_started().await;
    daemon.process.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait_end(PATIENCE).await.success());
}
