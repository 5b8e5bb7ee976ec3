//! How a client knows its server, and the server the client: TLS with an authority of
//! one's own, a client certificate, a bearer token (RFC 6750).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

/// What a client shows, and wants to be shown.
#[derive(Clone, Default)]
pub struct Access {
    authority: Option<Vec<Certificate<'static>>>,
    certificate: Option<ClientCert>,
    token: Option<String>,
}

/// A file that is of no use for that.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {reason}", path.display())]
pub struct AccessError {
    path: PathBuf,
    reason: String,
}

impl Access {
    /// Reads files: the authority that must have signed the server's certificate, the
    /// client's own certificate with its key, all in PEM, and the token.
    ///
    /// # Errors
    /// A file that cannot be read, or has not what it should.
    pub fn read(
        authority: Option<&Path>,
        certificate: Option<(&Path, &Path)>,
        token: Option<&Path>,
    ) -> Result<Self, AccessError> {
        let certificate = match certificate {
            None => None,
            Some((certificate, key)) => {
                let private = PrivateKey::from_pem(&read(key)?);
                let private = private.map_err(|error| wrong(key, &error))?;
                Some(ClientCert::new_with_certs(&certificates(certificate)?, private))
            }
        };
        let authority = authority.map(certificates).transpose()?;
        let token = token.map(self::token).transpose()?;
        Ok(Self { authority, certificate, token })
    }

    /// A token, where there is one, and nothing else.
    pub fn with_token(token: Option<String>) -> Self {
        Self { token, ..Self::default() }
    }

    /// Whether this is for a server with TLS, and for no other.
    pub fn wants_tls(&self) -> bool {
        self.authority.is_some() || self.certificate.is_some()
    }

    /// The value of the header `Authorization`.
    pub fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// The settings of connections.
    pub fn tls(&self) -> TlsConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = self.authority.as_deref().unwrap_or_default();
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(roots))
            .client_cert(self.certificate.clone())
            .unversioned_rustls_crypto_provider(provider)
            .build()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("authority", &self.authority.is_some())
            .field("certificate", &self.certificate.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

fn wrong(path: &Path, reason: &dyn fmt::Display) -> AccessError {
    AccessError { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(path).map_err(|error| wrong(path, &error))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, AccessError> {
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&read(path)?) {
        if let ureq::tls::PemItem::Certificate(one) = item.map_err(|error| wrong(path, &error))? {
            found.push(one);
        }
    }
    if found.is_empty() { Err(wrong(path, &"there is no certificate in it")) } else { Ok(found) }
}

fn token(path: &Path) -> Result<String, AccessError> {
    let text = String::from_utf8(read(path)?).map_err(|error| wrong(path, &error))?;
    let token = text.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    match !token.is_empty() && token.bytes().all(allowed) {
        true => Ok(token.to_owned()),
        false => Err(wrong(path, &"a token is one word of letters, digits and \"-._~+/=\"")),
    }
}
