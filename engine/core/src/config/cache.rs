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
    /// int8 codes of every head of a position, rounded as activations are, and behind them their
    /// scale (f32): max(absmax, 1e-5) / 127.
    Q8,
}

/// Bytes of the scale behind a head's codes.
const SCALE: usize = 4;

impl CachePrecision {
    /// Every precision, the most exact first.
    pub const ALL: [CachePrecision; 3] =
        [CachePrecision::F32, CachePrecision::F16, CachePrecision::Q8];

    /// Bytes from one head of `head_dim` keys or values to the next.
    #[inline]
    pub fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            CachePrecision::F32 => 4 * head_dim,
            CachePrecision::F16 => 2 * head_dim,
            CachePrecision::Q8 => head_dim + SCALE,
        }
    }

    /// Bytes of a position's keys in one layer, which are those of its values.
    pub fn position_bytes(self, config: &ModelConfig) -> usize {
        config.kv_heads() * self.head_bytes(config.head_dim())
    }

    /// This precision where a model's heads can have it, or the next better: two halves share a
    /// word, and four codes.
    pub fn of(self, config: &ModelConfig) -> Self {
        let head_dim = config.head_dim();
        match self {
            CachePrecision::Q8 if head_dim.is_multiple_of(4) => CachePrecision::Q8,
            CachePrecision::Q8 | CachePrecision::F16 if head_dim.is_multiple_of(2) => {
                CachePrecision::F16
            }
            _ => CachePrecision::F32,
        }
    }
}
