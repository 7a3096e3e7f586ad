//! The forward pass of one token on a processor without an operating system: `no_std`, `alloc`, no
//! threads.
//!
//! A [`Model`] is a view of a `.1bit` file that lies in flash: weights are read where they are, in
//! the file's encodings. A [`State`] holds the KV cache and the activations. Sums are taken in the
//! order of [`crate::math`], so logits are those of the CPU backend bit for bit. The C header that
//! `onebit export --emit-c-header` writes is this module in C.
//!
//! ```
//! use ternary_core::board::{Cache, Model, State, greedy};
//!
//! let file = std::fs::read("../tests/fixtures/v1.1bit").unwrap(); // on a board: include_bytes!, or a mapped partition
//! let model = Model::open(&file)?;
//! let mut state = State::new(&model, 32, Cache::F16)?;
//! let mut ids = vec![72, 101];
//! for _ in 0..4 {
//!     let fed = state.used();
//!     let next = greedy(state.feed(&model, &ids[fed..])?);
//!     ids.push(next);
//! }
//! assert_eq!(ids.len(), 6);
//! # Ok::<(), ternary_core::board::BoardError>(())
//! ```

mod file;
mod forward;
mod kernels;
mod sample;

pub use file::{Layer, Matrix, Model, Norm, Vector};
pub use forward::{Cache, State};
pub use sample::{Sampler, greedy};

use crate::config::ConfigError;
use crate::layout::FormatError;

/// Why a token could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The file is damaged, or not one that a board can run.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An id that the model does not have.
    #[error("token {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// The text is empty.
    #[error("there is no token to start from")]
    NoToken,
    /// The tokens do not fit the state.
    #[error(
        "{used} tokens and {more} more do not fit the context of {context}; reset the state or give it a longer context"
    )]
    ContextFull {
        /// Positions taken.
        used: usize,
        /// Tokens to be added.
        more: usize,
        /// Positions of the state.
        context: usize,
    },
    /// A state of no positions, or of more than the model has.
    #[error("a context of {found} tokens; this model takes 1 to {most}")]
    Context {
        /// Positions asked for.
        found: usize,
        /// Positions of the model.
        most: usize,
    },
    /// The state's buffers have another model's sizes.
    #[error("the state was made for another model")]
    OtherModel,
    /// The allocator gave no memory.
    #[error("not enough memory for a state of {bytes} bytes")]
    Memory {
        /// What the state would take.
        bytes: usize,
    },
}

impl From<ConfigError> for BoardError {
    fn from(e: ConfigError) -> Self {
        FormatError::from(e).into()
    }
}
