//! TLS to a target: which roots are trusted, who we are, which name is asked for; and what was wrong with a certificate,
//! in words that say what to do about it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::dial::with_sources;
use crate::{
    input,
    model::scenario::{ClientIdentity, TlsOptions},
};

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with certificate authorities cannot be used.
    #[error("failed to read certificate authorities from {path}: {why}")]
    Ca {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client certificate or its key cannot be used.
    #[error("failed to use the client certificate of {path}: {why}")]
    Identity {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system's roots cannot be used.
    #[error("failed to load the system's certificate authorities: {0}; install the package ca-certificates")]
    Roots(rustls::Error),
}

/// TLS as one target is to be spoken to. Clones share what they have seen.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    seen: Arc<Seen>,
}

impl Tls {
    /// Trusts the system's roots and, if given, the authorities in a PEM file. Blocks on file I/O.
    pub fn new(options: &TlsOptions, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let extra = options.ca.as_deref().map(authorities).transpose()?.unwrap_or_default();
        let trusted = if options.insecure {
            None
        } else {
            Some(Verifier::new_with_extra_roots(extra, provider.clone()).map_err(TlsError::Roots)?)
        };
        let seen = Arc::new(Seen::default());
        let verifier = Watching { trusted, provider: provider.clone(), seen: seen.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring serves TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certificates, key) = read_identity(identity)?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| TlsError::Identity {
                    path: identity.cert.display().to_string(),
                    why: format!("{error}; is the key of {} its own?", identity.key.display()),
                })?
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let server_name = options.server_name.as_deref().map(|name| ServerName::try_from(name.to_owned()));
        let server_name = server_name.transpose().expect("configuration lets no other name through");
        Ok(Self { config: Arc::new(config), server_name, seen })
    }

    /// Shakes hands over `stream` with `host`, unless another name is to be asked for. The error is in words.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name for TLS"))?,
        };
        let connected = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        connected.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => in_words(error),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                "the server closed the connection during the handshake".to_owned()
            }
            None => with_sources(&error),
        })
    }

    /// Whether both are one configuration.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// When the certificate that the server showed last ends, also where it was not accepted; `None` before the first.
    pub fn certificate_ends(&self) -> Option<Timestamp> {
        self.seen.ends()
    }
}

/// What a TLS error means and, where it is ours to say, what to write.
pub fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => certificate_in_words(why),
        rustls::Error::AlertReceived(alert) => {
            use rustls::AlertDescription::{
                AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, UnknownCA,
            };
            match alert {
                CertificateRequired => {
                    "the server asks for a client certificate; write `tls: {cert: FILE, key: FILE}`".to_owned()
                }
                BadCertificate | CertificateExpired | UnknownCA | AccessDenied => {
                    format!("the server does not accept our client certificate: {alert:?}")
                }
                _ => format!("the server ended the handshake: {alert:?}"),
            }
        }
        rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS here: {error}"),
        _ => with_sources(error),
    }
}

fn certificate_in_words(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", day(*not_after))
        }
        CertificateError::NotValidYet => "the certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", day(*not_before))
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They come as `DnsName("a.example.com")`.
            let name = |name: &str| match name.split_once('(') {
                Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_owned(),
                None => name.to_owned(),
            };
            let names = presented.iter().take(8).map(|text| name(text)).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "no name at all".to_owned() } else { names };
            format!("the certificate is for another name: asked for {}, it is for {names}", expected.to_str())
        }
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here vouches for the certificate; write `tls: {ca: FILE}`".to_owned()
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        other => format!("the certificate is not valid: {other}"),
    }
}

fn day(time: UnixTime) -> String {
    let at = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "a day far off".to_owned(), |at| at.to_string())
}

/// The end of the certificate that was seen last, in seconds since 1970.
#[derive(Debug)]
struct Seen(AtomicI64);

impl Default for Seen {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Seen {
    fn note(&self, certificate: &CertificateDer<'_>) {
        if let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) {
            self.0.store(certificate.validity().not_after.timestamp(), Ordering::Relaxed);
        }
    }

    fn ends(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).ok()
    }
}

/// Judges as the machine would, or accepts anything, and notes when what it saw ends.
#[derive(Debug)]
struct Watching {
    /// `None` = `insecure: true`.
    trusted: Option<Verifier>,
    provider: Arc<CryptoProvider>,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.seen.note(leaf);
        match &self.trusted {
            Some(trusted) => trusted.verify_server_cert(leaf, chain, name, ocsp, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path).map_err(|why| TlsError::Ca { path: path.display().to_string(), why })
}

fn read_identity(
    identity: &ClientIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let fault = |path: &Path, why: String| TlsError::Identity { path: path.display().to_string(), why };
    let chain = certificates(&identity.cert).map_err(|why| fault(&identity.cert, why))?;
    let pem = input::read_bounded(&identity.key, input::MAX_CERTIFICATES)
        .map_err(|error| fault(&identity.key, error.to_string()))?;
    // What the parser says may quote the key.
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| fault(&identity.key, "it holds no private key (PEM, unencrypted)".to_owned()))?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = input::read_bounded(path, input::MAX_CERTIFICATES).map_err(|error| error.to_string())?;
    let certs: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certs.is_empty() { Err("it holds no CERTIFICATE block".to_owned()) } else { Ok(certs) }
}
