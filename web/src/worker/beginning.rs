//! The beginning of a `.1bit` that is still on its way: it tells what the rest will be.

use js_sys::Uint8Array;
use ternary::backend::LocalFuture;
use ternary::format::{ByteSource, OneBit};
use ternary::session::{FilePart, file_parts};

/// Bytes with which it is tried first; each time there must be twice as many.
const FIRST: usize = 1 << 16;
/// A tokenizer is in it, and larger ones there are not.
const MOST: usize = 1 << 26;

/// What has come of a file, until that tells what is in it.
pub struct Beginning {
    bytes: Vec<u8>,
    /// Of the whole file.
    total: u64,
    /// To be tried with so many; 0 when there is nothing more to find out.
    next: usize,
}

impl Beginning {
    pub fn of(total: u64) -> Self {
        Self {
            bytes: Vec::new(),
            total,
            next: FIRST.min(total as usize),
        }
    }

    /// Takes what follows. Gives the parts of the file once they are known.
    pub async fn take(&mut self, part: &Uint8Array) -> Option<Vec<FilePart>> {
        if self.next == 0 {
            return None;
        }
        self.bytes.extend(part.to_vec());
        if self.bytes.len() < self.next {
            return None;
        }
        self.next = (self.bytes.len() * 2).min(self.total as usize);
        let found = OneBit::open(self).await.ok();
        if found.is_some() || self.bytes.len() > MOST {
            (self.bytes, self.next) = (Vec::new(), 0);
        }
        found.map(|file| file_parts(&file))
    }

    fn slice(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let from = usize::try_from(offset).ok();
        let part = from.and_then(|from| self.bytes.get(from..from.checked_add(len)?));
        part.map(<[u8]>::to_vec)
            .ok_or_else(|| "it has not come yet".to_owned())
    }
}

impl ByteSource for Beginning {
    fn name(&self) -> String {
        "a download".to_owned()
    }

    fn len(&self) -> u64 {
        self.total
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(std::future::ready(self.slice(offset, len)))
    }
}
