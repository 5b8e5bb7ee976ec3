//! A client's settings of TLS as rustls has them, for protocols that are not HTTP.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::files::{self, TlsError};

/// Reads files: the authority that must have signed the server's certificate, and the
/// client's own certificate with its key, all in PEM.
///
/// # Errors
/// The first file that cannot be used, or a certificate with another one's key. Without
/// an authority nobody is believed.
pub fn connect(
    authority: Option<&Path>,
    certificate: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = authority.map(files::roots).transpose()?;
    let roots = roots.unwrap_or_else(rustls::RootCertStore::empty);
    let builder = ClientConfig::builder_with_provider(files::provider())
        .with_safe_default_protocol_versions()
        .map_err(files::refused)?
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(files::certificates(certificate)?, files::key(key)?)
            .map_err(files::refused)?,
    };
    Ok(Arc::new(config))
}
