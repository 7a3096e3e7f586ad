//! Figures of every matrix while it is trained: `layers.jsonl`.

use std::collections::HashMap;

use serde::Serialize;

use super::trainer::Trainer;
use crate::error::Result;
use ternary_core::config::QuantMode;
use ternary_core::params::{Matrix, ParamKind};
use ternary_core::quant;

/// One matrix at one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixStats {
    /// The parameter's name.
    pub name: String,
    /// Its precision.
    pub mode: QuantMode,
    /// L2 norm of the step's gradient, before clipping.
    pub grad_norm: f64,
    /// Root mean square of the latents.
    pub latent_rms: f64,
    /// Ternary and binary matrices only.
    #[serde(flatten)]
    pub codes: Option<CodeStats>,
}

/// The codes that latents quantize to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodeStats {
    /// Share of the code −1.
    pub minus: f64,
    /// Share of the code 0, which binary matrices lack.
    pub zero: f64,
    /// Share of the code +1.
    pub plus: f64,
    /// Share of the codes that changed, per step since the last statistics (or since the run began
    /// or was resumed).
    pub flips_per_step: f64,
    /// Mean of the scales.
    pub mean_scale: f64,
}

/// Compares codes with those of the last time.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    codes: HashMap<String, Vec<i8>>,
    step: usize,
}

fn matrices(trainer: &Trainer) -> Vec<(usize, Matrix)> {
    let trained = trainer.trained().into_iter();
    trained
        .enumerate()
        .filter_map(|(i, p)| match p.kind {
            ParamKind::Matrix(m) => Some((i, m)),
            _ => None,
        })
        .collect()
}

impl Statistics {
    /// Remember the codes of now.
    pub(super) async fn new(trainer: &mut Trainer) -> Result<Self> {
        let mut codes = HashMap::new();
        for (_, m) in matrices(trainer) {
            if m.mode.is_latent() {
                let latent = trainer.parameter(&m.name).await?;
                let q = quant::quantize(&latent, m.rows, m.cols, &m.quant);
                codes.insert(m.name, q.codes);
            }
        }
        Ok(Statistics {
            codes,
            step: trainer.step,
        })
    }

    /// Figures of the step just made. Only reads: the training goes on as it would have.
    pub(super) async fn measure(&mut self, trainer: &mut Trainer) -> Result<Vec<MatrixStats>> {
        let norms = trainer.squared_gradients().await?;
        let steps = trainer.step.saturating_sub(self.step).max(1) as f64;
        let mut all = Vec::new();
        for (i, m) in matrices(trainer) {
            let latent = trainer.parameter(&m.name).await?;
            let n = latent.len().max(1) as f64;
            let squares: f64 = latent.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
            let codes = m.mode.is_latent().then(|| {
                let q = quant::quantize(&latent, m.rows, m.cols, &m.quant);
                let share = |code: i8| q.codes.iter().filter(|c| **c == code).count() as f64 / n;
                let before = self.codes.get(&m.name).map_or(&q.codes[..], Vec::as_slice);
                let flips = q.codes.iter().zip(before).filter(|(a, b)| a != b).count() as f64;
                let scales: f64 = q.scales.iter().map(|s| f64::from(*s)).sum();
                let stats = CodeStats {
                    minus: share(-1),
                    zero: share(0),
                    plus: share(1),
                    flips_per_step: flips / n / steps,
                    mean_scale: scales / q.scales.len().max(1) as f64,
                };
                self.codes.insert(m.name.clone(), q.codes);
                stats
            });
            all.push(MatrixStats {
                name: m.name,
                mode: m.mode,
                grad_norm: f64::from(norms.get(i).copied().unwrap_or(f32::NAN)).sqrt(),
                latent_rms: (squares / n).sqrt(),
                codes,
            });
        }
        self.step = trainer.step;
        Ok(all)
    }
}
