//! What the store says when it cannot do something.

use std::io;
use std::path::{Path, PathBuf};

use leeway_contract::Digest;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no room, and nothing that could be removed for it.
    #[error(
        "no room for {wanted} more bytes: {room} are left of the quota of {quota} and of the disk \
         less a reserve of {reserve}; what serves, and what it would fall back to, is not removed"
    )]
    Full {
        /// What the module needs.
        wanted: u64,
        /// What is left.
        room: u64,
        /// What the store may take.
        quota: u64,
        /// What is left free on the disk.
        reserve: u64,
    },
    /// A module that is larger than the store takes.
    #[error("the module has {seen} bytes or more, at most {limit} are taken")]
    TooLarge {
        /// The most.
        limit: u64,
        /// What came, or was announced.
        seen: u64,
    },
    /// What came has another digest.
    #[error("wanted the module {wanted}, seen {bytes} bytes with the digest {seen}")]
    Digest {
        /// What was asked for.
        wanted: Digest,
        /// Of what came.
        seen: Digest,
        /// How much came.
        bytes: u64,
    },
    /// Less came than was announced.
    #[error("the module {digest} ended after {seen} bytes, {wanted} were announced")]
    Truncated {
        /// Which.
        digest: Digest,
        /// What was announced.
        wanted: u64,
        /// What came.
        seen: u64,
    },
    /// The module is not here.
    #[error("the module {digest} is not in the store")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// The disk has lost the module's bytes.
    #[error("the module {wanted} has decayed: its bytes have the digest {seen}")]
    Decayed {
        /// What it was.
        wanted: Digest,
        /// What it is.
        seen: Digest,
    },
    /// Somebody else began to send the same module.
    #[error("a newer upload of the module {digest} took this one's place")]
    TakenOver {
        /// Which.
        digest: Digest,
    },
}

impl StoreError {
    /// For `map_err`: what was tried, and with what.
    pub(crate) fn io<'a>(
        operation: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> StoreError + 'a {
        move |source| StoreError::Io { operation, path: path.to_owned(), source }
    }

    /// Whether the disk takes nothing more.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            StoreError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        }
    }
}
