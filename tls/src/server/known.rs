//! Clients that are known by their certificates: by a name in it, or by its SHA-256.
//!
//! Names are those of the `subjectAltName`; the subject's common name is for people
//! (RFC 9525, 6.2).

use std::str::FromStr;

use leeway_contract::Digest;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use serde::Deserialize;

/// A client that is known by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KnownClient {
    /// By a DNS name or an address in it.
    Name(ServerName<'static>),
    /// By the SHA-256 of all of it, in DER.
    Fingerprint(Digest),
}

/// A text that names no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no client's certificate: {seen:?} (wanted a DNS name or an address that is in it, or \"sha256:\" and its fingerprint)"
)]
pub struct ParseKnownClientError {
    seen: String,
}

impl KnownClient {
    /// Whether a certificate is this client's. That its authority is believed was the
    /// handshake's to see.
    pub fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Fingerprint(wanted) => Digest::of(certificate) == *wanted,
            Self::Name(name) => ParsedCertificate::try_from(certificate)
                .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok()),
        }
    }
}

impl FromStr for KnownClient {
    type Err = ParseKnownClientError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseKnownClientError { seen: text.chars().take(200).collect() };
        if let Some(digits) = text.strip_prefix("sha256:") {
            // As openssl prints it, or as a digest is written.
            let digits = digits.replace(':', "");
            return format!("sha256:{digits}").parse().map(Self::Fingerprint).map_err(|_| error());
        }
        ServerName::try_from(text.to_owned()).map(Self::Name).map_err(|_| error())
    }
}

impl TryFrom<String> for KnownClient {
    type Error = ParseKnownClientError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn certificate(name: &str) -> CertificateDer<'static> {
        let path = format!("{}/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        CertificateDer::from_pem_file(path).unwrap()
    }

    #[test]
    fn a_certificate_is_known_by_its_names_and_by_its_fingerprint() {
        let (operator, device) = (certificate("operator"), certificate("device"));
        let name: KnownClient = "operator.example.org".parse().unwrap();
        assert!(name.is(&operator) && !name.is(&device));
        // The common name is no name.
        assert!(!"device-7".parse::<KnownClient>().unwrap().is(&device));
        let digest = Digest::of(&device);
        let bytes: Vec<String> = digest
            .to_hex()
            .as_bytes()
            .chunks(2)
            .map(|b| String::from_utf8_lossy(b).to_uppercase())
            .collect();
        for text in [digest.to_string(), format!("sha256:{}", bytes.join(":"))] {
            let fingerprint: KnownClient = text.parse().unwrap();
            assert!(fingerprint.is(&device) && !fingerprint.is(&operator), "{text}");
        }
        assert!(!name.is(&CertificateDer::from(b"garbage".to_vec())));
    }

    #[test]
    fn what_names_nobody_is_an_error_that_shows_it() {
        for text in ["", "two words", "sha256:12", "sha256:", "a..b"] {
            let error = text.parse::<KnownClient>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
