//! Who is let in by TCP: who has the token, or has shown a certificate. Each request is
//! looked at by what holds then, whenever its connection began.

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::Request;
use http::header;
use leeway_contract::Digest;
use leeway_tls::server::KnownClient;
use rustls::pki_types::CertificateDer;

/// The certificate that whoever sends a request has shown: a valid one, by an authority
/// that is believed.
#[derive(Clone, Debug)]
pub(super) struct Shown(pub(super) Arc<CertificateDer<'static>>);

/// What is looked at.
#[derive(Debug)]
pub(super) struct Keys {
    /// The digest of the header that has the token: digests take as long to compare
    /// whatever they are of.
    pub(super) token: Option<Digest>,
    /// Those whose certificates let them in; without a list, all do that the handshake
    /// has taken.
    pub(super) clients: Option<Vec<KnownClient>>,
}

/// Lets in, or not.
#[derive(Debug)]
pub(crate) struct Door(RwLock<Arc<Keys>>);

impl Door {
    pub(super) fn new(keys: Keys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    pub(super) fn replace(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Whether a request may come in; else what it lacks.
    pub(crate) fn look(&self, request: &Request) -> Result<(), &'static str> {
        let keys = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.map(|value| Digest::of(value.as_bytes()));
        if given.is_some() && given == keys.token {
            return Ok(());
        }
        let shown = request.extensions().get::<Shown>().map(|Shown(certificate)| &**certificate);
        match (shown, &keys.clients) {
            (Some(_), None) => Ok(()),
            (Some(shown), Some(known)) if known.iter().any(|client| client.is(shown)) => Ok(()),
            (Some(_), Some(_)) => Err("the certificate is of nobody among the clients"),
            (None, _) => Err("wanted Authorization: Bearer and the token, or a certificate"),
        }
    }
}
