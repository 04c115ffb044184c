//! HTTPS with a certificate authority of one's own, and what is refused.

use std::{path::Path, sync::Arc};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Done, run,
    server::{OK, Server, request},
    settings,
};

/// A server with a fresh certificate for `name`, and the PEM file that vouches for it.
pub(super) async fn server(name: &str, folder: &Path) -> (Server, String) {
    let (config, file) = config(name, folder);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while request(&mut stream).await.is_some() {
                if stream.write_all(OK).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (server, file)
}

/// A server of `localhost` that offers what `protocol` says, connection by connection, and serves it with `serve`.
pub(super) async fn speaking<F>(
    protocol: impl Fn() -> Vec<u8> + Send + 'static,
    folder: &Path,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> (Server, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (config, file) = config("localhost", folder);
    let server = Server::start(move |stream| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol()];
        let serve = serve.clone();
        async move {
            if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await;
    (server, file)
}

fn config(name: &str, folder: &Path) -> (rustls::ServerConfig, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, made.cert.pem()).expect("it is writable");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring serves them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a good certificate");
    (config, file.display().to_string())
}

async fn two_users(url: &str, http: &str) -> Done {
    let load = "    load: {executor: per-vu-iterations, vus: 2, iterations: 3}\n    steps: [{get: /}]";
    run(&settings(url, &format!("    http: {http}"), load)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_trusted_for_its_name_and_its_authority_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, ca) = server("localhost", folder.path()).await;
    let port = server.addr.port();
    let done = two_users(&format!("https://localhost:{port}"), &format!("{{tls: {{ca: {ca}}}}}")).await;
    assert_eq!(done.ledger(), "ok=6", "{:?}", done.run.first_failure);
    assert_eq!((done.connections(), done.run.timing_s["tls"].count), ((2, 4), 2));

    let wrong_host = two_users(&format!("https://127.0.0.1:{port}"), &format!("{{tls: {{ca: {ca}}}}}")).await;
    assert_eq!(wrong_host.ledger(), "failed.tls=6");
    let unknown = two_users(&format!("https://localhost:{port}"), "{}").await;
    assert_eq!(unknown.ledger(), "failed.tls=6");
    assert_eq!(unknown.run.verdict.as_str(), "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_none_is_failed_tls_in_time() {
    let plain = Server::answering(OK).await;
    let url = format!("https://localhost:{}", plain.addr.port());
    let silent = Server::start(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let hanging = format!("https://localhost:{}", silent.addr.port());
    assert_eq!(two_users(&hanging, "{connect_timeout: 300ms}").await.ledger(), "failed.tls=6");
    drop(plain);
    assert_eq!(two_users(&url, "{connect_timeout: 300ms}").await.ledger(), "failed.connect=6");
}
