//! Low-rank adapters.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{ConfigError, MatrixKind, ModelConfig};

/// Beyond it sums overflow.
const MAX_ALPHA: f64 = 1e6;

/// Low-rank adapters (LoRA, Hu et al. 2021) beside frozen matrices: y = Q(W)·x + (α/r)·B·(A·x), A
/// `[r, in]`, B `[out, r]`.
///
/// ```
/// use ternary_core::config::LoraConfig;
///
/// let lora = LoraConfig { rank: 4, targets: LoraConfig::parse_targets("q,v")?, ..LoraConfig::default() };
/// assert_eq!(lora.scale(), 4.0);
/// # Ok::<(), ternary_core::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// r.
    pub rank: usize,
    /// α: the product is scaled by α/r.
    pub alpha: f64,
    /// Matrices that get an adapter, in every layer; all of the body by default (Dettmers et al.
    /// 2023). `gate` counts only where the model has one.
    pub targets: Vec<MatrixKind>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig {
            rank: 8,
            alpha: 16.0,
            targets: MatrixKind::ALL.to_vec(),
        }
    }
}

impl LoraConfig {
    /// α/r.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank.max(1) as f64) as f32
    }

    /// A list such as `q,v`.
    ///
    /// # Errors
    /// A name that is no matrix; the error lists those that are.
    pub fn parse_targets(text: &str) -> Result<Vec<MatrixKind>, ConfigError> {
        let mut targets = Vec::new();
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            let kind: MatrixKind = name.parse()?;
            if !targets.contains(&kind) {
                targets.push(kind);
            }
        }
        Ok(targets)
    }

    /// Refuse what no adapter of `config` can be.
    pub fn validate(&self, config: &ModelConfig) -> Result<(), ConfigError> {
        let fail = |message: String| Err(ConfigError::Invalid(message));
        let most = config
            .matrices()
            .map(|kind| {
                let (rows, cols) = config.matrix_shape(kind);
                rows.min(cols)
            })
            .min()
            .unwrap_or(1);
        if self.rank == 0 || self.rank > most {
            return fail(format!(
                "LoRA rank is {}; it must be between 1 and {most}, the smallest side of this model's matrices",
                self.rank
            ));
        }
        if !(self.alpha > 0.0 && self.alpha <= MAX_ALPHA) {
            return fail(format!(
                "LoRA alpha is {}; it must be above 0 and at most {MAX_ALPHA}",
                self.alpha
            ));
        }
        if !config.matrices().any(|kind| self.targets.contains(&kind)) {
            let valid: Vec<&str> = config.matrices().map(MatrixKind::key).collect();
            return fail(format!(
                "LoRA targets name none of this model's matrices; give some of {}",
                valid.join(", ")
            ));
        }
        Ok(())
    }
}
