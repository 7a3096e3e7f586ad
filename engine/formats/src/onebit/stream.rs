//! Writing tensor by tensor, so that the model need not fit in memory.

use super::write::{data_offset, head, json_parts, planned, scale_bytes};
use crate::onebit::Packing;
use serde::{Deserialize, Serialize};
use ternary_common::bytes::ByteSink;
use ternary_core::layout::{FormatError, Metadata, TensorEntry};

/// A tensor whose bytes are in the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its place among [`Writer::entries`].
    pub index: usize,
    /// Of its bytes.
    pub crc32: u32,
}

/// Writes a `.1bit` whose tensors come one at a time, in any order; the head is written last, so
/// that what is unfinished is no `.1bit`.
pub struct Writer<'a> {
    sink: &'a mut dyn ByteSink,
    metadata: Vec<u8>,
    entries: Vec<TensorEntry>,
    /// Bytes of the table with the longest checksums.
    table_len: usize,
    data_offset: u64,
    /// Which have come.
    done: Vec<bool>,
}

impl<'a> Writer<'a> {
    /// Plan the file of a model, whose config has its bit-map.
    pub fn new(
        sink: &'a mut dyn ByteSink,
        mut metadata: Metadata,
        packing: Packing,
    ) -> Result<Self, FormatError> {
        metadata.config.validate()?;
        metadata.config.layer_bit_map = Some(metadata.config.bit_map());
        let entries = planned(&metadata.config, packing);
        let (metadata, table) = json_parts(&metadata, &entries.iter().collect::<Vec<_>>())?;
        Ok(Writer {
            sink,
            data_offset: data_offset(&metadata, &table),
            table_len: table.len(),
            metadata,
            done: vec![false; entries.len()],
            entries,
        })
    }

    /// The tensors, in the order of the file.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.data_offset + self.entries.last().map_or(0, |t| t.offset + t.length)
    }

    /// The checksum of the plan: what the file is to say of itself and of its tensors. Equal ones
    /// have each tensor's bytes at the same place.
    pub fn plan(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.metadata);
        for entry in &self.entries {
            hasher.update(entry.name.as_bytes());
            hasher.update(entry.encoding.as_bytes());
            hasher.update(&entry.offset.to_le_bytes());
            hasher.update(&entry.length.to_le_bytes());
        }
        hasher.finalize()
    }

    /// Takes a tensor as written: its bytes are in the sink already.
    ///
    /// # Errors
    /// As those of [`tensor`](Self::tensor).
    pub fn take_over(&mut self, written: Written) -> Result<(), FormatError> {
        let out = self.tensor(written.index)?;
        out.writer.entries[written.index].crc32 = written.crc32;
        Ok(())
    }

    /// Begin the tensor of [`entries`](Self::entries) with this index.
    ///
    /// # Errors
    /// When there is none, or it has come already.
    pub fn tensor(&mut self, index: usize) -> Result<TensorWriter<'_, 'a>, FormatError> {
        let invalid = |message: String| FormatError::Invalid {
            what: "the tensors".into(),
            message,
        };
        match self.done.get_mut(index) {
            None => Err(invalid(format!("there are only {}", self.entries.len()))),
            Some(true) => Err(invalid(format!("{} comes twice", self.entries[index].name))),
            Some(done) => {
                *done = true;
                Ok(TensorWriter {
                    writer: self,
                    index,
                    hasher: crc32fast::Hasher::new(),
                    written: 0,
                })
            }
        }
    }

    async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let name = self.sink.name();
        let written = self.sink.write(offset, bytes).await;
        written.map_err(|message| FormatError::Sink { name, message })
    }

    /// Write the head. Returns the file's length.
    ///
    /// # Errors
    /// Also when tensors are missing.
    pub async fn finish(mut self) -> Result<u64, FormatError> {
        if let Some(missing) = self.done.iter().position(|done| !done) {
            let name = self.entries[missing].name.clone();
            return Err(FormatError::MissingTensor(name));
        }
        let mut table = serde_json::to_vec(&self.entries).map_err(|e| FormatError::Invalid {
            what: "the tensor table".into(),
            message: e.to_string(),
        })?;
        // JSON may end in spaces; the data is where the longest table would have put it.
        table.resize(self.table_len, b' ');
        let file_len = self.file_len();
        let head = head(&self.metadata, &table, file_len);
        self.write(0, &head).await?;
        Ok(file_len)
    }
}

/// One tensor on its way: its scales, padded to 64 bytes, then its values, in as many pieces as one
/// likes; or the values first, behind room that is left for the scales.
pub struct TensorWriter<'w, 'a> {
    writer: &'w mut Writer<'a>,
    index: usize,
    hasher: crc32fast::Hasher,
    written: u64,
}

impl TensorWriter<'_, '_> {
    fn entry(&mut self) -> &mut TensorEntry {
        &mut self.writer.entries[self.index]
    }

    pub async fn scales(&mut self, scales: &[f32]) -> Result<(), FormatError> {
        let bytes = scale_bytes(self.entry().scale, scales);
        self.push(&bytes).await
    }

    /// Leaves room for so many scales: the values come first, and tell what they are.
    pub fn leave_scales(&mut self, count: usize) {
        let room = scale_bytes(self.entry().scale, &vec![0.0; count]);
        self.written = room.len() as u64;
    }

    /// Fills the room that was left.
    pub async fn fill_scales(&mut self, scales: &[f32]) -> Result<(), FormatError> {
        let bytes = scale_bytes(self.entry().scale, scales);
        let mut whole = crc32fast::Hasher::new();
        whole.update(&bytes);
        whole.combine(&self.hasher);
        self.hasher = whole;
        let at = self.writer.data_offset + self.entry().offset;
        self.writer.write(at, &bytes).await
    }

    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let at = self.writer.data_offset + self.entry().offset + self.written;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.writer.write(at, bytes).await
    }

    /// # Errors
    /// When there were more or fewer bytes than the tensor has.
    pub fn finish(mut self) -> Result<Written, FormatError> {
        let (crc32, written) = (self.hasher.clone().finalize(), self.written);
        let index = self.index;
        let entry = self.entry();
        entry.crc32 = crc32;
        if entry.length == written {
            return Ok(Written { index, crc32 });
        }
        Err(FormatError::Invalid {
            what: format!("tensor {}", entry.name),
            message: format!("{written} bytes were written, it has {}", entry.length),
        })
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let done = self.done.iter().filter(|done| **done).count();
        write!(f, "Writer({done} of {} tensors)", self.entries.len())
    }
}

impl std::fmt::Debug for TensorWriter<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorWriter({} bytes so far)", self.written)
    }
}
