//! Who may do what. A client is known by a bearer token (RFC 6750), of which only
//! the SHA-256 is stored, or by its TLS certificate; each has scopes and limits.
//!
//! The file is TOML:
//!
//! ```toml
//! [[token]]
//! name = "gateway-7"
//! sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! scopes = ["infer", "push"]
//! requests_per_second = 50
//! concurrent_requests = 4
//! module_bytes = 1073741824
//! names = 10
//!
//! [[certificate]]
//! name = "line-3"
//! sha256 = "…of the certificate in DER"
//! scopes = ["infer"]
//! ```
//!
//! Tokens are random and long (`leeway-fog token`), so that a plain hash of one can
//! be stored, and looked up, without being guessed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, header};
use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::clients::ClientLimits;
use crate::file::{self, FileError};
use crate::quota::Quota;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask for models and metrics, and have models run.
    Infer,
    /// See the page: all clients and devices, what they do, and the audit log.
    View,
    /// Push modules and fetch them.
    Push,
    /// Everything, also to change what names stand for and to remove modules.
    Admin,
}

impl Scope {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Infer => "infer",
            Scope::View => "view",
            Scope::Push => "push",
            Scope::Admin => "admin",
        }
    }

    /// Whether something here changes by what it allows.
    pub(crate) fn is_to_change(self) -> bool {
        matches!(self, Scope::Push | Scope::Admin)
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The other end of the connection.
    pub(crate) address: SocketAddr,
    /// The SHA-256 of its certificate, if it has shown a valid one.
    pub(crate) certificate: Option<Digest>,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Client {
    /// For logs, metrics and fairness.
    pub(crate) name: Arc<str>,
    scopes: Vec<Scope>,
    /// What it may ask for in a second and at once.
    pub(crate) limits: ClientLimits,
    /// What it may keep here; `None` where nobody is asked who they are, and nothing is
    /// counted.
    pub(crate) quota: Option<Quota>,
}

impl Client {
    /// Whether a scope is among the client's.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
    #[serde(default)]
    certificate: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    scopes: Vec<Scope>,
    requests_per_second: Option<f64>,
    concurrent_requests: Option<usize>,
    module_bytes: Option<u64>,
    names: Option<usize>,
}

/// All clients that are known.
#[derive(Debug)]
pub(crate) enum Access {
    /// Nobody is asked who they are.
    Open {
        /// Of each address.
        limits: ClientLimits,
    },
    /// Only those who are known.
    Known {
        /// By the SHA-256 of the token.
        tokens: HashMap<Digest, Arc<Client>>,
        /// By the SHA-256 of the certificate.
        certificates: HashMap<Digest, Arc<Client>>,
    },
}

impl Access {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(&file::text(path)?).map_err(|reason| FileError::content(path, reason))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let (tokens, certificates) = (by_digest(file.token)?, by_digest(file.certificate)?);
        if tokens.is_empty() && certificates.is_empty() {
            return Err("no client is in it: make a token with `leeway-fog token`".into());
        }
        Ok(Self::Known { tokens, certificates })
    }

    /// Who asks; `None` if nobody knows.
    pub(crate) fn client(&self, peer: &Peer, headers: &HeaderMap) -> Option<Arc<Client>> {
        match self {
            Access::Open { limits } => {
                let name = peer.address.ip().to_string().into();
                let scopes = vec![Scope::Admin];
                Some(Arc::new(Client { name, scopes, limits: *limits, quota: None }))
            }
            Access::Known { tokens, certificates } => {
                let by_token = bearer(headers).and_then(|token| tokens.get(&Digest::of(token)));
                let certificate = peer.certificate.as_ref();
                by_token.or_else(|| certificates.get(certificate?)).cloned()
            }
        }
    }

    /// Whose token this is, where clients must be known.
    pub(crate) fn by_token(&self, token: &[u8]) -> Option<Arc<Client>> {
        match self {
            Access::Open { .. } => None,
            Access::Known { tokens, .. } => tokens.get(&Digest::of(token)).cloned(),
        }
    }
}

fn by_digest(entries: Vec<Entry>) -> Result<HashMap<Digest, Arc<Client>>, String> {
    let mut clients = HashMap::new();
    for entry in entries {
        let Entry { name, sha256, scopes, requests_per_second, concurrent_requests, .. } = entry;
        let quota = Some(Quota { bytes: entry.module_bytes, names: entry.names });
        let digest = format!("sha256:{sha256}");
        let digest = digest.parse().map_err(|_| {
            format!("{name}: {sha256:?} is no SHA-256, wanted 64 hexadecimal digits")
        })?;
        if requests_per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(format!("{name}: requests_per_second must be above 0"));
        }
        let limits = ClientLimits { requests_per_second, concurrent_requests };
        let client = Arc::new(Client { name: name.as_str().into(), scopes, limits, quota });
        if clients.insert(digest, client).is_some() {
            return Err(format!("{name}: another entry has the same SHA-256"));
        }
    }
    Ok(clients)
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn peer(certificate: Option<Digest>) -> Peer {
        Peer { address: ([192, 0, 2, 1], 1).into(), certificate }
    }

    fn bearing(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_client_is_known_by_its_token_or_its_certificate() {
        let text = format!(
            "[[token]]\nname = \"a\"\nsha256 = \"{HASH}\"\nscopes = [\"infer\"]\n\
             [[certificate]]\nname = \"b\"\nsha256 = \"{HASH}\"\nscopes = [\"admin\"]\n"
        );
        let access = Access::parse(&text).unwrap();
        for value in ["Bearer test", "bearer  test "] {
            let client = access.client(&peer(None), &bearing(value)).unwrap();
            assert_eq!(&*client.name, "a");
            assert!(client.may(Scope::Infer) && !client.may(Scope::Push));
        }
        for value in ["Bearer tesT", "Basic test", "Bearer", "test", "Bearer "] {
            assert!(access.client(&peer(None), &bearing(value)).is_none(), "{value}");
        }
        let by_certificate = access.client(&peer(Some(Digest::of(b"test"))), &HeaderMap::new());
        assert!(by_certificate.unwrap().may(Scope::Push));
        let other = peer(Some(Digest::of(b"other")));
        assert!(access.client(&other, &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        for (text, wanted) in [
            ("", "leeway-fog token"),
            ("[[token]]\nname = \"a\"\nsha256 = \"12\"\nscopes = []", "64 hexadecimal digits"),
            ("[[token]]\nname = \"a\"\nsha = \"12\"\nscopes = []", "sha"),
            ("[[token]]\nname = \"a\"\nsha256 = \"12\"\nscopes = [\"root\"]", "root"),
        ] {
            let error = Access::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let entry = format!("[[token]]\nname = \"a\"\nsha256 = \"{HASH}\"\nscopes = []\n");
        assert!(Access::parse(&entry.repeat(2)).unwrap_err().contains("same SHA-256"));
        let rate = format!("{entry}requests_per_second = 0");
        assert!(Access::parse(&rate).unwrap_err().contains("above 0"));
    }
}
