//! The file that says what the device shall be.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use leeway_deploy::desired::{DesiredError, DesiredState, WantError};

/// Why nothing is wanted by the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DesiredFileError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Parse(#[from] DesiredError),
    #[error(transparent)]
    Want(#[from] WantError),
}

/// Which file it was: another one that took its name differs.
type Stamp = (u64, i64, i64, u64);

/// The file, and what it was when it was last read.
#[derive(Debug)]
pub(crate) struct DesiredFile {
    path: PathBuf,
    read: Option<Stamp>,
}

impl DesiredFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
    }

    /// Reads it.
    pub(crate) fn read(&mut self) -> Result<DesiredState, DesiredFileError> {
        self.read = self.stamp();
        Ok(DesiredState::parse(&fs::read(&self.path)?)?)
    }

    /// Reads it where it is there and has changed.
    pub(crate) fn changed(&mut self) -> Option<Result<DesiredState, DesiredFileError>> {
        let stamp = self.stamp()?;
        (self.read != Some(stamp)).then(|| self.read())
    }
}

#[test]
fn it_is_read_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("desired.toml");
    let mut file = DesiredFile::new(path.clone());
    assert!(file.changed().is_none(), "it is not there");
    fs::write(&path, "generation = 1\n").unwrap();
    assert_eq!(file.changed().unwrap().unwrap().generation, 1);
    assert!(file.changed().is_none());
    fs::write(&path, "generation = 10\n").unwrap();
    assert_eq!(file.changed().unwrap().unwrap().generation, 10);
    fs::write(&path, "generation").unwrap();
    assert!(file.changed().unwrap().is_err());
    assert!(file.changed().is_none(), "an error is told once");
}
