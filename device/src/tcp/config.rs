//! The section `[tcp]` of the configuration:
//!
//! ```toml
//! [tcp]
//! listen = "0.0.0.0:8090"
//! certificate = "device.pem"          # TLS, with `key`: this device's certificate
//! key = "device.key"
//! token_file = "token"                # who has the token is let in,
//! client_authority = "operators.pem"  # and who shows a certificate by this authority,
//! clients = ["gateway.example.org", "sha256:..."]   # if it is one of these; optional
//! plaintext = true                    # in place of TLS: anybody between may read along
//! connections = 64                    # at once; more wait
//! head_s = 10                         # the longest for a handshake, and a request's head
//! idle_s = 60                         # the longest between two requests
//! ```
//!
//! One of token and authority there must be, wherever it listens. With both of them,
//! either is enough.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Digest;
use leeway_tls::TlsError;
use leeway_tls::server::{ClientCertificate, ConnectionLimits, KnownClient, TlsFiles};
use rustls::ServerConfig;
use serde::Deserialize;

use super::door::Keys;

/// The fewest characters of a token.
const TOKEN_CHARACTERS: usize = 16;

/// How the agent listens on TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// The address.
    pub listen: SocketAddr,
    /// The file with the token, at least 16 characters.
    token_file: Option<PathBuf>,
    /// The device's certificate, in PEM.
    certificate: Option<PathBuf>,
    /// Its private key.
    key: Option<PathBuf>,
    /// The authority of the certificates that let clients in.
    client_authority: Option<PathBuf>,
    /// Whose certificates of that authority; all, where it is not given.
    clients: Option<Vec<KnownClient>>,
    /// Whether there may be no TLS although other machines reach the address.
    #[serde(default)]
    plaintext: bool,
    /// How many connections there may be at once.
    #[serde(default = "connections")]
    connections: usize,
    /// The longest that a handshake or a request's head may take, in seconds.
    #[serde(default = "head_s")]
    head_s: u64,
    /// The longest that a connection may idle, in seconds.
    #[serde(default = "idle_s")]
    idle_s: u64,
}

fn connections() -> usize {
    64
}

fn head_s() -> u64 {
    10
}

fn idle_s() -> u64 {
    60
}

/// Settings of TCP that cannot be served by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// Anybody may listen.
    #[error(
        "[tcp] listens on {0}, which other machines reach: give it certificate and key, or say in plain words that anybody between may read and change what is sent: plaintext = true"
    )]
    Exposed(SocketAddr),
    /// Anybody is let in.
    #[error(
        "[tcp] lets everybody in: give it a token_file, or certificate, key and client_authority"
    )]
    Open,
    /// One setting needs, or excludes, another.
    #[error("[tcp]: {0}")]
    Settings(&'static str),
    /// A token that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A token that can be guessed.
    #[error("{}: the token has {seen} characters, wanted at least {TOKEN_CHARACTERS}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Its length.
        seen: usize,
    },
    /// Files that make no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What does not change while the agent runs.
    #[error("whether [tcp] has TLS changes with the next start only")]
    Restart,
}

impl TcpConfig {
    pub(crate) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { token_file, certificate, key, client_authority, .. } = self;
        [token_file, certificate, key, client_authority].into_iter().flatten()
    }

    /// Whether it protects what it should. No file is read.
    pub(crate) fn check(&self) -> Result<(), TcpError> {
        let wrong = |what| Err(TcpError::Settings(what));
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("certificate and key belong together, and one is missing");
        }
        let tls = self.certificate.is_some();
        if tls && self.plaintext {
            return wrong("plaintext = true, and there is a certificate: wanted one of them");
        }
        if self.client_authority.is_some() && !tls {
            return wrong("client_authority needs certificate and key of this device");
        }
        if self.clients.is_some() && self.client_authority.is_none() {
            return wrong("clients needs the client_authority of their certificates");
        }
        if self.token_file.is_none() && self.client_authority.is_none() {
            return Err(TcpError::Open);
        }
        if !tls && !self.plaintext && !self.listen.ip().is_loopback() {
            return Err(TcpError::Exposed(self.listen));
        }
        if self.connections == 0 || self.head_s == 0 || self.idle_s == 0 {
            return wrong("connections, head_s or idle_s is 0, wanted 1 or more of each");
        }
        Ok(())
    }

    /// What connections may take.
    pub(super) fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            most: self.connections,
            idle_time: Duration::from_secs(self.idle_s),
            head_time: Duration::from_secs(self.head_s),
        }
    }

    /// Who is let in.
    pub(super) fn keys(&self) -> Result<Keys, TcpError> {
        let token = self.token_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|source| TcpError::Read { path: path.clone(), source })?;
            match text.trim() {
                short if short.len() < TOKEN_CHARACTERS => {
                    Err(TcpError::Token { path: path.clone(), seen: short.len() })
                }
                token => Ok(Digest::of(format!("Bearer {token}").as_bytes())),
            }
        });
        Ok(Keys { token: token.transpose()?, clients: self.clients.clone() })
    }

    /// The settings of TLS, if there is any.
    pub(super) fn tls(&self) -> Result<Option<Arc<ServerConfig>>, TcpError> {
        let Some((certificate, key)) = self.certificate.clone().zip(self.key.clone()) else {
            return Ok(None);
        };
        let files = TlsFiles { certificate, key, client_authority: self.client_authority.clone() };
        // Who has a token may come without a certificate.
        let wanted = match self.token_file {
            Some(_) => ClientCertificate::Optional,
            None => ClientCertificate::Required,
        };
        Ok(Some(files.load(wanted)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let config: TcpConfig = toml::from_str(text).unwrap();
        config.check().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_protects_nothing_or_contradicts_itself_is_refused_in_words() {
        let (loopback, open) = ("listen = \"127.0.0.1:1\"\n", "listen = \"0.0.0.0:1\"\n");
        let (token, pair) = ("token_file = \"t\"\n", "certificate = \"c\"\nkey = \"k\"\n");
        let authority = "client_authority = \"a\"\n";
        for (parts, wanted) in [
            (&[loopback, token][..], ""),
            (&[open, token, pair], ""),
            (&[open, authority, pair], ""),
            (&[open, authority, pair, token, "clients = [\"a.b\"]"], ""),
            (&[open, token, "plaintext = true"], ""),
            (&[open, token], "plaintext = true"),
            (&[open, "plaintext = true"], "everybody"),
            (&[loopback], "everybody"),
            (&[open, pair], "everybody"),
            (&[loopback, token, "key = \"k\""], "belong together"),
            (&[loopback, token, "idle_s = 0"], "idle_s"),
            (&[open, token, authority], "client_authority needs"),
            (&[open, token, pair, "clients = []"], "clients needs"),
            (&[open, token, pair, "plaintext = true"], "one of them"),
        ] {
            let (text, seen) = (parts.concat(), said(&parts.concat()));
            assert_eq!(seen.is_empty(), wanted.is_empty(), "{text}: {seen}");
            assert!(seen.contains(wanted), "{text}: {seen}");
        }
        let error = toml::from_str::<TcpConfig>(&format!("{open}clients = [\"two words\"]"));
        assert!(error.unwrap_err().to_string().contains("two words"));
    }
}
