//! Recorded trees of `proc` and `sys`, for tests: what boards have, as text. A line
//! `== path` begins a file, and what follows is in it.

use std::fs;

use tempfile::TempDir;

use crate::sysfs::Root;

/// A Raspberry Pi 4: no power sensor, throttled by its firmware.
pub const RASPBERRY_PI_4: &str = include_str!("../fixtures/raspberry-pi-4.txt");
/// A Jetson Orin Nano: an INA3221 on its power input and two rails.
pub const JETSON_ORIN: &str = include_str!("../fixtures/jetson-orin-nano.txt");
/// A laptop: RAPL, on its charger.
pub const X86_LAPTOP: &str = include_str!("../fixtures/x86-laptop.txt");

/// A tree on disk, until it is dropped.
pub struct Tree(TempDir);

impl Tree {
    /// Writes a tree.
    pub fn parse(text: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for file in text.split("== ").skip(1) {
            let (path, text) = file.split_once('\n').unwrap();
            tree.write(path, text);
        }
        tree
    }

    /// Its root.
    pub fn root(&self) -> Root {
        Root::new(self.0.path())
    }

    /// Writes one of its files.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a file one that is there and cannot be read, whoever reads.
    pub fn break_file(&self, path: &str) {
        let path = self.0.path().join(path);
        fs::remove_file(&path).ok();
        fs::create_dir_all(path).unwrap();
    }

    /// Removes a file or a directory.
    pub fn remove(&self, path: &str) {
        let path = self.0.path().join(path);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}
