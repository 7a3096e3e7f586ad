//! `config.json` of Hugging Face's decoders: shape, RoPE, quantization.

use serde_json::Value;

use crate::source::ImportError;
use crate::source::checkpoint::Scaling;
use ternary_core::config::{Activation, ModelConfig, RopeScaling};

pub(crate) const CONFIG: &str = "config.json";
/// The decoders that this project has.
const ARCHITECTURES: &str =
    "LlamaForCausalLM, BitNetForCausalLM, MistralForCausalLM, Qwen3ForCausalLM";

/// What `quantization_config` says.
pub(crate) enum Method {
    None,
    /// Packed matrices with a scale beside each.
    Packed(Scaling),
    /// Float masters, quantized in the forward pass, but for modules with one of these in their
    /// name.
    Online {
        kept: Vec<String>,
    },
}

pub(crate) fn unsupported(
    what: &str,
    found: impl std::fmt::Display,
    supported: &str,
) -> ImportError {
    ImportError::Unsupported {
        what: what.into(),
        found: found.to_string(),
        supported: supported.into(),
    }
}

/// What a config says of RoPE.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rope {
    theta: Option<f32>,
    scaling: Option<RopeScaling>,
}

/// The fields of `config.json`.
pub(crate) struct Fields<'a>(pub &'a Value);

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

    pub fn architecture(&self) -> Result<&str, ImportError> {
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

    /// `has` tells of a part of a name whether a tensor has it.
    pub fn model(&self, has: &dyn Fn(&str) -> bool) -> Result<ModelConfig, ImportError> {
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
        let head_dim = self.size("head_dim", Some(hidden / heads.max(1)))?;
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
        let theta = if bitnet { 500_000.0 } else { 10_000.0 };
        let older = f64::from(Self::number(self.0, "rope_theta", theta)?);
        let rope = self.rope()?;
        let has_head = has("lm_head.weight");
        Ok(ModelConfig {
            vocab_size: self.size("vocab_size", None)?,
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(self.size("num_key_value_heads", Some(heads))?),
            head_dim: (head_dim * heads != hidden).then_some(head_dim),
            num_layers: self.size("num_hidden_layers", None)?,
            intermediate_size: self.size("intermediate_size", None)?,
            max_seq_len: context,
            activation: Some(activation),
            use_sub_norm: has("attn_sub_norm"),
            use_qk_norm: has("self_attn.q_norm"),
            // Without the key, what is in the files decides.
            tie_word_embeddings: self.flag("tie_word_embeddings").unwrap_or(!has_head),
            rope_theta: rope.theta.unwrap_or(older as f32),
            rope_scaling: rope.scaling,
            rms_norm_eps: Self::number(self.0, "rms_norm_eps", if bitnet { 1e-5 } else { 1e-6 })?,
            ..decoder()
        })
    }

    /// RoPE in all the ways that versions of transformers write it: `rope_scaling` beside
    /// `rope_theta`, `rope_parameters` with both, or `rope_parameters` by kind of layer.
    fn rope(&self) -> Result<Rope, ImportError> {
        let mut found: Option<(String, Rope)> = None;
        for name in ["rope_parameters", "rope_scaling"] {
            let value = &self.0[name];
            let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) else {
                continue;
            };
            // By kind of layer: objects, or null for a kind that has none of its own.
            let nested = fields.values().any(Value::is_object);
            if nested
                && let Some((key, odd)) =
                    fields.iter().find(|(_, v)| !v.is_object() && !v.is_null())
            {
                return Err(unsupported(
                    &format!("{CONFIG}: {name}.{key}"),
                    odd,
                    "an object for each kind of layer, and nothing else",
                ));
            }
            let parts: Vec<(String, &Value)> = if nested {
                self.layer_kinds(name, value)?
            } else {
                vec![(name.to_owned(), value)]
            };
            for (name, part) in parts {
                let rope = self.rope_of(&name, part)?;
                let Some((other, before)) = &mut found else {
                    found = Some((name, rope));
                    continue;
                };
                let differs = |name: &str| {
                    unsupported(
                        &format!("{CONFIG}: {name}"),
                        format!("another than {other}"),
                        "one RoPE for all layers",
                    )
                };
                if !nested {
                    // The older name beside the newer: each may say what the other leaves out.
                    if rope.scaling.is_some()
                        && before.scaling.is_some()
                        && rope.scaling != before.scaling
                    {
                        return Err(differs(&name));
                    }
                    before.scaling = before.scaling.take().or(rope.scaling);
                    before.theta = before.theta.or(rope.theta);
                } else if rope != *before {
                    return Err(differs(&name));
                }
            }
        }
        Ok(found.map(|(_, rope)| rope).unwrap_or_default())
    }

    /// The entries of `value` for the kinds of layers that the model has.
    fn layer_kinds<'v>(
        &self,
        name: &str,
        value: &'v Value,
    ) -> Result<Vec<(String, &'v Value)>, ImportError> {
        let full = |kind: &str| format!("{name}.{kind}");
        let all = value.as_object().into_iter().flatten();
        let Some(used) = self.0["layer_types"].as_array() else {
            let given = all.filter(|(_, v)| !v.is_null());
            return Ok(given.map(|(kind, v)| (full(kind), v)).collect());
        };
        let mut used: Vec<&str> = used.iter().filter_map(Value::as_str).collect();
        used.sort_unstable();
        used.dedup();
        used.into_iter()
            .map(|kind| match value.get(kind).filter(|v| !v.is_null()) {
                Some(v) => Ok((full(kind), v)),
                None => Err(unsupported(
                    &format!("{CONFIG}: {}", full(kind)),
                    "missing, and some layers are of that kind",
                    "an entry for every kind in layer_types",
                )),
            })
            .collect()
    }

    /// One object of RoPE's parameters.
    fn rope_of(&self, name: &str, value: &Value) -> Result<Rope, ImportError> {
        let what = |field: &str| format!("{CONFIG}: {name}.{field}");
        let field = |field: &str| value.get(field).filter(|v| !v.is_null());
        let number = |name: &str| {
            // The original context may stand beside.
            let number = field(name).or(self.0.get(name)).and_then(Value::as_f64);
            number.ok_or_else(|| unsupported(&what(name), &value[name], "a number"))
        };
        if field("partial_rotary_factor").is_some_and(|v| v.as_f64() != Some(1.0)) {
            return Err(unsupported(
                &what("partial_rotary_factor"),
                &value["partial_rotary_factor"],
                "1",
            ));
        }
        let kind = field("rope_type")
            .or(field("type"))
            .filter(|kind| *kind != "none");
        let scaling = match kind.map_or(Some("default"), Value::as_str) {
            Some("default")
                if kind.is_none() && field("factor").is_some_and(|f| f.as_f64() != Some(1.0)) =>
            {
                return Err(unsupported(
                    &what("rope_type"),
                    "missing beside a factor",
                    "default, linear, llama3",
                ));
            }
            Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear {
                factor: number("factor")? as f32,
            }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: number("factor")? as f32,
                low_freq_factor: number("low_freq_factor")? as f32,
                high_freq_factor: number("high_freq_factor")? as f32,
                original_max_position_embeddings: number("original_max_position_embeddings")?
                    as u32,
            }),
            _ => {
                return Err(unsupported(
                    &what("rope_type"),
                    kind.unwrap_or(&Value::Null),
                    "default, linear, llama3",
                ));
            }
        };
        let theta = field("rope_theta").map(|_| number("rope_theta"));
        Ok(Rope {
            theta: theta.transpose()?.map(|theta| theta as f32),
            scaling,
        })
    }

    pub fn quantization(&self) -> Result<Method, ImportError> {
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
pub(crate) fn decoder() -> ModelConfig {
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
