//! A module on its way into the store, in one connection or in several.

use std::fmt;
use std::io::Read as _;

use leeway_contract::Digest;
use leeway_contract::digest::Hasher;

use super::{Claim, Store, StoreError};
use crate::files::Append;

/// A module that is on its way. Dropped before it is finished, it can be resumed.
pub struct Upload<'a> {
    store: &'a Store,
    digest: Digest,
    file: Box<dyn Append>,
    hash: Hasher,
    offset: u64,
    /// The bytes that there is room for, from the beginning of the module.
    most: u64,
    claim: Claim,
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("digest", &self.digest)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<'a> Upload<'a> {
    /// Opens what has come so far, and hashes it.
    pub(super) fn resume(
        store: &'a Store,
        digest: Digest,
        claim: Claim,
    ) -> Result<Self, StoreError> {
        let path = store.part(digest);
        let file = store.files.append(&path).map_err(StoreError::io("write", &path))?;
        let (mut hash, mut offset) = (Hasher::default(), 0);
        let mut so_far = store.files.read(&path, 0).map_err(StoreError::io("read", &path))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match so_far.read(&mut buffer).map_err(StoreError::io("read", &path))? {
                0 => break,
                count => {
                    hash.update(&buffer[..count]);
                    offset += count as u64;
                }
            }
        }
        Ok(Self { store, digest, file, hash, offset, most: offset, claim })
    }

    /// Lets `more` bytes come.
    pub(super) fn allow(&mut self, more: u64) {
        self.most = self.offset.saturating_add(more);
    }

    /// How many bytes are here: the sender goes on from there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Where the module becomes too large or the disk takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let limits = &self.store.limits;
        let seen = self.offset.saturating_add(bytes.len() as u64);
        if seen > limits.module_bytes {
            return Err(StoreError::TooLarge { limit: limits.module_bytes, seen });
        }
        if seen > self.most {
            return Err(StoreError::Full {
                wanted: seen - self.offset,
                room: self.most - self.offset,
                quota: limits.quota_bytes,
                reserve: limits.reserve_bytes,
            });
        }
        let path = self.store.part(self.digest);
        let file = &mut self.file;
        self.claim.exercise(|| file.write_all(bytes).map_err(StoreError::io("write", &path)))?;
        self.hash.update(bytes);
        self.offset = seen;
        Ok(())
    }

    /// All has come. Where its digest is right, it is durable and in the store
    /// afterwards; where it is wrong, nothing of it is kept.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let (store, digest, bytes) = (self.store, self.digest, self.offset);
        let (part, blob) = (store.part(digest), store.blob(digest));
        let (seen, file) = (self.hash.finish(), &mut self.file);
        self.claim.exercise(|| {
            if seen != digest {
                store.remove(&part)?;
                return Err(StoreError::Digest { wanted: digest, seen, bytes });
            }
            file.sync().map_err(StoreError::io("synchronise", &part))?;
            store.files.rename(&part, &blob).map_err(StoreError::io("rename", &part))?;
            for directory in [&store.blobs, &store.partial] {
                store
                    .files
                    .sync_dir(directory)
                    .map_err(StoreError::io("synchronise", directory))?;
            }
            Ok(())
        })
    }

    /// Nothing of it is wanted any more.
    pub fn discard(self) -> Result<(), StoreError> {
        self.claim.exercise(|| self.store.remove(&self.store.part(self.digest)))
    }
}
