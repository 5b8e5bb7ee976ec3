//! A disk in memory that fails, fills up or loses power at the N-th operation.
//!
//! What a program sees and what is durable are kept apart. After a power cut
//! there is what was synchronised; of the rest there may be nothing, everything,
//! or any part: changes to directories in any selection, files cut short or with
//! zeros at their end.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Append, Entry, Files};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// This operation fails, and the next ones do not.
    Fail(u64),
    /// Before this operation the power goes; a write is torn.
    Stop(u64),
}

/// What is left of what was not synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is.
    All,
    /// Everything is.
    Nothing,
    /// Some of it, by this seed.
    Some(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug)]
struct Inner {
    contents: Vec<Contents>,
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Changes to names that are not durable.
    pending: Vec<Change>,
    operations: u64,
    fault: Fault,
    stopped: bool,
    capacity: Option<u64>,
}

/// The disk. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    /// An empty disk with one directory.
    pub fn new(root: &Path) -> Self {
        let names = BTreeMap::from([(root.to_owned(), Node::Directory)]);
        Self(Arc::new(Mutex::new(Inner {
            contents: Vec::new(),
            seen: names.clone(),
            durable: names,
            pending: Vec::new(),
            operations: 0,
            fault: Fault::None,
            stopped: false,
            capacity: None,
        })))
    }

    /// A copy that shares nothing with this one.
    pub fn copy(&self) -> Self {
        let inner = self.inner();
        Self(Arc::new(Mutex::new(Inner {
            contents: inner.contents.clone(),
            seen: inner.seen.clone(),
            durable: inner.durable.clone(),
            pending: inner.pending.clone(),
            ..*inner
        })))
    }

    /// Plans a fault, counted in operations from now.
    pub fn plan(&self, fault: Fault) {
        let mut inner = self.inner();
        inner.operations = 0;
        inner.fault = fault;
    }

    /// The operations since the last plan.
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// How many bytes fit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// The power goes and comes back.
    pub fn power_cut(&self, loss: Loss) {
        let mut inner = self.inner();
        let mut dice = Dice(match loss {
            Loss::Some(seed) => seed,
            _ => 0,
        });
        let survives = |dice: &mut Dice| match loss {
            Loss::All => false,
            Loss::Nothing => true,
            Loss::Some(_) => dice.roll(2) == 0,
        };
        for change in std::mem::take(&mut inner.pending) {
            if survives(&mut dice) {
                change.apply(&mut inner.durable);
            }
        }
        for contents in &mut inner.contents {
            if contents.seen != contents.durable && survives(&mut dice) {
                let mut bytes = contents.seen.clone();
                let length = bytes.len() as u64 + 1;
                match (loss, dice.roll(3)) {
                    (Loss::Some(_), 0) => bytes.truncate(dice.roll(length) as usize),
                    (Loss::Some(_), 1) => bytes[dice.roll(length) as usize..].fill(0),
                    _ => {}
                }
                contents.durable = bytes;
            }
            contents.seen = contents.durable.clone();
        }
        // A file is gone where the directory is.
        let names = inner.durable.clone();
        inner.durable.retain(|path, _| {
            let mut above = path.ancestors().skip(1);
            let root = names.keys().next().expect("there is a root");
            path == root || above.all(|above| !above.starts_with(root) || names.contains_key(above))
        });
        inner.seen = inner.durable.clone();
        inner.stopped = false;
        inner.fault = Fault::None;
    }

    /// Changes a bit of a file, durably.
    pub fn decay(&self, path: &Path) {
        let mut inner = self.inner();
        let Some(Node::File(file)) = inner.seen.get(path).cloned() else {
            panic!("there is no {path:?}");
        };
        let contents = &mut inner.contents[file];
        let middle = contents.seen.len() / 2;
        contents.seen[middle] ^= 1;
        contents.durable = contents.seen.clone();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Link(path, node) => {
                names.insert(path, node);
            }
            Change::Unlink(path) => {
                names.remove(&path);
            }
            Change::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(directory);
        match self {
            Change::Link(path, _) | Change::Unlink(path) => within(path),
            Change::Rename(from, to, _) => within(from) || within(to),
        }
    }
}

impl Inner {
    /// Counts an operation that changes something. True where the power goes
    /// during it.
    fn count(&mut self) -> io::Result<bool> {
        if self.stopped {
            return Err(io::Error::other("the power is off"));
        }
        let this = self.operations;
        self.operations += 1;
        match self.fault {
            Fault::Fail(at) if at == this => Err(io::Error::other("input/output error")),
            Fault::Stop(at) if at == this => {
                self.stopped = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn operate(&mut self) -> io::Result<()> {
        match self.count()? {
            true => Err(io::Error::other("the power went")),
            false => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.seen);
        self.pending.push(change);
    }

    fn used(&self) -> u64 {
        let bytes = |node: &Node| match node {
            Node::File(file) => self.contents[*file].seen.len() as u64,
            Node::Directory => 0,
        };
        self.seen.values().map(bytes).sum()
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.seen.get(path) {
            Some(Node::Directory) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("no directory {path:?}"))),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.seen.get(path) {
            Some(Node::File(file)) => Ok(*file),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("no file {path:?}"))),
        }
    }
}

struct DiskAppend {
    disk: Disk,
    file: usize,
}

impl Write for DiskAppend {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.disk.inner();
        let torn = inner.count()?;
        if inner.capacity.is_some_and(|capacity| inner.used() + bytes.len() as u64 > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = if torn { bytes.len() / 2 } else { bytes.len() };
        let file = self.file;
        inner.contents[file].seen.extend_from_slice(&bytes[..written]);
        if torn { Err(io::Error::other("the power went")) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Append for DiskAppend {
    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operate()?;
        let contents = &mut inner.contents[self.file];
        contents.durable = contents.seen.clone();
        Ok(())
    }
}

impl Files for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.directory(path).is_ok() {
            return Ok(());
        }
        inner.directory(path.parent().unwrap_or(path))?;
        inner.operate()?;
        inner.change(Change::Link(path.to_owned(), Node::Directory));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.inner();
        inner.directory(path)?;
        let entry = |(file, node): (&PathBuf, &Node)| match node {
            Node::File(contents) if file.parent() == Some(path) => Some(Entry {
                name: file.file_name()?.to_str()?.to_owned(),
                bytes: inner.contents[*contents].seen.len() as u64,
            }),
            _ => None,
        };
        Ok(inner.seen.iter().filter_map(entry).collect())
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let inner = self.inner();
        let bytes = &inner.contents[inner.file(path)?].seen;
        let from = bytes.len().min(offset as usize);
        Ok(Box::new(Cursor::new(bytes[from..].to_vec())))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let mut inner = self.inner();
        let file = match inner.file(path) {
            Ok(file) => file,
            Err(_) => {
                inner.directory(path.parent().unwrap_or(path))?;
                inner.operate()?;
                inner.contents.push(Contents::default());
                let file = inner.contents.len() - 1;
                inner.change(Change::Link(path.to_owned(), Node::File(file)));
                file
            }
        };
        Ok(Box::new(DiskAppend { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let file = inner.file(from)?;
        inner.directory(to.parent().unwrap_or(to))?;
        inner.operate()?;
        inner.change(Change::Rename(from.to_owned(), to.to_owned(), Node::File(file)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.file(path)?;
        inner.operate()?;
        inner.change(Change::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.directory(path)?;
        inner.operate()?;
        let pending = std::mem::take(&mut inner.pending);
        for change in pending {
            match change.touches(path) {
                true => change.apply(&mut inner.durable),
                false => inner.pending.push(change),
            }
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(inner.used())))
    }
}

/// Numbers that look random (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
fn what_is_not_synchronised_is_lost() {
    let root = Path::new("/r");
    let disk = Disk::new(root);
    let path = root.join("a");
    disk.append(&path).unwrap().write_all(b"one").unwrap();
    disk.power_cut(Loss::All);
    assert!(disk.list(root).unwrap().is_empty());

    let mut file = disk.append(&path).unwrap();
    file.write_all(b"one").unwrap();
    file.sync().unwrap();
    disk.sync_dir(root).unwrap();
    file.write_all(b"two").unwrap();
    disk.rename(&path, &root.join("b")).unwrap();
    disk.power_cut(Loss::All);
    assert_eq!(disk.list(root).unwrap(), [Entry { name: "a".into(), bytes: 3 }]);
}
