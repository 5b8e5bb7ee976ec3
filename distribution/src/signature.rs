//! Signatures beside a module: each is an artifact of its own whose `subject` is the
//! module's manifest, a *referrer* of the OCI distribution specification 1.1.
//!
//! What is signed, and by whom, is the receiver's question; here a signature is some
//! bytes.

use bytes::Bytes;
use leeway_contract::Digest;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};

use crate::DistributionError;
use crate::artifact::{Descriptor, json};

/// The type of the artifact, and of its one layer.
pub const SIGNATURE_MEDIA_TYPE: &str = "application/vnd.leeway.signature.v1+json";
/// The most bytes that a signature may have.
pub const MAX_SIGNATURE_BYTES: usize = 64 << 10;
/// The most signatures of one module that are fetched.
pub const MAX_SIGNATURES: usize = 32;

/// An artifact without a configuration has this one, by the specification.
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const EMPTY: &[u8] = b"{}";

/// A signature, ready to be attached.
pub(crate) struct SignatureArtifact {
    pub signature: Bytes,
    pub manifest: Bytes,
    pub digest: Digest,
}

impl SignatureArtifact {
    /// The artifact of `signature`, attached to the manifest `subject`.
    pub fn new(signature: Bytes, subject: &Descriptor) -> Result<Self, DistributionError> {
        if signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
            let reason =
                format!("it has {} bytes; wanted 1 to {MAX_SIGNATURE_BYTES}", signature.len());
            return Err(DistributionError::signature("a signature", reason));
        }
        let manifest = json(&OciImageManifest {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
            config: Descriptor::of(EMPTY, EMPTY_MEDIA_TYPE).to_oci(),
            layers: vec![Descriptor::of(&signature, SIGNATURE_MEDIA_TYPE).to_oci()],
            subject: Some(subject.to_oci()),
            artifact_type: Some(SIGNATURE_MEDIA_TYPE.into()),
            annotations: None,
        });
        let digest = Digest::of(&manifest);
        Ok(Self { signature, manifest, digest })
    }
}

/// Reads a referrer's manifest: the descriptor of the signature that it attaches to
/// `subject`.
pub(crate) fn signature_of(
    manifest: &[u8],
    subject: Digest,
    what: &str,
) -> Result<Descriptor, DistributionError> {
    let error = |reason: String| DistributionError::signature(what, reason);
    let manifest: OciImageManifest =
        serde_json::from_slice(manifest).map_err(|e| error(format!("no image manifest: {e}")))?;
    let seen = manifest.subject.map(|subject| subject.digest).unwrap_or_default();
    if seen != subject.to_string() {
        return Err(error(format!("it is attached to {seen:?}, and not to {subject}")));
    }
    match &manifest.layers[..] {
        [layer] if layer.media_type == SIGNATURE_MEDIA_TYPE => {
            let descriptor = Descriptor::from_oci(layer, what)?;
            if descriptor.bytes > MAX_SIGNATURE_BYTES as u64 {
                return Err(error(format!(
                    "it has {} bytes; at most {MAX_SIGNATURE_BYTES} are read",
                    descriptor.bytes
                )));
            }
            Ok(descriptor)
        }
        layers => Err(error(format!(
            "wanted one layer of type {SIGNATURE_MEDIA_TYPE}, seen {:?}",
            layers.iter().map(|layer| &layer.media_type).collect::<Vec<_>>()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Descriptor {
        Descriptor::of(b"a manifest", OCI_IMAGE_MEDIA_TYPE)
    }

    #[test]
    fn a_signature_is_found_again_by_its_subject_only() {
        let artifact = SignatureArtifact::new(Bytes::from_static(b"signed"), &subject()).unwrap();
        let found = signature_of(&artifact.manifest, subject().digest, "it").unwrap();
        assert_eq!(found, Descriptor::of(b"signed", SIGNATURE_MEDIA_TYPE));
        let other = Digest::of(b"another manifest");
        let error = signature_of(&artifact.manifest, other, "it").unwrap_err().to_string();
        assert!(error.contains("attached to"), "{error}");
    }

    #[test]
    fn sizes_are_bounded() {
        for bytes in [0, MAX_SIGNATURE_BYTES + 1] {
            let error = SignatureArtifact::new(vec![0; bytes].into(), &subject()).err().unwrap();
            assert!(error.to_string().contains(&bytes.to_string()), "{error}");
        }
    }
}
