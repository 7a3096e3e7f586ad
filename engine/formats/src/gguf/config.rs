//! A GGUF file's hyperparameters.

use std::collections::BTreeMap;

use super::architecture::{Decoder, Norms};
use super::container::{Gguf, Value};
use super::names;
use super::rope::Divisors;
use crate::hf::config::{self, Family};
use crate::source::ImportError;
use crate::source::checkpoint::{Folds, SourceTensor};
use ternary_core::config::{Activation, MatrixKind, ModelConfig, NormKind};
use ternary_core::params::{self, norms};

const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";
const PARALLEL: &str = "use_parallel_residual";
/// Of every so many layers of SmolLM3, the last has no RoPE.
const WITHOUT_ROPE: usize = 4;
/// Layers of Gemma 2's and Gemma 3's 27B, whose scores are scaled by the hidden size.
const GEMMA_27B: [usize; 2] = [46, 62];
/// Layers of GPT-NeoX 20B, whose activation is the approximation.
const NEOX_20B: usize = 44;

pub(super) struct Fields<'a> {
    pub file: &'a Gguf,
    pub architecture: &'a str,
    pub decoder: &'a Decoder,
}

/// Factor of attention's scores that files of these families do not tell.
pub(super) fn gemma_scale(c: &ModelConfig) -> f32 {
    let width = match GEMMA_27B.contains(&c.num_layers) {
        true => c.hidden_size / c.num_heads,
        false => c.head_dim(),
    };
    libm::sqrt(1.0 / width as f64) as f32
}

/// The activation of GPT-NeoX models, which files do not tell.
pub(crate) fn neox_activation(layers: usize) -> Activation {
    match layers == NEOX_20B {
        true => Activation::Gelu,
        false => Activation::GeluErf,
    }
}

/// Layers that a window is for where every `period`th has none.
pub(super) fn windowed(layers: usize, period: usize) -> Vec<usize> {
    let last = |layer: &usize| period > 0 && (layer + 1).is_multiple_of(period);
    (0..layers).filter(|layer| !last(layer)).collect()
}

/// As [`windowed`], where the file does not say.
pub(super) fn window_period(family: Family) -> usize {
    match family {
        Family::Gemma2 => 2,
        Family::Gemma3 => 6,
        _ => 0,
    }
}

/// The layers of SmolLM3 without RoPE.
pub(super) fn without_rope(layers: usize) -> Vec<usize> {
    let last = |layer: &usize| (layer + 1).is_multiple_of(WITHOUT_ROPE);
    (0..layers).filter(last).collect()
}

impl Fields<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub fn refuse<T>(&self, name: &str, supported: &str) -> Result<T, ImportError> {
        let key = self.key(name);
        Err(ImportError::Unsupported {
            found: match self.file.values.get(&key) {
                Some(Value::Integer(n)) => n.to_string(),
                Some(Value::Text(text)) => format!("`{text}`"),
                Some(other) => format!("{other:?}").chars().take(60).collect(),
                None => "missing".into(),
            },
            what: key,
            supported: supported.into(),
        })
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.file.text(&self.key(name))
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.file.float(&self.key(name)).map(|v| v as f32)
    }

    /// A factor; 0 and 1 stand for none.
    fn factor(&self, name: &str) -> Option<f32> {
        self.float(name).filter(|v| *v != 0.0 && *v != 1.0)
    }

    pub fn size(&self, name: &str) -> Result<Option<usize>, ImportError> {
        match self.file.values.get(&self.key(name)) {
            None => Ok(None),
            Some(Value::Integer(n)) if *n >= 0 => Ok(Some(*n as usize)),
            Some(_) => self.refuse(name, "one number, the same for all layers"),
        }
    }

    fn needed(&self, name: &str) -> Result<usize, ImportError> {
        match self.size(name)? {
            Some(n) => Ok(n),
            None => self.refuse(name, "a number"),
        }
    }

    fn epsilon(&self) -> &'static str {
        match self.decoder.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        }
    }

    /// Whether a key is read of such a file, though not of every file.
    pub fn reads(&self, own: &str) -> bool {
        self.decoder.reads.contains(&own) || own == self.epsilon() || self.reads_rope(own)
    }

    /// The decoder, and what becomes part of its weights. Matrices that are in one are taken apart.
    pub fn model(
        &self,
        tensors: &mut BTreeMap<String, SourceTensor>,
        divisors: Divisors,
    ) -> Result<(ModelConfig, Folds), ImportError> {
        let decoder = self.decoder;
        let hidden = self.needed("embedding_length")?;
        let heads = self.needed("attention.head_count")?;
        let equal = hidden / heads.max(1);
        let head_dim = self.size("attention.key_length")?.unwrap_or(equal);
        let value = self.size("attention.value_length")?;
        if value.is_some_and(|n| n != head_dim) {
            return self.refuse("attention.value_length", "the same as attention.key_length");
        }
        let rotary = match decoder.rope {
            true => self.size("rope.dimension_count")?.unwrap_or(head_dim),
            false => head_dim,
        };
        let context = self.needed("context_length")?;
        let Some(eps) = self.float(self.epsilon()) else {
            return self.refuse(self.epsilon(), "a number");
        };
        let embedding = tensors.get(params::EMBEDDING);
        let mut config = ModelConfig {
            vocab_size: embedding
                .ok_or_else(|| ImportError::MissingTensor {
                    tensor: "token_embd.weight".into(),
                })?
                .rows(),
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(self.size("attention.head_count_kv")?.unwrap_or(heads)),
            head_dim: (head_dim.checked_mul(heads) != Some(hidden)).then_some(head_dim),
            num_layers: self.needed("block_count")?,
            intermediate_size: self.needed("feed_forward_length")?,
            max_seq_len: context,
            activation: Some(decoder.activation),
            use_swiglu: decoder.gated,
            use_rope: decoder.rope,
            norm: decoder.norm,
            norm_placement: decoder.placement,
            use_qk_norm: matches!(decoder.norms, Norms::QueryKey | Norms::AllHeads),
            qk_norm_over_heads: decoder.norms == Norms::AllHeads,
            tie_word_embeddings: !tensors.contains_key(params::LM_HEAD),
            rope_theta: self.float("rope.freq_base").unwrap_or(10_000.0),
            rotary_dim: (rotary != head_dim).then_some(rotary),
            rms_norm_eps: eps,
            ..config::decoder()
        };
        if decoder.rope {
            config.rope_scaling = self.scaling(divisors, context)?;
        }
        // Before anything is counted by layers and rows.
        config.validate()?;
        names::separate(tensors, &config)?;
        let has = |part: &str| tensors.keys().any(|name| name.contains(part));
        config.use_sub_norm = decoder.norms == Norms::Sub && has(norms::ATTENTION_SUB);
        config.biases = MatrixKind::ALL
            .into_iter()
            .filter(|kind| has(&format!("{}.bias", kind.module())))
            .collect();
        let mut folds = Folds::default();
        let one_norm = !has(norms::MLP_INPUT);
        self.own(&mut config, &mut folds, one_norm)?;
        if decoder.family == Family::StableLm && one_norm {
            names::share_norms(tensors, config.num_layers);
        }
        self.window(&mut config)?;
        Ok((config, folds))
    }

    /// What only this decoder has. `one_norm`: layers have one norm before both branches.
    fn own(
        &self,
        config: &mut ModelConfig,
        folds: &mut Folds,
        one_norm: bool,
    ) -> Result<(), ImportError> {
        let layers = config.num_layers;
        match self.decoder.family {
            family @ (Family::Gemma | Family::Gemma2 | Family::Gemma3) => {
                let width = config.hidden_size as f64;
                config.embedding_multiplier = Some(libm::sqrt(width) as f32);
                if family == Family::Gemma {
                    return Ok(());
                }
                config.attention_multiplier = Some(gemma_scale(config));
                let cap = |name: &str, default: Option<f32>| {
                    self.float(name).or(default).filter(|cap| *cap != 0.0)
                };
                let (attention, logits) = match family {
                    Family::Gemma2 => (Some(50.0), Some(30.0)),
                    _ => (None, None),
                };
                config.attention_softcap = cap("attn_logit_softcapping", attention);
                config.logit_softcap = cap("final_logit_softcapping", logits);
            }
            Family::Granite => {
                // There, this key is a switch.
                if self.file.flag(&self.key("rope.scaling.finetuned")) == Some(false) {
                    return self.refuse("rope.scaling.finetuned", "true, or no such key");
                }
                config.embedding_multiplier = self.factor("embedding_scale");
                config.residual_multiplier = self.factor("residual_scale");
                let usual = 1.0 / libm::sqrtf(config.head_dim() as f32);
                let scale = self.float("attention.scale").filter(|v| *v != 0.0);
                config.attention_multiplier = scale.filter(|v| *v != usual);
                folds.logit_factor = 1.0 / self.factor("logit_scale").unwrap_or(1.0);
            }
            Family::MiniCpm => {
                // Files from before these keys are of the models that have such factors.
                let given = |name: &str, usual: f64| {
                    let value = self.float(name).unwrap_or(usual as f32);
                    Some(value).filter(|v| *v != 0.0 && *v != 1.0)
                };
                let hidden = config.hidden_size as f64;
                config.embedding_multiplier = given("embedding_scale", 12.0);
                config.residual_multiplier =
                    given("residual_scale", 1.4 / libm::sqrt(layers as f64));
                folds.logit_factor = 1.0 / given("logit_scale", hidden / 256.0).unwrap_or(1.0);
            }
            Family::SmolLm3 => config.layers_without_rope = without_rope(layers),
            // The key is there for all of them; what is computed depends on the norm.
            Family::StableLm => config.parallel_residual = one_norm,
            Family::GptNeoX => {
                let flag = self.file.flag(&self.key(PARALLEL));
                config.parallel_residual = flag != Some(false);
                config.activation = Some(neox_activation(layers));
            }
            _ => {}
        }
        Ok(())
    }

    /// Which layers see a part of the text only.
    fn window(&self, config: &mut ModelConfig) -> Result<(), ImportError> {
        let family = self.decoder.family;
        let default = (family == Family::Gemma2).then_some(4096);
        let window = self.size(WINDOW)?.or(default).filter(|n| *n > 0);
        let Some(window) = window else {
            return Ok(());
        };
        let layers = config.num_layers;
        let windowed = match (family, self.file.values.get(&self.key(PATTERN))) {
            (Family::Llama | Family::Phi3 | Family::Gemma2 | Family::Gemma3, None) => {
                windowed(layers, window_period(family))
            }
            (_, Some(Value::Integer(period @ 0..))) => windowed(layers, *period as usize),
            (_, Some(Value::Numbers(each))) if each.len() >= layers => {
                (0..layers).filter(|layer| each[*layer] != 0.0).collect()
            }
            (_, Some(_)) => {
                return self.refuse(PATTERN, "a number, or a flag for every layer");
            }
            _ if window < config.max_seq_len => {
                return self.refuse(WINDOW, "none, or no less than context_length");
            }
            _ => return Ok(()),
        };
        // A window as long as the longest text is none, but for the RoPE of such layers.
        let matters = window < config.max_seq_len || family == Family::Gemma3;
        if !windowed.is_empty() && matters {
            config.sliding_window = Some(window);
            config.windowed_layers = (windowed.len() < layers).then_some(windowed);
            if family == Family::Gemma3 {
                let theta = self.float("rope.freq_base_swa");
                config.local_rope_theta = Some(theta.unwrap_or(10_000.0));
            }
        }
        Ok(())
    }
}
