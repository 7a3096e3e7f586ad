//! Native platform.

mod files;
mod signals;

use std::ops::Range;
use std::sync::Arc;

pub use files::{DRAFT_ENDING, Draft, Lock, remove_drafts};
pub use signals::{Interrupt, on_interrupt};

/// Threads this machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many of `threads` threads there will be: rayon's come with its pools.
pub fn start_helpers(threads: usize) -> usize {
    threads
}

/// What this machine's processor is called, as far as the system says.
pub fn processor() -> Option<String> {
    let listed = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let names = ["model name", "Model", "Hardware"];
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        names.into_iter().find_map(value)
    };
    let asked = || {
        let mut sysctl = std::process::Command::new("sysctl");
        let told = sysctl
            .args(["-n", "machdep.cpu.brand_string"])
            .output()
            .ok()?;
        String::from_utf8(told.stdout).ok()
    };
    let name = if cfg!(windows) {
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    } else if cfg!(target_os = "macos") {
        asked()
    } else {
        listed()
    };
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

/// Bytes of memory that can be taken without swapping, where the system says so (Linux).
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&text, "MemAvailable:")
}

/// The most memory this process has held at once (resident), in bytes, where the system says so
/// (Linux).
pub fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmHWM:")
}

/// The folder for what can be made again, by the system's convention.
pub fn cache_folder() -> Option<std::path::PathBuf> {
    let at = |variable: &str, below: &str| {
        let base = std::path::PathBuf::from(std::env::var_os(variable)?);
        base.is_absolute().then(|| base.join(below))
    };
    let base = if cfg!(windows) {
        at("LOCALAPPDATA", "")
    } else if cfg!(target_os = "macos") {
        at("HOME", "Library/Caches")
    } else {
        at("XDG_CACHE_HOME", "").or_else(|| at("HOME", ".cache"))
    };
    base.map(|folder| folder.join("ternary-core"))
}

/// Seconds that this machine's clocks are ahead of UTC at a moment, given in seconds since 1970.
pub fn utc_offset(seconds: i64) -> i64 {
    use chrono::{Local, Offset, TimeZone};
    let local = Local.timestamp_opt(seconds, 0).single();
    local.map_or(0, |time| i64::from(time.offset().fix().local_minus_utc()))
}

/// The figure of a line `NAME: N kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// Begin this program again, as the same process, in an environment in which looking for GPUs is
/// quiet: without `XDG_RUNTIME_DIR` Vulkan's layers print two errors about a display that nobody
/// asked for. Does nothing where there is nothing to change. To be called first of all.
pub fn quiet_gpu_probe() {
    #[cfg(target_os = "linux")]
    if std::env::var_os("XDG_RUNTIME_DIR").is_none()
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let mut args = std::env::args_os();
        let mut again = std::process::Command::new(program);
        if let Some(name) = args.next() {
            again.arg0(name);
        }
        // It returns only if it fails, and then the errors are printed.
        let _ = again
            .args(args)
            .env("XDG_RUNTIME_DIR", std::env::temp_dir())
            .exec();
    }
}

/// Let other tasks of this thread run. Natively there are none.
pub async fn yield_now() {}

/// A file's bytes in memory: mapped, or read where it is small.
#[derive(Debug)]
pub enum Held {
    /// Pages of the file, read when they are touched.
    Map(memmap2::Mmap),
    /// The whole file, read at once.
    Copy(Vec<u8>),
}

impl std::ops::Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Held::Map(map) => map,
            Held::Copy(bytes) => bytes,
        }
    }
}

impl Held {
    /// A file's bytes where they lie.
    pub fn map(file: &std::fs::File) -> std::io::Result<Self> {
        // SAFETY: the map is only read, and every bit pattern is a byte. Checksums tell if another
        // process changed the file before it was loaded; one that changes it afterwards gives wrong
        // numbers. Pages beyond the end of a file that was shortened must not be touched:
        // `FileSource` asks before they are. Files of this project are replaced by renaming, which
        // leaves maps alone.
        unsafe { memmap2::Mmap::map(file) }.map(Held::Map)
    }
}

/// Part of a file that stays in memory.
#[derive(Clone, Debug)]
pub struct Mapped {
    pub(crate) held: Arc<Held>,
    pub(crate) range: Range<usize>,
}

impl Mapped {
    /// The mapped part of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.held[self.range.clone()]
    }
}

/// A file of numbers of which every bit pattern is one, to be read in short stretches far apart.
pub fn map_for_random_reads(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is only read; a file changed by another process meanwhile can give wrong
    // numbers, which its readers check, but no invalid value.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    // Reading ahead would only fill memory. Advice that is not taken costs nothing.
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::Random);
    Ok(map)
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
