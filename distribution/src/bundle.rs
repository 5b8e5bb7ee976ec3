//! Modules in one file, for where there is no network: an OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>) as a tar
//! archive. Tools that copy images (`skopeo`, `oras`, `crane`) read and write it too.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use leeway_contract::Digest;
use oci_client::manifest::{
    ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciImageIndex,
};
use serde_json::json;

use crate::artifact::{MAX_MANIFEST_BYTES, component_of};
use crate::signature::{
    EMPTY, MAX_SIGNATURES, SIGNATURE_MEDIA_TYPE, SignatureArtifact, signature_of,
};
use crate::{Artifact, Descriptor, DistributionError};

/// The annotation by which tools find an image in a layout.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// The most files that a bundle may hold.
const MAX_FILES: usize = 10_000;

/// Puts modules into a bundle. The same modules in the same order give the same bytes.
#[derive(Default)]
pub struct BundleWriter {
    entries: Vec<ImageIndexEntry>,
    blobs: Vec<Bytes>,
}

/// A bundle, opened. Its blobs stay in the file.
pub struct Bundle {
    path: PathBuf,
    /// Where each blob lies in the file, and how long it is.
    blobs: HashMap<Digest, (u64, u64)>,
    modules: Vec<BundledModule>,
}

/// A module in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundledModule {
    /// Its name and version, as `NAME:VERSION`; empty where another program wrote the
    /// bundle and gave none.
    pub name: String,
    /// Its component.
    pub component: Descriptor,
    /// The signatures attached to it.
    pub signatures: Vec<Vec<u8>>,
}

impl BundleWriter {
    /// Adds a module with its signatures, to be found as `name`.
    pub fn add(
        &mut self,
        name: &str,
        artifact: &Artifact,
        signatures: &[Vec<u8>],
    ) -> Result<(), DistributionError> {
        let subject = artifact.descriptor();
        let mut entry = entry(&subject, None);
        entry.annotations = Some([(NAME_ANNOTATION.to_owned(), name.to_owned())].into());
        self.entries.push(entry);
        self.blobs
            .extend([&artifact.component, &artifact.config, &artifact.manifest].map(Bytes::clone));
        for signature in signatures {
            let signed = SignatureArtifact::new(signature.clone().into(), &subject)?;
            let manifest = Descriptor::of(&signed.manifest, OCI_IMAGE_MEDIA_TYPE);
            self.entries.push(self::entry(&manifest, Some(SIGNATURE_MEDIA_TYPE)));
            self.blobs.extend([signed.signature, Bytes::from_static(EMPTY), signed.manifest]);
        }
        Ok(())
    }

    /// Writes the archive.
    pub fn write(&self, out: impl Write) -> std::io::Result<()> {
        let mut archive = tar::Builder::new(out);
        let index = OciImageIndex {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.into()),
            manifests: self.entries.clone(),
            artifact_type: None,
            annotations: None,
        };
        append(
            &mut archive,
            "oci-layout",
            json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes(),
        )?;
        append(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
        let mut written = std::collections::HashSet::new();
        for blob in &self.blobs {
            let digest = Digest::of(blob);
            if written.insert(digest) {
                append(&mut archive, &format!("blobs/sha256/{}", digest.to_hex()), blob)?;
            }
        }
        archive.into_inner()?.flush()
    }
}

fn entry(descriptor: &Descriptor, artifact_type: Option<&str>) -> ImageIndexEntry {
    ImageIndexEntry {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.bytes).unwrap_or(i64::MAX),
        platform: None,
        annotations: None,
        artifact_type: artifact_type.map(str::to_owned),
    }
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, data: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, data)
}

impl Bundle {
    /// Opens a bundle and reads what modules it has. Their bytes are checked when they
    /// are read.
    pub fn open(path: &Path) -> Result<Self, DistributionError> {
        let io = || DistributionError::io(path.display());
        let not = |reason: String| DistributionError::not_a_module(path.display(), reason);
        let mut archive = tar::Archive::new(File::open(path).map_err(io())?);
        let (mut index, mut blobs) = (None, HashMap::new());
        let entries = archive.entries_with_seek().map_err(io())?;
        for (count, file) in entries.enumerate() {
            if count >= MAX_FILES {
                return Err(not(format!("it has more than {MAX_FILES} files")));
            }
            let mut file = file.map_err(|e| not(format!("it is no tar archive: {e}")))?;
            let name = file.path().map_err(io())?.to_string_lossy().into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name);
            if name == "index.json" {
                let mut text = Vec::new();
                (&mut file).take(MAX_MANIFEST_BYTES as u64).read_to_end(&mut text).map_err(io())?;
                index = Some(text);
            } else if let Some(hex) = name.strip_prefix("blobs/sha256/")
                && let Ok(digest) = format!("sha256:{hex}").parse()
            {
                blobs.insert(digest, (file.raw_file_position(), file.size()));
            }
        }
        let index = index.ok_or_else(|| not("it has no index.json: no OCI image layout".into()))?;
        let index: OciImageIndex = serde_json::from_slice(&index)
            .map_err(|e| not(format!("its index.json is no image index: {e}")))?;
        let mut bundle = Self { path: path.into(), blobs, modules: vec![] };
        bundle.modules = bundle.find_modules(&index)?;
        Ok(bundle)
    }

    /// The modules, in the bundle's order.
    pub fn modules(&self) -> &[BundledModule] {
        &self.modules
    }

    /// The bytes of a component. They are what its descriptor says, or an error at
    /// their end; nothing of them may be used before.
    pub fn copy(
        &self,
        blob: &Descriptor,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), DistributionError> {
        let what = format!("{} in {}", blob.digest, self.path.display());
        let mut hashing = HashingWriter::new(sink);
        let copied = std::io::copy(&mut self.reader(blob)?, &mut hashing);
        copied.map_err(DistributionError::io(&what))?;
        let (seen, wanted) = (hashing.finish(), blob.digest);
        match seen == wanted {
            true => Ok(()),
            false => Err(DistributionError::Digest { what, wanted, seen }),
        }
    }

    fn reader(&self, blob: &Descriptor) -> Result<impl Read, DistributionError> {
        let what = || format!("{} in {}", blob.digest, self.path.display());
        let &(position, seen) = self
            .blobs
            .get(&blob.digest)
            .ok_or_else(|| DistributionError::not_a_module(what(), "it is missing"))?;
        if seen != blob.bytes {
            return Err(DistributionError::Size { what: what(), wanted: blob.bytes, seen });
        }
        let mut file = File::open(&self.path).map_err(DistributionError::io(what()))?;
        file.seek(SeekFrom::Start(position)).map_err(DistributionError::io(what()))?;
        Ok(file.take(seen))
    }

    /// A blob that fits the memory, checked.
    fn small(&self, blob: &Descriptor) -> Result<Vec<u8>, DistributionError> {
        if blob.bytes > MAX_MANIFEST_BYTES as u64 {
            let (wanted, seen) = (MAX_MANIFEST_BYTES as u64, blob.bytes);
            return Err(DistributionError::Size { what: blob.digest.to_string(), wanted, seen });
        }
        let mut bytes = Vec::new();
        self.copy(blob, &mut bytes)?;
        Ok(bytes)
    }

    fn find_modules(&self, index: &OciImageIndex) -> Result<Vec<BundledModule>, DistributionError> {
        let what = self.path.display().to_string();
        let (mut modules, mut signatures) = (vec![], HashMap::<Digest, Vec<Vec<u8>>>::new());
        for entry in &index.manifests {
            let descriptor = entry_descriptor(entry, &what)?;
            let manifest = self.small(&descriptor)?;
            if entry.artifact_type.as_deref() == Some(SIGNATURE_MEDIA_TYPE) {
                let subject = subject_of(&manifest, &what)?;
                let signature = self.small(&signature_of(&manifest, subject, &what)?)?;
                let of_subject = signatures.entry(subject).or_default();
                if of_subject.len() < MAX_SIGNATURES {
                    of_subject.push(signature);
                }
            } else {
                let name = entry.annotations.as_ref().and_then(|a| a.get(NAME_ANNOTATION));
                let component = component_of(&manifest, &what)?;
                modules.push((descriptor.digest, name.cloned().unwrap_or_default(), component));
            }
        }
        let complete = |(manifest, name, component)| BundledModule {
            name,
            component,
            signatures: signatures.get(&manifest).cloned().unwrap_or_default(),
        };
        Ok(modules.into_iter().map(complete).collect())
    }
}

fn entry_descriptor(entry: &ImageIndexEntry, what: &str) -> Result<Descriptor, DistributionError> {
    let descriptor = oci_client::manifest::OciDescriptor {
        media_type: entry.media_type.clone(),
        digest: entry.digest.clone(),
        size: entry.size,
        ..Default::default()
    };
    Descriptor::from_oci(&descriptor, what)
}

/// The manifest that a signature's manifest is attached to.
fn subject_of(manifest: &[u8], what: &str) -> Result<Digest, DistributionError> {
    #[derive(serde::Deserialize)]
    struct Attached {
        subject: Subject,
    }
    #[derive(serde::Deserialize)]
    struct Subject {
        digest: Digest,
    }
    let attached: Result<Attached, _> = serde_json::from_slice(manifest);
    attached.map(|attached| attached.subject.digest).map_err(|e| {
        DistributionError::signature(what, format!("a signature without subject: {e}"))
    })
}

/// Passes bytes on and hashes them.
struct HashingWriter<'a> {
    sink: &'a mut (dyn Write + Send),
    hash: leeway_contract::digest::Hasher,
}

impl<'a> HashingWriter<'a> {
    fn new(sink: &'a mut (dyn Write + Send)) -> Self {
        Self { sink, hash: leeway_contract::digest::Hasher::default() }
    }

    fn finish(self) -> Digest {
        self.hash.finish()
    }
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing;

    fn bundle(signatures: &[Vec<u8>]) -> (tempfile::NamedTempFile, Vec<u8>) {
        let component = testing::component("digits", "1.2.0");
        let artifact = Artifact::of_component(component.clone()).unwrap();
        let mut writer = BundleWriter::default();
        writer.add("digits:1.2.0", &artifact, signatures).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writer.write(&mut file).unwrap();
        (file, component)
    }

    #[test]
    fn modules_and_signatures_come_out_as_they_went_in() {
        let signatures = [b"one".to_vec(), b"two".to_vec()];
        let (file, component) = bundle(&signatures);
        let opened = Bundle::open(file.path()).unwrap();
        let [module] = opened.modules() else { panic!("{:?}", opened.modules()) };
        assert_eq!(module.name, "digits:1.2.0");
        assert_eq!(module.signatures, signatures);
        let mut bytes = Vec::new();
        opened.copy(&module.component, &mut bytes).unwrap();
        assert_eq!(bytes, component);
        let again = std::fs::read(bundle(&signatures).0.path()).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), again);
    }

    #[test]
    fn a_changed_byte_is_an_error_and_never_a_panic() {
        let (file, component) = bundle(&[b"one".to_vec()]);
        let bytes = std::fs::read(file.path()).unwrap();
        let at = bytes.windows(component.len()).position(|window| window == component).unwrap();
        for (change, name) in [(at + 9, "component"), (700, "index"), (bytes.len() - 2000, "blob")]
        {
            let mut changed = bytes.clone();
            changed[change] ^= 1;
            std::fs::write(file.path(), &changed).unwrap();
            let result = Bundle::open(file.path()).and_then(|opened| {
                let copy = |module: &BundledModule| opened.copy(&module.component, &mut Vec::new());
                opened.modules().iter().try_for_each(copy)
            });
            if name == "component" {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("another digest"), "{error}");
            }
        }
        for length in (0..bytes.len()).step_by(61) {
            std::fs::write(file.path(), &bytes[..length]).unwrap();
            if let Ok(opened) = Bundle::open(file.path()) {
                for module in opened.modules() {
                    let copied = opened.copy(&module.component, &mut Vec::new());
                    assert!(copied.is_err() || length > at, "cut to {length}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_bundle_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no archive at all").unwrap();
        let error = Bundle::open(file.path()).err().unwrap().to_string();
        assert!(error.contains("is no module"), "{error}");
    }
}
