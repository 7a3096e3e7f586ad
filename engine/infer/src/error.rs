//! Errors of running a model.

use ternary_backend::{BackendError, DeviceInfo, DeviceKind};
use ternary_core::config::ConfigError;
use ternary_core::layout::FormatError;
use ternary_formats::adapter::AdapterError;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may go wrong when a model is loaded and run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tokenizer or a text.
    #[error(transparent)]
    Common(#[from] ternary_common::Error),
    /// The model's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The `.1bit` file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An adapter beside the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A setting of [`Sampling`](crate::Sampling) outside its range.
    #[error("{setting} is {value}; it must be {expected}")]
    Sampling {
        /// The field's name.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// The range, in words.
        expected: String,
    },
    /// The model was run on no tokens at all.
    #[error("there is no token to start from")]
    NoTokens,
    /// More tokens than the context has positions.
    #[error("the text takes {used} tokens; the model's context holds {room}")]
    ContextFull {
        /// Positions that would be used, those in the cache included.
        used: usize,
        /// Positions there are.
        room: usize,
    },
    /// The KV cache cannot grow any further; what it holds stays.
    #[error(
        "the text takes {tokens} tokens, and there is no memory for more than {room}: \
         {} more could not be had; close other programs, start a new conversation, or use `--kv f16`",
        Megabytes(*.bytes)
    )]
    CacheMemory {
        /// Tokens that the cache should have held.
        tokens: usize,
        /// Tokens it has memory for.
        room: usize,
        /// Bytes that were asked for in vain.
        bytes: u64,
    },
    /// An adapter is chosen that was never added.
    #[error("there is no adapter {number}; the model has {count}, counted from 0")]
    NoSuchAdapter {
        /// Counted from 0.
        number: usize,
        /// Adapters of the model.
        count: usize,
    },
    /// A token id that the model does not have.
    #[error("token {id} is outside the vocabulary of {vocab}")]
    UnknownToken {
        /// The first such id.
        id: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// A text of fewer than two tokens has nothing to predict.
    #[error("the text is too short to evaluate: it needs at least two tokens")]
    TextTooShort,
    /// A text was tokenized for another model.
    #[error(
        "the tokenizer gives token {id}, outside the model's vocabulary of {vocab}: it belongs to another model"
    )]
    ForeignTokenizer {
        /// The first id that the model does not have.
        id: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// The device has too little memory.
    #[error(
        "{what} needs {}, and the {} ({}) has {}: use a smaller model{}",
        Megabytes(*.needed), device.kind, device.name, Megabytes(*.available),
        if device.kind == DeviceKind::Cpu { "" } else { ", or the CPU" }
    )]
    DeviceMemory {
        /// The model, or the part of it that is too large by itself.
        what: &'static str,
        /// Bytes.
        needed: u64,
        /// Bytes that the device allows.
        available: u64,
        /// The device that was chosen.
        device: Box<DeviceInfo>,
    },
    /// The program itself cannot get the memory.
    #[error(
        "it needs {} of memory, more than this program can get: close other programs, or use a smaller model or a GPU",
        Megabytes(*.needed)
    )]
    ProgramMemory {
        /// Bytes.
        needed: u64,
    },
    /// A tensor larger than one allocation can be, as in 32-bit WebAssembly.
    #[error(
        "one of its tensors takes {}; this program can hold {} in one piece",
        Megabytes(*.needed), Megabytes(*.largest)
    )]
    TensorTooLarge {
        /// Bytes.
        needed: u64,
        /// Bytes that one allocation may take.
        largest: u64,
    },
}

/// A number of bytes, written in MB.
struct Megabytes(u64);

impl std::fmt::Display for Megabytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} MB", self.0 as f64 / 1e6)
    }
}
