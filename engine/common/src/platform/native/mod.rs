//! Native platform.

mod files;
mod memory;
mod signals;

use std::ops::Range;
use std::sync::Arc;

pub use files::{DRAFT_ENDING, Draft, Lock, remove_drafts};
pub use memory::{Anonymous, Arena, available_memory, peak_memory};
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
