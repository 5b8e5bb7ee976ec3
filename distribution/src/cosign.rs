//! Signatures that `cosign sign --key` made, verified without a network but for the
//! registry: an ECDSA P-256 or Ed25519 key, and no transparency log.
//!
//! The format is that of cosign's SIGNATURE_SPEC and of the *simple signing* payload
//! (containers-signature(5)): the tag `sha256-HEX.sig` beside a manifest has layers,
//! each a payload that names the manifest, with the signature in an annotation.

use leeway_contract::Digest;
use oci_client::manifest::OciImageManifest;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use serde::Deserialize;

use crate::artifact::Descriptor;
use crate::registry::Resolved;
use crate::signature::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES};
use crate::{DistributionError, ModuleReference, Registry};

/// Where a layer of the signatures' manifest has its signature, in base 64.
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What the payload says of itself.
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// A public key of one of the kinds that cosign signs with.
#[derive(Clone, Debug)]
pub enum CosignKey {
    /// ECDSA on the curve P-256 with SHA-256: what `cosign generate-key-pair` makes.
    P256(p256::ecdsa::VerifyingKey),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// The payload, of which only what binds it to a manifest matters.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl CosignKey {
    /// Reads a key as `cosign public-key` prints it (PEM, SubjectPublicKeyInfo).
    pub fn from_pem(pem: &str) -> Result<Self, DistributionError> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return Ok(Self::P256(key));
        }
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
        key.map(Self::Ed25519).map_err(|_| {
            let reason = "wanted a public key in PEM, of ECDSA P-256 or Ed25519";
            DistributionError::signature("the key", reason)
        })
    }

    /// Whether `signature` is this key's, of `payload`.
    fn verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(payload, &signature).is_ok()),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(payload, &signature).is_ok()),
        }
    }

    /// Checks that `signature` (in base 64) is this key's, of a payload that names
    /// `manifest`.
    pub fn check(
        &self,
        payload: &[u8],
        signature: &str,
        manifest: Digest,
    ) -> Result<(), DistributionError> {
        let error = |reason: String| DistributionError::signature("a cosign signature", reason);
        let signature = base64(signature).ok_or_else(|| error("it is no base 64".into()))?;
        if !self.verifies(payload, &signature) {
            return Err(error("it is not by the given key, or the payload was changed".into()));
        }
        let Payload { critical } = serde_json::from_slice(payload)
            .map_err(|e| error(format!("its payload does not parse: {e}")))?;
        if critical.kind != PAYLOAD_TYPE {
            return Err(error(format!("its payload's type is {:?}", critical.kind)));
        }
        match critical.image.digest == manifest.to_string() {
            true => Ok(()),
            false => Err(error(format!("it signs {}, and not {manifest}", critical.image.digest))),
        }
    }
}

impl Registry {
    /// Checks that one of the cosign signatures beside a module is of one of `keys`.
    /// The error says why the last one seen is not.
    pub async fn verify_cosign(
        &self,
        reference: &ModuleReference,
        resolved: &Resolved,
        keys: &[CosignKey],
    ) -> Result<(), DistributionError> {
        let subject = resolved.manifest.digest;
        let tag = format!("sha256-{}.sig", subject.to_hex());
        let what = format!("the cosign signatures of {reference}");
        let manifest = self.tagged_manifest(reference, &tag).await?.ok_or_else(|| {
            DistributionError::signature(&what, format!("there are none: no tag {tag}"))
        })?;
        let manifest: OciImageManifest = serde_json::from_slice(&manifest)
            .map_err(|e| DistributionError::signature(&what, e))?;
        let mut last = DistributionError::signature(&what, "none has a signature of a given key");
        for layer in manifest.layers.iter().take(MAX_SIGNATURES) {
            let signature = layer.annotations.as_ref().and_then(|a| a.get(SIGNATURE_ANNOTATION));
            let Some(signature) = signature else { continue };
            let descriptor = Descriptor::from_oci(layer, &what)?;
            if descriptor.bytes > MAX_SIGNATURE_BYTES as u64 {
                continue;
            }
            let payload = self.small_blob(reference, &descriptor, &what).await?;
            for key in keys {
                match key.check(&payload, signature, subject) {
                    Ok(()) => return Ok(()),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }
}

/// Standard base 64, with padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL 3 (`openssl dgst -sha256 -sign`, `openssl pkeyutl -rawin`) for
    /// the payload below.
    const P256_KEY: &str = include_str!("../tests/cosign/p256.pub");
    const P256_SIGNATURE: &str = include_str!("../tests/cosign/p256.sig");
    const ED25519_KEY: &str = include_str!("../tests/cosign/ed25519.pub");
    const ED25519_SIGNATURE: &str = include_str!("../tests/cosign/ed25519.sig");
    const PAYLOAD: &[u8] = include_bytes!("../tests/cosign/payload.json");

    fn manifest() -> Digest {
        Digest::of(b"a manifest")
    }

    #[test]
    fn signatures_by_another_program_verify() {
        for (key, signature) in [(P256_KEY, P256_SIGNATURE), (ED25519_KEY, ED25519_SIGNATURE)] {
            let key = CosignKey::from_pem(key).unwrap();
            key.check(PAYLOAD, signature, manifest()).unwrap();
        }
    }

    #[test]
    fn another_key_payload_or_manifest_does_not() {
        let key = CosignKey::from_pem(P256_KEY).unwrap();
        let stranger = CosignKey::from_pem(ED25519_KEY).unwrap();
        let mut changed = PAYLOAD.to_vec();
        changed.push(b' ');
        let other = Digest::of(b"another manifest");
        for (result, wanted) in [
            (stranger.check(PAYLOAD, P256_SIGNATURE, manifest()), "not by the given key"),
            (key.check(&changed, P256_SIGNATURE, manifest()), "not by the given key"),
            (key.check(PAYLOAD, ED25519_SIGNATURE, manifest()), "not by the given key"),
            (key.check(PAYLOAD, "!", manifest()), "base 64"),
            (key.check(PAYLOAD, P256_SIGNATURE, other), "and not"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert!(CosignKey::from_pem("no key").unwrap_err().to_string().contains("PEM"));
    }
}
