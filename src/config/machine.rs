//! How much memory this process may have: a container's limit, or the machine's memory.

use std::fs;
use std::path::{Path, PathBuf};

/// Taken where the system does not say.
const UNKNOWN_MEMORY_BYTES: u64 = 4 << 30;

pub(super) fn memory_bytes() -> u64 {
    memory_bytes_below(Path::new("/")).unwrap_or(UNKNOWN_MEMORY_BYTES)
}

/// The smallest of the limits that Linux shows below `root`.
fn memory_bytes_below(root: &Path) -> Option<u64> {
    let limits = cgroup_limit_files(root)
        .into_iter()
        .filter_map(|file| first_number(&file));
    limits.chain(physical_bytes(root)).min()
}

/// Limits of this process's cgroup and of all around it (version 2), or of the container's (version 1).
fn cgroup_limit_files(root: &Path) -> Vec<PathBuf> {
    let mount = root.join("sys/fs/cgroup");
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default()
        .to_owned();
    let groups = Path::new(&own)
        .ancestors()
        .map(|group| mount.join(group).join("memory.max"));
    groups
        .chain([mount.join("memory/memory.limit_in_bytes")])
        .collect()
}

fn first_number(file: &Path) -> Option<u64> {
    fs::read_to_string(file)
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn physical_bytes(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_around_the_process_counts() {
        let root = machine(&[
            ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("sys/fs/cgroup/pod/container/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "4096\n"),
        ]);
        assert_eq!(memory_bytes_below(root.path()), Some(4096));
    }

    #[test]
    fn version_1_without_a_limit_leaves_the_physical_memory() {
        let root = machine(&[
            ("proc/meminfo", "MemTotal:       16384 kB\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(memory_bytes_below(root.path()), Some(16384 * 1024));
    }

    #[test]
    fn a_system_that_does_not_say_is_unknown() {
        assert_eq!(memory_bytes_below(machine(&[]).path()), None);
    }
}
