//! The `.tokens` format: a 64-byte header, then the ids as u16 or u32, little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic `1BTOKENS` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | bytes per id, 2 or 4 |
//! | 16 | 4 | vocabulary size: every id is below |
//! | 20 | 4 | sequence length the file was made for, 0 = none |
//! | 24 | 8 | number of ids |
//! | 32 | 4 | CRC-32 of the ids' bytes |
//! | 36 | 4 | CRC-32 of the tokenizer.json |
//! | 40 | 24 | zero |

use crate::error::{Error, Result};
use ternary_core::kind::FileKind;
use ternary_core::words::counted;

#[cfg(feature = "native")]
mod writer;
#[cfg(feature = "native")]
pub use writer::TokenWriter;

const MAGIC: &[u8; 8] = b"1BTOKENS";
/// Bytes before the first token id.
pub const HEADER_BYTES: usize = 64;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHeader {
    /// Bytes per id, 2 or 4.
    pub width: usize,
    /// Every id is below.
    pub vocab_size: u32,
    /// Sequence length the file was made for, 0 = none.
    pub seq_len: u32,
    /// Number of ids.
    pub count: u64,
    /// CRC-32 of the ids' bytes.
    pub checksum: u32,
    /// CRC-32 of the tokenizer.json.
    pub tokenizer: u32,
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl TokenHeader {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut h = [0u8; HEADER_BYTES];
        h[..8].copy_from_slice(MAGIC);
        h[8..12].copy_from_slice(&1u32.to_le_bytes());
        h[12..16].copy_from_slice(&(self.width as u32).to_le_bytes());
        h[16..20].copy_from_slice(&self.vocab_size.to_le_bytes());
        h[20..24].copy_from_slice(&self.seq_len.to_le_bytes());
        h[24..32].copy_from_slice(&self.count.to_le_bytes());
        h[32..36].copy_from_slice(&self.checksum.to_le_bytes());
        h[36..40].copy_from_slice(&self.tokenizer.to_le_bytes());
        h
    }

    /// Read a header and check it against the file's size in bytes.
    pub(super) fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let fail = |m: String| Err(Error::Data(format!(".tokens file: {m}")));
        if bytes.len() < HEADER_BYTES {
            return fail(format!(
                "{}, shorter than the {HEADER_BYTES}-byte header",
                counted(bytes.len(), "byte")
            ));
        }
        if &bytes[..8] != MAGIC {
            let kind = FileKind::of(bytes).described();
            return fail(
                kind.map_or("not a .tokens file (wrong magic)".into(), |what| {
                    format!("not a .tokens file, but {what}")
                }),
            );
        }
        let version = u32_at(bytes, 8);
        if version != 1 {
            return fail(format!(
                "version {version}; this program reads version 1. Make the file again with `onebit tokenize`"
            ));
        }
        let width = u32_at(bytes, 12) as usize;
        if width != 2 && width != 4 {
            return fail(format!("ids of width {width}; expected 2 or 4 bytes"));
        }
        let count = u64::from(u32_at(bytes, 24)) | u64::from(u32_at(bytes, 28)) << 32;
        let expected = count
            .checked_mul(width as u64)
            .and_then(|n| n.checked_add(HEADER_BYTES as u64));
        if let Some(extra) = expected
            .and_then(|n| file_bytes.checked_sub(n))
            .filter(|n| *n > 0)
        {
            return fail(format!(
                "{extra} B follow the last of its ids ({count}): something was appended; make the file again with `onebit tokenize`"
            ));
        }
        if expected != Some(file_bytes) {
            return fail(format!(
                "the header says {count} × {width} bytes of ids, but the file has {file_bytes} bytes; it is truncated or damaged"
            ));
        }
        Ok(TokenHeader {
            width,
            vocab_size: u32_at(bytes, 16),
            seq_len: u32_at(bytes, 20),
            count,
            checksum: u32_at(bytes, 32),
            tokenizer: u32_at(bytes, 36),
        })
    }
}

/// Bytes per id for a vocabulary.
fn width(vocab_size: u32) -> usize {
    if vocab_size <= 1 << 16 { 2 } else { 4 }
}

/// Append the bytes of `ids`.
fn extend(out: &mut Vec<u8>, ids: &[u32], width: usize) {
    out.reserve(ids.len() * width);
    for id in ids {
        out.extend_from_slice(&id.to_le_bytes()[..width]);
    }
}

/// The bytes of a `.tokens` file. `tokenizer` is the CRC-32 of the tokenizer.json.
pub fn write_tokens(ids: &[u32], vocab_size: u32, seq_len: u32, tokenizer: u32) -> Vec<u8> {
    let width = width(vocab_size);
    let mut out = vec![0; HEADER_BYTES];
    extend(&mut out, ids, width);
    let header = TokenHeader {
        width,
        vocab_size,
        seq_len,
        count: ids.len() as u64,
        checksum: crc32fast::hash(&out[HEADER_BYTES..]),
        tokenizer,
    };
    out[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    out
}
