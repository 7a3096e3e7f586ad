//! Prefill, decode, sampling.

#![warn(missing_docs)]

mod error;
mod evaluate;
mod load;
mod model;
mod plan;
mod sampler;

pub use error::{Error, Result};
pub use evaluate::{Comparison, Evaluation, compare, evaluate, evaluate_tokens};
pub use load::LowRankAdapter;
pub use model::{LoadOptions, Model, cache_bytes};
pub use plan::LoadPlan;
pub use sampler::Sampler;
pub use ternary_model::CANDIDATES;

use serde::{Deserialize, Serialize};

/// How the next token is chosen. Order: repetition penalty, temperature, top-k, top-p (as in
/// Hugging Face's generate).
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
    /// The same seed, prompt and settings give the same reply.
    pub seed: u64,
    /// Tokens of the reply, at most.
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

impl Sampling {
    /// Refuse values that mean nothing.
    pub fn validate(&self) -> Result<()> {
        let refuse = |setting, value: &dyn std::fmt::Display, expected: &str| {
            Err(Error::Sampling {
                setting,
                value: value.to_string(),
                expected: expected.to_owned(),
            })
        };
        if !(self.temperature >= 0.0 && self.temperature <= 100.0) {
            return refuse("temperature", &self.temperature, "between 0 and 100");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", &self.top_p, "above 0 and at most 1");
        }
        if self.top_k > CANDIDATES {
            return refuse("top_k", &self.top_k, &format!("at most {CANDIDATES}"));
        }
        if !(self.repetition_penalty >= 0.1 && self.repetition_penalty <= 10.0) {
            return refuse(
                "repetition_penalty",
                &self.repetition_penalty,
                "between 0.1 and 10",
            );
        }
        if self.max_tokens == 0 {
            return refuse("max_tokens", &self.max_tokens, "at least 1");
        }
        Ok(())
    }
}
