//! The file layer: what the store and the state ask of a file system.
//!
//! It is a trait so that tests can put a disk in its place that fails or loses
//! power at any operation, and then has only what was made durable. The rules that
//! callers follow are POSIX's, not any file system's: a file's bytes are durable
//! after [`Append::sync`], its name after [`Files::sync_dir`] of the directory.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

mod real;
#[cfg(test)]
pub(crate) mod simulated;

pub use real::RealFiles;

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name there.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A file that is written at its end.
pub trait Append: Write + Send {
    /// Makes its bytes durable. Its name may not be.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Files: fmt::Debug + Send + Sync {
    /// Creates a directory, for this user only, where there is none. The one above
    /// it must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The files in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a file to read it from byte `offset` on.
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Opens a file to write at its end; an empty one where there was none.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Append>>;

    /// Gives a file another name, in place of the one that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The bytes that are free for this user.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// Replaces a file as a whole: whatever happens, either the old or the new bytes
/// are there afterwards. `staging` is a name in the same directory that nothing
/// else uses.
pub(crate) fn replace(
    files: &dyn Files,
    directory: &Path,
    staging: &str,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let (staging, path) = (directory.join(staging), directory.join(name));
    match files.remove(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = files.append(&staging)?;
    file.write_all(bytes)?;
    file.sync()?;
    drop(file);
    files.rename(&staging, &path)?;
    files.sync_dir(directory)
}
