//! The memory that the machine gives this process.
//!
//! One rule: the least limit of the hardware and the control groups counts; a limit that cannot be read does not.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process may take, `None` where nothing says so.
pub fn memory_bytes() -> Option<u64> {
    let total = read("/proc/meminfo").and_then(|text| kib_of(&text, "MemTotal:"));
    let limits = control_groups().into_iter().filter_map(|path| limit(&read(path)?));
    total.into_iter().chain(limits).min()
}

/// Bytes of memory that this process has for itself now, files that it maps aside; `None` where nothing says so.
pub fn resident_bytes() -> Option<u64> {
    read("/proc/self/status").and_then(|text| kib_of(&text, "RssAnon:"))
}

#[allow(clippy::disallowed_methods, reason = "storage is where files are read")]
fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Bytes of a line such as `MemTotal:       16316412 kB`.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// A number, or `max`; version 1 says "none" by a number near 2^63.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

/// Files that may hold a limit: of the process's own group and of those around it.
fn control_groups() -> Vec<PathBuf> {
    let mut files = vec![
        PathBuf::from("/sys/fs/cgroup/memory.max"),
        PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    for line in read("/proc/self/cgroup").unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(groups.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        assert_eq!(
            kib_of("MemTotal:       16316412 kB\nMemFree: 1 kB\n", "MemTotal:"),
            Some(16_316_412 << 10)
        );
        assert_eq!(kib_of("nothing", "MemTotal:"), None);
        assert_eq!(limit("1610612736\n"), Some(1_610_612_736));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        if cfg!(target_os = "linux") {
            assert!(memory_bytes().expect("a machine has memory") > 64 << 20);
            assert!(resident_bytes().expect("so has this process") > 1 << 20);
        }
    }
}
