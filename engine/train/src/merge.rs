//! Merging an adapter: W' = latents(Q(W)) + (α/r)·B·A, quantized again by the matrix's own
//! quantizer.

use serde::Serialize;

use crate::error::{Error, Result};
use ternary_core::config::{ModelConfig, QuantMode};
use ternary_core::params::{self, Matrix};
use ternary_core::quant::quantize;
use ternary_formats::adapter::Adapter;
use ternary_model::Parameters;

/// What merging did to a matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixChange {
    /// The parameter's name.
    pub name: String,
    /// Its precision, before and after.
    pub mode: QuantMode,
    /// How many it has.
    pub weights: usize,
    /// Codes that are others than before; none of an F16 matrix, which takes the adapter as it is.
    pub changed: Option<usize>,
}

/// A model with an adapter merged into it.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Latents; what quantizes to the merged model.
    pub parameters: Parameters,
    /// One entry for each matrix with an adapter.
    pub changes: Vec<MatrixChange>,
}

/// `latent + scale·B·A`, all row-major: A `[rank, cols]`, B `[rows, rank]`.
fn add_product(latent: &mut [f32], a: &[f32], b: &[f32], cols: usize, scale: f32) {
    let rank = a.len() / cols;
    for (row, b) in latent.chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
        for (a, b) in a.chunks_exact(cols).zip(b) {
            let factor = scale * b;
            for (w, a) in row.iter_mut().zip(a) {
                *w += factor * a;
            }
        }
    }
}

/// Latents that stand for nothing but the matrix's quantized weights.
fn quantized_latents(m: &Matrix, latent: &[f32], clip: f32) -> Result<(Vec<f32>, Vec<i8>)> {
    let q = quantize(latent, m.rows, m.cols, &m.quant);
    let latents = m
        .quant
        .latents(&q, m.rows, m.cols, clip)
        .ok_or_else(|| Error::Unmergeable {
            name: m.name.clone(),
        })?;
    Ok((latents, q.codes))
}

/// Merge `adapter`, which must have been [checked](Adapter::check), into the model with these
/// latents.
pub fn merge(
    config: &ModelConfig,
    mut parameters: Parameters,
    adapter: &Adapter,
) -> Result<Merged> {
    let lora = &adapter.lora;
    let missing = |name: &str| Error::MergeTensor {
        name: name.to_owned(),
    };
    let mut changes = Vec::new();
    for m in params::adapted(config, lora) {
        let [a, b] = params::adapter(&m, lora.rank);
        let tensor = |name: &str| adapter.tensors.get(name).ok_or_else(|| missing(name));
        let (a, b) = (tensor(&a.name)?, tensor(&b.name)?);
        let base = parameters.get(&m.name).ok_or_else(|| missing(&m.name))?;
        let (mut latent, codes) = if !m.mode.is_quantized() {
            (base.clone(), None)
        } else {
            let (latent, codes) = quantized_latents(&m, base, config.latent_clip_max_training)?;
            (latent, Some(codes))
        };
        add_product(&mut latent, a, b, m.cols, lora.scale());
        let changed = codes.map(|before| {
            let after = quantize(&latent, m.rows, m.cols, &m.quant).codes;
            before.iter().zip(&after).filter(|(a, b)| a != b).count()
        });
        changes.push(MatrixChange {
            name: m.name.clone(),
            mode: m.mode,
            weights: latent.len(),
            changed,
        });
        parameters.insert(m.name, latent);
    }
    Ok(Merged {
        parameters,
        changes,
    })
}
