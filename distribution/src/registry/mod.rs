//! A connection to an OCI registry.
//!
//! The protocol itself is `oci-client`'s; what a module is, and that its bytes are
//! the right ones, is checked here.

mod pull;
mod push;
#[cfg(test)]
mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use leeway_contract::Digest;
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;

pub use pull::Resolved;

use crate::artifact::MAX_MANIFEST_BYTES;
use crate::{DistributionError, ModuleReference, credentials};

/// How a registry is spoken to.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Without TLS. On loopback that is so anyway, as for Docker.
    pub plain_http: bool,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes.
    pub read_timeout: Duration,
    /// How often an interrupted transfer is taken up again.
    pub retries: u32,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            plain_http: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            retries: 5,
        }
    }
}

/// One registry, with the credentials for it.
pub struct Registry {
    client: Client,
    auth: RegistryAuth,
    options: RegistryOptions,
}

impl Registry {
    /// The registry that `reference` names. Nothing is sent yet.
    pub async fn new(
        reference: &ModuleReference,
        options: RegistryOptions,
    ) -> Result<Self, DistributionError> {
        // Only the first call in a process has an effect: any provider will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = reference.host();
        let protocol = match options.plain_http || is_loopback(host) {
            true => ClientProtocol::HttpsExcept(vec![host.into()]),
            false => ClientProtocol::Https,
        };
        let client = Client::try_from(ClientConfig {
            protocol,
            connect_timeout: Some(options.connect_timeout),
            read_timeout: Some(options.read_timeout),
            user_agent: concat!("leeway/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(DistributionError::registry(reference))?;
        let auth = credentials::find(host)?;
        client.store_auth_if_needed(host, &auth).await;
        Ok(Self { client, auth, options })
    }

    /// The bytes and the digest of a manifest; by digest, they must have it.
    async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), DistributionError> {
        let types = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, &types).await;
        let (bytes, _) = pulled.map_err(DistributionError::registry(reference))?;
        let what = reference.to_string();
        if bytes.len() > MAX_MANIFEST_BYTES {
            let (wanted, seen) = (MAX_MANIFEST_BYTES as u64, bytes.len() as u64);
            return Err(DistributionError::Size { what, wanted, seen });
        }
        let seen = Digest::of(&bytes);
        if let Some(wanted) = reference.digest() {
            let wanted: Digest = wanted
                .parse()
                .map_err(|e| DistributionError::not_a_module(&what, format!("{e}")))?;
            if wanted != seen {
                return Err(DistributionError::Digest { what, wanted, seen });
            }
        }
        Ok((bytes, seen))
    }
}

/// Whether a host, with or without a port, is this machine itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
