//! A server's certificate and key, which it reads again when it is told to.
//!
//! With a client authority, a client may show a certificate of its own, which must
//! then be valid; what it may do is the server's to say.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use crate::files::{self, TlsError};

/// The files of a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those that lead to an authority, in PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// The authority of clients' certificates, in PEM. Without it clients show none.
    pub client_authority: Option<PathBuf>,
}

/// Whether who connects has to show a certificate, where there is a client authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It may be known by something else.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used, or a certificate with another one's key.
    pub fn load(&self, wanted: ClientCertificate) -> Result<Arc<ServerConfig>, TlsError> {
        let certificates = files::certificates(&self.certificate)?;
        let key = files::key(&self.key)?;
        let builder = ServerConfig::builder_with_provider(files::provider())
            .with_safe_default_protocol_versions()
            .map_err(files::refused)?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (roots, provider) = (Arc::new(files::roots(path)?), files::provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match wanted {
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                    ClientCertificate::Required => verifier,
                };
                let verifier = verifier.build().map_err(|error| files::file(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(files::refused)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
