//! Modules on disk, named by the SHA-256 digest of their bytes.
//!
//! | path              | content                                     |
//! |-------------------|---------------------------------------------|
//! | `blobs/<hex>`     | a whole module; never written to again      |
//! | `partial/<hex>`   | what has come of a module so far            |
//!
//! A module is hashed on its way to the disk. It takes its name in `blobs` only
//! when it is whole, has its digest and is durable, and a name is durable before
//! anybody is told of it: file, rename, directory. What is read is hashed again,
//! for disks decay and power goes.
//!
//! The layout is that of content-addressed stores from Git to OCI; nothing but a
//! name says what is whole, so that there is no index that could be wrong.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leeway_contract::Digest;

use crate::files::Files;

mod claim;
mod error;
mod upload;

use claim::{Arrivals, Claim};

pub use error::StoreError;
pub use upload::Upload;

/// How much the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All modules and parts of modules together, in bytes.
    pub quota_bytes: u64,
    /// One module, in bytes.
    pub module_bytes: u64,
    /// What is left free on the file system, for the state and for others.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    /// 1 GiB in all, 256 MiB for one module, 4 MiB left free.
    fn default() -> Self {
        Self { quota_bytes: 1 << 30, module_bytes: 256 << 20, reserve_bytes: 4 << 20 }
    }
}

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Whole modules.
    pub modules: Vec<Digest>,
    /// The bytes that are free now, parts of modules included.
    pub bytes: u64,
}

/// The modules of a device.
#[derive(Debug)]
pub struct Store {
    files: Arc<dyn Files>,
    blobs: PathBuf,
    partial: PathBuf,
    limits: Limits,
    /// The modules that are on their way here.
    coming: Arc<Mutex<Arrivals>>,
}

impl Store {
    /// Opens the store in a directory, which must exist.
    ///
    /// # Errors
    /// Where its directories cannot be made.
    pub fn open(files: Arc<dyn Files>, root: &Path, limits: Limits) -> Result<Self, StoreError> {
        let (blobs, partial) = (root.join("blobs"), root.join("partial"));
        for path in [&blobs, &partial] {
            files.create_dir(path).map_err(StoreError::io("make", path))?;
        }
        // On a disk that takes nothing, what is there is served all the same.
        if let Err(error) = files.sync_dir(root) {
            tracing::warn!(%error, root = %root.display(), "the store's directory is not durable");
        }
        Ok(Self { files, blobs, partial, limits, coming: Arc::default() })
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.to_hex())
    }

    fn part(&self, digest: Digest) -> PathBuf {
        self.partial.join(digest.to_hex())
    }

    fn coming(&self) -> MutexGuard<'_, Arrivals> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole modules, and their sizes in bytes.
    pub fn modules(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        self.digests(&self.blobs)
    }

    fn digests(&self, directory: &Path) -> Result<Vec<(Digest, u64)>, StoreError> {
        let entries = self.files.list(directory).map_err(StoreError::io("list", directory))?;
        let digest = |name: &str| format!("sha256:{name}").parse().ok();
        Ok(entries.iter().filter_map(|e| Some((digest(&e.name)?, e.bytes))).collect())
    }

    /// Whether a module is here as a whole.
    pub fn contains(&self, digest: Digest) -> Result<bool, StoreError> {
        Ok(self.modules()?.iter().any(|(module, _)| *module == digest))
    }

    /// How many bytes of a module have come, where it is not here as a whole.
    pub fn begun_bytes(&self, digest: Digest) -> Result<u64, StoreError> {
        let parts = self.digests(&self.partial)?;
        Ok(parts.iter().find(|(part, _)| *part == digest).map_or(0, |(_, bytes)| *bytes))
    }

    /// The bytes that the store takes.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let parts = self.digests(&self.partial)?;
        Ok(self.modules()?.iter().chain(&parts).map(|(_, bytes)| bytes).sum())
    }

    /// The limits that hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads a module.
    ///
    /// # Errors
    /// Where it is not here, or its bytes are not those of its name any more.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(digest);
        let mut bytes = Vec::new();
        let read = self.files.read(&path, 0).and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { digest });
            }
            read => read.map_err(StoreError::io("read", &path))?,
        };
        match Digest::of(&bytes) {
            seen if seen == digest => Ok(bytes),
            seen => Err(StoreError::Decayed { wanted: digest, seen }),
        }
    }

    /// Begins or continues to take a module of `bytes` bytes, where that is known. An
    /// earlier upload of the same module takes nothing more: it may hang on a
    /// connection that nobody is at the other end of.
    /// `keep` are the modules that are not removed to make room for it.
    ///
    /// # Errors
    /// Where it is too large, or there is no room for it.
    pub fn upload(
        &self,
        digest: Digest,
        bytes: Option<u64>,
        keep: &BTreeSet<Digest>,
    ) -> Result<Upload<'_>, StoreError> {
        if let Some(seen) = bytes.filter(|&bytes| bytes > self.limits.module_bytes) {
            return Err(StoreError::TooLarge { limit: self.limits.module_bytes, seen });
        }
        let claim = Claim::take(&self.coming, digest);
        let mut upload = Upload::resume(self, digest, claim)?;
        self.make_room(&mut upload, bytes, keep)?;
        Ok(upload)
    }

    /// Removes what nothing needs, as far as this upload wants its room.
    fn make_room(
        &self,
        upload: &mut Upload<'_>,
        bytes: Option<u64>,
        keep: &BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        let more = bytes.unwrap_or_default().saturating_sub(upload.offset());
        if self.room()? < more.max(1) {
            self.collect(keep)?;
        }
        let room = self.room()?;
        if room < more.max(1) {
            return Err(StoreError::Full {
                wanted: more,
                room,
                quota: self.limits.quota_bytes,
                reserve: self.limits.reserve_bytes,
            });
        }
        upload.allow(room);
        Ok(())
    }

    /// How much more the store may take, in bytes.
    fn room(&self) -> Result<u64, StoreError> {
        let free = self.files.free_bytes(&self.partial);
        let free = free.map_err(StoreError::io("measure", &self.partial))?;
        let quota = self.limits.quota_bytes.saturating_sub(self.used_bytes()?);
        Ok(quota.min(free.saturating_sub(self.limits.reserve_bytes)))
    }

    /// Removes the modules that are not in `keep`, and parts of modules that
    /// nobody is sending.
    pub fn collect(&self, keep: &BTreeSet<Digest>) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        for (digest, bytes) in self.modules()? {
            // One that has just come is not in the state yet.
            if !keep.contains(&digest) && !self.coming().contains_key(&digest) {
                self.remove(&self.blob(digest))?;
                collected.modules.push(digest);
                collected.bytes += bytes;
            }
        }
        for (digest, bytes) in self.digests(&self.partial)? {
            if !self.coming().contains_key(&digest) {
                self.remove(&self.part(digest))?;
                collected.bytes += bytes;
            }
        }
        for directory in [&self.blobs, &self.partial] {
            self.files.sync_dir(directory).map_err(StoreError::io("synchronise", directory))?;
        }
        Ok(collected)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(StoreError::io("remove", path)),
        }
    }

    /// Reads every module, and returns those whose bytes are not those of their
    /// names any more.
    pub fn verify(&self) -> Result<Vec<Digest>, StoreError> {
        let mut decayed = Vec::new();
        for (digest, _) in self.modules()? {
            let path = self.blob(digest);
            let file = self.files.read(&path, 0).map_err(StoreError::io("read", &path))?;
            let seen = Digest::of_reader(file).map_err(StoreError::io("read", &path))?;
            if seen != digest {
                decayed.push(digest);
            }
        }
        Ok(decayed)
    }

    /// Removes a module whose bytes are not those of its name, so that it can come
    /// again.
    pub fn discard(&self, digest: Digest) -> Result<(), StoreError> {
        self.remove(&self.blob(digest))?;
        self.files.sync_dir(&self.blobs).map_err(StoreError::io("synchronise", &self.blobs))
    }
}

#[cfg(test)]
mod tests;
