//! What a file says before its tensors, checked against the file's length and its own checksums;
//! pure functions of bytes.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use core::ops::Range;

use serde::de::DeserializeOwned;

use crate::kind::escaped;

use super::{
    ALIGN, Encoding, FormatError, HEADER_BYTES, MAGIC, MAX_JSON, ScalePer, TensorEntry, VERSION,
    layout,
};

/// Where the parts of a file are.
#[derive(Clone, Debug)]
pub struct Header {
    /// Where the metadata stand in the file, in bytes.
    pub metadata: Range<u64>,
    /// Where the tensor table stands in the file, in bytes.
    pub table: Range<u64>,
    /// Where the tensors begin, in bytes.
    pub data_offset: u64,
    file_len: u64,
    metadata_crc: u32,
    table_crc: u32,
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

fn check(what: &str, bytes: &[u8], expected: u32) -> Result<(), FormatError> {
    check_hash(what, crc32fast::hash(bytes), expected)
}

/// An error that names `what` if the checksums differ.
pub fn check_hash(what: &str, found: u32, expected: u32) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    Err(FormatError::Checksum {
        what: what.to_owned(),
        found,
        expected,
    })
}

fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, FormatError> {
    serde_json::from_slice(bytes).map_err(|e| FormatError::Invalid {
        what: what.to_owned(),
        message: e.to_string(),
    })
}

impl Header {
    /// From the first [`HEADER_BYTES`] of a file of `file` bytes, or as many as it has.
    pub fn parse(first: &[u8], file: u64) -> Result<Self, FormatError> {
        if first.len() < 8 || first[..8] != MAGIC {
            return Err(FormatError::Magic {
                found: crate::kind::found(first),
            });
        }
        let truncated = |what: &str, needed: u64| FormatError::Truncated {
            what: what.to_owned(),
            needed,
            available: file,
        };
        if first.len() < HEADER_BYTES {
            return Err(truncated("the header", HEADER_BYTES as u64));
        }
        let version = u32_at(first, 8);
        if version == 0 || version > VERSION {
            return Err(FormatError::Version { found: version });
        }
        check("the header", &first[..56], u32_at(first, 56))?;
        let (meta_len, table_len) = (u64_at(first, 16), u64_at(first, 24));
        let (data_offset, file_len) = (u64_at(first, 32), u64_at(first, 40));
        if file_len < file {
            return Err(FormatError::Trailing {
                extra: file - file_len,
            });
        }
        if file_len > file {
            return Err(truncated("the whole file", file_len));
        }
        let meta_end = (HEADER_BYTES as u64).checked_add(meta_len);
        let json_end = meta_end.and_then(|n| n.checked_add(table_len));
        let invalid = || FormatError::Invalid {
            what: "the header".into(),
            message: format!(
                "metadata of {meta_len} and table of {table_len} bytes do not fit before the data at {data_offset} in a file of {file}"
            ),
        };
        let (Some(meta_end), Some(json_end)) = (meta_end, json_end) else {
            return Err(invalid());
        };
        if meta_len > MAX_JSON
            || table_len > MAX_JSON
            || json_end > data_offset
            || data_offset > file
            || !data_offset.is_multiple_of(ALIGN as u64)
        {
            return Err(invalid());
        }
        Ok(Header {
            metadata: HEADER_BYTES as u64..meta_end,
            table: meta_end..json_end,
            data_offset,
            file_len,
            metadata_crc: u32_at(first, 48),
            table_crc: u32_at(first, 52),
        })
    }

    /// The metadata, or as much of it as `T` wants to know.
    pub fn metadata<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, FormatError> {
        check("the metadata", bytes, self.metadata_crc)?;
        json("the metadata", bytes)
    }

    /// The tensor table, every entry checked.
    pub fn table(&self, bytes: &[u8]) -> Result<Vec<TensorEntry>, FormatError> {
        check("the tensor table", bytes, self.table_crc)?;
        let tensors: Vec<TensorEntry> = json("the tensor table", bytes)?;
        for t in &tensors {
            t.check(self.file_len - self.data_offset)?;
        }
        Ok(tensors)
    }
}

impl TensorEntry {
    /// The encoding; an error names one that this version does not know.
    pub fn encoding(&self) -> Result<Encoding, FormatError> {
        Encoding::parse(&self.encoding).ok_or_else(|| FormatError::Encoding {
            tensor: escaped(&self.name),
            found: escaped(&self.encoding),
        })
    }

    /// Whether the entry is possible, agrees with itself and lies within `data_bytes`.
    fn check(&self, data_bytes: u64) -> Result<(), FormatError> {
        let encoding = self.encoding()?;
        let invalid = |message: String| FormatError::Invalid {
            what: format!("tensor {}", escaped(&self.name)),
            message,
        };
        let Some((_, scale_bytes, code_bytes)) =
            layout(encoding, &self.shape, self.scale, self.group)
        else {
            return Err(invalid(format!(
                "impossible shape {:?} with scale {:?} and group {:?}",
                self.shape, self.scale, self.group
            )));
        };
        let integer = !matches!(encoding, Encoding::F16 | Encoding::F32);
        if !integer && self.scale != ScalePer::None {
            return Err(invalid(format!("{} values take no scale", self.encoding)));
        }
        if encoding == Encoding::Int8 && self.scale == ScalePer::None {
            return Err(invalid("int8 values need a scale".into()));
        }
        if scale_bytes.checked_add(code_bytes) != Some(self.length) {
            return Err(invalid(format!(
                "{} bytes; shape {:?} needs {scale_bytes} of scales and {code_bytes} of values",
                self.length, self.shape
            )));
        }
        if !self.offset.is_multiple_of(ALIGN as u64) {
            return Err(invalid(format!(
                "offset {} is not a multiple of {ALIGN}",
                self.offset
            )));
        }
        if self
            .offset
            .checked_add(self.length)
            .is_none_or(|end| end > data_bytes)
        {
            return Err(FormatError::Truncated {
                what: format!("tensor {}", escaped(&self.name)),
                needed: self.offset.saturating_add(self.length),
                available: data_bytes,
            });
        }
        Ok(())
    }
}
