//! Several adapters as one: W + Σᵢ (αᵢ/rᵢ)·Bᵢ·Aᵢ = W + B·A, where A has the rows of all Aᵢ below
//! each other, `[Σ rᵢ, in]`, and B the columns of all (αᵢ/rᵢ)·Bᵢ beside each other, `[out, Σ rᵢ]`.
//! A matrix that an adapter leaves alone has zeros of it.

use super::{Adapter, AdapterError, Result};
use ternary_core::config::{LoraConfig, ModelConfig};
use ternary_core::params::{self, LORA_A};
use ternary_model::Parameters;

impl Adapter {
    /// What all of these, of one model with this config, add to it together.
    ///
    /// # Errors
    /// None at all; adapters of different models; tensors that do not fit the model.
    pub fn combined(all: &[Adapter], config: &ModelConfig) -> Result<Adapter> {
        let Some((first, others)) = all.split_first() else {
            return Err(AdapterError::Invalid("there is no adapter".to_owned()));
        };
        for other in others {
            if let (Some(one), Some(two)) = (first.base.checksum, other.base.checksum)
                && let Some(difference) = one.difference(&two)
            {
                return Err(AdapterError::Invalid(format!(
                    "the adapters are of two models, {} and {} ({difference})",
                    first.base.name, other.base.name
                )));
            }
        }
        let rank = all.iter().map(|adapter| adapter.lora.rank).sum();
        let mut targets = Vec::new();
        for target in all.iter().flat_map(|adapter| &adapter.lora.targets) {
            if !targets.contains(target) {
                targets.push(*target);
            }
        }
        let lora = LoraConfig {
            rank,
            // The scales are in the matrices.
            alpha: rank as f64,
            targets,
        };
        let mut tensors = Parameters::new();
        for p in params::trained(config, Some(&lora)) {
            let is_a = p.name.ends_with(LORA_A);
            let mut values = Vec::with_capacity(p.len());
            let part = |adapter: &Adapter, row: usize, width: usize| -> Result<Vec<f32>> {
                let Some(own) = adapter.tensors.get(&p.name) else {
                    return Ok(vec![0.0; width]);
                };
                let part = own.get(row * width..(row + 1) * width);
                part.map(<[f32]>::to_vec).ok_or_else(|| {
                    AdapterError::Invalid(format!("{}: it is too small for the model", p.name))
                })
            };
            if is_a {
                let width = p.shape[1];
                for adapter in all {
                    for row in 0..adapter.lora.rank {
                        values.extend(part(adapter, row, width)?);
                    }
                }
            } else {
                for row in 0..p.shape[0] {
                    for adapter in all {
                        let scale = adapter.lora.scale();
                        let own = part(adapter, row, adapter.lora.rank)?;
                        values.extend(own.iter().map(|v| v * scale));
                    }
                }
            }
            tensors.insert(p.name, values);
        }
        let checksum = all.iter().find_map(|adapter| adapter.base.checksum);
        Ok(Adapter {
            lora,
            base: super::Base {
                name: first.base.name.clone(),
                checksum,
            },
            tensors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Base;
    use ternary_core::config::MatrixKind;

    fn adapter(config: &ModelConfig, rank: usize, alpha: f64, targets: &[MatrixKind]) -> Adapter {
        let lora = LoraConfig {
            rank,
            alpha,
            targets: targets.to_vec(),
        };
        let mut seed = rank as u32;
        let mut next = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / 16_777_216.0 - 0.5
        };
        let tensors = params::trained(config, Some(&lora))
            .into_iter()
            .map(|p| (p.name.clone(), (0..p.len()).map(|_| next()).collect()))
            .collect();
        Adapter {
            lora,
            base: Base {
                name: "base".to_owned(),
                checksum: None,
            },
            tensors,
        }
    }

    /// The product of an adapter's matrices of `name`, in double precision.
    fn product(a: &Adapter, name: &str, rows: usize, cols: usize) -> Vec<f64> {
        let of = |half: &str| a.tensors.get(&name.replace("lora_A.weight", half));
        let (Some(left), Some(right)) = (of("lora_B.weight"), of("lora_A.weight")) else {
            return vec![0.0; rows * cols];
        };
        let r = a.lora.rank;
        let scale = a.lora.alpha / r as f64;
        let mut out = vec![0.0; rows * cols];
        for (i, out) in out.chunks_exact_mut(cols).enumerate() {
            for k in 0..r {
                for (j, out) in out.iter_mut().enumerate() {
                    *out += scale * f64::from(left[i * r + k]) * f64::from(right[k * cols + j]);
                }
            }
        }
        out
    }

    /// Of other ranks, scales and matrices.
    #[test]
    fn what_adapters_add_is_added_up() {
        let config = ModelConfig {
            hidden_size: 24,
            num_heads: 2,
            num_kv_heads: Some(1),
            intermediate_size: 40,
            num_layers: 2,
            vocab_size: 30,
            ..ModelConfig::default()
        };
        let all = [
            adapter(&config, 3, 7.0, &[MatrixKind::Q, MatrixKind::Up]),
            adapter(&config, 5, 2.0, &[MatrixKind::Up, MatrixKind::V]),
        ];
        let one = Adapter::combined(&all, &config).unwrap();
        assert_eq!(one.lora.rank, 8);
        let mut matrices = 0;
        let trained = params::trained(&config, Some(&one.lora));
        for pair in trained.chunks(2) {
            let a = pair.iter().find(|p| p.name.ends_with(LORA_A)).unwrap();
            let b = pair.iter().find(|p| !p.name.ends_with(LORA_A)).unwrap();
            let (rows, cols) = (b.shape[0], a.shape[1]);
            let whole = product(&one, &a.name, rows, cols);
            let parts = all.each_ref().map(|x| product(x, &a.name, rows, cols));
            for (i, whole) in whole.iter().enumerate() {
                let sum = parts[0][i] + parts[1][i];
                assert!((whole - sum).abs() < 1e-5, "{}: {whole} and {sum}", a.name);
            }
            matrices += 1;
        }
        assert_eq!(matrices, 3 * config.num_layers);
        assert!(Adapter::combined(&[], &config).is_err());
    }
}
