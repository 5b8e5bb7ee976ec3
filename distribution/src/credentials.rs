//! Credentials for a registry, from where `docker login` and `podman login` leave
//! them.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use crate::DistributionError;

/// The credentials for a registry's host; none where nobody logged in.
pub(crate) fn find(host: &str) -> Result<RegistryAuth, DistributionError> {
    match docker_credential::get_credential(host) {
        Ok(DockerCredential::UsernamePassword(name, password)) => {
            Ok(RegistryAuth::Basic(name, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => Ok(RegistryAuth::Anonymous),
        Err(error) => {
            Err(DistributionError::Credentials { host: host.into(), reason: error.to_string() })
        }
    }
}
