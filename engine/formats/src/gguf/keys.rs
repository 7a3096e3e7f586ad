//! Metadata that import reads, metadata that may be there without it, and metadata that changes
//! what a model computes in a way that is not supported: what is not known is refused by its name.

use std::collections::BTreeMap;

use super::container::Value;
use crate::source::ImportError;

/// When a key of the architecture's may be there.
enum Rule {
    /// It is read, or changes nothing: this is why.
    Harmless,
    /// With one of these numbers (a flag is 0 or 1) it changes nothing.
    Only(&'static [f64]),
    /// With this text it changes nothing.
    Text(&'static str),
}

use Rule::{Harmless, Only, Text};

/// Keys of an architecture without its prefix: the rule, and its reason.
const KEYS: [(&str, Rule, &str); 49] = [
    ("context_length", Harmless, "read"),
    ("embedding_length", Harmless, "read"),
    ("block_count", Harmless, "read"),
    ("feed_forward_length", Harmless, "read"),
    ("attention.head_count", Harmless, "read"),
    ("attention.head_count_kv", Harmless, "read"),
    ("attention.key_length", Harmless, "read"),
    ("attention.value_length", Harmless, "read"),
    ("attention.layer_norm_rms_epsilon", Harmless, "read"),
    ("attention.sliding_window", Harmless, "read"),
    ("rope.dimension_count", Harmless, "read"),
    ("rope.freq_base", Harmless, "read"),
    ("rope.scaling.type", Harmless, "read"),
    ("rope.scaling.factor", Harmless, "read"),
    ("rope.scale_linear", Harmless, "read"),
    ("vocab_size", Harmless, "the embedding has as many rows"),
    (
        "rope.scaling.original_context_length",
        Harmless,
        "read where YaRN or LongRoPE uses it",
    ),
    ("rope.scaling.finetuned", Harmless, "how the model was made"),
    (
        "pooling_type",
        Harmless,
        "how a text becomes one vector; the next token does not depend on it",
    ),
    (
        "tensor_data_layout",
        Text("Meta AI original pth"),
        "q and k have pairs in neighboring rows, as in every llama file",
    ),
    (
        "attention.causal",
        Only(&[1.0]),
        "a decoder sees no later token",
    ),
    ("attention.scale", Only(&[0.0]), "0 stands for 1/√head_dim"),
    ("attention.output_scale", Only(&[0.0, 1.0]), "a factor"),
    (
        "attention.temperature_scale",
        Only(&[0.0]),
        "0 switches it off",
    ),
    (
        "attention.temperature_length",
        Only(&[0.0]),
        "0 switches it off",
    ),
    ("attention.clamp_kqv", Only(&[0.0]), "0 switches it off"),
    (
        "attention.max_alibi_bias",
        Only(&[0.0]),
        "0 switches it off",
    ),
    (
        "attention.shared_kv_layers",
        Only(&[0.0]),
        "a number of layers",
    ),
    ("attn_logit_softcapping", Only(&[0.0]), "0 switches it off"),
    ("final_logit_softcapping", Only(&[0.0]), "0 switches it off"),
    (
        "router_logit_softcapping",
        Only(&[0.0]),
        "0 switches it off",
    ),
    (
        "logit_scale",
        Only(&[0.0, 1.0]),
        "a factor; 0 stands for none",
    ),
    (
        "residual_scale",
        Only(&[0.0, 1.0]),
        "a factor; 0 stands for none",
    ),
    (
        "embedding_scale",
        Only(&[0.0, 1.0]),
        "a factor; 0 stands for none",
    ),
    (
        "rope.scaling.attn_factor",
        Only(&[0.0, 1.0]),
        "a factor; 0 stands for none",
    ),
    ("rope.scaling.yarn_log_multiplier", Only(&[0.0]), "a factor"),
    (
        "rope.scaling.yarn_ext_factor",
        Only(&[0.0, -1.0]),
        "without YaRN",
    ),
    ("rope.scaling.yarn_attn_factor", Only(&[1.0]), "a factor"),
    ("rope.scaling.alpha", Only(&[0.0, 1.0]), "0 switches it off"),
    (
        "use_parallel_residual",
        Only(&[0.0]),
        "branches one after another",
    ),
    ("swin_norm", Only(&[0.0]), "norms before the branches"),
    ("expert_count", Only(&[0.0]), "no experts"),
    ("expert_used_count", Only(&[0.0]), "no experts"),
    ("expert_shared_count", Only(&[0.0]), "no experts"),
    ("expert_feed_forward_length", Only(&[0.0]), "no experts"),
    ("leading_dense_block_count", Only(&[0.0]), "no experts"),
    ("interleave_moe_layer_step", Only(&[0.0]), "no experts"),
    (
        "nextn_predict_layers",
        Only(&[0.0]),
        "no layers for later tokens",
    ),
    (
        "full_attention_interval",
        Only(&[0.0, 1.0]),
        "attention in every layer",
    ),
];

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        _ => None,
    }
}

fn refused(key: &str, value: &Value, supported: &str) -> ImportError {
    ImportError::Unsupported {
        what: key.to_owned(),
        found: value.to_string(),
        supported: supported.to_owned(),
    }
}

/// Refuse what the file says and import would not heed. `read`: keys that such a file's are read
/// of, without the architecture before them.
pub(super) fn check(
    values: &BTreeMap<String, Value>,
    architecture: &str,
    read: &dyn Fn(&str) -> bool,
) -> Result<(), ImportError> {
    for (key, value) in values {
        let own = key
            .strip_prefix(architecture)
            .and_then(|own| own.strip_prefix('.'));
        match own {
            Some(own) if read(own) => {}
            Some(own) => own_key(key, own, value)?,
            None => shared_key(key, value)?,
        }
    }
    Ok(())
}

fn own_key(key: &str, own: &str, value: &Value) -> Result<(), ImportError> {
    let rule = KEYS.iter().find(|(name, ..)| *name == own);
    match rule {
        Some((_, Harmless, _)) => Ok(()),
        Some((_, Only(numbers), why)) => match number(value) {
            Some(n) if numbers.contains(&n) => Ok(()),
            _ => {
                let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
                Err(refused(
                    key,
                    value,
                    &format!("{} ({why}), or no such key", numbers.join(" or ")),
                ))
            }
        },
        Some((_, Text(text), why)) => match value {
            Value::Text(found) if found == text => Ok(()),
            _ => Err(refused(key, value, &format!("`{text}` ({why})"))),
        },
        None => Err(refused(
            key,
            value,
            "no such key: import does not know it, and it may change what the model computes. Import the model's Hugging Face folder, or a file without it",
        )),
    }
}

/// Keys that are of no architecture: most tell where a model comes from.
fn shared_key(key: &str, value: &Value) -> Result<(), ImportError> {
    match (key, value) {
        // Layouts of quantized types changed once, before there were GGUF files.
        ("general.quantization_version", Value::Integer(2)) => Ok(()),
        ("general.quantization_version", _) => Err(refused(key, value, "2")),
        ("general.type", Value::Text(kind)) if kind == "model" => Ok(()),
        ("general.type", _) => Err(refused(
            key,
            value,
            "the text \"model\": give the model's own file",
        )),
        _ if key.starts_with("prism.hadamard.") => Err(ImportError::Unsupported {
            what: "the model's weights".into(),
            found: format!(
                "rotated ({key}): its activations must be turned by a Hadamard matrix before each multiplication, and without it every text is garbage"
            ),
            supported: "weights as they are; take a file of the model without prism.hadamard keys"
                .into(),
        }),
        _ if key.starts_with("diffusion.") || key.starts_with("xielu.") => {
            Err(refused(key, value, "no such key"))
        }
        _ => Ok(()),
    }
}
