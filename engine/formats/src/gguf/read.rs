//! GGUF files as checkpoints: names, architectures, hyperparameters.

use std::collections::{BTreeMap, HashMap};

use super::architecture::{self, ARCHITECTURE, Decoder, Norms};
use super::container::{self as gguf, Gguf, Value};
use super::{keys, read_vocab as gguf_vocab};
use crate::hf::config;
use crate::source::ImportError;
use crate::source::checkpoint::{Checkpoint, Folds, Scaling, SourceTensor, read};
use crate::source::storage::Storage;
use ternary_common::bytes::ByteSource;
use ternary_core::config::{ModelConfig, RopeScaling};
use ternary_core::layout::{Metadata, SpecialTokens};
use ternary_core::params;

/// Divisors of RoPE's frequencies, head_dim / 2 of them.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Names of tensors: GGUF's, and this project's.
const WHOLE: [(&str, &str); 3] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];
/// As [`WHOLE`], of a layer.
const LAYER: [(&str, &str); 13] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_sub_norm", "self_attn.attn_sub_norm"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The parameter that a tensor is.
fn our_name(name: &str) -> Option<String> {
    let module = name.strip_suffix(".weight")?;
    if let Some((_, ours)) = WHOLE.iter().find(|(theirs, _)| *theirs == module) {
        return Some(format!("{ours}.weight"));
    }
    let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (_, ours) = LAYER.iter().find(|(theirs, _)| *theirs == part)?;
    Some(params::layer_norm_name(layer, ours))
}

/// What GGUF calls a parameter; its own name if nothing else.
pub(crate) fn gguf_name(name: &str) -> String {
    let module = name.trim_end_matches(".weight");
    let theirs = WHOLE.iter().find(|(_, ours)| *ours == module);
    let layer = || {
        let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let (theirs, _) = LAYER.iter().find(|(_, ours)| *ours == part)?;
        Some(format!("blk.{layer}.{theirs}.weight"))
    };
    match theirs {
        Some((theirs, _)) => format!("{theirs}.weight"),
        None => layer().unwrap_or_else(|| name.to_owned()),
    }
}

/// The parts of a file that was split, in order, as one.
async fn joined(sources: &[(&str, &dyn ByteSource)]) -> Result<Gguf, ImportError> {
    let mut parts: Vec<(usize, Gguf)> = Vec::new();
    for (i, (_, source)) in sources.iter().enumerate() {
        let part = gguf::open(*source, i).await?;
        let number = part.integer("split.no").unwrap_or(0).max(0) as usize;
        parts.push((number, part));
    }
    let names = || {
        sources
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let count = |part: &Gguf| part.integer("split.count").unwrap_or(1).max(1) as usize;
    let of = parts.first().map_or(1, |(_, part)| count(part));
    if parts.iter().any(|(_, part)| count(part) != of) || (of == 1 && parts.len() > 1) {
        return Err(ImportError::Input(format!(
            "{} GGUF files are here that are not parts of one model ({}); name the one to import",
            parts.len(),
            names()
        )));
    }
    parts.sort_by_key(|(number, _)| *number);
    let missing: Vec<String> = (0..of)
        .filter(|number| !parts.iter().any(|(n, _)| n == number))
        .map(|number| (number + 1).to_string())
        .collect();
    if !missing.is_empty() || parts.len() > of {
        let number = parts.first().map_or(0, |(number, _)| *number);
        return Err(ImportError::Input(match (parts.len(), number) {
            (1, 1..) => format!(
                "{} is part {} of {of} of a model that was split: give part 1, with the others beside it",
                names(),
                number + 1
            ),
            _ if missing.is_empty() => {
                format!("some of {} are the same part of one model", names())
            }
            _ => format!(
                "the model was split into {of} files, and part {} of {of} is not here ({}); put all parts into one folder, under their own names",
                missing.join(", "),
                names()
            ),
        }));
    }
    let mut whole: Option<Gguf> = None;
    for (_, part) in parts {
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => {
                for t in part.tensors {
                    if whole.tensors.iter().any(|old| old.name == t.name) {
                        return Err(t.damaged("it is in two parts of the model".into()));
                    }
                    whole.tensors.push(t);
                }
            }
        }
    }
    let whole = whole.ok_or_else(|| ImportError::Input("there is no GGUF file".into()))?;
    let total = whole.integer("split.tensors.count");
    if let Some(total) = total.filter(|n| *n != whole.tensors.len() as i64 && of > 1) {
        return Err(ImportError::Input(format!(
            "the parts have {} tensors together; the model has {total}: they are parts of different files",
            whole.tensors.len()
        )));
    }
    Ok(whole)
}

/// A GGUF file, or all parts of one that was split; `pre` names how the vocabulary's words are cut.
pub(crate) async fn open<'a>(
    sources: &[(&str, &'a dyn ByteSource)],
    pre: Option<&str>,
) -> Result<Checkpoint<'a>, ImportError> {
    let file = joined(sources).await?;
    if file.text("general.type") == Some("adapter") {
        return Err(ImportError::Input(format!(
            "{} is an adapter, not a model: import its model, and give the adapter as PEFT saves it with --adapter",
            sources.first().map_or("it", |(name, _)| name)
        )));
    }
    let named = file.text(ARCHITECTURE);
    let (Some(architecture), Some(decoder)) = (named, named.and_then(architecture::decoder)) else {
        return Err(ImportError::Unsupported {
            what: ARCHITECTURE.into(),
            found: named.map_or_else(|| "missing".into(), |name| format!("`{name}`")),
            supported: architecture::supported(),
        });
    };
    keys::check(&file.values, architecture)?;
    let mut tensors = BTreeMap::new();
    let mut factors = HashMap::new();
    let mut rope = None;
    for t in &file.tensors {
        if t.name == ROPE_FACTORS {
            rope = Some(t.clone());
            continue;
        }
        let scaled = t.name.strip_suffix(".scale");
        match scaled.and_then(|name| our_name(&format!("{name}.weight"))) {
            Some(matrix) => {
                factors.insert(matrix, (t.clone(), Scaling::Multiply));
            }
            // Unknown ones keep their name, and are refused by it.
            None => {
                let name = our_name(&t.name).unwrap_or_else(|| t.name.clone());
                tensors.insert(name, t.clone());
            }
        }
    }
    let fields = Fields {
        file: &file,
        architecture,
    };
    let mut config = fields.model(&tensors, decoder)?;
    if let Some(t) = rope {
        if config.rope_scaling.is_some() || t.storage != Storage::F32 {
            return Err(
                t.damaged("factors of RoPE beside another scaling are not supported".into())
            );
        }
        let (_, source) = sources[t.file];
        let bytes = read(source, t.offset, t.bytes as usize).await?;
        let factors = bytes.as_chunks::<4>().0.iter();
        config.rope_scaling = Some(RopeScaling::Factors {
            factors: factors.map(|b| f32::from_le_bytes(*b)).collect(),
        });
    }
    let mut warnings = Vec::new();
    let metadata = metadata(&file, pre, &mut warnings)?;
    Ok(Checkpoint {
        architecture: architecture.to_owned(),
        sources: sources.iter().map(|(_, source)| *source).collect(),
        tensors,
        odd: BTreeMap::new(),
        factors,
        masters: None,
        paired_rows: decoder.paired_rows,
        int8_activations: decoder.int8_activations,
        folds: Folds::default(),
        config,
        metadata,
        warnings,
    })
}

struct Fields<'a> {
    file: &'a Gguf,
    architecture: &'a str,
}

impl Fields<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn refuse<T>(&self, name: &str, supported: &str) -> Result<T, ImportError> {
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

    fn size(&self, name: &str) -> Result<Option<usize>, ImportError> {
        let key = self.key(name);
        match self.file.values.get(&key) {
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

    fn model(
        &self,
        tensors: &BTreeMap<String, SourceTensor>,
        decoder: &Decoder,
    ) -> Result<ModelConfig, ImportError> {
        let float = |name: &str| self.file.float(&self.key(name)).map(|v| v as f32);
        let hidden = self.needed("embedding_length")?;
        let heads = self.needed("attention.head_count")?;
        let equal = hidden / heads.max(1);
        let head_dim = self.size("attention.key_length")?.unwrap_or(equal);
        for name in ["rope.dimension_count", "attention.value_length"] {
            if self.size(name)?.is_some_and(|n| n != head_dim) {
                return self.refuse(name, "the same as attention.key_length");
            }
        }
        let context = self.needed("context_length")?;
        if self
            .size("attention.sliding_window")?
            .is_some_and(|n| n > 0 && n < context)
        {
            return self.refuse(
                "attention.sliding_window",
                "none, or no less than context_length",
            );
        }
        let Some(eps) = float("attention.layer_norm_rms_epsilon") else {
            return self.refuse("attention.layer_norm_rms_epsilon", "a number");
        };
        // Older files have the factor alone, under one of two names; 0 is none.
        let factor = float("rope.scaling.factor").or(float("rope.scale_linear"));
        let factor = factor.filter(|f| *f != 0.0);
        let rope_scaling = match self.file.text(&self.key("rope.scaling.type")) {
            Some("none") => None,
            None => factor
                .filter(|f| *f != 1.0)
                .map(|factor| RopeScaling::Linear { factor }),
            Some("linear") => match factor {
                Some(1.0) => None,
                Some(factor) => Some(RopeScaling::Linear { factor }),
                None => return self.refuse("rope.scaling.factor", "a number"),
            },
            Some(_) => {
                return self.refuse(
                    "rope.scaling.type",
                    "none, linear, factors in rope_freqs.weight",
                );
            }
        };
        let has = |part: &str| tensors.keys().any(|name| name.contains(part));
        let embedding = tensors.get(params::EMBEDDING);
        Ok(ModelConfig {
            vocab_size: embedding
                .ok_or_else(|| ImportError::MissingTensor {
                    tensor: "token_embd.weight".into(),
                })?
                .rows(),
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(self.size("attention.head_count_kv")?.unwrap_or(heads)),
            head_dim: (head_dim * heads != hidden).then_some(head_dim),
            num_layers: self.needed("block_count")?,
            intermediate_size: self.needed("feed_forward_length")?,
            max_seq_len: context,
            activation: Some(decoder.activation),
            use_sub_norm: decoder.norms == Norms::Sub && has("attn_sub_norm"),
            use_qk_norm: decoder.norms == Norms::QueryKey,
            tie_word_embeddings: !tensors.contains_key(params::LM_HEAD),
            rope_theta: float("rope.freq_base").unwrap_or(10_000.0),
            rope_scaling,
            rms_norm_eps: eps,
            ..config::decoder()
        })
    }
}

fn metadata(
    file: &Gguf,
    pre: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Metadata, ImportError> {
    let tokenizer = gguf_vocab::tokenizer(file, pre, warnings)?;
    if tokenizer.is_none() {
        warnings.push("the file has no vocabulary: the model can be run on token ids only".into());
    }
    let id = |name: &str| gguf_vocab::special_id(file, name);
    let tokens = file.texts(gguf_vocab::TOKENS).unwrap_or_default();
    let token = |name: &str| tokens.get(id(name)? as usize).cloned();
    let text = |key: &str| file.text(key).unwrap_or_default().to_owned();
    Ok(Metadata {
        name: text("general.name"),
        description: text("general.description"),
        license: text("general.license"),
        tokenizer,
        chat_template: file.text("tokenizer.chat_template").map(str::to_owned),
        special_tokens: Some(SpecialTokens {
            bos: token("bos"),
            eos: token("eos"),
            end: ["eos", "eot", "eom"].into_iter().filter_map(id).collect(),
        }),
        ..Metadata::default()
    })
}
