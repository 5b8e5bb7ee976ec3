//! Calibrations on disk, by module, engine and device.
//!
//! A file is `<module digest>-<hash of engine and device>.json`, a JSON document
//! by `runtime/calibration.schema.json`. It is replaced as a whole: a power cut
//! leaves the old or the new one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use leeway_contract::Digest;
use serde::Deserialize;

use super::calibration::{Calibration, Claims, FORMAT};

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none for this module at all.
    #[error("{directory} has no calibration of {module}; run `leeway calibrate` on this device")]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
        /// The module.
        module: Digest,
    },
    /// There is one, of another module, engine or device.
    #[error(
        "{path} holds for another {claim}: it is of {seen:?}, wanted {wanted:?}; calibrate again"
    )]
    Claim {
        /// The file.
        path: PathBuf,
        /// What differs.
        claim: &'static str,
        /// Here.
        wanted: String,
        /// In the file.
        seen: String,
    },
    /// It is of another version of the format.
    #[error("{path} is of format {seen}, this program reads {FORMAT}; calibrate again")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        seen: u64,
    },
    /// It is torn, decayed, or no calibration.
    #[error("{path} is no calibration: {reason}; calibrate again")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A directory of calibrations.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Creates the directory where it does not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(|source| io_error(&directory, source))?;
        Ok(Self { directory })
    }

    /// Where a calibration with these claims is kept.
    pub fn path(&self, claims: &Claims) -> PathBuf {
        let rest = (&claims.engine, &claims.engine_hash, &claims.device);
        let rest = serde_json::to_vec(&rest).expect("claims are texts and whole numbers");
        let name = format!("{}-{}.json", claims.module.to_hex(), Digest::of(&rest).short());
        self.directory.join(name)
    }

    /// Keeps a calibration, in place of one with the same claims.
    pub fn save(&self, calibration: &Calibration) -> Result<PathBuf, StoreError> {
        let path = self.path(&calibration.claims);
        self.replace(&path, calibration).map_err(|source| io_error(&path, source))?;
        Ok(path)
    }

    fn replace(&self, path: &Path, calibration: &Calibration) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory)?;
        serde_json::to_writer(&mut file, calibration)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs::File::open(&self.directory)?.sync_all()
    }

    /// The calibration with these claims.
    ///
    /// # Errors
    /// Where there is one of the same module that differs in another claim, the
    /// error names the claim.
    pub fn load(&self, claims: &Claims) -> Result<Calibration, StoreError> {
        let path = self.path(claims);
        match fs::read(&path) {
            Ok(json) => checked(&path, &json, claims),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.nearest(claims)),
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// Why none fits.
    fn nearest(&self, claims: &Claims) -> StoreError {
        let module = claims.module;
        let prefix = format!("{}-", module.to_hex());
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(source) => return io_error(&self.directory, source),
        };
        let of_module = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let named = path.file_name()?.to_str()?.starts_with(&prefix);
            checked(&path, &fs::read(named.then_some(&path)?).ok()?, claims).err()
        });
        let claim_first = |error: &StoreError| !matches!(error, StoreError::Claim { .. });
        let missing = || StoreError::Missing { directory: self.directory.clone(), module };
        of_module.min_by_key(claim_first).unwrap_or_else(missing)
    }
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

/// Reads a calibration from a file, whatever it holds for.
pub fn read_file(path: &Path) -> Result<Calibration, StoreError> {
    read(path, &fs::read(path).map_err(|source| io_error(path, source))?)
}

/// Reads a calibration that must have these claims.
fn checked(path: &Path, json: &[u8], claims: &Claims) -> Result<Calibration, StoreError> {
    let calibration = read(path, json)?;
    match claims.difference(&calibration.claims) {
        None => Ok(calibration),
        Some((claim, wanted, seen)) => {
            Err(StoreError::Claim { path: path.to_owned(), claim, wanted, seen })
        }
    }
}

fn read(path: &Path, json: &[u8]) -> Result<Calibration, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let corrupt = |reason: String| StoreError::Corrupt { path: path.to_owned(), reason };
    let json_error = |error: serde_json::Error| corrupt(error.to_string());
    let Version { format } = serde_json::from_slice(json).map_err(json_error)?;
    if format != u64::from(FORMAT) {
        return Err(StoreError::Format { path: path.to_owned(), seen: format });
    }
    let calibration: Calibration = serde_json::from_slice(json).map_err(json_error)?;
    calibration.check().map_err(corrupt)?;
    Ok(calibration)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
