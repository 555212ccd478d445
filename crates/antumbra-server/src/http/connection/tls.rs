//! TLS from a certificate and a key in files.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// Why the listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] pem::Error),
    /// The certificate and the key do not serve.
    #[error("the certificate and key of the listener cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// An acceptor that offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let in_chain = |cause| TlsError::File(files.certificate.clone(), cause);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(in_chain)?
        .collect::<Result<_, _>>()
        .map_err(in_chain)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|cause| TlsError::File(files.key.clone(), cause))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
