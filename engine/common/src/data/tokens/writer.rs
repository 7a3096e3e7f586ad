//! Writing a `.tokens` file id by id, in constant memory.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{HEADER_BYTES, TokenHeader, extend, width};
use crate::error::IoContext;
use crate::error::{Error, Result};
use crate::platform::Draft;

/// Bytes gathered before a write.
const BUFFER: usize = 1 << 20;

/// Writes beside the target, and renames when it is finished: a file under the target's name is
/// always whole. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct TokenWriter {
    file: File,
    path: PathBuf,
    draft: Draft,
    header: TokenHeader,
    checksum: crc32fast::Hasher,
    buffer: Vec<u8>,
}

impl TokenWriter {
    /// Begin a file for ids below `vocab_size`; `seq_len` and `tokenizer` (CRC-32 of the
    /// tokenizer.json) go into its header. Missing folders are made.
    pub fn create(path: &Path, vocab_size: u32, seq_len: u32, tokenizer: u32) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).at("create the folder", folder)?;
        }
        let (draft, mut file) = Draft::beside(path)?;
        file.write_all(&[0; HEADER_BYTES]).at("write", path)?;
        Ok(TokenWriter {
            file,
            path: path.to_owned(),
            draft,
            header: TokenHeader {
                width: width(vocab_size),
                vocab_size,
                seq_len,
                count: 0,
                checksum: 0,
                tokenizer,
            },
            checksum: crc32fast::Hasher::new(),
            buffer: Vec::new(),
        })
    }

    /// Append ids.
    ///
    /// # Errors
    /// An id that is not below the vocabulary, or what writing the file says.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        if let Some(id) = ids.iter().find(|id| **id >= self.header.vocab_size) {
            return Err(Error::Data(format!(
                "token {id} is not below the vocabulary of {}",
                self.header.vocab_size
            )));
        }
        extend(&mut self.buffer, ids, self.header.width);
        self.header.count += ids.len() as u64;
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.checksum.update(&self.buffer);
        self.file.write_all(&self.buffer).at("write", &self.path)?;
        self.buffer.clear();
        Ok(())
    }

    /// Ids so far.
    pub fn len(&self) -> u64 {
        self.header.count
    }

    /// Whether no token was written yet.
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Write the header, sync and give the file its name.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.header.checksum = self.checksum.clone().finalize();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&self.header.to_bytes()))
            .and_then(|()| self.file.sync_all())
            .at("write", &self.path)?;
        self.draft.finish()
    }
}
