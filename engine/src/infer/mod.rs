//! Prefill, decode, sampling.

use serde::{Deserialize, Serialize};

/// How the next token is chosen. Order: repetition penalty, temperature, top-k, top-p (as in Hugging Face's generate).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Sampling {
    /// 0 = greedy.
    pub temperature: f32,
    /// Smallest set of tokens with at least this probability; 1 = off.
    pub top_p: f32,
    /// At most 256; 0 = 256, all candidates a step reads back.
    pub top_k: usize,
    /// 1 = off.
    pub repetition_penalty: f32,
    pub seed: u64,
    pub max_tokens: usize,
    /// The reply ends before any of these texts.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.7,
            top_p: 0.95,
            top_k: 40,
            repetition_penalty: 1.1,
            seed: 0,
            max_tokens: 256,
            stop: Vec::new(),
        }
    }
}
