//! Files of the operating system.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{ByteSink, ByteSource, LocalFuture};
use crate::error::IoContext;
use crate::platform::{Held, Mapped};

/// Files up to this size are read when they are opened: then nobody can change them under our
/// hands.
const SMALL: u64 = 32 << 20;

/// A file: small ones are read at once, others mapped where that is possible, otherwise read in
/// slices.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: Mutex<std::fs::File>,
    held: Option<Arc<Held>>,
    len: u64,
}

impl FileSource {
    /// Opens a file for reading in slices; where the system can, it is mapped.
    pub fn open(path: &Path) -> crate::Result<Self> {
        let mut file = std::fs::File::open(path).at("open", path)?;
        let len = file.metadata().at("read", path)?.len();
        let held = if len <= SMALL {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).at("read", path)?;
            Some(Held::Copy(bytes))
        } else {
            Held::map(&file).ok()
        };
        Ok(FileSource {
            len: match &held {
                Some(Held::Copy(bytes)) => bytes.len() as u64,
                _ => len,
            },
            held: held.map(Arc::new),
            path: path.to_owned(),
            file: Mutex::new(file),
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

impl ByteSource for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
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
    path: PathBuf,
    file: std::fs::File,
}

impl FileSink {
    /// Creates the file, or empties the one there is.
    pub fn create(path: &Path) -> crate::Result<Self> {
        Ok(FileSink {
            file: std::fs::File::create(path).at("write", path)?,
            path: path.to_owned(),
        })
    }

    /// Wait until everything is on the disk.
    pub fn sync(&self) -> crate::Result<()> {
        Ok(self.file.sync_all().at("write", &self.path)?)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }
}

impl ByteSink for FileSink {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn write<'a>(
        &'a mut self,
        offset: u64,
        bytes: &'a [u8],
    ) -> LocalFuture<'a, Result<(), String>> {
        let written = self.write_at(offset, bytes).map_err(|e| e.to_string());
        Box::pin(async move { written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
