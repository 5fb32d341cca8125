//! The TLS side of a listener, from PEM files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{SqlError, state};

pub(super) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, SqlError> {
    let bad = |what: &str, path: &Path, reason: String| {
        SqlError::new(
            state::IO_ERROR,
            format!("cannot read the TLS {what} in \"{}\": {reason}", path.display()),
        )
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| bad("certificate", chain, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad("private key", key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private))
        .map_err(|error| bad("certificate", chain, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
