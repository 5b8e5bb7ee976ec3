//! Fetching a module and its signatures from a registry.

use std::io::{Seek as _, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use leeway_contract::Digest;
use oci_client::client::BlobResponse;
use oci_client::manifest::{ImageIndexEntry, OCI_IMAGE_MEDIA_TYPE};

use super::Registry;
use crate::artifact::{Descriptor, component_of};
use crate::signature::{MAX_SIGNATURES, SIGNATURE_MEDIA_TYPE, signature_of};
use crate::{DistributionError, ModuleReference};

/// What a reference stands for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest.
    pub manifest: Descriptor,
    /// The component: its digest is the module's name everywhere.
    pub component: Descriptor,
}

impl Registry {
    /// Looks up what `reference` stands for. A digest may be the manifest's, as the
    /// registry knows it.
    pub async fn resolve(
        &self,
        reference: &ModuleReference,
    ) -> Result<Resolved, DistributionError> {
        let (bytes, digest) = self.manifest(&reference.0).await?;
        let component = component_of(&bytes, &reference.to_string())?;
        let manifest = Descriptor {
            digest,
            bytes: bytes.len() as u64,
            media_type: OCI_IMAGE_MEDIA_TYPE.into(),
        };
        Ok(Resolved { manifest, component })
    }

    /// Writes the component's bytes from `offset` on to `sink`, at most as many as its
    /// descriptor says. An interrupted transfer is taken up again where it broke;
    /// fewer bytes than promised are an error, after which `offset` may be advanced
    /// by what arrived. The digest of the whole is the caller's to check.
    pub async fn fetch(
        &self,
        reference: &ModuleReference,
        blob: &Descriptor,
        offset: u64,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), DistributionError> {
        let (mut at, mut attempt) = (offset, 0);
        while at < blob.bytes {
            let before = at;
            match self.fetch_once(reference, blob, &mut at, sink).await {
                Ok(()) => break,
                Err(error) => {
                    // What got further is not a failure in a row.
                    attempt = if at > before { 0 } else { attempt };
                    self.wait_to_retry(&mut attempt, error).await?;
                }
            }
        }
        Ok(())
    }

    async fn fetch_once(
        &self,
        reference: &ModuleReference,
        blob: &Descriptor,
        at: &mut u64,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), DistributionError> {
        let what = || format!("fetching {} from {reference}", blob.digest);
        let digest = blob.digest.to_string();
        let image = reference.with_digest(blob.digest);
        let response =
            self.client.pull_blob_stream_partial(&image, digest.as_str(), *at, None).await;
        let (mut skip, mut stream) = match response.map_err(DistributionError::registry(what()))? {
            BlobResponse::Partial(stream) => (0, stream),
            BlobResponse::Full(stream) => (*at, stream),
        };
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|e| DistributionError::registry(what())(e.into()))?;
            let dropped = skip.min(bytes.len() as u64);
            skip -= dropped;
            let bytes = &bytes[dropped as usize..];
            let seen = *at + bytes.len() as u64;
            if seen > blob.bytes {
                return Err(DistributionError::Size { what: what(), wanted: blob.bytes, seen });
            }
            sink.write_all(bytes).map_err(DistributionError::io(what()))?;
            *at = seen;
        }
        match *at == blob.bytes {
            true => Ok(()),
            false => Err(DistributionError::Size { what: what(), wanted: blob.bytes, seen: *at }),
        }
    }

    /// Fetches the component into `path`, calling `progress` with the bytes that are
    /// there. The file is there only once all of it is, with
    /// the right digest. What an earlier attempt left beside it is used.
    pub async fn fetch_file(
        &self,
        reference: &ModuleReference,
        resolved: &Resolved,
        path: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), DistributionError> {
        let blob = &resolved.component;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let part = folder.join(format!(".{}.part", blob.digest.to_hex()));
        let error = || DistributionError::io(part.display());
        let options = std::fs::OpenOptions::new().create(true).append(true).read(true).clone();
        let mut file = options.open(&part).map_err(error())?;
        let mut have = file.metadata().map_err(error())?.len();
        if have > blob.bytes {
            file.set_len(0).map_err(error())?;
            have = 0;
        }
        let mut sink = Watched { sink: &mut file, bytes: have, progress };
        self.fetch(reference, blob, have, &mut sink).await?;
        file.sync_all().map_err(error())?;
        file.seek(SeekFrom::Start(0)).map_err(error())?;
        let seen = Digest::of_reader(&mut file).map_err(error())?;
        if seen != blob.digest {
            // Wrong bytes do not become right by fetching more.
            std::fs::remove_file(&part).map_err(error())?;
            let what = reference.to_string();
            return Err(DistributionError::Digest { what, wanted: blob.digest, seen });
        }
        std::fs::rename(&part, path).map_err(DistributionError::io(path.display()))?;
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(DistributionError::io(folder.display()))
    }

    /// The signatures attached to a manifest. One that does not parse is left out,
    /// with a warning: somebody else's broken signature is no reason to refuse a
    /// module that has a good one.
    pub async fn signatures(
        &self,
        reference: &ModuleReference,
        resolved: &Resolved,
    ) -> Result<Vec<Vec<u8>>, DistributionError> {
        let subject = resolved.manifest.digest;
        let entries = self.referrers(reference, subject, Some(SIGNATURE_MEDIA_TYPE)).await?;
        let mut signatures = Vec::new();
        for entry in entries.iter().take(MAX_SIGNATURES) {
            match self.signature(reference, subject, entry).await {
                Ok(signature) => signatures.push(signature),
                Err(error @ DistributionError::Registry { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "a signature is left out"),
            }
        }
        Ok(signatures)
    }

    async fn signature(
        &self,
        reference: &ModuleReference,
        subject: Digest,
        entry: &ImageIndexEntry,
    ) -> Result<Vec<u8>, DistributionError> {
        let what = format!("the signature {} of {reference}", entry.digest);
        let digest: Digest =
            entry.digest.parse().map_err(|e| DistributionError::signature(&what, e))?;
        let (manifest, _) = self.manifest(&reference.with_digest(digest)).await?;
        let layer = signature_of(&manifest, subject, &what)?;
        self.small_blob(reference, &layer, &what).await
    }

    /// A blob that fits the memory, checked.
    pub(crate) async fn small_blob(
        &self,
        reference: &ModuleReference,
        blob: &Descriptor,
        what: &str,
    ) -> Result<Vec<u8>, DistributionError> {
        let mut bytes = Vec::new();
        self.fetch(reference, blob, 0, &mut bytes).await?;
        blob.check(what, &bytes)?;
        Ok(bytes)
    }

    /// What refers to a manifest.
    pub(crate) async fn referrers(
        &self,
        reference: &ModuleReference,
        subject: Digest,
        kind: Option<&str>,
    ) -> Result<Vec<ImageIndexEntry>, DistributionError> {
        let image = reference.with_digest(subject);
        let index = self.client.pull_referrers(&image, kind).await;
        let index =
            index.map_err(DistributionError::registry(format!("the referrers of {image}")))?;
        Ok(index.manifests)
    }

    /// The manifest behind a tag of the repository; `None` where there is no such tag.
    pub(crate) async fn tagged_manifest(
        &self,
        reference: &ModuleReference,
        tag: &str,
    ) -> Result<Option<Bytes>, DistributionError> {
        match self.manifest(&reference.with_tag(tag)).await {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// After a failure that may pass: waits, longer each time; else gives it back.
    pub(super) async fn wait_to_retry(
        &self,
        attempt: &mut u32,
        error: DistributionError,
    ) -> Result<(), DistributionError> {
        if !error.is_transient() || *attempt >= self.options.retries {
            return Err(error);
        }
        tracing::info!(%error, "trying again");
        tokio::time::sleep(Duration::from_millis(100 << (*attempt).min(6))).await;
        *attempt += 1;
        Ok(())
    }
}

/// A file that tells how much was written to it.
struct Watched<'a> {
    sink: &'a mut std::fs::File,
    bytes: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.bytes += written as u64;
        (self.progress)(self.bytes);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
