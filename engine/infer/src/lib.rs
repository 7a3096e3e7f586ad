//! Prefill, decode, sampling.

#![warn(missing_docs)]

mod ahead;
mod choices;
mod error;
mod evaluate;
mod load;
mod model;
mod pages;
mod plan;
mod sampler;
mod sequences;
mod vocabulary;

pub use ahead::Ahead;
pub use choices::{Answer, Asked, Estimate, Likelihood, Score, likelihood, score};
pub use error::{Error, Result};
pub use evaluate::{Comparison, Evaluation, compare, evaluate, evaluate_tokens, log_partition};
pub use load::LowRankAdapter;
pub use model::{LoadOptions, Model, cache_bytes};
pub use plan::LoadPlan;
pub use sampler::Sampler;
pub use sequences::{Piece, SequenceId, SequenceOptions, Sequences};
#[cfg(feature = "grammar")]
pub use ternary_grammar::Grammars;
pub use ternary_grammar::{
    Callable, Calls, Compiler, Constraint, Form, Inside, Mark, TokenSet, Vocabulary,
};
pub use ternary_model::CANDIDATES;
pub use vocabulary::vocabulary;

use serde::{Deserialize, Serialize};
use ternary_core::layout::SamplingHints;

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

/// A model with fewer parameters repeats itself, whatever it was trained on.
const REPEATS_ITSELF: usize = 50_000_000;

impl Sampling {
    /// What suits a model: as its makers say, else the defaults. A repetition penalty spoils what
    /// has to be repeated, names and code; only small models need one.
    pub fn of_model(hints: Option<&SamplingHints>, parameters: usize) -> Self {
        let hints = hints.copied().unwrap_or_default();
        let default = Self::default();
        let temperature = hints.temperature.unwrap_or(default.temperature);
        let penalty = match parameters < REPEATS_ITSELF && temperature > 0.0 {
            true => default.repetition_penalty,
            false => 1.0,
        };
        Self {
            temperature,
            top_p: hints.top_p.unwrap_or(default.top_p),
            top_k: hints
                .top_k
                .map_or(default.top_k, |k| (k as usize).min(CANDIDATES)),
            repetition_penalty: hints.repetition_penalty.unwrap_or(penalty),
            ..default
        }
    }

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
        if self.stop.iter().any(String::is_empty) {
            // It stands at the beginning of every reply.
            let expected = "a text of one character or more, or be left out";
            return refuse("stop", &"an empty text", expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A penalty for small models alone, and nowhere against what the makers say.
    #[test]
    fn sampling_suits_the_model() {
        let of = |hints: Option<SamplingHints>, parameters| {
            let found = Sampling::of_model(hints.as_ref(), parameters);
            (found.temperature, found.top_k, found.repetition_penalty)
        };
        assert_eq!(of(None, 5_600_000), (0.7, 40, 1.1));
        assert_eq!(of(None, 135_000_000), (0.7, 40, 1.0));
        let greedy = SamplingHints {
            temperature: Some(0.0),
            top_k: Some(1000),
            ..SamplingHints::default()
        };
        assert_eq!(of(Some(greedy), 5_600_000), (0.0, CANDIDATES, 1.0));
        let own = SamplingHints {
            repetition_penalty: Some(1.3),
            ..SamplingHints::default()
        };
        assert_eq!(of(Some(own), 2_000_000_000), (0.7, 40, 1.3));
    }

    #[test]
    fn an_empty_stop_text_is_refused() {
        let with = |stop: &str| Sampling {
            stop: vec!["x".into(), stop.into()],
            ..Sampling::default()
        };
        assert!(with("y").validate().is_ok());
        let problem = with("").validate().unwrap_err().to_string();
        assert!(problem.starts_with("stop is an empty text"), "{problem}");
    }
}
