//! Hugging Face folders: `config.json`, safetensors in one file or several, tokenizer, chat template.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::checkpoint::{Checkpoint, Scaling, SourceTensor, read};
use super::storage::Storage;
use super::{ImportError, Input, safetensors};
use crate::config::{Activation, ModelConfig, RopeScaling};
use crate::format::{ByteSource, Metadata, SpecialTokens};

pub(super) const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
/// Largest JSON file read: tokenizers of 256k tokens take about 20 MB.
const MAX_JSON: u64 = 256 << 20;
/// The decoders that this project has.
const ARCHITECTURES: &str =
    "LlamaForCausalLM, BitNetForCausalLM, MistralForCausalLM, Qwen3ForCausalLM";

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
            "{CONFIG} is missing; a model's folder has it beside its safetensors, and a GGUF file needs none"
        ))
    })?;
    let (sources, found) = tensors(input).await?;
    let names = Names::of(found)?;
    let fields = Fields(&config_json);
    let mut config = fields.model(&names)?;
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
                return Err(ImportError::Input(
                    "there is no .safetensors file and no .gguf file here; other formats are not supported".into(),
                ));
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
    fn of(found: BTreeMap<String, SourceTensor>) -> Result<Self, ImportError> {
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
        Ok(names)
    }

    fn has(&self, part: &str) -> bool {
        self.tensors.keys().any(|name| name.contains(part))
    }
}

/// What `quantization_config` says.
enum Method {
    None,
    /// Packed matrices with a scale beside each.
    Packed(Scaling),
    /// Float masters, quantised in the forward pass, but for modules with one of these in their name.
    Online {
        kept: Vec<String>,
    },
}

fn unsupported(what: &str, found: impl std::fmt::Display, supported: &str) -> ImportError {
    ImportError::Unsupported {
        what: what.into(),
        found: found.to_string(),
        supported: supported.into(),
    }
}

/// The fields of `config.json`.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn size(&self, name: &str, default: Option<usize>) -> Result<usize, ImportError> {
        let value = self.0.get(name).filter(|v| !v.is_null());
        match (value.map(Value::as_u64), default) {
            (Some(Some(n)), _) => Ok(n as usize),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(unsupported(
                &format!("{CONFIG}: {name}"),
                "missing",
                "a number",
            )),
            (Some(None), _) => Err(unsupported(
                &format!("{CONFIG}: {name}"),
                &self.0[name],
                "a whole number",
            )),
        }
    }

    fn number(value: &Value, name: &str, default: f64) -> Result<f32, ImportError> {
        match value.get(name).filter(|v| !v.is_null()) {
            None => Ok(default as f32),
            Some(v) => v
                .as_f64()
                .map(|v| v as f32)
                .ok_or_else(|| unsupported(&format!("{CONFIG}: {name}"), v, "a number")),
        }
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    fn word(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn architecture(&self) -> Result<&str, ImportError> {
        let first = self.0["architectures"][0].as_str().unwrap_or_default();
        match (first, self.word("model_type")) {
            ("LlamaForCausalLM" | "MistralForCausalLM" | "Qwen3ForCausalLM", _) => {
                Ok(self.word("model_type"))
            }
            ("BitNetForCausalLM" | "BitnetForCausalLM", _) => Ok("bitnet"),
            ("", kind @ ("llama" | "bitnet" | "mistral" | "qwen3")) => Ok(kind),
            ("", kind) => Err(unsupported(
                "model_type",
                format!("`{kind}`"),
                "llama, bitnet, mistral, qwen3",
            )),
            (other, _) => Err(unsupported("the architecture", other, ARCHITECTURES)),
        }
    }

    fn model(&self, names: &Names) -> Result<ModelConfig, ImportError> {
        let bitnet = self.architecture()? == "bitnet";
        let refuse = |name: &str, supported: &str| {
            Err(unsupported(
                &format!("{CONFIG}: {name}"),
                &self.0[name],
                supported,
            ))
        };
        for name in ["attention_bias", "mlp_bias", "use_bias"] {
            if self.flag(name) == Some(true) {
                return refuse(name, "false");
            }
        }
        let hidden = self.size("hidden_size", None)?;
        let heads = self.size("num_attention_heads", None)?;
        let head_dim = hidden / heads.max(1);
        if self.size("head_dim", Some(head_dim))? != head_dim {
            return refuse("head_dim", "hidden_size / num_attention_heads");
        }
        let context = self.size("max_position_embeddings", Some(2048))?;
        let window = self.size("sliding_window", Some(context))?;
        if window < context && self.flag("use_sliding_window") != Some(false) {
            return refuse(
                "sliding_window",
                "null, or no less than max_position_embeddings",
            );
        }
        if Self::number(self.0, "partial_rotary_factor", 1.0)? != 1.0 {
            return refuse("partial_rotary_factor", "1");
        }
        let default = if bitnet { "relu2" } else { "silu" };
        let activation = match self
            .0
            .get("hidden_act")
            .and_then(Value::as_str)
            .unwrap_or(default)
        {
            "silu" | "swish" => Activation::Silu,
            "relu2" => Activation::Relu2,
            "gelu_pytorch_tanh" | "gelu_new" => Activation::Gelu,
            _ => return refuse("hidden_act", "silu, relu2, gelu_pytorch_tanh"),
        };
        let rope = &self.0["rope_parameters"];
        let theta = if bitnet { 500_000.0 } else { 10_000.0 };
        let older = f64::from(Self::number(self.0, "rope_theta", theta)?);
        let has_head = names.tensors.contains_key("lm_head.weight");
        Ok(ModelConfig {
            vocab_size: self.size("vocab_size", None)?,
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(self.size("num_key_value_heads", Some(heads))?),
            num_layers: self.size("num_hidden_layers", None)?,
            intermediate_size: self.size("intermediate_size", None)?,
            max_seq_len: context,
            activation: Some(activation),
            use_sub_norm: names.has("attn_sub_norm"),
            use_qk_norm: names.has("self_attn.q_norm"),
            // Without the key, what is in the files decides.
            tie_word_embeddings: self.flag("tie_word_embeddings").unwrap_or(!has_head),
            rope_theta: Self::number(rope, "rope_theta", older)?,
            rms_norm_eps: Self::number(self.0, "rms_norm_eps", if bitnet { 1e-5 } else { 1e-6 })?,
            ..decoder()
        })
    }

    fn rope_scaling(&self) -> Result<Option<RopeScaling>, ImportError> {
        let found = [&self.0["rope_parameters"], &self.0["rope_scaling"]];
        let Some(scaling) = found.into_iter().find(|v| v.is_object()) else {
            return Ok(None);
        };
        let kind = scaling.get("rope_type").or(scaling.get("type"));
        let number = |name: &str| {
            let value = scaling.get(name).and_then(Value::as_f64);
            value.ok_or_else(|| {
                unsupported(
                    &format!("{CONFIG}: rope_scaling.{name}"),
                    &scaling[name],
                    "a number",
                )
            })
        };
        match kind.and_then(Value::as_str).unwrap_or("default") {
            "default" => Ok(None),
            "linear" => Ok(Some(RopeScaling::Linear {
                factor: number("factor")? as f32,
            })),
            "llama3" => Ok(Some(RopeScaling::Llama3 {
                factor: number("factor")? as f32,
                low_freq_factor: number("low_freq_factor")? as f32,
                high_freq_factor: number("high_freq_factor")? as f32,
                original_max_position_embeddings: number("original_max_position_embeddings")?
                    as u32,
            })),
            other => Err(unsupported(
                &format!("{CONFIG}: rope_scaling"),
                format!("`{other}`"),
                "default, linear, llama3",
            )),
        }
    }

    fn quantization(&self) -> Result<Method, ImportError> {
        let Some(q) = self.0.get("quantization_config").filter(|v| v.is_object()) else {
            return Ok(Method::None);
        };
        let word = |name: &str, default: &'static str| {
            q.get(name)
                .and_then(Value::as_str)
                .unwrap_or(default)
                .to_owned()
        };
        let refuse = |name: &str, supported: &str| {
            Err(unsupported(
                &format!("quantization_config.{name}"),
                &q[name],
                supported,
            ))
        };
        if word("quant_method", "") != "bitnet" {
            return refuse("quant_method", "bitnet");
        }
        if q.get("use_rms_norm").and_then(Value::as_bool) == Some(true) {
            return refuse("use_rms_norm", "false");
        }
        match (
            word("linear_class", "bitlinear").as_str(),
            word("quantization_mode", "offline").as_str(),
        ) {
            ("bitlinear", "offline") => Ok(Method::Packed(Scaling::Divide)),
            ("autobitlinear", "offline") => Ok(Method::Packed(Scaling::Multiply)),
            ("autobitlinear", "online") => {
                let kept = q.get("modules_to_not_convert").and_then(Value::as_array);
                let names = kept.into_iter().flatten().filter_map(Value::as_str);
                Ok(Method::Online {
                    kept: names.map(str::to_owned).collect(),
                })
            }
            ("bitlinear" | "autobitlinear", _) => {
                refuse("quantization_mode", "offline; online with autobitlinear")
            }
            _ => refuse("linear_class", "bitlinear, autobitlinear"),
        }
    }
}

/// What published decoders have in common.
pub(super) fn decoder() -> ModelConfig {
    ModelConfig {
        use_swiglu: true,
        use_rope: true,
        use_residual_scaling: false,
        use_dynamic_threshold: false,
        binary_centered: false,
        latent_clamp_max: 0.0,
        latent_clip_max_training: 0.0,
        ..ModelConfig::default()
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
