//! Compiled code and calibrations of modules that are gone. Both can be made again, so
//! nothing here is durable, and a few are left for a module that comes back soon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use leeway_contract::Digest;

/// Files of modules that are gone, in each directory.
const LEFT: usize = 4;

/// Removes all but the newest files of modules that are not to be kept. A file's name
/// begins with its module's digest.
pub(super) fn sweep(directory: &Path, keep: &BTreeSet<Digest>) -> io::Result<()> {
    let mut gone: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let hex = name.to_str().and_then(|name| name.split_once('-')).map(|(hex, _)| hex);
        let digest = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if digest.is_some_and(|digest| !keep.contains(&digest)) {
            gone.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    gone.sort_by(|a, b| b.cmp(a));
    gone.iter().skip(LEFT).try_for_each(|(_, path)| fs::remove_file(path))
}

#[test]
fn what_is_kept_stays_and_of_what_is_gone_a_few() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |number: u8| Digest::of(&[number]);
    let path = |number: u8| folder.path().join(format!("{}-engine.cwasm", digest(number).to_hex()));
    (0..10).for_each(|number| fs::write(path(number), b"code").unwrap());
    fs::write(folder.path().join("something-else"), b"").unwrap();
    let keep = BTreeSet::from([digest(0), digest(1)]);
    sweep(folder.path(), &keep).unwrap();
    assert!(path(0).exists() && path(1).exists());
    assert_eq!((2..10).filter(|&number| path(number).exists()).count(), LEFT);
    assert!(folder.path().join("something-else").exists());
}
