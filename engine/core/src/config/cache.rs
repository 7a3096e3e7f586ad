//! How keys and values of a text are kept while it is continued.

use serde::{Deserialize, Serialize};

use super::ModelConfig;

/// Precision of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePrecision {
    /// As they were computed.
    #[default]
    F32,
    /// Rounded to binary16, half to even; beyond its range to the largest finite value.
    F16,
}

impl CachePrecision {
    /// Bytes of a key's or value's element.
    pub fn bytes(self) -> usize {
        match self {
            CachePrecision::F32 => 4,
            CachePrecision::F16 => 2,
        }
    }

    /// This precision where a model's heads can have it: two halves share a word, so heads of an
    /// odd width stay in f32.
    pub fn of(self, config: &ModelConfig) -> Self {
        match config.head_dim().is_multiple_of(2) {
            true => self,
            false => CachePrecision::F32,
        }
    }
}
