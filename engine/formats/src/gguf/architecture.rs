//! The decoders that GGUF files name: those that are imported, a row each, and the kinds of model
//! that are not, which are refused before anything else is looked at.

use std::collections::BTreeMap;

use super::container::Value;
use crate::hf::config::Family;
use ternary_core::config::{Activation, NormKind, NormPlacement};

pub(super) const ARCHITECTURE: &str = "general.architecture";

/// Norms besides a layer's two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    None,
    /// Over each head's queries and keys.
    QueryKey,
    /// Over all queries and over all keys of a token.
    AllHeads,
    /// Before the output and the down projections, where the file has them.
    Sub,
}

/// How a decoder differs from others.
#[derive(Debug)]
pub(super) struct Decoder {
    names: &'static [&'static str],
    /// As Hugging Face calls it.
    pub family: Family,
    pub activation: Activation,
    /// q and k have the two numbers of a RoPE pair in neighboring rows.
    pub paired_rows: bool,
    /// Whether it is trained with int8 activations, where that is known.
    pub int8_activations: Option<bool>,
    pub norm: NormKind,
    pub placement: NormPlacement,
    pub norms: Norms,
    /// Whether the MLP has a gate.
    pub gated: bool,
    /// Rotary positions; learned ones if not.
    pub rope: bool,
    /// Keys of its own that are read.
    pub reads: &'static [&'static str],
}

/// What most have. Ternary matrices meet int8 activations in llama.cpp too; float ones do not.
const PLAIN: Decoder = Decoder {
    names: &[],
    family: Family::Llama,
    activation: Activation::Silu,
    paired_rows: false,
    int8_activations: None,
    norm: NormKind::Rms,
    placement: NormPlacement::Pre,
    norms: Norms::None,
    gated: true,
    rope: true,
    reads: &[],
};

static DECODERS: [Decoder; 16] = [
    Decoder {
        names: &["llama", "mistral3", "internlm2"],
        paired_rows: true,
        ..PLAIN
    },
    Decoder {
        names: &["qwen2"],
        family: Family::Qwen2,
        ..PLAIN
    },
    Decoder {
        names: &["qwen3"],
        family: Family::Qwen3,
        norms: Norms::QueryKey,
        ..PLAIN
    },
    Decoder {
        names: &["bitnet"],
        family: Family::BitNet,
        int8_activations: Some(true),
        norms: Norms::Sub,
        ..PLAIN
    },
    Decoder {
        names: &["bitnet-b1.58", "bitnet-25"],
        family: Family::BitNet,
        activation: Activation::Relu2,
        int8_activations: Some(true),
        norms: Norms::Sub,
        ..PLAIN
    },
    Decoder {
        names: &["gemma"],
        family: Family::Gemma,
        activation: Activation::Gelu,
        ..PLAIN
    },
    Decoder {
        names: &["gemma2"],
        family: Family::Gemma2,
        activation: Activation::Gelu,
        placement: NormPlacement::Sandwich,
        reads: &[
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "attention.sliding_window_pattern",
        ],
        ..PLAIN
    },
    Decoder {
        names: &["gemma3"],
        family: Family::Gemma3,
        activation: Activation::Gelu,
        placement: NormPlacement::Sandwich,
        norms: Norms::QueryKey,
        reads: &[
            "final_logit_softcapping",
            "attention.sliding_window_pattern",
            "rope.freq_base_swa",
        ],
        ..PLAIN
    },
    Decoder {
        names: &["phi3"],
        family: Family::Phi3,
        ..PLAIN
    },
    Decoder {
        names: &["olmo2"],
        family: Family::Olmo2,
        placement: NormPlacement::Post,
        norms: Norms::AllHeads,
        ..PLAIN
    },
    Decoder {
        names: &["granite"],
        family: Family::Granite,
        paired_rows: true,
        reads: &[
            "attention.scale",
            "embedding_scale",
            "residual_scale",
            "logit_scale",
        ],
        ..PLAIN
    },
    Decoder {
        names: &["minicpm"],
        family: Family::MiniCpm,
        paired_rows: true,
        reads: &["embedding_scale", "residual_scale", "logit_scale"],
        ..PLAIN
    },
    Decoder {
        names: &["smollm3"],
        family: Family::SmolLm3,
        paired_rows: true,
        ..PLAIN
    },
    Decoder {
        names: &["stablelm"],
        family: Family::StableLm,
        norm: NormKind::Layer,
        reads: &["use_parallel_residual"],
        ..PLAIN
    },
    Decoder {
        names: &["gpt2"],
        family: Family::Gpt2,
        activation: Activation::Gelu,
        norm: NormKind::Layer,
        gated: false,
        rope: false,
        ..PLAIN
    },
    Decoder {
        names: &["gptneox"],
        family: Family::GptNeoX,
        activation: Activation::GeluErf,
        norm: NormKind::Layer,
        gated: false,
        reads: &["use_parallel_residual"],
        ..PLAIN
    },
];

/// Kinds of model that have no decoder here: what they are, the architectures known to be such, and
/// parts of names that tell it of others.
const KINDS: [(&str, &[&str], &[&str]); 7] = [
    (
        "a mixture of experts, of which each token uses a few",
        &[
            "qwen2moe",
            "qwen3moe",
            "qwen3vlmoe",
            "mixtral",
            "llama4",
            "deepseek",
            "deepseek2",
            "deepseek2-ocr",
            "gpt-oss",
            "olmoe",
            "granitemoe",
            "phimoe",
            "dbrx",
            "grok",
            "arctic",
            "minimax-m2",
            "bailingmoe2",
            "dots1",
            "glm-dsa",
            "smallthinker",
            "mimo2",
            "step35",
        ],
        &["moe"],
    ),
    (
        "a model with layers that keep a state in place of attention (state-space, linear attention or convolution)",
        &[
            "jamba",
            "falcon-h1",
            "qwen35",
            "qwen35moe",
            "qwen3next",
            "granitehybrid",
            "nemotron_h",
            "nemotron_h_moe",
            "plamo2",
            "lfm2",
            "lfm2moe",
            "kimi-linear",
        ],
        &["mamba", "rwkv"],
    ),
    (
        "an encoder, which does not write text",
        &[
            "t5",
            "t5encoder",
            "gemma-embedding",
            "llama-embed",
            "wavtokenizer-dec",
        ],
        &["bert"],
    ),
    (
        "the picture or sound part of a model (mmproj), not the model",
        &["clip"],
        &["mmproj"],
    ),
    (
        "a model of text and pictures",
        &[
            "qwen2vl",
            "qwen3vl",
            "cogvlm",
            "chameleon",
            "hunyuan_vl",
            "paddleocr",
        ],
        &[],
    ),
    (
        "a diffusion model, which does not write text from left to right",
        &["dream", "llada", "rnd1"],
        &["diffusion"],
    ),
    (
        "a model of pictures or video",
        &["flux", "sd1", "sd3", "sdxl", "wan"],
        &[],
    ),
];

/// The names of [`DECODERS`], for messages.
pub(super) fn supported() -> String {
    let names: Vec<&str> = DECODERS.iter().flat_map(|d| d.names).copied().collect();
    names.join(", ")
}

pub(super) fn decoder(name: &str) -> Option<&'static Decoder> {
    DECODERS.iter().find(|d| d.names.contains(&name))
}

/// Why a file with this metadata is of no decoder at all, if that is so.
pub(super) fn refusal(values: &BTreeMap<String, Value>) -> Option<String> {
    let Some(Value::Text(name)) = values.get(ARCHITECTURE) else {
        return None;
    };
    let has_state = values.keys().any(|key| {
        let own = key.strip_prefix(name.as_str());
        own.is_some_and(|own| own.starts_with(".ssm.") || own.starts_with(".wkv."))
    });
    let experts = values.get(&format!("{name}.expert_count"));
    let has_experts = matches!(experts, Some(Value::Integer(n)) if *n > 0)
        || matches!(experts, Some(Value::Numbers(n)) if n.iter().any(|n| *n > 0.0));
    let [moe, state, ..] = KINDS;
    let listed = |(_, names, _): &&(&str, &[&str], &[&str])| names.contains(&name.as_str());
    let part = |(.., parts): &&(&str, &[&str], &[&str])| parts.iter().any(|p| name.contains(p));
    let (kind, ..) = KINDS
        .iter()
        .find(listed)
        .or_else(|| has_state.then_some(&state))
        .or_else(|| has_experts.then_some(&moe))
        .or_else(|| KINDS.iter().find(part))?;
    Some(format!(
        "it is {kind} ({ARCHITECTURE} `{name}`): such models are not supported, dense decoders are ({})",
        supported()
    ))
}
