//! Names of tensors: GGUF's, and this project's; matrices that a file has in one.

use std::collections::BTreeMap;

use crate::source::ImportError;
use crate::source::checkpoint::SourceTensor;
use ternary_core::config::{MatrixKind, ModelConfig};
use ternary_core::params::{self, norms};

/// Of the whole model.
const WHOLE: [(&str, &str); 4] = [
    ("token_embd", "model.embed_tokens"),
    ("position_embd", "model.embed_positions"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];
/// Of a layer.
const LAYER: [(&str, &str); 15] = [
    ("attn_norm", norms::ATTENTION_INPUT),
    ("ffn_norm", norms::MLP_INPUT),
    ("post_attention_norm", norms::ATTENTION_OUTPUT),
    ("post_ffw_norm", norms::MLP_OUTPUT),
    ("attn_sub_norm", norms::ATTENTION_SUB),
    ("ffn_sub_norm", norms::MLP_SUB),
    ("attn_q_norm", norms::Q),
    ("attn_k_norm", norms::K),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
/// Queries, keys and values in one.
pub(super) const QKV: &str = "attn_qkv";

/// A layer's number and the part's name, of a module's name that begins so.
fn layer_part<'a>(module: &'a str, before: &str) -> Option<(usize, &'a str)> {
    let (layer, part) = module.strip_prefix(before)?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// The parameter that a tensor is.
pub(super) fn ours(name: &str) -> Option<String> {
    let (module, end) = name.rsplit_once('.')?;
    if !["weight", "bias"].contains(&end) {
        return None;
    }
    if let Some((_, ours)) = WHOLE.iter().find(|(theirs, _)| *theirs == module) {
        return Some(format!("{ours}.{end}"));
    }
    let (layer, part) = layer_part(module, "blk.")?;
    let (_, ours) = LAYER.iter().find(|(theirs, _)| *theirs == part)?;
    Some(format!("model.layers.{layer}.{ours}.{end}"))
}

/// What GGUF calls a parameter; its own name if nothing else.
pub(super) fn theirs(name: &str) -> String {
    let found = || {
        let (module, end) = name.rsplit_once('.')?;
        if let Some((theirs, _)) = WHOLE.iter().find(|(_, ours)| *ours == module) {
            return Some(format!("{theirs}.{end}"));
        }
        let (layer, part) = layer_part(module, "model.layers.")?;
        let (theirs, _) = LAYER.iter().find(|(_, ours)| *ours == part)?;
        Some(format!("blk.{layer}.{theirs}.{end}"))
    };
    found().unwrap_or_else(|| name.to_owned())
}

/// The matrices that a file has in one, each by itself.
pub(super) fn separate(
    tensors: &mut BTreeMap<String, SourceTensor>,
    c: &ModelConfig,
) -> Result<(), ImportError> {
    use MatrixKind::{Gate, K, Q, Up, V};
    for layer in 0..c.num_layers {
        let name =
            |kind: MatrixKind, end: &str| format!("model.layers.{layer}.{}.{end}", kind.module());
        for end in ["weight", "bias"] {
            // Gate and up are under the name of up.
            let gated = c.use_swiglu && !tensors.contains_key(&name(Gate, end));
            for (fused, kinds) in [
                (format!("blk.{layer}.{QKV}.{end}"), &[Q, K, V][..]),
                (name(Up, end), &[Gate, Up]),
            ] {
                if kinds.contains(&Up) && !gated {
                    continue;
                }
                let Some(t) = tensors.remove(&fused) else {
                    continue;
                };
                let rows = |kind: &MatrixKind| c.matrix_shape(*kind).0;
                let counts: Vec<usize> = kinds.iter().map(rows).collect();
                for (kind, part) in kinds.iter().zip(t.in_parts(&counts)?) {
                    tensors.insert(name(*kind, end), part);
                }
            }
        }
    }
    Ok(())
}

/// Layers whose branches read one norm have it twice here.
pub(super) fn share_norms(tensors: &mut BTreeMap<String, SourceTensor>, layers: usize) {
    for layer in 0..layers {
        let weights = [norms::ATTENTION_INPUT, norms::MLP_INPUT]
            .map(|part| params::layer_norm_name(layer, part));
        let biases = weights.each_ref().map(|name| params::bias_name(name));
        for [one, twice] in [weights, biases] {
            if let Some(t) = tensors.get(&one).cloned() {
                tensors.entry(twice).or_insert(t);
            }
        }
    }
}
