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

pub use file::{Layer, Matrix, Model, Norm};
pub use forward::{Cache, State};
pub use sample::{Sampler, greedy};

use crate::config::ConfigError;
use crate::layout::FormatError;

#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(
        "the model's configuration has {fields}, which programs for boards do not compute; run it with `onebit` or the page"
    )]
    Decoder { fields: String },
    #[error("token {id} is outside the vocabulary of {vocab}")]
    Token { id: u32, vocab: usize },
    #[error("there is no token to start from")]
    NoToken,
    #[error(
        "{used} tokens and {more} more do not fit the context of {context}; reset the state or give it a longer context"
    )]
    ContextFull {
        used: usize,
        more: usize,
        context: usize,
    },
    #[error("a context of {found} tokens; this model takes 1 to {most}")]
    Context { found: usize, most: usize },
    #[error("the state was made for another model")]
    OtherModel,
    #[error("not enough memory for a state of {bytes} bytes")]
    Memory { bytes: usize },
}

impl From<ConfigError> for BoardError {
    fn from(e: ConfigError) -> Self {
        FormatError::from(e).into()
    }
}
