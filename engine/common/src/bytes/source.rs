//! Where a file's bytes come from: memory, a file, a browser's file handle. Read in slices, so that
//! the file need not fit in memory.

use super::LocalFuture;
use crate::platform::Mapped;

/// A file to read from, wherever it is: on disk, in memory, behind a browser's handle.
pub trait ByteSource {
    /// For messages, e.g. the file's name.
    fn name(&self) -> String;

    /// Bytes in all.
    fn len(&self) -> u64;

    /// Whether there is not a single byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset` on; the caller stays within [`len`](Self::len).
    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>>;

    /// The same bytes where they lie, if this source maps its file.
    fn mapped(&self, _offset: u64, _len: usize) -> Option<Mapped> {
        None
    }

    /// Whether mapped bytes may still be touched: a file that another program has cut short must
    /// not be.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A file held in memory.
#[derive(Debug)]
pub struct MemorySource {
    name: String,
    bytes: Vec<u8>,
}

impl MemorySource {
    /// `name` is what messages call the file.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        MemorySource {
            name: name.to_owned(),
            bytes,
        }
    }
}

impl ByteSource for MemorySource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        let start = offset as usize;
        let part = self
            .bytes
            .get(start..start.saturating_add(len))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| format!("no bytes {start}..{}", start.saturating_add(len)));
        Box::pin(async move { part })
    }
}
