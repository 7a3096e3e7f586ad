//! What a float model becomes.

use crate::error::{Error, Result};
use ternary_core::config::{LayerBitMap, ModelConfig, QuantMode, WeightScale};
use ternary_core::params::{self, ParamKind};

/// The model computed in floats throughout, whatever its file stores it in.
///
/// # Errors
/// A model that has ternary or binary matrices: it is what a conversion makes.
pub fn float_config(config: &ModelConfig) -> Result<ModelConfig> {
    let mut low_bit = 0;
    let mut all = 0;
    for p in params::all(config) {
        if let ParamKind::Matrix(m) = &p.kind {
            all += 1;
            low_bit += usize::from(m.mode.is_latent());
        }
    }
    if low_bit > 0 {
        return Err(Error::NotFloat { low_bit, all });
    }
    Ok(ModelConfig {
        // Training's forward does not round what is stored in F16.
        layer_bit_map: Some(LayerBitMap::sandwich(config.num_layers, QuantMode::F16)),
        anneal_fraction: 0.0,
        arenas_initial: None,
        ..config.clone()
    })
}

/// The ternary model that `float` becomes: codes by absmean with a scale per matrix (b1.58), int8
/// activations, F16 ends; with `sub_norms` RMSNorms before the output and the down projections.
/// Latents are not clamped: a float model's may be of any size.
pub fn student_config(float: &ModelConfig, sub_norms: bool) -> ModelConfig {
    ModelConfig {
        layer_bit_map: Some(LayerBitMap::sandwich(float.num_layers, QuantMode::Ternary)),
        use_ternary: None,
        use_dynamic_threshold: false,
        ste_scale_factor: 1.0,
        latent_clamp_max: 0.0,
        latent_clip_max_training: 0.0,
        weight_scale: WeightScale::Tensor,
        activation_bits: Some(8),
        use_sub_norm: float.use_sub_norm || sub_norms,
        ..float.clone()
    }
}
