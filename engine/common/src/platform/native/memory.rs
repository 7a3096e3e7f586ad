//! How much memory there is, and memory in huge pages.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Where control groups are, which limit what a container may take.
const GROUPS: &str = "/sys/fs/cgroup";
/// Version 1 writes the largest number of pages where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes of memory that can be taken without swapping, where the system says so (Linux): of the
/// machine, or of the container if that is less.
pub fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kilobytes(&text, "MemAvailable:"));
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|groups| left_in_groups(&groups, Path::new(GROUPS)));
    machine.into_iter().chain(group).min()
}

/// The most memory this process has held at once (resident), in bytes, where the system says so
/// (Linux).
pub fn peak_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmHWM:")
}

/// The figure of a line `NAME: N kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// What the control groups that a process is in let it take, of both versions: the least of each
/// group and those around it. `groups` are lines `N:controllers:path`, `root` is where they are
/// mounted. In a container the paths may be those outside; then its own is the root.
fn left_in_groups(groups: &str, root: &Path) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let left = lines.filter_map(|(controllers, path)| {
        let (root, names) = match controllers {
            "" => (root.to_owned(), V2),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), V1),
            _ => return None,
        };
        let inner = root.join(path);
        let around = inner
            .ancestors()
            .take_while(|folder| folder.starts_with(&root));
        around.filter_map(|folder| left_in(folder, &names)).min()
    });
    left.min()
}

/// A group's files: its limit, what it uses, and in which line of `memory.stat` how much of that
/// are files that can be dropped.
type Names = [&'static str; 3];
const V1: Names = [
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file ",
];
const V2: Names = ["memory.max", "memory.current", "inactive_file "];

fn left_in(folder: &Path, [limit, used, files]: &Names) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let limit = number(limit).filter(|limit| *limit < NO_LIMIT)?;
    let stat = text("memory.stat").unwrap_or_default();
    let files = stat.lines().find_map(|line| line.strip_prefix(files));
    let files = files.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(number(used)?.saturating_sub(files)))
}

/// Zeroed memory, in huge pages where the system has them: a mapping of its own, or part of an
/// [`Arena`].
#[derive(Debug)]
pub struct Anonymous {
    mapping: Arc<memmap2::MmapRaw>,
    range: Range<usize>,
}

impl Anonymous {
    /// So many zero bytes; none where the system has no memory to give.
    pub fn new(bytes: usize) -> Option<Self> {
        Some(Anonymous {
            mapping: Arc::new(anonymous(bytes)?),
            range: 0..bytes,
        })
    }

    /// The whole memory.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which lives as long as this, and nobody else has
        // any of it.
        unsafe {
            let start = self.mapping.as_ptr().add(self.range.start);
            std::slice::from_raw_parts(start, self.range.len())
        }
    }

    /// The whole memory, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; and it is borrowed alone.
        unsafe {
            let start = self.mapping.as_mut_ptr().add(self.range.start);
            std::slice::from_raw_parts_mut(start, self.range.len())
        }
    }
}

/// Memory for buffers that are each too small for a huge page, side by side in mappings. A mapping
/// is given back with the last of its buffers.
#[derive(Debug, Default)]
pub struct Arena {
    mapping: Option<Arc<memmap2::MmapRaw>>,
    /// Bytes of it that were handed out.
    taken: usize,
}

impl Arena {
    /// Bytes of a mapping: only addresses until they are touched.
    const MAPPING: usize = 64 << 20;
    /// Buffers begin at a cache line.
    const ALIGNMENT: usize = 64;

    /// So many zero bytes; none where they are more than a mapping has, or the system has no memory
    /// to give.
    pub fn take(&mut self, bytes: usize) -> Option<Anonymous> {
        let left = |arena: &Self| arena.mapping.as_ref().map_or(0, |m| m.len() - arena.taken);
        if bytes > Self::MAPPING {
            return None;
        }
        if left(self) < bytes {
            self.mapping = Some(Arc::new(anonymous(Self::MAPPING)?));
            self.taken = 0;
        }
        let start = self.taken;
        // The mapping's length is a multiple, too.
        self.taken += bytes.next_multiple_of(Self::ALIGNMENT);
        Some(Anonymous {
            mapping: self.mapping.clone()?,
            range: start..start + bytes,
        })
    }
}

fn anonymous(bytes: usize) -> Option<memmap2::MmapRaw> {
    let map = memmap2::MmapMut::map_anon(bytes).ok()?;
    // Advice that is not taken costs nothing.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let folder = root.join(path);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_container_has_what_its_groups_leave() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let of = |limit, used| {
            [
                ("memory.max", limit),
                ("memory.current", used),
                ("memory.stat", "anon 5\ninactive_file 300\n"),
            ]
        };
        group(root, "pod", &of("5000\n", "1300\n"));
        group(root, "pod/one", &of("max\n", "1000\n"));
        group(root, "pod/two", &of("2000", "1000"));
        assert_eq!(left_in_groups("0::/pod/one\n", root), Some(4000));
        assert_eq!(left_in_groups("0::/pod/two\n", root), Some(1300));
        // As seen from inside: the path is elsewhere, the group at the root.
        assert_eq!(left_in_groups("0::/../other\n", root), None);
        group(root, "", &of("900", "100"));
        assert_eq!(left_in_groups("0::/gone\n", root), Some(900));
        assert_eq!(left_in_groups("0::/pod/two\n", root), Some(900));
    }

    #[test]
    fn groups_of_the_first_version_are_heeded() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        group(
            root,
            "memory/a",
            &[
                ("memory.limit_in_bytes", "7000\n"),
                ("memory.usage_in_bytes", "3000\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
            ],
        );
        group(
            root,
            "memory",
            &[("memory.limit_in_bytes", "9223372036854771712\n")],
        );
        let groups = "5:cpu,cpuacct:/\n4:memory:/a\n0::/\n";
        assert_eq!(left_in_groups(groups, root), Some(4500));
        assert_eq!(left_in_groups("4:memory:/\n", root), None);
        assert_eq!(left_in_groups("", root), None);
    }

    #[test]
    fn figures_have_names_and_units() {
        let text = "MemTotal:  10 kB\nMemAvailable:   12345 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(12345 * 1024));
        assert_eq!(kilobytes(text, "MemFree:"), None);
    }
}
