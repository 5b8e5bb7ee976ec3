//! Compiled code on disk, by component digest and engine settings.
//!
//! An entry is `<component digest>-<engine hash>.cwasm`:
//!
//! | bytes | content                                            |
//! |-------|----------------------------------------------------|
//! | all   | the compiled component (wasmtime's own format)     |
//! | 64    | SHA-256 of what is before, in hexadecimal digits   |
//! | 8     | `LEEWAYC2`                                         |
//!
//! The component comes first, as an engine maps the file: code and weights are
//! pages of it, shared by all instances and processes, and read when they are
//! used. An entry is therefore never written to; a new one takes its name.
//!
//! The checksum finds a torn or decayed entry, not a forged one: whoever can
//! write an entry can run machine code as this user. So the directory must
//! belong to this user and be writable by nobody else, which is checked each
//! time before an entry is trusted.

use std::hash::{Hash, Hasher};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use leeway_contract::Digest;
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"LEEWAYC2";
const CHECKSUM_BYTES: usize = 64;
const TRAILER_BYTES: usize = CHECKSUM_BYTES + MAGIC.len();

/// Why the cache is not used.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a directory")]
    NotADirectory,
    #[error("it belongs to user {seen}, wanted {wanted}")]
    Owner { wanted: u32, seen: u32 },
    #[error("its mode is {seen:04o}: others may write, wanted 0700")]
    Mode { seen: u32 },
}

/// A cache directory for one engine.
pub(super) struct Cache {
    directory: PathBuf,
    engine_hash: String,
}

impl Cache {
    /// Creates the directory where it does not exist yet.
    pub(super) fn new(directory: PathBuf, engine: &wasmtime::Engine) -> Self {
        let cache = Self { directory, engine_hash: engine_hash(engine) };
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache.directory);
        if let Err(error) = created {
            cache.warn(&error.into(), "is not usable");
        }
        cache
    }

    /// The compiled component, if there is an intact entry for it.
    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: Digest) -> Option<Component> {
        if let Err(error) = self.check_directory() {
            self.warn(&error, "is not trusted");
            return None;
        }
        let path = self.entry(digest);
        match is_intact(fs::File::open(&path).ok()?) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(path = %path.display(), "compiled code is corrupt, compiling again");
                return None;
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code is not readable");
                return None;
            }
        }
        // SAFETY: the file must be what `Component::serialize` returned, and must
        // not change as long as it is mapped. It carries the checksum that `write`
        // gave it, and lies in a directory that belongs to this user and that
        // nobody else can write to (`check_directory`, just now): only this user's
        // own processes can have put it there, and this program's never write to
        // an entry but rename a new file to its name. An entry of another wasmtime
        // or other settings has another name and is refused besides.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "compiled code is refused, compiling again");
                None
            }
        }
    }

    /// Keeps a compiled component. A failure costs only the next start's time.
    pub(super) fn put(&self, digest: Digest, component: &Component) {
        let kept = self.check_directory().and_then(|()| self.write(digest, component));
        if let Err(error) = kept {
            self.warn(&error, "takes no compiled code");
        }
    }

    fn write(&self, digest: Digest, component: &Component) -> Result<(), CacheError> {
        let code = component.serialize().map_err(io::Error::other)?;
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.directory)?;
        file.write_all(&code)?;
        file.write_all(Digest::of(&code).to_hex().as_bytes())?;
        file.write_all(MAGIC)?;
        file.as_file().sync_all()?;
        file.persist(self.entry(digest)).map_err(|error| error.error)?;
        fs::File::open(&self.directory)?.sync_all()?;
        Ok(())
    }

    fn entry(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}-{}.cwasm", digest.to_hex(), self.engine_hash))
    }

    fn check_directory(&self) -> Result<(), CacheError> {
        let metadata = fs::metadata(&self.directory)?;
        if !metadata.is_dir() {
            return Err(CacheError::NotADirectory);
        }
        let wanted = rustix::process::geteuid().as_raw();
        if metadata.uid() != wanted {
            return Err(CacheError::Owner { wanted, seen: metadata.uid() });
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Mode { seen: metadata.mode() & 0o7777 });
        }
        Ok(())
    }

    fn warn(&self, error: &CacheError, what: &str) {
        let directory: &Path = &self.directory;
        tracing::warn!(directory = %directory.display(), %error, "the code cache {what}");
    }
}

/// Whether an entry's checksum is right.
fn is_intact(mut entry: fs::File) -> io::Result<bool> {
    let Some(code_bytes) = entry.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
        return Ok(false);
    };
    let code = Digest::of_reader((&mut entry).take(code_bytes))?;
    let mut trailer = [0; TRAILER_BYTES];
    entry.read_exact(&mut trailer)?;
    let (checksum, magic) = trailer.split_at(CHECKSUM_BYTES);
    Ok(magic == MAGIC && checksum == code.to_hex().as_bytes())
}

/// What must be equal for compiled code to be usable, as 16 hexadecimal digits.
pub(super) fn engine_hash(engine: &wasmtime::Engine) -> String {
    /// Collects what is hashed, to take its SHA-256: unlike the standard
    /// library's hash it is the same in every build of this program.
    struct Collect(Vec<u8>);
    impl Hasher for Collect {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut collect = Collect(Vec::new());
    engine.precompile_compatibility_hash().hash(&mut collect);
    Digest::of(&collect.0).to_hex()[..16].to_owned()
}
