//! Sending a module and its signatures to a registry.

use bytes::Bytes;
use leeway_contract::Digest;
use oci_client::Reference;
use oci_client::manifest::{
    ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciImageIndex,
};

use super::Registry;
use crate::artifact::{Descriptor, json};
use crate::signature::{EMPTY, SIGNATURE_MEDIA_TYPE, SignatureArtifact};
use crate::{Artifact, DistributionError, ModuleReference};

impl Registry {
    /// Sends a module: its bytes first, its name last, so that whoever sees the name
    /// finds all of it. What the registry has already is not sent again. Returns the
    /// digest of the manifest.
    pub async fn push(
        &self,
        reference: &ModuleReference,
        artifact: &Artifact,
    ) -> Result<Digest, DistributionError> {
        if let Some(wanted) = reference.0.digest()
            && wanted != artifact.digest().to_string()
        {
            let reason = format!("this module's manifest has the digest {}", artifact.digest());
            return Err(DistributionError::not_a_module(reference, reason));
        }
        self.upload(reference, artifact).await?;
        self.push_manifest(&reference.0, &artifact.manifest, OCI_IMAGE_MEDIA_TYPE).await?;
        Ok(artifact.digest())
    }

    /// Sends all of a module but its name: it is found by its digest only.
    pub async fn upload(
        &self,
        reference: &ModuleReference,
        artifact: &Artifact,
    ) -> Result<(), DistributionError> {
        for blob in [&artifact.component, &artifact.config] {
            self.push_blob(&reference.0, blob).await?;
        }
        let own = reference.with_digest(artifact.digest());
        self.push_manifest(&own, &artifact.manifest, OCI_IMAGE_MEDIA_TYPE).await
    }

    /// Attaches a signature to the manifest `subject`, which is in the repository of
    /// `reference`. Attaching the same one again changes nothing.
    pub async fn attach(
        &self,
        reference: &ModuleReference,
        subject: &Descriptor,
        signature: impl Into<Bytes>,
    ) -> Result<Digest, DistributionError> {
        let artifact = SignatureArtifact::new(signature.into(), subject)?;
        let own = reference.with_digest(artifact.digest);
        self.push_blob(&own, &Bytes::from_static(EMPTY)).await?;
        self.push_blob(&own, &artifact.signature).await?;
        self.push_manifest(&own, &artifact.manifest, OCI_IMAGE_MEDIA_TYPE).await?;
        self.list_referrer(reference, subject, &artifact).await?;
        Ok(artifact.digest)
    }

    /// A registry without the referrers API does not list what refers to a manifest:
    /// then the index is ours to keep, under the tag of the specification's *referrers
    /// tag schema*.
    async fn list_referrer(
        &self,
        reference: &ModuleReference,
        subject: &Descriptor,
        artifact: &SignatureArtifact,
    ) -> Result<(), DistributionError> {
        let digest = artifact.digest.to_string();
        let mut entries = self.referrers(reference, subject.digest, None).await?;
        if entries.iter().any(|entry| entry.digest == digest) {
            return Ok(());
        }
        entries.push(ImageIndexEntry {
            media_type: OCI_IMAGE_MEDIA_TYPE.into(),
            digest,
            size: artifact.manifest.len() as i64,
            platform: None,
            annotations: None,
            artifact_type: Some(SIGNATURE_MEDIA_TYPE.into()),
        });
        let index = json(&OciImageIndex {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.into()),
            manifests: entries,
            artifact_type: None,
            annotations: None,
        });
        let tag = reference.with_tag(&subject.digest.to_string().replace(':', "-"));
        self.push_manifest(&tag, &index, OCI_IMAGE_INDEX_MEDIA_TYPE).await
    }

    async fn push_blob(&self, image: &Reference, blob: &Bytes) -> Result<(), DistributionError> {
        let digest = Digest::of(blob).to_string();
        let what = || format!("sending {digest} to {image}");
        let mut attempt = 0;
        loop {
            let there = self.client.blob_exists(image, &digest).await.unwrap_or(false);
            if there {
                return Ok(());
            }
            let sent = self.client.push_blob(image, blob.clone(), &digest).await;
            match sent.map_err(DistributionError::registry(what())) {
                Ok(_) => return Ok(()),
                Err(error) => self.wait_to_retry(&mut attempt, error).await?,
            }
        }
    }

    async fn push_manifest(
        &self,
        image: &Reference,
        manifest: &Bytes,
        media_type: &'static str,
    ) -> Result<(), DistributionError> {
        let media_type = http::HeaderValue::from_static(media_type);
        self.client
            .push_manifest_raw(image, manifest.clone(), media_type)
            .await
            .map(drop)
            .map_err(DistributionError::registry(format!("sending {image}")))
    }
}
