//! Modules that come in parts: one file for each, which grows from its beginning.
//!
//! A client sends `PUT` with `Content-Range: bytes FIRST-LAST/TOTAL`. What has come
//! stays when its connection breaks, also when the host does; `HEAD` then says in
//! `Upload-Offset` where to go on. The newest request for a module takes it over from
//! an older one, whose connection may be dead without anybody knowing. The digest
//! decides at the end whether what has come is the module.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use leeway_contract::Digest;

/// The most that all parts together may take, in the largest module's size.
const MOST_MODULES: u64 = 4;
/// A part to which nothing was added for so long makes room for others.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Where a part of a module belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The place of the first byte.
    pub(crate) first: u64,
    /// The place after the last byte.
    pub(crate) end: u64,
    /// The module's length.
    pub(crate) total: u64,
}

impl ContentRange {
    /// Of `bytes FIRST-LAST/TOTAL` (RFC 9110, section 14.4).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        let end = last.checked_add(1)?;
        (first < end && end <= total).then_some(Self { first, end, total })
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.end - self.first
    }
}

/// Why a part was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// Another place is next.
    #[error("the part begins at byte {first}, wanted {offset}")]
    Offset {
        /// Where it begins.
        first: u64,
        /// What has come.
        offset: u64,
    },
    /// A newer request took the upload over.
    #[error("a newer request took this upload over")]
    Superseded,
    /// There is no room for it.
    #[error("there is no room for another module in parts, {most_bytes} bytes are taken")]
    Full {
        /// What all may take.
        most_bytes: u64,
    },
    /// The disk.
    #[error("the upload cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// All modules of which a part is here.
pub(crate) struct Uploads {
    directory: PathBuf,
    most_bytes: u64,
    /// The number of the newest request for each module.
    writers: Mutex<HashMap<Digest, u64>>,
}

/// One request that adds to a module. Blocks on the disk.
pub(crate) struct Writer {
    uploads: Arc<Uploads>,
    digest: Digest,
    number: u64,
    file: File,
}

impl Uploads {
    /// Parts in this directory, of modules of this size at most.
    pub(crate) fn new(directory: PathBuf, max_module_bytes: usize) -> Arc<Self> {
        let most_bytes = (max_module_bytes as u64).saturating_mul(MOST_MODULES);
        Arc::new(Self { directory, most_bytes, writers: Mutex::default() })
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        // Nothing panics while it holds the lock.
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}.part", digest.to_hex()))
    }

    /// How much of a module is here.
    pub(crate) fn offset(&self, digest: Digest) -> u64 {
        fs::metadata(self.path(digest)).map_or(0, |metadata| metadata.len())
    }

    /// Begins to add to a module at a place. What begins at 0 begins anew.
    pub(crate) fn begin(
        self: &Arc<Self>,
        digest: Digest,
        range: ContentRange,
    ) -> Result<Writer, UploadError> {
        let mut writers = self.writers();
        let (offset, first) = (self.offset(digest), range.first);
        if first != offset && first != 0 {
            return Err(UploadError::Offset { first, offset });
        }
        self.make_room(digest, range.total)?;
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(0o600);
        let file = options.open(self.path(digest))?;
        if first == 0 {
            file.set_len(0)?;
        }
        let number = writers.entry(digest).or_default();
        *number += 1;
        Ok(Writer { uploads: Arc::clone(self), digest, number: *number, file })
    }

    /// Removes what was forgotten, where a module has no room otherwise.
    fn make_room(&self, digest: Digest, total: u64) -> Result<(), UploadError> {
        let own = self.path(digest);
        let (mut taken, now) = (total, SystemTime::now());
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if path == own {
                continue;
            }
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if age > FORGOTTEN {
                fs::remove_file(path)?;
            } else {
                taken = taken.saturating_add(metadata.len());
            }
        }
        let most_bytes = self.most_bytes;
        if taken > most_bytes { Err(UploadError::Full { most_bytes }) } else { Ok(()) }
    }

    /// Forgets what has come of a module.
    pub(crate) fn discard(&self, digest: Digest) -> Result<(), UploadError> {
        self.writers().remove(&digest);
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        // Held over the write: nobody takes the upload over in the middle of it.
        let writers = self.uploads.writers();
        if writers.get(&self.digest) != Some(&self.number) {
            return Err(UploadError::Superseded);
        }
        Ok(self.file.write_all(bytes)?)
    }

    /// All that has come.
    pub(crate) fn read(&self) -> Result<Bytes, UploadError> {
        Ok(fs::read(self.uploads.path(self.digest))?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, end: u64, total: u64) -> ContentRange {
        ContentRange { first, end, total }
    }

    #[test]
    fn a_range_is_read_or_refused() {
        assert_eq!(ContentRange::parse("bytes 0-9/10"), Some(range(0, 10, 10)));
        assert_eq!(ContentRange::parse("bytes 3-3/10"), Some(range(3, 4, 10)));
        for text in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 0-9/*",
            "bytes */10",
            "bytes 0-10/10",
            "bytes 5-4/10",
            "bytes +1-4/10",
            "items 0-9/10",
            "bytes 0-18446744073709551615/18446744073709551615",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn parts_follow_each_other_and_the_newest_request_has_the_upload() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(directory.path().to_owned(), 100);
        let digest = Digest::of(b"abcdef");
        let mut old = uploads.begin(digest, range(0, 6, 6)).unwrap();
        old.write(b"ab").unwrap();
        let error = uploads.begin(digest, range(3, 6, 6)).map(drop).unwrap_err();
        assert!(matches!(error, UploadError::Offset { first: 3, offset: 2 }), "{error}");
        let mut new = uploads.begin(digest, range(2, 6, 6)).unwrap();
        assert!(matches!(old.write(b"cd"), Err(UploadError::Superseded)));
        new.write(b"cdef").unwrap();
        assert_eq!(&new.read().unwrap()[..], b"abcdef");
        // Anew.
        let mut again = uploads.begin(digest, range(0, 3, 3)).unwrap();
        again.write(b"xyz").unwrap();
        assert_eq!(uploads.offset(digest), 3);
        uploads.discard(digest).unwrap();
        assert_eq!(uploads.offset(digest), 0);
        assert!(again.write(b"late").is_err());
    }

    #[test]
    fn all_parts_together_have_so_much_room() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(directory.path().to_owned(), 10);
        for number in 0..4u8 {
            let mut writer = uploads.begin(Digest::of(&[number]), range(0, 10, 10)).unwrap();
            writer.write(&[0; 10]).unwrap();
        }
        let error = uploads.begin(Digest::of(b"more"), range(0, 1, 1)).map(drop).unwrap_err();
        assert!(matches!(error, UploadError::Full { most_bytes: 40 }), "{error}");
        uploads.begin(Digest::of(&[0]), range(0, 10, 10)).unwrap();
    }
}
