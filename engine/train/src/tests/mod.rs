//! Training, against what it must be.

mod documents;
mod masked;
#[cfg(feature = "native")]
mod ranks;
#[cfg(feature = "native")]
mod switches;

use ternary_core::config::ModelConfig;

/// A model that trains in a moment: 40 tokens, a context of 12.
fn small() -> ModelConfig {
    ModelConfig {
        vocab_size: 40,
        hidden_size: 16,
        num_heads: 2,
        num_layers: 2,
        intermediate_size: 32,
        max_seq_len: 12,
        ..ModelConfig::default()
    }
}
