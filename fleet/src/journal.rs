//! What came of each device, line by line in a file beside the fleet's: an interrupted
//! rollout goes on where it was. A line that the interruption cut is no line.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::rollout::Outcome;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The module that the rollout is of.
    digest: Digest,
}

/// Each other line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The device's name.
    pub device: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The journal of one rollout.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is none.
    #[error("{}: line {line}: {message}; remove the file to begin anew", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl Journal {
    /// Opens the journal of a module's rollout and reads what an earlier run came to.
    /// One of another module is begun anew.
    pub fn open(path: &Path, digest: Digest) -> Result<(Self, Vec<Entry>), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let options = File::options().create(true).read(true).append(true).clone();
        let file = options.open(path).map_err(io)?;
        let (lines, whole) = lines(&file).map_err(io)?;
        let wrong = |line, message: serde_json::Error| JournalError::Line {
            path: path.to_owned(),
            line,
            message: message.to_string(),
        };
        let head = lines.first().map(|line| serde_json::from_str::<Head>(line)).transpose();
        let head = head.map_err(|error| wrong(1, error))?;
        if head.is_none_or(|head| head.digest != digest) {
            file.set_len(0).map_err(io)?;
            let mut journal = Self { path: path.to_owned(), file };
            journal.write(&Head { digest })?;
            return Ok((journal, vec![]));
        }
        file.set_len(whole).map_err(io)?;
        let parse = |(number, line): (usize, &String)| {
            serde_json::from_str(line).map_err(|error| wrong(number + 1, error))
        };
        let entries = lines.iter().enumerate().skip(1).map(parse).collect::<Result<_, _>>()?;
        Ok((Self { path: path.to_owned(), file }, entries))
    }

    /// Notes what came of a device.
    pub fn note(&mut self, device: &str, outcome: &Outcome) -> Result<(), JournalError> {
        self.write(&Entry { device: device.to_owned(), outcome: outcome.clone() })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut text = serde_json::to_string(line).expect("a line has only string keys");
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

/// The whole lines, and where they end.
fn lines(file: &File) -> io::Result<(Vec<String>, u64)> {
    let (mut reader, mut lines, mut whole) = (BufReader::new(file), Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let bytes = reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok((lines, whole));
        }
        whole += bytes as u64;
        lines.push(String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_again_wherever_the_file_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let digest = Digest::of(b"m");
        let outcomes =
            [Outcome::Healthy, Outcome::Failed { reason: "a\nb".into() }, Outcome::Healthy];
        let (mut journal, entries) = Journal::open(&path, digest).unwrap();
        assert!(entries.is_empty());
        for (number, outcome) in outcomes.iter().enumerate() {
            journal.note(&format!("d{number}"), outcome).unwrap();
        }
        let text = std::fs::read(&path).unwrap();
        for length in 0..=text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            let (mut journal, entries) = Journal::open(&path, digest).unwrap();
            let lines = text[..length].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(entries.len(), lines.saturating_sub(1), "cut to {length}");
            assert!(
                entries.iter().zip(&outcomes).all(|(entry, outcome)| entry.outcome == *outcome)
            );
            journal.note("more", &Outcome::Healthy).unwrap();
            let (_, entries) = Journal::open(&path, digest).unwrap();
            assert_eq!(entries.last().unwrap().device, "more");
        }
        let (_, entries) = Journal::open(&path, Digest::of(b"another")).unwrap();
        assert!(entries.is_empty());
        std::fs::write(&path, "no journal\n").unwrap();
        let error = Journal::open(&path, digest).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
