//! TLS as a real server speaks it: nginx with certificates made here, good ones and bad ones.

use std::process::Command;

use plimsoll::model::clock::{Clock as _, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::{
    engine::{Done, run, settings},
    support::{Process, on_free_port, require},
};

const CONFIG: &str = r"
daemon off;
master_process off;
pid nginx.pid;
error_log error.log notice;
events { worker_connections 1024; }
http {
    access_log access.log;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000;
    default_type text/plain;
    @SERVERS@
}
";

/// One name on the port; the default one is `good.test`.
const SERVER: &str = r#"
    server {
        listen 127.0.0.1:@PORT@ ssl http2;
        server_name @NAME@;
        ssl_certificate @FILE@.pem;
        ssl_certificate_key @FILE@.key;
        ssl_session_tickets off;
        @MORE@
        location / { return 200 "$server_protocol $ssl_client_verify $ssl_client_s_dn"; }
    }
"#;

/// nginx and the authority it is certified by.
struct Secure {
    port: u16,
    folder: TempDir,
    _process: Process,
}

/// A certificate authority of our own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for `name`, valid from `years.0` up to `years.1`.
    fn issue(&self, name: &str, years: (i32, i32), client: bool) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let usage = if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).expect("it signs").pem(), key.serialize_pem())
    }
}

impl Secure {
    async fn start() -> Option<Self> {
        let program = require("nginx")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("it is ours");
        let (ours, theirs) = (Authority::new("Test CA"), Authority::new("Client CA"));
        let stranger = Authority::new("Stranger");
        write("ca.pem", &ours.pem);
        write("clients.pem", &theirs.pem);
        let good = (2020, 4000);
        for (file, (pem, key)) in [
            ("good", ours.issue("good.test", good, false)),
            ("mutual", ours.issue("mutual.test", good, false)),
            ("expired", ours.issue("expired.test", (2020, 2021), false)),
            ("early", ours.issue("early.test", (3999, 4000), false)),
            ("other", ours.issue("other.test", good, false)),
            ("stranger", stranger.issue("stranger.test", good, false)),
            ("client", theirs.issue("client.test", good, true)),
            ("impostor", stranger.issue("client.test", good, true)),
        ] {
            write(&format!("{file}.pem"), &pem);
            write(&format!("{file}.key"), &key);
        }
        let (process, addr) = on_free_port(|port| {
            let server = |name: &str, file: &str, more: &str| {
                let server = SERVER.replace("@PORT@", &port.to_string()).replace("@NAME@", name);
                server.replace("@FILE@", &format!("{}/{file}", root.display())).replace("@MORE@", more)
            };
            let clients = format!("ssl_client_certificate {}/clients.pem; ssl_verify_client on;", root.display());
            let servers = [
                server("good.test", "good", ""),
                server("expired.test", "expired", ""),
                server("early.test", "early", ""),
                server("wrong.test", "other", ""),
                server("stranger.test", "stranger", ""),
                server("mutual.test", "mutual", &clients),
            ];
            write("nginx.conf", &CONFIG.replace("@SERVERS@", &servers.concat()));
            let mut command = Command::new(&program);
            command.arg("-p").arg(root).arg("-e").arg(root.join("error.log")).args(["-c", "nginx.conf"]);
            Process::spawn("nginx", &mut command, root)
        })
        .await;
        Some(Self { port: addr.port(), folder, _process: process })
    }

    /// The path of one of its files.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Two requests to the server called `name`, with more words under `http:` and `tls:`, and more of the scenario.
    async fn ask(&self, name: &str, http: &str, tls: &str, scenario: &str) -> Done {
        let url = format!("https://127.0.0.1:{}", self.port);
        let ca = if tls.contains("insecure") { String::new() } else { format!("ca: {}, ", self.file("ca.pem")) };
        let target = format!(
            "    headers: {{host: {name}}}\n    http: {{{http} connect_timeout: 20s, tls: {{{ca}server_name: {name}, {tls}}}}}"
        );
        let load = format!("    load: {{executor: per-vu-iterations, vus: 1, iterations: 2}}\n{scenario}");
        run(&settings(&url, &target, &load)).await
    }
}

const PLAIN: &str = "    steps: [{get: /}]";

fn why(done: &Done) -> (String, String) {
    let failure = done.run.first_failure.as_ref();
    (done.ledger(), failure.map(|failure| failure.detail.clone()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_failed_tls_and_says_which() {
    let Some(nginx) = Secure::start().await else { return };
    let good = nginx.ask("good.test", "", "", PLAIN).await;
    assert_eq!(why(&good), ("ok=2".to_owned(), String::new()), "SNI and name are those of server_name");
    assert!(good.run.hints.is_empty(), "{:?}", good.run.hints);

    let check = async |name: &str, expected: &str| {
        let (ledger, detail) = why(&nginx.ask(name, "", "", PLAIN).await);
        assert_eq!(ledger, "failed.tls=2", "{name}");
        assert_eq!(detail, expected, "{name}");
    };
    check("expired.test", "the certificate expired on 2021-01-01T00:00:00Z").await;
    check("early.test", "the certificate is not valid before 3999-01-01T00:00:00Z").await;
    let wrong = "the certificate is for another name: asked for wrong.test, it is for other.test";
    check("wrong.test", wrong).await;
    let unknown = "no authority that is trusted here vouches for the certificate; write `tls: {ca: FILE}`";
    check("stranger.test", unknown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_agrees_on_the_version() {
    let Some(nginx) = Secure::start().await else { return };
    let check = async |http: &str, protocol: &str| {
        let steps = format!("    steps: [{{get: /, expect: 'body contains \"{protocol}\"'}}]");
        let done = nginx.ask("good.test", http, "", &steps).await;
        assert_eq!(why(&done), ("ok=2".to_owned(), String::new()), "{http}");
        assert_eq!(done.connections(), (1, 1), "{http}");
    };
    check("", "HTTP/2.0").await;
    check("version: auto, connections: 3,", "HTTP/2.0").await;
    check("version: 2,", "HTTP/2.0").await;
    check("version: 1.1,", "HTTP/1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_checked_is_said() {
    let Some(nginx) = Secure::start().await else { return };
    for name in ["expired.test", "wrong.test", "stranger.test"] {
        let done = nginx.ask(name, "", "insecure: true", PLAIN).await;
        assert_eq!(why(&done), ("ok=2".to_owned(), String::new()), "{name}");
        assert_eq!(done.run.hints, ["certificates were not checked: targets.t says `insecure: true`"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let Some(nginx) = Secure::start().await else { return };
    let identity = |name: &str| {
        let file = |kind| nginx.file(&format!("{name}.{kind}"));
        format!("cert: {}, key: {}", file("pem"), file("key"))
    };
    let step = r#"    steps: [{get: /, expect: 'body contains "SUCCESS CN=client.test"'}]"#;
    let with = nginx.ask("mutual.test", "", &identity("client"), step).await;
    assert_eq!(why(&with), ("ok=2".to_owned(), String::new()));
    // nginx shakes hands with anybody, and then answers 400.
    let without = nginx.ask("mutual.test", "", "", step).await;
    assert_eq!((without.ledger().as_str(), without.run.status["400"]), ("failed.status=2", 2));
    let impostor = nginx.ask("mutual.test", "", &identity("impostor"), step).await;
    assert_eq!((impostor.ledger().as_str(), impostor.run.status["400"]), ("failed.status=2", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_sees_how_long_the_certificate_is_valid() {
    let Some(nginx) = Secure::start().await else { return };
    let check = async |name: &str, threshold: &str, tls: &str, expected: &str| {
        let steps = format!("{PLAIN}\n    thresholds: [{threshold}]");
        let done = nginx.ask(name, "", tls, &steps).await;
        let judged = done.run.thresholds.iter().find(|judged| judged.expr == threshold).expect("it is judged");
        assert_eq!(format!("{:?}", judged.result), expected, "{name}: {threshold}: {:?}", done.run.stats);
        done
    };
    let done = check("good.test", "min(cert_expires_in) > 21d", "", "Pass").await;
    let left = done.run.stats["cert_expires_in"].last.expect("it was seen");
    let ends = "4000-01-01T00:00:00Z".parse::<jiff::Timestamp>().expect("a time");
    let expected = ends.duration_since(SystemClock.now().wall).as_secs_f64();
    assert!((left - expected).abs() < 600.0, "{left} {expected}");
    check("good.test", "min(cert_expires_in) > 1000000d", "", "Fail").await;
    check("expired.test", "min(cert_expires_in) > 21d", "", "Fail").await;
    check("expired.test", "min(cert_expires_in) > 0s", "insecure: true", "Fail").await;
}
