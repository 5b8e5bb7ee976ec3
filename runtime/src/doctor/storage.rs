//! Where data are kept, and memory: the file system, what is free
//! (proc_pid_mountinfo(5), proc_meminfo(5)).

use std::path::Path;

use super::{Finding, Host};
use crate::sysfs::Root;

pub(super) fn check(root: &Root, host: &Host) -> Vec<Finding> {
    let mut findings = vec![file_system(root, &host.data)];
    findings.extend(host.free_bytes.map(space));
    findings.push(memory(root));
    findings
}

/// The mount that a path is on: its type, and whether it may be written.
fn mount(mounts: &str, path: &Path) -> Option<(String, bool)> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(4);
        let point = fields.next()?.replace("\\040", " ");
        let writable = |options: &str| !options.split(',').any(|option| option == "ro");
        let mut of_device = right.split(' ');
        let kind = of_device.next()?.to_owned();
        let both = writable(fields.next()?) && of_device.nth(1).is_none_or(writable);
        path.starts_with(&point).then_some((point.len(), kind, both))
    };
    // Of two mounts on one point, the later one is seen.
    let longest = mounts.lines().filter_map(mount).max_by_key(|&(length, ..)| length);
    longest.map(|(_, kind, writable)| (kind, writable))
}

fn file_system(root: &Root, data: &Path) -> Finding {
    const CHECK: &str = "file system";
    let mounts = root.text("proc/self/mountinfo").unwrap_or_default();
    let Some((kind, writable)) = mount(&mounts, data) else {
        return Finding::note(CHECK, "unknown", "proc is not mounted, or not readable");
    };
    let seen = format!("{kind} at {}", data.display());
    if !writable {
        let advice = "calibrations and modules cannot be kept there; mount it read-write, or keep \
                      them on another one";
        return Finding::failure(CHECK, format!("{seen}, read-only"), advice);
    }
    match &*kind {
        "ext4" | "ext3" | "xfs" | "btrfs" | "f2fs" | "ubifs" | "zfs" | "bcachefs" | "jffs2" => {
            Finding::ok(CHECK, seen)
        }
        "tmpfs" | "ramfs" | "devtmpfs" => Finding::warning(
            CHECK,
            seen,
            "it is lost at the next start, with calibrations and modules; use a disk",
        ),
        "vfat" | "exfat" | "msdos" | "ntfs" | "ntfs3" => Finding::failure(
            CHECK,
            seen,
            "a power cut may leave half a file: renaming is not atomic there; use ext4 or f2fs",
        ),
        "overlay" => Finding::note(
            CHECK,
            seen,
            "in a container it is lost with it: mount a volume there to keep it",
        ),
        _ => Finding::warning(
            CHECK,
            seen,
            "it is not known whether a file is whole there after a power cut; use ext4 or f2fs",
        ),
    }
}

fn space(free: u64) -> Finding {
    const CHECK: &str = "disk space";
    let seen = format!("{} MB free", free / 1_000_000);
    let advice = "a model takes a few times its weights, once compiled; make room";
    match free {
        0..20_000_000 => Finding::failure(CHECK, seen, advice),
        20_000_000..200_000_000 => Finding::warning(CHECK, seen, advice),
        _ => Finding::ok(CHECK, seen),
    }
}

fn memory(root: &Root) -> Finding {
    const CHECK: &str = "memory";
    let info = root.text("proc/meminfo").unwrap_or_default();
    let kilobytes = |name: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let Some(available) = kilobytes("MemAvailable:") else {
        return Finding::note(CHECK, "unknown", "proc is not mounted, or not readable");
    };
    let swap = kilobytes("SwapTotal:").unwrap_or(0);
    let seen = format!("{} MB available, {} MB of swap", available / 1_000, swap / 1_000);
    match available {
        0..32_000 => {
            Finding::failure(CHECK, seen, "the engine alone takes about 20 MB; give it more")
        }
        32_000..128_000 => {
            Finding::warning(CHECK, seen, "enough for small models; `leeway inspect` tells theirs")
        }
        _ => Finding::ok(CHECK, seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_the_longest_mount_above_it() {
        let mounts = "21 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw\n\
                      30 21 0:33 / /var/lib rw,nosuid - tmpfs tmpfs ro,size=4k\n\
                      31 21 0:34 / /var/my\\040data rw - f2fs /dev/sda1 rw\nbroken - line\n\n";
        let of = |path: &str| mount(mounts, Path::new(path));
        assert_eq!(of("/home/a"), Some(("ext4".into(), true)));
        assert_eq!(of("/var/lib/leeway"), Some(("tmpfs".into(), false)));
        assert_eq!(of("/var/library"), Some(("ext4".into(), true)));
        assert_eq!(of("/var/my data/x"), Some(("f2fs".into(), true)));
        assert_eq!(mount("", Path::new("/")), None);
    }
}
