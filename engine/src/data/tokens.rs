//! `.tokens` files: a 64-byte header, then the ids as u16 or u32, little-endian.
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

const MAGIC: &[u8; 8] = b"1BTOKENS";
pub const HEADER_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHeader {
    pub width: usize,
    pub vocab_size: u32,
    pub seq_len: u32,
    pub count: u64,
    pub checksum: u32,
    pub tokenizer: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
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

    /// Parse and check a header against the file's size in bytes.
    fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let fail = |m: String| Err(Error::Data(format!(".tokens file: {m}")));
        if bytes.len() < HEADER_BYTES {
            return fail(format!(
                "{} bytes, shorter than the {HEADER_BYTES}-byte header",
                bytes.len()
            ));
        }
        if &bytes[..8] != MAGIC {
            return fail("not a .tokens file (wrong magic)".into());
        }
        let version = u32_at(bytes, 8);
        if version != 1 {
            return fail(format!(
                "version {version}; this program reads version 1. Make the file again with `onebit tokenize`"
            ));
        }
        let width = u32_at(bytes, 12) as usize;
        if width != 2 && width != 4 {
            return fail(format!("{width} bytes per id; expected 2 or 4"));
        }
        let count = u64::from(u32_at(bytes, 24)) | u64::from(u32_at(bytes, 28)) << 32;
        let expected = count
            .checked_mul(width as u64)
            .and_then(|n| n.checked_add(HEADER_BYTES as u64));
        if expected != Some(file_bytes) {
            return fail(format!(
                "the header says {count} ids of {width} bytes, but the file has {file_bytes} bytes; it is truncated or damaged"
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

/// The bytes of a `.tokens` file. `tokenizer` is the CRC-32 of the tokenizer.json.
pub fn write_tokens(ids: &[u32], vocab_size: u32, seq_len: u32, tokenizer: u32) -> Vec<u8> {
    let width = if vocab_size <= 1 << 16 { 2 } else { 4 };
    let mut out = vec![0; HEADER_BYTES];
    out.reserve(ids.len() * width);
    for id in ids {
        if width == 2 {
            out.extend_from_slice(&(*id as u16).to_le_bytes());
        } else {
            out.extend_from_slice(&id.to_le_bytes());
        }
    }
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

enum Bytes {
    Owned(Vec<u8>),
    #[cfg(feature = "native")]
    Mapped(memmap2::Mmap),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Bytes::Owned(b) => b,
            #[cfg(feature = "native")]
            Bytes::Mapped(m) => m,
        }
    }
}

/// Token ids, in memory or mapped from a file.
pub struct TokenData {
    bytes: Bytes,
    header: TokenHeader,
}

impl std::fmt::Debug for TokenData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.header.fmt(f)
    }
}

impl TokenData {
    /// Ids already in memory.
    pub fn from_ids(ids: &[u32], vocab_size: u32) -> Result<Self> {
        Self::from_bytes(write_tokens(ids, vocab_size, 0, 0))
    }

    /// The bytes of a `.tokens` file; the checksum is verified.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let header = TokenHeader::parse(&bytes, bytes.len() as u64)?;
        let data = TokenData {
            bytes: Bytes::Owned(bytes),
            header,
        };
        data.verify()?;
        Ok(data)
    }

    /// Map a file. The checksum is not read here, so that a large file opens at once: call [`verify`](Self::verify).
    #[cfg(feature = "native")]
    pub fn open(path: &std::path::Path) -> Result<Self> {
        use crate::error::IoContext;
        let file = std::fs::File::open(path).at("open", path)?;
        // SAFETY: the map is only read; a file changed by another process meanwhile can give wrong ids, which batches check
        // against the vocabulary, but no invalid value: every bit pattern is an id.
        let map = unsafe { memmap2::Mmap::map(&file) }.at("map", path)?;
        let header = TokenHeader::parse(&map, map.len() as u64).map_err(|e| match e {
            Error::Data(m) => Error::Data(format!("{}: {m}", path.display())),
            other => other,
        })?;
        Ok(TokenData {
            bytes: Bytes::Mapped(map),
            header,
        })
    }

    fn ids(&self) -> &[u8] {
        &self.bytes.all()[HEADER_BYTES..]
    }

    pub fn verify(&self) -> Result<()> {
        let found = crc32fast::hash(self.ids());
        if found != self.header.checksum {
            return Err(Error::Data(format!(
                ".tokens file: checksum {found:08x}, expected {:08x}; the file is damaged, make it again with `onebit tokenize`",
                self.header.checksum
            )));
        }
        Ok(())
    }

    pub fn header(&self) -> &TokenHeader {
        &self.header
    }

    pub fn len(&self) -> usize {
        self.header.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at `i`, which must be below [`len`](Self::len).
    #[inline]
    pub fn get(&self, i: usize) -> u32 {
        let b = self.ids();
        if self.header.width == 2 {
            u32::from(u16::from_le_bytes([b[2 * i], b[2 * i + 1]]))
        } else {
            u32_at(b, 4 * i)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_survive(ids in prop::collection::vec(0u32..200_000, 0..300), wide in any::<bool>()) {
            let vocab = if wide { 200_000 } else { 65_536 };
            let ids: Vec<u32> = ids.into_iter().map(|i| i % vocab).collect();
            let data = TokenData::from_bytes(write_tokens(&ids, vocab, 128, 7)).unwrap();
            prop_assert_eq!(data.header().width, if wide { 4 } else { 2 });
            prop_assert_eq!((0..data.len()).map(|i| data.get(i)).collect::<Vec<_>>(), ids);
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0usize..100) {
            let _ = TokenData::from_bytes(bytes);
            let mut good = write_tokens(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18], 100, 0, 0);
            good[flip] ^= 0x41;
            // Every byte matters but the sequence length, the vocabulary, the tokenizer's checksum and the reserved tail.
            let free = (16..24).contains(&flip) || (36..64).contains(&flip);
            prop_assert!(TokenData::from_bytes(good).is_err() || free, "byte {}", flip);
        }
    }
}
