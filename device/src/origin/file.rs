//! Modules in files on the device, with their signatures beside them.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::{fs, io};

use leeway_contract::Digest;
use leeway_deploy::desired::{DesiredModel, Resolved};
use leeway_deploy::transaction::FileSource;

use super::resolved;

/// Finds a model's module in a file; `FILE.sig` is its signature.
pub(super) fn resolve(path: &Path, wanted: &DesiredModel) -> io::Result<Resolved> {
    let file = File::open(path)?;
    let digest = match wanted.digest {
        Some(digest) => digest,
        None => Digest::of_reader(file)?,
    };
    let mut beside = OsString::from(path);
    beside.push(".sig");
    let envelope = match fs::read(&beside) {
        Ok(envelope) => Some(envelope),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(resolved(digest, envelope, FileSource(path.to_owned())))
}

#[test]
fn a_file_is_found_with_its_signature() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.wasm");
    let wanted = DesiredModel::default();
    assert_eq!(resolve(&path, &wanted).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(&path, b"module").unwrap();
    let found = resolve(&path, &wanted).unwrap();
    assert_eq!((found.digest, found.envelope), (Digest::of(b"module"), None));
    fs::write(folder.path().join("model.wasm.sig"), b"signed").unwrap();
    let found = resolve(&path, &wanted).unwrap();
    assert_eq!(found.envelope.as_deref(), Some(&b"signed"[..]));
}
