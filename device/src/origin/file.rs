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
    let envelopes = match fs::read(&beside) {
        Ok(envelope) => vec![envelope],
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(resolved(digest, envelopes, FileSource(path.to_owned())))
}

#[test]
fn a_file_is_found_with_its_signature() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.wasm");
    let wanted = DesiredModel::default();
    assert_eq!(resolve(&path, &wanted).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(&path, b"module").unwrap();
    let found = resolve(&path, &wanted).unwrap();
    assert_eq!((found.digest, found.envelopes), (Digest::of(b"module"), vec![]));
    fs::write(folder.path().join("model.wasm.sig"), b"signed").unwrap();
    let found = resolve(&path, &wanted).unwrap();
    assert_eq!(found.envelopes, [b"signed".to_vec()]);
}
