//! Cold caches: walks a buffer that is larger than all caches of a core, so that
//! nothing of the model is left in them.

use std::fs;
use std::hint::black_box;
use std::path::Path;

/// Where the kernel tells no size: more than most embedded processors have.
const UNKNOWN_BYTES: usize = 16 << 20;

/// The length of a line of all processors that this runs on, or a part of it.
const LINE: usize = 64;

/// A buffer, and the walk over it.
#[derive(Debug)]
pub struct Evictor {
    buffer: Vec<u8>,
}

impl Evictor {
    /// For the caches of `core`.
    pub fn of_this_machine(core: Option<usize>) -> Self {
        Self::of(largest_cache(Path::new("/"), core.unwrap_or(0)).unwrap_or(UNKNOWN_BYTES))
    }

    /// For caches of so many bytes at most: twice as much, as the replacement is
    /// not exactly that of the oldest line.
    fn of(bytes: usize) -> Self {
        Self { buffer: vec![1; bytes.saturating_mul(2)] }
    }

    /// Walks the buffer, writing to each line.
    pub fn evict(&mut self) {
        for line in self.buffer.iter_mut().step_by(LINE) {
            *line = black_box(*line).wrapping_add(1);
        }
        black_box(&self.buffer);
    }
}

/// The size of the largest cache of a core in bytes, by the kernel's tree.
fn largest_cache(root: &Path, core: usize) -> Option<usize> {
    let caches = root.join(format!("sys/devices/system/cpu/cpu{core}/cache"));
    let sizes = fs::read_dir(caches).ok()?.filter_map(|entry| {
        let text = fs::read_to_string(entry.ok()?.path().join("size")).ok()?;
        parse_size(text.trim())
    });
    sizes.max()
}

/// `32K`, `8M`, `512`.
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_cache_is_found_in_the_kernels_tree() {
        let root = tempfile::tempdir().unwrap();
        let caches = root.path().join("sys/devices/system/cpu/cpu2/cache");
        for (index, size) in [("index0", "32K\n"), ("index2", "1024K\n"), ("index3", "2M\n")] {
            fs::create_dir_all(caches.join(index)).unwrap();
            fs::write(caches.join(index).join("size"), size).unwrap();
        }
        fs::create_dir_all(caches.join("power")).unwrap();
        assert_eq!(largest_cache(root.path(), 2), Some(2 << 20));
        assert_eq!(largest_cache(root.path(), 0), None);
        assert_eq!(parse_size("12Q"), None);
    }

    #[test]
    fn the_walk_touches_every_line() {
        let mut evictor = Evictor::of(10 * LINE);
        evictor.evict();
        assert_eq!(evictor.buffer.len(), 20 * LINE);
        assert_eq!(evictor.buffer.iter().filter(|&&byte| byte == 2).count(), 20);
    }
}
