//! Native platform.

mod files;
mod signals;

pub use files::{DRAFT_ENDING, Draft, Lock, remove_drafts};
pub use signals::{Interrupt, on_interrupt};

/// Threads this machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that can be taken without swapping, where the system says so (Linux).
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&text, "MemAvailable:")
}

/// The most memory this process has held at once (resident), in bytes, where the system says so (Linux).
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

/// Begin this program again, as the same process, in an environment in which looking for GPUs is quiet: without `XDG_RUNTIME_DIR`
/// Vulkan's layers print two errors about a display that nobody asked for. Does nothing where there is nothing to change. To be called
/// first of all.
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
enum Held {
    Map(memmap2::Mmap),
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

/// Part of a file that stays in memory.
#[derive(Clone, Debug)]
pub struct Mapped {
    held: std::sync::Arc<Held>,
    range: std::ops::Range<usize>,
}

impl Mapped {
    pub fn bytes(&self) -> &[u8] {
        &self.held[self.range.clone()]
    }
}

/// A file of numbers of which every bit pattern is one, to be read in short stretches far apart.
pub fn map_for_random_reads(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is only read; a file changed by another process meanwhile can give wrong numbers, which its readers check,
    // but no invalid value.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    // Reading ahead would only fill memory. Advice that is not taken costs nothing.
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::Random);
    Ok(map)
}

/// Zeroed memory of its own, in huge pages where the system has them.
#[derive(Debug)]
pub struct Anonymous(memmap2::MmapMut);

impl Anonymous {
    pub fn new(bytes: usize) -> Option<Self> {
        let map = memmap2::MmapMut::map_anon(bytes).ok()?;
        // Advice that is not taken costs nothing.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Anonymous(map))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Files up to this size are read when they are opened: then nobody can change them under our hands.
const SMALL: u64 = 32 << 20;

/// A file: small ones are read at once, others mapped where that is possible, otherwise read in slices.
#[derive(Debug)]
pub struct FileSource {
    path: std::path::PathBuf,
    file: std::sync::Mutex<std::fs::File>,
    held: Option<std::sync::Arc<Held>>,
    len: u64,
}

impl FileSource {
    pub fn open(path: &std::path::Path) -> crate::Result<Self> {
        use crate::error::IoContext;
        let mut file = std::fs::File::open(path).at("open", path)?;
        let len = file.metadata().at("read", path)?.len();
        let held = if len <= SMALL {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).at("read", path)?;
            Some(Held::Copy(bytes))
        } else {
            // SAFETY: the map is only read, and every bit pattern is a byte. Checksums tell if another process changed the file
            // before it was loaded; one that changes it afterwards gives wrong numbers. Pages beyond the end of a file that was
            // shortened must not be touched: `shrunk` is asked before they are. Files of this project are replaced by renaming,
            // which leaves maps alone.
            unsafe { memmap2::Mmap::map(&file) }.ok().map(Held::Map)
        };
        Ok(FileSource {
            len: match &held {
                Some(Held::Copy(bytes)) => bytes.len() as u64,
                _ => len,
            },
            held: held.map(std::sync::Arc::new),
            path: path.to_owned(),
            file: std::sync::Mutex::new(file),
        })
    }

    /// The file is shorter than when it was opened: another program is writing it.
    fn shrunk(&self) -> Result<(), String> {
        if !matches!(self.held.as_deref(), Some(Held::Map(_))) {
            return Ok(());
        }
        let file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match file.metadata() {
            Ok(now) if now.len() < self.len => Err(format!(
                "it was cut from {} to {} bytes while it was in use; load it again when the other program has finished",
                self.len,
                now.len()
            )),
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl crate::bytes::ByteSource for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(
        &self,
        offset: u64,
        len: usize,
    ) -> crate::bytes::LocalFuture<'_, Result<Vec<u8>, String>> {
        let bytes = match self.held.as_deref() {
            Some(Held::Copy(bytes)) => usize::try_from(offset)
                .ok()
                .and_then(|start| bytes.get(start..start.checked_add(len)?))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| format!("it has no bytes {offset} to {offset} + {len}")),
            _ => self.read_at(offset, len).map_err(|e| e.to_string()),
        };
        Box::pin(async move { bytes })
    }

    fn mapped(&self, offset: u64, len: usize) -> Option<Mapped> {
        let start = usize::try_from(offset).ok()?;
        let range = start..start.checked_add(len)?;
        let held = self.held.clone()?;
        // What has been cut off is read by `read`, which says so.
        (range.end <= held.len() && self.shrunk().is_ok()).then_some(Mapped { held, range })
    }

    fn check(&self) -> Result<(), String> {
        self.shrunk()
    }
}

/// A file, written in any order.
#[derive(Debug)]
pub struct FileSink {
    path: std::path::PathBuf,
    file: std::fs::File,
}

impl FileSink {
    pub fn create(path: &std::path::Path) -> crate::Result<Self> {
        use crate::error::IoContext;
        Ok(FileSink {
            file: std::fs::File::create(path).at("write", path)?,
            path: path.to_owned(),
        })
    }

    /// Wait until everything is on the disk.
    pub fn sync(&self) -> crate::Result<()> {
        use crate::error::IoContext;
        Ok(self.file.sync_all().at("write", &self.path)?)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }
}

impl crate::bytes::ByteSink for FileSink {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn write<'a>(
        &'a mut self,
        offset: u64,
        bytes: &'a [u8],
    ) -> crate::bytes::LocalFuture<'a, Result<(), String>> {
        let written = self.write_at(offset, bytes).map_err(|e| e.to_string());
        Box::pin(async move { written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteSource;

    #[test]
    fn a_mapped_file_that_is_cut_short_is_an_error_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(SMALL + 4096).unwrap();
        let source = FileSource::open(&path).unwrap();
        let end = SMALL;
        assert_eq!(source.mapped(end, 8).unwrap().bytes(), [0; 8]);
        source.check().unwrap();
        file.set_len(100).unwrap();
        assert!(source.mapped(end, 8).is_none());
        assert!(source.check().unwrap_err().contains("to 100 bytes"));
        assert!(pollster::block_on(source.read(end, 8)).is_err());
        // A small one is in memory: whoever changes it changes nothing here.
        let path = dir.path().join("small");
        std::fs::write(&path, [7; 64]).unwrap();
        let source = FileSource::open(&path).unwrap();
        std::fs::write(&path, []).unwrap();
        assert_eq!(source.mapped(8, 4).unwrap().bytes(), [7; 4]);
        assert_eq!(pollster::block_on(source.read(60, 4)).unwrap(), [7; 4]);
    }
}
