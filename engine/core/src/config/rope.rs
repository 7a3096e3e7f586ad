//! The frequencies of rotary positions.

use alloc::{format, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{ConfigError, ModelConfig};

/// How RoPE's frequencies are changed for texts longer than those of the first training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Every frequency divided by `factor` (Chen et al. 2023).
    Linear {
        /// How many times longer the texts are.
        factor: f32,
    },
    /// Llama 3.1: wavelengths above `original_max_position_embeddings / low_freq_factor` tokens are
    /// stretched by `factor`, those below `… / high_freq_factor` stay, and in between the two are
    /// blended.
    Llama3 {
        /// How many times longer the texts are.
        factor: f32,
        /// Turns in the original context at or below which a frequency is stretched whole.
        low_freq_factor: f32,
        /// Turns at or above which it stays.
        high_freq_factor: f32,
        /// Tokens of the first training's context.
        original_max_position_embeddings: u32,
    },
    /// Frequency j divided by `factors[j]`, head_dim / 2 of them (as GGUF files say it).
    Factors {
        /// One divisor for each frequency.
        factors: Vec<f32>,
    },
}

impl RopeScaling {
    fn scaled(&self, frequency: f64, j: usize) -> f64 {
        match self {
            RopeScaling::Linear { factor } => frequency / f64::from(*factor),
            RopeScaling::Factors { factors } => frequency / f64::from(factors[j]),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let wavelength = 2.0 * core::f64::consts::PI / frequency;
                let turns = f64::from(*original_max_position_embeddings) / wavelength;
                let (low, high) = (f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                let stretched = frequency / f64::from(*factor);
                // How much of the original is kept.
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * stretched + kept * frequency
            }
        }
    }

    pub(super) fn validate(&self, head_dim: usize) -> Result<(), ConfigError> {
        let fail = |message| Err(ConfigError::Invalid(message));
        let positive = |f: &f32| f.is_finite() && *f > 0.0;
        match self {
            RopeScaling::Linear { factor } if !positive(factor) => fail(format!(
                "rope_scaling.factor is {factor}; it must be above 0"
            )),
            RopeScaling::Factors { factors } if factors.len() != head_dim / 2 => fail(format!(
                "rope_scaling has {} factors; a head dimension of {head_dim} takes {}",
                factors.len(),
                head_dim / 2
            )),
            RopeScaling::Factors { factors } if !factors.iter().all(positive) => {
                fail("rope_scaling.factors must all be above 0".into())
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } if ![factor, low, high].into_iter().all(positive)
                || low >= high
                || *original == 0 =>
            {
                fail(format!(
                    "rope_scaling has factor {factor}, low_freq_factor {low}, high_freq_factor {high} and original_max_position_embeddings {original}; all must be above 0 and low_freq_factor below high_freq_factor"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl ModelConfig {
    /// Radians per position of pair `j` of a head: θ^(−2j/head_dim), scaled. In f64, so that every
    /// backend rotates by the same angles.
    pub fn rope_frequency(&self, j: usize) -> f64 {
        let exponent = -2.0 * j as f64 / self.head_dim() as f64;
        let frequency = libm::pow(f64::from(self.rope_theta), exponent);
        match &self.rope_scaling {
            Some(scaling) => scaling.scaled(frequency, j),
            None => frequency,
        }
    }
}
