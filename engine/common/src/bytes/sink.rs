//! Where a file's bytes go: memory, a file, a browser's file handle.

use super::LocalFuture;

/// Where a file's bytes go, in order.
pub trait ByteSink {
    /// For messages, e.g. the file's name.
    fn name(&self) -> String;

    /// Put `bytes` at `offset`; what lies between is zeros until it is written.
    fn write<'a>(&'a mut self, offset: u64, bytes: &'a [u8])
    -> LocalFuture<'a, Result<(), String>>;
}

/// A file in memory.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// All that was written.
    pub bytes: Vec<u8>,
}

impl ByteSink for MemorySink {
    fn name(&self) -> String {
        "memory".into()
    }

    fn write<'a>(
        &'a mut self,
        offset: u64,
        bytes: &'a [u8],
    ) -> LocalFuture<'a, Result<(), String>> {
        let start = offset as usize;
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        Box::pin(async { Ok(()) })
    }
}
