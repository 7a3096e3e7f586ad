//! `config.json` of Hugging Face's decoders: shape, RoPE, quantisation.

use serde_json::Value;

use super::ImportError;
use super::checkpoint::Scaling;
use crate::config::{Activation, ModelConfig, RopeScaling};

pub(super) const CONFIG: &str = "config.json";
/// The decoders that this project has.
const ARCHITECTURES: &str =
    "LlamaForCausalLM, BitNetForCausalLM, MistralForCausalLM, Qwen3ForCausalLM";

/// What `quantization_config` says.
pub(super) enum Method {
    None,
    /// Packed matrices with a scale beside each.
    Packed(Scaling),
    /// Float masters, quantised in the forward pass, but for modules with one of these in their name.
    Online {
        kept: Vec<String>,
    },
}

pub(super) fn unsupported(
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

/// The fields of `config.json`.
pub(super) struct Fields<'a>(pub &'a Value);

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
        let has_head = has("lm_head.weight");
        Ok(ModelConfig {
            vocab_size: self.size("vocab_size", None)?,
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(self.size("num_key_value_heads", Some(heads))?),
            num_layers: self.size("num_hidden_layers", None)?,
            intermediate_size: self.size("intermediate_size", None)?,
            max_seq_len: context,
            activation: Some(activation),
            use_sub_norm: has("attn_sub_norm"),
            use_qk_norm: has("self_attn.q_norm"),
            // Without the key, what is in the files decides.
            tie_word_embeddings: self.flag("tie_word_embeddings").unwrap_or(!has_head),
            rope_theta: Self::number(rope, "rope_theta", older)?,
            rms_norm_eps: Self::number(self.0, "rms_norm_eps", if bitnet { 1e-5 } else { 1e-6 })?,
            ..decoder()
        })
    }

    pub fn rope_scaling(&self) -> Result<Option<RopeScaling>, ImportError> {
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
