//! Which published decoder a model is: the one that computes with all of its switches.

use super::model::ExportError;
use crate::hf::config::Family;
use ternary_core::config::{
    Activation, MatrixKind, ModelConfig, NormKind, NormPlacement, RopeScaling,
};

use MatrixKind::{Down, Gate, K, O, Q, Up, V};

/// Layers of GPT-NeoX 20B, whose activation is the approximation.
const NEOX_20B: usize = 44;

/// The activation of GPT-NeoX models, which GGUF files do not tell.
pub(crate) fn neox_activation(layers: usize) -> Activation {
    match layers == NEOX_20B {
        true => Activation::Gelu,
        false => Activation::GeluErf,
    }
}

/// Where a model goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Hf,
    Gguf,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Target::Hf => "a Hugging Face folder",
            Target::Gguf => "GGUF",
        }
    }

    pub fn refuse<T>(self, what: &str, found: &str, supported: &str) -> Result<T, ExportError> {
        Err(ExportError::Unsupported {
            target: self.name(),
            what: what.into(),
            found: found.into(),
            supported: supported.into(),
        })
    }
}

/// √hidden_size, as Gemma multiplies its embedding.
fn gemma_embedding(c: &ModelConfig) -> Option<f32> {
    Some(libm::sqrt(c.hidden_size as f64) as f32)
}

fn choose(target: Target, c: &ModelConfig) -> Family {
    let gguf = target == Target::Gguf;
    let factors = c.residual_multiplier.is_some()
        || c.embedding_multiplier.is_some()
        || c.attention_multiplier.is_some();
    match (c.norm, c.norm_placement) {
        (NormKind::Layer, _) if !c.use_rope => Family::Gpt2,
        (NormKind::Layer, _) if c.use_swiglu => Family::StableLm,
        (NormKind::Layer, _) => Family::GptNeoX,
        (_, NormPlacement::Post) => Family::Olmo2,
        (_, NormPlacement::Sandwich) if c.use_qk_norm => Family::Gemma3,
        (_, NormPlacement::Sandwich) => Family::Gemma2,
        _ if c.use_sub_norm => Family::BitNet,
        _ if c.activation() == Activation::Gelu && c.embedding_multiplier == gemma_embedding(c) => {
            Family::Gemma
        }
        _ if !c.layers_without_rope.is_empty() => Family::SmolLm3,
        // transformers has no MiniCPM of its own; Granite has all of its factors.
        _ if factors && gguf && c.attention_multiplier.is_none() => Family::MiniCpm,
        _ if factors => Family::Granite,
        _ if c.use_qk_norm => Family::Qwen3,
        _ if c.rotary_dim.is_some() => Family::Phi3,
        _ if c.biases == [Q, K, V] => Family::Qwen2,
        _ if c.sliding_window.is_some() && !gguf => Family::Mistral,
        _ => Family::Llama,
    }
}

/// The switches that a family computes with, of those that are not always written.
fn switches(target: Target, family: Family) -> &'static [&'static str] {
    let hf = target == Target::Hf;
    match family {
        Family::Llama if hf => &["head_dim", "biases"],
        Family::Llama => &["head_dim", "biases", "sliding_window"],
        Family::BitNet => &["head_dim"],
        Family::Mistral => &["head_dim", "sliding_window"],
        Family::Qwen2 | Family::Qwen3 if hf => {
            &["head_dim", "biases", "sliding_window", "windowed_layers"]
        }
        Family::Qwen2 | Family::Qwen3 => &["head_dim", "biases"],
        Family::SmolLm3 if hf => &[
            "head_dim",
            "biases",
            "layers_without_rope",
            "sliding_window",
            "windowed_layers",
        ],
        Family::SmolLm3 => &["head_dim", "biases", "layers_without_rope"],
        Family::Gemma => &["head_dim", "biases", "embedding_multiplier"],
        Family::Gemma2 => &[
            "head_dim",
            "biases",
            "norm_placement",
            "embedding_multiplier",
            "attention_multiplier",
            "attention_softcap",
            "logit_softcap",
            "sliding_window",
            "windowed_layers",
        ],
        Family::Gemma3 => &[
            "head_dim",
            "biases",
            "norm_placement",
            "embedding_multiplier",
            "attention_multiplier",
            "logit_softcap",
            "sliding_window",
            "windowed_layers",
            "local_rope_theta",
        ],
        Family::Phi3 => &["head_dim", "rotary_dim", "sliding_window"],
        Family::Olmo2 => &["head_dim", "biases", "norm_placement", "qk_norm_over_heads"],
        Family::Granite => &[
            "head_dim",
            "biases",
            "embedding_multiplier",
            "residual_multiplier",
            "attention_multiplier",
        ],
        Family::MiniCpm => &["head_dim", "embedding_multiplier", "residual_multiplier"],
        Family::StableLm => &["norm", "biases", "parallel_residual", "rotary_dim"],
        Family::Gpt2 => &["norm", "biases"],
        Family::GptNeoX => &["norm", "biases", "parallel_residual", "rotary_dim"],
    }
}

/// The decoder that a model is there.
///
/// # Errors
/// The field that no decoder there computes with.
pub(crate) fn family(target: Target, c: &ModelConfig) -> Result<Family, ExportError> {
    let family = choose(target, c);
    let refuse = |what: &str, found: &str, supported: &str| target.refuse(what, found, supported);
    let as_text = |name: &str| {
        c.newer_fields()
            .get(name)
            .map_or_else(String::new, |v| v.to_string())
    };
    if !c.use_rope && family != Family::Gpt2 {
        return refuse("use_rope", "false", "true, or with LayerNorms and GELU");
    }
    if !c.use_swiglu && !matches!(family, Family::Gpt2 | Family::GptNeoX) {
        return refuse("use_swiglu", "false", "true, or with LayerNorms");
    }
    let known = switches(target, family);
    let other = c.newer_fields();
    if let Some((field, value)) = other
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        let supported = format!("unset in what is otherwise a {} decoder", family.name());
        return refuse(field, &value.to_string(), &supported);
    }
    let heads = match family {
        Family::Qwen3 | Family::Gemma3 | Family::Olmo2 => true,
        Family::BitNet if c.use_qk_norm => {
            return refuse(
                "use_sub_norm",
                "true together with use_qk_norm",
                "true without it",
            );
        }
        _ => false,
    };
    if c.use_qk_norm != heads || c.qk_norm_over_heads != (family == Family::Olmo2) {
        let found = format!(
            "{} in what is otherwise a {} decoder",
            c.use_qk_norm,
            family.name()
        );
        return refuse("use_qk_norm", &found, "that of the decoder");
    }
    if c.use_sub_norm && family != Family::BitNet {
        return refuse("use_sub_norm", "true", "false in such a decoder");
    }
    activation(target, family, c)?;
    let is_gemma = matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3);
    if is_gemma && c.embedding_multiplier != gemma_embedding(c) {
        let found = as_text("embedding_multiplier");
        let found = if found.is_empty() { "unset" } else { &found };
        return refuse("embedding_multiplier", found, "the root of hidden_size");
    }
    let full = matches!(family, Family::Gpt2 | Family::GptNeoX);
    if full && c.kv_heads() != c.num_heads {
        return refuse("num_kv_heads", &c.kv_heads().to_string(), "num_heads");
    }
    let attention = [Q, K, V, O];
    let mlp = [Gate, Up, Down];
    let has = |kinds: &[MatrixKind]| kinds.iter().all(|kind| c.biases.contains(kind));
    let fits = match family {
        Family::Gpt2 | Family::GptNeoX => c.biases == [Q, K, V, O, Up, Down],
        Family::Qwen2 => c.biases == [Q, K, V],
        Family::StableLm => c.biases.is_empty() || c.biases == [Q, K, V],
        // Of all that attention has, or the MLP, or both.
        _ => {
            let count = 4 * usize::from(has(&attention)) + 3 * usize::from(has(&mlp));
            let mlp_too = matches!(family, Family::Llama | Family::Granite | Family::SmolLm3);
            c.biases.len() == count && (mlp_too || !has(&mlp))
        }
    };
    if !fits && (target == Target::Hf || full) {
        let supported = format!("those that a {} decoder has", family.name());
        let found = as_text("biases");
        return refuse(
            "biases",
            if found.is_empty() { "none" } else { &found },
            &supported,
        );
    }
    Ok(family)
}

fn activation(target: Target, family: Family, c: &ModelConfig) -> Result<(), ExportError> {
    let (fits, supported) = match family {
        Family::BitNet => (
            matches!(c.activation(), Activation::Silu | Activation::Relu2),
            "silu or relu2",
        ),
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => {
            (c.activation() == Activation::Gelu, "gelu")
        }
        Family::Gpt2 if target == Target::Gguf => (c.activation() == Activation::Gelu, "gelu"),
        Family::GptNeoX if target == Target::Gguf => (
            c.activation() == neox_activation(c.num_layers),
            "gelu_erf, which files of this architecture mean",
        ),
        Family::Gpt2 | Family::GptNeoX => (
            matches!(c.activation(), Activation::Gelu | Activation::GeluErf),
            "gelu or gelu_erf",
        ),
        _ => (
            c.activation() == Activation::Silu,
            "silu, or relu2 with use_sub_norm",
        ),
    };
    match fits {
        true => Ok(()),
        false => target.refuse("activation", c.activation().name(), supported),
    }
}

/// Whether the factor of the branches is written as it is, and not a part of the weights.
pub(crate) fn keeps_residual(family: Family) -> bool {
    matches!(family, Family::Granite | Family::MiniCpm)
}

/// Whether RoPE's scaling multiplies rotated pairs.
pub(crate) fn has_temperature(c: &ModelConfig) -> bool {
    matches!(
        c.rope_scaling,
        Some(RopeScaling::Yarn { .. } | RopeScaling::LongRope { .. })
    )
}
