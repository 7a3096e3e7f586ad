//! A model in another bit-map than the one it was trained in.
//!
//! Latents are a model only in the modes that they were trained in: a matrix trained ternary has no
//! better F16 hidden behind it (its latents score worse than their quantized values). So a mode
//! finer than everything the matrix was trained in takes its *restored* values, those it multiplied
//! by in training; every other mode quantizes the latents, as training does.

use crate::program::BufferKind;
use std::collections::HashMap;

use crate::Parameters;
use ternary_core::config::{ConfigError, LayerBitMap, ModelConfig, QuantMode};
use ternary_core::params::{self, Matrix};
use ternary_core::quant::dequantized;

/// What a matrix in a wanted mode is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Latent,
    Restored,
}

impl Origin {
    /// The buffers that hold such values.
    pub fn kind(self) -> BufferKind {
        match self {
            Origin::Latent => BufferKind::Param,
            Origin::Restored => BufferKind::Restored,
        }
    }
}

/// The modes that every matrix of a model was trained in.
#[derive(Clone, Debug)]
pub struct Remap {
    config: ModelConfig,
    /// The coarsest-to-finest order does not matter; the finest one decides.
    finest: HashMap<String, QuantMode>,
}

impl Remap {
    /// `config`: the model as it was trained. `random_modes`: what the matrices of its layers were
    /// in besides (`train --random-modes`).
    pub fn new(config: &ModelConfig, random_modes: &[QuantMode]) -> Self {
        let ends = [params::EMBEDDING, params::LM_HEAD];
        let finest = params::matrices(config).map(|m| {
            let random = random_modes.iter().copied();
            let finest = random
                .filter(|_| !ends.contains(&m.name.as_str()))
                .fold(m.mode, QuantMode::min);
            (m.name, finest)
        });
        Remap {
            config: config.clone(),
            finest: finest.collect(),
        }
    }

    /// What `wanted`, a matrix in its new mode, is made from.
    pub fn origin(&self, wanted: &Matrix) -> Origin {
        match self.finest.get(&wanted.name) {
            Some(finest) if finest.is_quantized() && wanted.mode < *finest => Origin::Restored,
            _ => Origin::Latent,
        }
    }

    /// The values that every matrix multiplies by as trained, by name; only of those that could be
    /// wanted finer.
    pub fn restored(&self, parameters: &Parameters) -> Parameters {
        params::matrices(&self.config)
            .filter(|m| self.finest.get(&m.name).is_some_and(|f| f.is_quantized()))
            .filter_map(|m| {
                let latent = parameters.get(&m.name)?;
                let values = dequantized(latent, m.rows, m.cols, &m.quant);
                Some((m.name, values))
            })
            .collect()
    }

    /// The model in `map`: a config that says so, and parameters that its quantizers turn into the
    /// map's weights.
    ///
    /// # Errors
    /// A map of another number of layers.
    pub fn apply(
        &self,
        parameters: &mut Parameters,
        map: &LayerBitMap,
    ) -> Result<ModelConfig, ConfigError> {
        let config = ModelConfig {
            layer_bit_map: Some(map.clone()),
            ..self.config.clone()
        };
        config.validate()?;
        let mut restored = self.restored(parameters);
        for m in params::matrices(&config) {
            if self.origin(&m) == Origin::Restored
                && let Some(values) = restored.remove(&m.name)
            {
                parameters.insert(m.name, values);
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::params::all;

    fn config(body: QuantMode) -> ModelConfig {
        ModelConfig {
            vocab_size: 16,
            hidden_size: 16,
            num_heads: 2,
            num_layers: 2,
            intermediate_size: 24,
            max_seq_len: 8,
            layer_bit_map: Some(LayerBitMap::sandwich(2, body)),
            ..ModelConfig::default()
        }
    }

    fn values(config: &ModelConfig) -> Parameters {
        let values = all(config).into_iter();
        values
            .map(|p| (p.name.clone(), p.init(config, 3)))
            .collect()
    }

    #[test]
    fn finer_modes_take_restored_values_and_coarser_ones_latents() {
        use QuantMode::{Binary, EightBit, F16, Ternary};
        let at = |trained, random: &[QuantMode], wanted| {
            let remap = Remap::new(&config(trained), random);
            remap.origin(&params::layer_matrix(
                &config(wanted),
                1,
                ternary_core::config::MatrixKind::Up,
            ))
        };
        for wanted in QuantMode::ALL {
            assert_eq!(at(F16, &[], wanted), Origin::Latent);
            assert_eq!(at(Ternary, &QuantMode::ALL, wanted), Origin::Latent);
        }
        assert_eq!(at(Ternary, &[], F16), Origin::Restored);
        assert_eq!(at(Ternary, &[], EightBit), Origin::Restored);
        assert_eq!(at(Ternary, &[], Binary), Origin::Latent);
        assert_eq!(at(Binary, &[EightBit], F16), Origin::Restored);
        assert_eq!(at(Binary, &[EightBit], Ternary), Origin::Latent);
    }

    #[test]
    fn a_ternary_matrix_in_f16_is_its_ternary_values() {
        let config = config(QuantMode::Ternary);
        let (mut now, before) = (values(&config), values(&config));
        let mut map = config.bit_map();
        map.layer_modes[1] = ternary_core::config::LayerMode::Whole(QuantMode::F16);
        let remap = Remap::new(&config, &[]);
        let remapped = remap.apply(&mut now, &map).unwrap();
        assert_eq!(remapped.bit_map(), map);
        for p in all(&config) {
            let (old, new) = (&before[&p.name], &now[&p.name]);
            if p.name.starts_with("model.layers.1.")
                && matches!(p.kind, params::ParamKind::Matrix(_))
            {
                let mut distinct: Vec<u32> = new.iter().map(|v| v.to_bits()).collect();
                distinct.sort_unstable();
                distinct.dedup();
                assert!(old != new && distinct.len() <= 3 * p.shape[0], "{}", p.name);
            } else {
                assert_eq!(old, new, "{}", p.name);
            }
        }
        map.layer_modes.pop();
        assert!(remap.apply(&mut now, &map).is_err());
    }
}
