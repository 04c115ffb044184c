//! The TLS client configuration of a target: the system's roots, and a company's authority beside them.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::input;

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
    /// The system's roots cannot be used.
    #[error("failed to load the system's certificate authorities: {0}; install the package ca-certificates")]
    Roots(rustls::Error),
}

/// A configuration that trusts the system's roots and, if given, the authorities in a PEM file. Blocks on file I/O.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra = ca.map(read_pem).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone()).map_err(TlsError::Roots)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring serves TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |why: String| TlsError::Ca { path: path.display().to_string(), why };
    let pem = input::read_bounded(path, input::MAX_CERTIFICATES).map_err(|error| fault(error.to_string()))?;
    let certs: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| fault(error.to_string()))?;
    if certs.is_empty() { Err(fault("it holds no CERTIFICATE block".to_owned())) } else { Ok(certs) }
}
