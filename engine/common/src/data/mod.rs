//! Token files and the batches taken from them.

#[cfg(feature = "native")]
mod background;
mod batches;
mod conversations;
mod documents;
mod eval_text;
#[cfg(feature = "native")]
mod files;
mod listed;
#[cfg(feature = "native")]
mod pairs;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(feature = "native")]
mod pieces;
#[cfg(feature = "native")]
mod read;
mod source;
#[cfg(feature = "native")]
mod stream;
#[cfg(feature = "native")]
mod tasks;
mod text;
mod token_data;
mod tokens;
mod turns;

#[cfg(feature = "native")]
pub use background::Prefetch;
pub use batches::Batches;
pub use conversations::{marked_turns, own_template};
pub use documents::{Conversation, Document, Layout, PAIRS, Pair, conversation};
pub use eval_text::EvalText;
#[cfg(feature = "native")]
pub use files::{TextFile, text_files};
#[cfg(feature = "native")]
pub use pairs::load_pairs;
#[cfg(feature = "native")]
pub use pieces::{Piece, Pieces};
#[cfg(feature = "native")]
pub use read::{Encoded, Encoder, TrainingData, encode_files, evaluation, files_checksum, load};
pub use source::{BatchSource, CONTEXT, FIRST, NO_TARGET, Windows};
#[cfg(feature = "native")]
pub use stream::{Stream, StreamPlace, StreamedTexts};
#[cfg(feature = "native")]
pub use tasks::{Question, Shape, Task, tasks};
pub use text::{STANDARD_INPUT, read_documents, read_lines, read_plain};
pub use token_data::TokenData;
#[cfg(feature = "native")]
pub use tokens::TokenWriter;
pub use tokens::{HEADER_BYTES, TokenHeader, write_tokens};

/// CRC-32 that ties `.tokens` files to the `tokenizer.json` they were made with.
pub fn checksum(tokenizer_json: &str) -> u32 {
    crc32fast::hash(tokenizer_json.as_bytes())
}
