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
    /// Frequency j divided by `factors[j]`, rotary_dim / 2 of them (as GGUF files say it).
    Factors {
        /// One divisor for each frequency.
        factors: Vec<f32>,
    },
    /// LongRoPE (Ding et al. 2024): as `Factors`, with one of two lists by the model's context.
    LongRope {
        /// Divisors for a context of at most `original_max_position_embeddings`.
        short_factors: Vec<f32>,
        /// Divisors for a longer one.
        long_factors: Vec<f32>,
        /// Tokens of the first training's context.
        original_max_position_embeddings: u32,
        /// What rotated pairs are multiplied by.
        attention_factor: f32,
    },
    /// YaRN (Peng et al. 2023): frequencies that turn seldom within the original context are
    /// divided by `factor`, those that turn often stay, with a ramp over the pairs in between.
    Yarn {
        /// How many times longer the texts are.
        factor: f32,
        /// Tokens of the first training's context.
        original_max_position_embeddings: u32,
        /// Turns within it at or above which a frequency stays.
        beta_fast: f32,
        /// Turns at or below which it is divided whole.
        beta_slow: f32,
        /// What rotated pairs are multiplied by.
        attention_factor: f32,
        /// Whether the ends of the ramp are whole pairs.
        truncate: bool,
    },
}

impl RopeScaling {
    /// What rotated pairs are multiplied by.
    fn attention_factor(&self) -> f64 {
        match self {
            RopeScaling::LongRope {
                attention_factor, ..
            }
            | RopeScaling::Yarn {
                attention_factor, ..
            } => f64::from(*attention_factor),
            RopeScaling::Linear { .. }
            | RopeScaling::Llama3 { .. }
            | RopeScaling::Factors { .. } => 1.0,
        }
    }

    /// Of pair `j`, whose `frequency` is θ^(−2j/rotary_dim).
    fn scaled(&self, frequency: f64, j: usize, config: &ModelConfig) -> f64 {
        match self {
            RopeScaling::LongRope {
                short_factors,
                long_factors,
                original_max_position_embeddings: original,
                ..
            } => {
                let long = config.max_seq_len > *original as usize;
                let factors = if long { long_factors } else { short_factors };
                frequency / f64::from(factors[j])
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast,
                beta_slow,
                truncate,
                ..
            } => {
                let (theta, dim) = (f64::from(config.rope_theta), config.rotary_dim());
                // The pair that turns `turns` times within the original context.
                let pair = |turns: f32| {
                    let per_turn =
                        f64::from(*original) / (f64::from(turns) * 2.0 * core::f64::consts::PI);
                    dim as f64 * libm::log(per_turn) / (2.0 * libm::log(theta))
                };
                let (mut low, mut high) = (pair(*beta_fast), pair(*beta_slow));
                if *truncate {
                    (low, high) = (libm::floor(low), libm::ceil(high));
                }
                (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretched = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency / f64::from(*factor) * stretched + frequency * (1.0 - stretched)
            }
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

    pub(super) fn validate(&self, rotary_dim: usize) -> Result<(), ConfigError> {
        let fail = |message| Err(ConfigError::Invalid(message));
        let positive = |f: &f32| f.is_finite() && *f > 0.0;
        match self {
            RopeScaling::Linear { factor } if !positive(factor) => fail(format!(
                "rope_scaling.factor is {factor}; it must be above 0"
            )),
            RopeScaling::Factors { factors } => check_factors(factors, rotary_dim),
            RopeScaling::LongRope {
                short_factors,
                long_factors,
                attention_factor,
                ..
            } => {
                check_factors(short_factors, rotary_dim)?;
                check_factors(long_factors, rotary_dim)?;
                if positive(attention_factor) {
                    return Ok(());
                }
                fail(format!(
                    "rope_scaling.attention_factor is {attention_factor}; it must be above 0"
                ))
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast: fast,
                beta_slow: slow,
                attention_factor: attention,
                ..
            } if ![factor, fast, slow, attention].into_iter().all(positive)
                || slow > fast
                || *original == 0 =>
            {
                fail(format!(
                    "rope_scaling has factor {factor}, beta_fast {fast}, beta_slow {slow}, attention_factor {attention} and original_max_position_embeddings {original}; all must be above 0 and beta_slow no larger than beta_fast"
                ))
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

/// One for every rotated pair.
fn check_factors(factors: &[f32], rotary_dim: usize) -> Result<(), ConfigError> {
    if factors.len() != rotary_dim / 2 {
        return Err(ConfigError::Invalid(format!(
            "rope_scaling has {} factors; {rotary_dim} rotated dimensions take {}",
            factors.len(),
            rotary_dim / 2
        )));
    }
    if !factors.iter().all(|f| f.is_finite() && *f > 0.0) {
        return Err(ConfigError::Invalid(
            "rope_scaling's factors must all be above 0".into(),
        ));
    }
    Ok(())
}

impl ModelConfig {
    /// Radians per position of pair `j` of a head: θ^(−2j/rotary_dim), scaled. In f64, so that
    /// every backend rotates by the same angles.
    pub fn rope_frequency(&self, j: usize) -> f64 {
        let frequency = frequency(f64::from(self.rope_theta), j, self.rotary_dim());
        match &self.rope_scaling {
            Some(scaling) => scaling.scaled(frequency, j, self),
            None => frequency,
        }
    }

    /// As [`Self::rope_frequency`], of the layers with `local_rope_theta`.
    pub fn local_rope_frequency(&self, j: usize) -> f64 {
        let theta = f64::from(self.local_rope_theta.unwrap_or(self.rope_theta));
        frequency(theta, j, self.rotary_dim())
    }

    /// What rotated pairs are multiplied by.
    pub fn rope_attention_factor(&self) -> f64 {
        let scaling = self.rope_scaling.as_ref();
        scaling.map_or(1.0, RopeScaling::attention_factor)
    }
}

fn frequency(theta: f64, j: usize, dim: usize) -> f64 {
    libm::pow(theta, -2.0 * j as f64 / dim as f64)
}
