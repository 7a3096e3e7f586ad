//! Token files and the batches taken from them.

mod batches;
#[cfg(feature = "native")]
mod read;
mod tokens;

pub use batches::Batches;
#[cfg(feature = "native")]
pub use read::{encode_parallel, load, read_texts, text_files};
pub use tokens::{HEADER_BYTES, TokenData, TokenHeader, write_tokens};

/// CRC-32 that ties `.tokens` files to the `tokenizer.json` they were made with.
pub fn checksum(tokenizer_json: &str) -> u32 {
    crc32fast::hash(tokenizer_json.as_bytes())
}
