//! The kernel's files of one value each, under a root that a test can replace.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Why a file of the kernel gave no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysfsError {
    /// It is not there, or may not be read, or its driver failed.
    #[error("cannot read {}: {source}{}", path.display(), advice(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} holds {seen:?}, wanted {wanted}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Its text, shortened.
        seen: String,
        /// What it should hold.
        wanted: &'static str,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it may be root's alone: run as root, or give its group the right to read it by a \
             udev rule"
        }
        _ => "",
    }
}

impl SysfsError {
    /// Whether the file is not there at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, SysfsError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn value(path: &Path, text: &str, wanted: &'static str) -> Self {
        let seen = text.chars().take(40).collect();
        SysfsError::Value { path: path.to_owned(), seen, wanted }
    }
}

/// Reads a file's text, without the white space and zero bytes around it.
pub fn text(path: &Path) -> Result<String, SysfsError> {
    let bytes =
        fs::read(path).map_err(|source| SysfsError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// Reads a whole number.
pub fn integer(path: &Path) -> Result<i64, SysfsError> {
    let text = text(path)?;
    text.parse().map_err(|_| SysfsError::value(path, &text, "a whole number"))
}

/// Reads a whole number from 0.
pub fn natural(path: &Path) -> Result<u64, SysfsError> {
    let text = text(path)?;
    text.parse().map_err(|_| SysfsError::value(path, &text, "a whole number from 0"))
}

/// Reads a whole number within `range`, outside of which it means something else.
pub fn integer_within(
    path: &Path,
    range: std::ops::RangeInclusive<i64>,
    wanted: &'static str,
) -> Result<i64, SysfsError> {
    let value = integer(path)?;
    match range.contains(&value) {
        true => Ok(value),
        false => Err(SysfsError::value(path, &value.to_string(), wanted)),
    }
}

/// A tree with `proc` and `sys` in it: `/`, or a recorded one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    /// This machine's.
    fn default() -> Self {
        Self("/".into())
    }
}

impl Root {
    /// The tree in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// A path of the tree, given without its leading slash.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// A file's text, if it has any.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        text(&self.path(path)).ok().filter(|text| !text.is_empty())
    }

    /// The names in a directory that begin with `prefix`; `x2` comes before `x10`.
    pub fn names(&self, directory: impl AsRef<Path>, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::Tree;

    #[test]
    fn what_is_no_value_is_named_with_what_was_seen() {
        let tree = Tree::parse("== a\n12\n== b\n-3\n== c\nN/A\n== d\n\n== e/f\n1\n");
        let at = |name: &str| tree.root().path(name);
        assert_eq!(integer(&at("b")).unwrap(), -3);
        assert_eq!(natural(&at("a")).unwrap(), 12);
        assert!(natural(&at("b")).unwrap_err().to_string().contains("\"-3\""));
        assert!(integer(&at("c")).unwrap_err().to_string().contains("\"N/A\""));
        assert!(integer(&at("d")).unwrap_err().to_string().contains("\"\""));
        assert!(integer(&at("none")).unwrap_err().is_missing());
        // A directory is there, and cannot be read.
        assert!(!integer(&at("e")).unwrap_err().is_missing());
        assert!(integer_within(&at("a"), 0..=11, "11 at most").is_err());
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let tree = Tree::parse("== s/x10/a\n1\n== s/x2/a\n1\n== s/y/a\n1\n");
        assert_eq!(tree.root().names("s", "x"), ["x2", "x10"]);
        assert!(tree.root().names("none", "").is_empty());
    }
}
