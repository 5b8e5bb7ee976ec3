//! The store on a disk that fails, fills up and loses power.

use super::*;
use crate::files::simulated::{Disk, Fault, Loss};

const ROOT: &str = "/store";

fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn open(disk: &Disk) -> Result<Store, StoreError> {
    open_with(disk, Limits { quota_bytes: 4000, module_bytes: 2000, reserve_bytes: 0 })
}

fn open_with(disk: &Disk, limits: Limits) -> Result<Store, StoreError> {
    Store::open(Arc::new(disk.clone()), Path::new(ROOT), limits)
}

fn put(store: &Store, module: &[u8]) -> Result<(), StoreError> {
    let digest = Digest::of(module);
    // What is there is needed.
    let keep = store.modules()?.into_iter().map(|(module, _)| module).collect();
    let mut upload = store.upload(digest, Some(module.len() as u64), &keep)?;
    let from = upload.offset() as usize;
    for chunk in module[from..].chunks(300) {
        upload.write(chunk)?;
    }
    upload.finish()
}

#[test]
fn what_is_put_is_read() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let module = bytes(1, 1000);
    put(&store, &module).unwrap();
    assert_eq!(store.read(Digest::of(&module)).unwrap(), module);
    assert_eq!(store.used_bytes().unwrap(), 1000);
    assert!(matches!(store.read(Digest::of(b"")), Err(StoreError::Missing { .. })));
}

#[test]
fn the_newest_upload_of_a_module_takes_over_from_one_that_hangs() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let module = bytes(1, 1000);
    let digest = Digest::of(&module);
    let begin = || store.upload(digest, None, &BTreeSet::new()).unwrap();
    let mut hanging = begin();
    hanging.write(&module[..700]).unwrap();
    let mut newer = begin();
    let late = hanging.write(&module[700..]);
    assert!(matches!(late, Err(StoreError::TakenOver { .. })), "{late:?}");
    assert!(matches!(hanging.finish(), Err(StoreError::TakenOver { .. })));
    newer.write(&module[700..]).unwrap();
    // The older one's end did not make it nobody's.
    store.collect(&BTreeSet::new()).unwrap();
    newer.finish().unwrap();
    assert_eq!(store.read(digest).unwrap(), module);
}

#[test]
fn an_upload_resumes_where_it_was() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let module = bytes(1, 1000);
    let digest = Digest::of(&module);
    let mut upload = store.upload(digest, None, &BTreeSet::new()).unwrap();
    upload.write(&module[..700]).unwrap();
    drop(upload);
    let mut upload = store.upload(digest, None, &BTreeSet::new()).unwrap();
    assert_eq!(upload.offset(), 700);
    upload.write(&module[700..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(store.read(digest).unwrap(), module);
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let mut upload = store.upload(Digest::of(b"wanted"), None, &BTreeSet::new()).unwrap();
    upload.write(b"seen").unwrap();
    let error = upload.finish().unwrap_err();
    assert!(
        matches!(error, StoreError::Digest { seen, bytes: 4, .. } if seen == Digest::of(b"seen"))
    );
    assert_eq!(store.used_bytes().unwrap(), 0);
}

#[test]
fn what_is_too_large_is_refused_before_it_comes_or_when_it_turns_out() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let announced = store.upload(Digest::of(b"a"), Some(2 << 30), &BTreeSet::new()).unwrap_err();
    assert!(matches!(announced, StoreError::TooLarge { limit: 2000, seen } if seen == 2 << 30));
    let mut upload = store.upload(Digest::of(b"a"), None, &BTreeSet::new()).unwrap();
    upload.write(&[0; 2000]).unwrap();
    assert!(matches!(upload.write(&[0]), Err(StoreError::TooLarge { seen: 2001, .. })));
}

#[test]
fn room_is_made_of_what_nobody_needs_and_of_nothing_else() {
    let store = open(&Disk::new(Path::new(ROOT))).unwrap();
    let modules: Vec<Vec<u8>> = (0..3).map(|seed| bytes(seed, 1900)).collect();
    put(&store, &modules[0]).unwrap();
    put(&store, &modules[1]).unwrap();
    let [first, second, third] = [0, 1, 2].map(|i| Digest::of(&modules[i]));
    let both = BTreeSet::from([first, second]);
    let error = store.upload(third, Some(1900), &both).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(store.modules().unwrap().len(), 2);
    store.upload(third, Some(1900), &BTreeSet::from([second])).unwrap();
    assert_eq!(store.modules().unwrap(), [(second, 1900)]);
}

#[test]
fn a_full_disk_says_so_and_reads_on() {
    let disk = Disk::new(Path::new(ROOT));
    let store = open(&disk).unwrap();
    let module = bytes(1, 1000);
    put(&store, &module).unwrap();
    disk.set_capacity(Some(1500));
    assert!(put(&store, &bytes(2, 1000)).unwrap_err().is_full());
    // A disk that fills up while a module comes.
    let keep = BTreeSet::from([Digest::of(&module)]);
    let mut upload = store.upload(Digest::of(b"b"), None, &keep).unwrap();
    disk.set_capacity(Some(1000));
    assert!(upload.write(&[0; 100]).unwrap_err().is_full());
    assert_eq!(store.read(Digest::of(&module)).unwrap(), module);
}

#[test]
fn decay_is_seen() {
    let disk = Disk::new(Path::new(ROOT));
    let store = open(&disk).unwrap();
    let module = bytes(1, 1000);
    put(&store, &module).unwrap();
    let digest = Digest::of(&module);
    disk.decay(&store.blob(digest));
    assert!(matches!(store.read(digest), Err(StoreError::Decayed { .. })));
    assert_eq!(store.verify().unwrap(), [digest]);
    store.discard(digest).unwrap();
    put(&store, &module).unwrap();
    assert_eq!(store.verify().unwrap(), []);
}

/// Whatever operation fails or is the last one before a power cut, the store opens,
/// everything that has a name is whole, what was there before is there, and the
/// upload can be made again.
#[test]
fn a_fault_at_any_operation_leaves_a_store_that_verifies() {
    let (old, new) = (bytes(1, 1000), bytes(2, 1000));
    let keep = BTreeSet::from([Digest::of(&old)]);
    let work = |store: &Store| -> Result<(), StoreError> {
        put(store, &new)?;
        store.collect(&keep)?;
        put(store, &new)
    };
    let before = Disk::new(Path::new(ROOT));
    put(&open(&before).unwrap(), &old).unwrap();
    before.power_cut(Loss::All);
    let whole = before.copy();
    whole.plan(Fault::None);
    work(&open(&whole).unwrap()).unwrap();
    let operations = whole.operations();
    assert!(operations > 15, "{operations}");

    for at in 0..operations {
        for fault in [Fault::Fail(at), Fault::Stop(at)] {
            for loss in [Loss::All, Loss::Nothing].into_iter().chain((0..20).map(Loss::Some)) {
                let disk = before.copy();
                disk.plan(fault);
                let result = open(&disk).and_then(|store| work(&store));
                if fault == Fault::Stop(at) {
                    assert!(result.is_err(), "operation {at} did not stop anything");
                }
                disk.power_cut(loss);
                let store = open(&disk).unwrap();
                assert_eq!(store.verify().unwrap(), [], "{fault:?} {loss:?}");
                assert_eq!(store.read(Digest::of(&old)).unwrap(), old, "{fault:?} {loss:?}");
                // What a power cut made of a part may be wrong; then it goes.
                if put(&store, &new).is_err() {
                    put(&store, &new).unwrap();
                }
                assert_eq!(store.read(Digest::of(&new)).unwrap(), new);
            }
        }
    }
}
