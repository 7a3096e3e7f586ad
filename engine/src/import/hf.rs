//! Hugging Face folders: `config.json`, safetensors in one file or several, tokenizer, chat template.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::checkpoint::{Checkpoint, SourceTensor, read};
use super::hf_config::{CONFIG, Fields, Method, unsupported};
use super::storage::Storage;
use super::{ImportError, Input, safetensors};
use crate::format::{ByteSource, Metadata, SpecialTokens};

const INDEX: &str = "model.safetensors.index.json";
/// Largest JSON file read: tokenizers of 256k tokens take about 20 MB.
const MAX_JSON: u64 = 256 << 20;

pub(super) async fn text(source: &dyn ByteSource) -> Result<String, ImportError> {
    let damaged = |message: String| ImportError::Damaged {
        file: source.name(),
        message,
    };
    if source.len() > MAX_JSON {
        return Err(damaged(format!(
            "{} bytes are too many for a text",
            source.len()
        )));
    }
    let bytes = read(source, 0, source.len() as usize).await?;
    String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))
}

async fn json(input: &Input, name: &str) -> Result<Option<Value>, ImportError> {
    let Some(source) = input.get(name) else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text(source).await?);
    value.map(Some).map_err(|e| ImportError::Damaged {
        file: source.name(),
        message: e.to_string(),
    })
}

pub(super) async fn open(input: &Input) -> Result<Checkpoint<'_>, ImportError> {
    let config_json = json(input, CONFIG).await?.ok_or_else(|| {
        ImportError::Input(format!(
            "{CONFIG} is missing ({}); a model's folder has it beside its safetensors, and a GGUF file needs none",
            input.listed()
        ))
    })?;
    let (sources, found) = tensors(input).await?;
    let names = Names::of(found);
    let fields = Fields(&config_json);
    let mut config = fields.model(&|part| names.has(part))?;
    // 1bitLLM's models say no more of their quantisation than the names of their norms.
    let method = match fields.quantization()? {
        Method::None if names.old_sub_norms => Method::Online { kept: Vec::new() },
        method => method,
    };
    let mut tensors = names.tensors;
    let mut factors = HashMap::new();
    let mut packed = Vec::new();
    for (name, t) in &tensors {
        if t.storage == Storage::PackedRows {
            packed.push(name.clone());
        }
    }
    for name in packed {
        let beside = format!("{name}_scale");
        let (t, scaling) = match (tensors.remove(&beside), &method) {
            (Some(t), Method::Packed(scaling)) => (t, *scaling),
            (None, _) => {
                return Err(ImportError::MissingTensor { tensor: beside });
            }
            (Some(_), _) => {
                return Err(unsupported(
                    &format!("packed matrix {name}"),
                    "in a model whose quantization_config is not of packed BitNet weights",
                    "quant_method bitnet, offline",
                ));
            }
        };
        factors.insert(name, (t, scaling));
    }
    if let Method::Packed(_) = method
        && factors.is_empty()
    {
        return Err(unsupported(
            "quantization_config",
            "of packed BitNet weights, but no matrix is packed (uint8)",
            "packed matrices, or quantization_mode online for float masters",
        ));
    }
    config.rope_scaling = fields.rope_scaling()?;
    let quantised = !matches!(method, Method::None);
    let mut warnings = Vec::new();
    let metadata = companions(input, &config_json, &mut warnings).await?;
    Ok(Checkpoint {
        architecture: fields.architecture()?.to_owned(),
        sources,
        tensors,
        factors,
        masters: match method {
            Method::Online { kept } => Some(kept),
            _ => None,
        },
        paired_rows: false,
        // BitNet rounds activations; of other ternary models the files do not tell, and floats are right for all.
        int8_activations: Some(quantised),
        config,
        metadata,
        warnings,
    })
}

/// Every tensor of the folder, and the files they are in.
async fn tensors(
    input: &Input,
) -> Result<(Vec<&dyn ByteSource>, BTreeMap<String, SourceTensor>), ImportError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let files: Vec<(&str, &dyn ByteSource)> = match json(input, INDEX).await? {
        Some(index) => {
            let index: Index = serde_json::from_value(index).map_err(|e| ImportError::Damaged {
                file: INDEX.into(),
                message: e.to_string(),
            })?;
            let mut names: Vec<String> = index.weight_map.into_values().collect();
            names.sort_unstable();
            names.dedup();
            names
                .iter()
                .map(|name| {
                    let named = input.files.get_key_value(name.as_str());
                    let (name, source) = named.ok_or_else(|| {
                        ImportError::Input(format!("{INDEX} names {name}, which is not here"))
                    })?;
                    Ok((name.as_str(), source.as_ref()))
                })
                .collect::<Result<_, ImportError>>()?
        }
        None => match (input.get("model.safetensors"), input.ending(".safetensors")) {
            (Some(source), _) => vec![("model.safetensors", source)],
            (None, found) if found.len() == 1 => found,
            (None, found) if found.is_empty() => {
                return Err(ImportError::Input(format!(
                    "there is no .safetensors file and no .gguf file ({}); other formats are not supported",
                    input.listed()
                )));
            }
            (None, found) => {
                let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
                return Err(ImportError::Input(format!(
                    "several safetensors files are here ({}) without {INDEX}",
                    names.join(", ")
                )));
            }
        },
    };
    let mut all = BTreeMap::new();
    for (i, (name, source)) in files.iter().enumerate() {
        for (tensor, t) in safetensors::open(*source, i).await? {
            if all.insert(tensor.clone(), t).is_some() {
                return Err(ImportError::Input(format!(
                    "tensor {tensor} is in {name} and in another file, too"
                )));
            }
        }
    }
    Ok((files.into_iter().map(|(_, source)| source).collect(), all))
}

/// Tensors under this project's names, which are Hugging Face's but for a family's norms.
struct Names {
    tensors: BTreeMap<String, SourceTensor>,
    /// `inner_attn_ln` and `ffn_layernorm`, 1bitLLM's.
    old_sub_norms: bool,
}

impl Names {
    fn of(found: BTreeMap<String, SourceTensor>) -> Self {
        let mut names = Names {
            tensors: BTreeMap::new(),
            old_sub_norms: false,
        };
        for (name, t) in found {
            // A table that follows from the configuration.
            if name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            let ours = name
                .replace("self_attn.inner_attn_ln.", "self_attn.attn_sub_norm.")
                .replace("mlp.ffn_layernorm.", "mlp.ffn_sub_norm.");
            names.old_sub_norms |= ours != name;
            names.tensors.insert(ours, t);
        }
        names
    }

    fn has(&self, part: &str) -> bool {
        self.tensors.keys().any(|name| name.contains(part))
    }
}

/// Tokenizer, chat template, special tokens, name.
async fn companions(
    input: &Input,
    config: &Value,
    warnings: &mut Vec<String>,
) -> Result<Metadata, ImportError> {
    let tokenizer = match input.get("tokenizer.json") {
        Some(source) => Some(text(source).await?),
        None => {
            warnings
                .push("there is no tokenizer.json: the model can be run on token ids only".into());
            None
        }
    };
    let settings = json(input, "tokenizer_config.json")
        .await?
        .unwrap_or_default();
    let generation = json(input, "generation_config.json")
        .await?
        .unwrap_or_default();
    let chat_template = match input.get("chat_template.jinja") {
        Some(source) => Some(text(source).await?),
        None => template(&settings["chat_template"]),
    };
    // A token's text, or an object that has it.
    let token = |name: &str| {
        let value = &settings[name];
        let text = value.as_str().or(value["content"].as_str());
        text.map(str::to_owned)
    };
    let mut end = Vec::new();
    for value in [&generation["eos_token_id"], &config["eos_token_id"]] {
        let several = value.as_array().into_iter().flatten();
        let ids = several.chain([value]).filter_map(Value::as_u64);
        end.extend(ids.filter_map(|id| u32::try_from(id).ok()));
    }
    end.sort_unstable();
    end.dedup();
    let path = config["_name_or_path"].as_str().unwrap_or_default();
    Ok(Metadata {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        tokenizer,
        chat_template,
        special_tokens: Some(SpecialTokens {
            bos: token("bos_token"),
            eos: token("eos_token"),
            end,
        }),
        ..Metadata::default()
    })
}

/// A template, or the one called default among several.
fn template(value: &Value) -> Option<String> {
    let named = value.as_array().into_iter().flatten();
    let default = named.into_iter().find(|t| t["name"] == "default");
    let text = value
        .as_str()
        .or(default.and_then(|t| t["template"].as_str()));
    text.map(str::to_owned)
}
