//! What everything above stands on: bytes and files, the [`platform`], tokenizers, conversations
//! and training texts. Nothing here knows a model's weights.

#![warn(missing_docs)]

pub mod bytes;
pub mod chat;
pub mod data;
pub mod error;
pub mod exact;
pub mod platform;
#[cfg(feature = "native")]
pub mod ranks;
pub mod tokenizer;

pub use error::{Error, Result};
