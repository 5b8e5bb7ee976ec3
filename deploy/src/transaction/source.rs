//! Where a module's bytes come from. Networks, registries and sticks implement
//! this; the transaction knows none of them.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, SeekFrom};
use std::path::PathBuf;

/// A module's bytes, from an offset on.
pub struct Opened<'a> {
    /// Where they begin: the offset that was asked for, or 0 where the source
    /// cannot skip.
    pub offset: u64,
    /// The size of the whole module, where it is known.
    pub total: Option<u64>,
    /// The bytes.
    pub reader: Box<dyn Read + 'a>,
}

/// A place that a module comes from.
pub trait Source {
    /// Opens it to read from `offset` on.
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>>;
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct BytesSource(pub Vec<u8>);

impl Source for BytesSource {
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>> {
        let total = self.0.len() as u64;
        let offset = offset.min(total);
        let reader = Box::new(Cursor::new(&self.0[offset as usize..]));
        Ok(Opened { offset, total: Some(total), reader })
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct FileSource(pub PathBuf);

impl Source for FileSource {
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>> {
        let mut file = File::open(&self.0)?;
        let total = file.metadata()?.len();
        let offset = offset.min(total);
        file.seek(SeekFrom::Start(offset))?;
        Ok(Opened { offset, total: Some(total), reader: Box::new(file) })
    }
}
