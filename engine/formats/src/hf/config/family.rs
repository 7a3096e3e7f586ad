//! The decoders of Hugging Face transformers that can be imported, and what each has of its own. A
//! family's defaults are those of its configuration class.

use serde_json::Value;

use super::rope::Ropes;
use super::{CONFIG, Fields, unsupported};
use crate::source::ImportError;
use crate::source::checkpoint::Folds;
use ternary_core::config::{Activation, MatrixKind, ModelConfig, NormKind, NormPlacement};
use ternary_core::params;

/// A published decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    BitNet,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
    Olmo2,
    Granite,
    MiniCpm,
    StableLm,
    Gpt2,
    GptNeoX,
}

/// Family, `model_type`, and the classes in `architectures`.
const FAMILIES: [(Family, &str, &[&str]); 16] = [
    (Family::Llama, "llama", &["LlamaForCausalLM"]),
    (
        Family::BitNet,
        "bitnet",
        &["BitNetForCausalLM", "BitnetForCausalLM"],
    ),
    (Family::Mistral, "mistral", &["MistralForCausalLM"]),
    (Family::Qwen2, "qwen2", &["Qwen2ForCausalLM"]),
    (Family::Qwen3, "qwen3", &["Qwen3ForCausalLM"]),
    (Family::SmolLm3, "smollm3", &["SmolLM3ForCausalLM"]),
    (Family::Gemma, "gemma", &["GemmaForCausalLM"]),
    (Family::Gemma2, "gemma2", &["Gemma2ForCausalLM"]),
    (Family::Gemma3, "gemma3_text", &["Gemma3ForCausalLM"]),
    (Family::Phi3, "phi3", &["Phi3ForCausalLM"]),
    (Family::Olmo2, "olmo2", &["Olmo2ForCausalLM"]),
    (Family::Granite, "granite", &["GraniteForCausalLM"]),
    (Family::MiniCpm, "minicpm", &["MiniCPMForCausalLM"]),
    (
        Family::StableLm,
        "stablelm",
        &["StableLmForCausalLM", "StableLMEpochForCausalLM"],
    ),
    (Family::Gpt2, "gpt2", &["GPT2LMHeadModel"]),
    (Family::GptNeoX, "gpt_neox", &["GPTNeoXForCausalLM"]),
];

/// Parts of names of classes and model types that say that a model is of another kind, and which.
const OTHER_KINDS: [(&[&str], &str); 4] = [
    (
        &[
            "moe",
            "mixtral",
            "deepseek",
            "gptoss",
            "gpt_oss",
            "dbrx",
            "grok",
            "jetmoe",
            "arctic",
            "llama4",
            "ernie4_5_moe",
            "minimax",
            "kimi",
            "glm4moe",
            "phimoe",
        ],
        "a mixture of experts",
    ),
    (
        &[
            "mamba",
            "rwkv",
            "jamba",
            "bamba",
            "zamba",
            "falconh1",
            "falcon_h1",
            "qwen3next",
            "qwen3_next",
            "qwen3_5",
            "recurrentgemma",
            "recurrent_gemma",
            "lfm2",
            "plamo2",
            "nemotronh",
            "nemotron_h",
            "xlstm",
            "griffin",
            "retnet",
        ],
        "a state-space or recurrent model",
    ),
    (
        &[
            "bert",
            "t5",
            "bart",
            "electra",
            "marian",
            "pegasus",
            "nllb",
            "whisper",
            "clip",
            "vit",
            "forsequenceclassification",
            "fortokenclassification",
            "forquestionanswering",
            "formaskedlm",
        ],
        "no decoder that continues texts",
    ),
    (
        &[
            "forconditionalgeneration",
            "vision",
            "_vl",
            "vlfor",
            "llava",
            "paligemma",
            "idefics",
            "omni",
            "audio",
        ],
        "a model for images or sound besides texts",
    ),
];

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

impl Family {
    pub fn name(self) -> &'static str {
        let of = FAMILIES.iter().find(|(family, ..)| *family == self);
        of.map_or("", |(_, name, _)| name)
    }

    /// The class that computes it, as transformers calls it.
    pub fn class(self) -> &'static str {
        let of = FAMILIES.iter().find(|(family, ..)| *family == self);
        of.and_then(|(.., classes)| classes.first().copied())
            .unwrap_or_default()
    }

    /// Whether the family's models are among those that a file of this kind holds.
    fn find(fields: &Fields) -> Result<Self, ImportError> {
        let class = fields.0["architectures"][0].as_str().unwrap_or_default();
        let kind = fields.word("model_type");
        let known = |(family, name, classes): &(Family, &str, &[&str])| {
            let fits = match class {
                "" => *name == kind,
                class => classes.contains(&class),
            };
            fits.then_some(*family)
        };
        let experts = [
            "num_experts",
            "num_local_experts",
            "n_routed_experts",
            "moe_num_experts",
        ];
        let has_experts = |name: &&str| fields.given(name).and_then(Value::as_u64) > Some(1);
        if let Some(name) = experts.iter().find(|name| has_experts(name)) {
            return fields.refuse(
                name,
                "a model without experts: mixtures of experts cannot be run",
            );
        }
        if let Some(family) = FAMILIES.iter().find_map(known) {
            return Ok(family);
        }
        let name = if class.is_empty() { kind } else { class };
        let lower = name.to_lowercase();
        let another = OTHER_KINDS
            .iter()
            .find(|(parts, _)| parts.iter().any(|part| lower.contains(part)));
        if let Some((_, what)) = another {
            return Err(ImportError::Input(format!(
                "{name} is {what}; decoders of dense transformers can be imported"
            )));
        }
        let (what, supported): (_, Vec<&str>) = if class.is_empty() {
            ("model_type", FAMILIES.iter().map(|f| f.1).collect())
        } else {
            (
                "the architecture",
                FAMILIES.iter().map(|f| f.2[0]).collect(),
            )
        };
        Err(unsupported(
            what,
            if class.is_empty() {
                format!("`{name}`")
            } else {
                name.to_owned()
            },
            &supported.join(", "),
        ))
    }

    /// Prefixes of its parameters' names.
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Family::Gpt2 => &["transformer."],
            Family::GptNeoX => &["gpt_neox."],
            _ => &["model."],
        }
    }

    /// Its names of modules, and this project's: of the whole model, and of a layer.
    pub fn renamed(self, part: &str) -> &str {
        use params::norms;
        match (self, part) {
            (Family::Gpt2, "wte") | (Family::GptNeoX, "embed_in") => "model.embed_tokens",
            (Family::Gpt2, "wpe") => "model.embed_positions",
            (Family::Gpt2, "ln_f") | (Family::GptNeoX, "final_layer_norm") => "model.norm",
            (Family::GptNeoX, "embed_out") => "lm_head",
            (_, "embed_tokens") => "model.embed_tokens",
            (_, "norm") => "model.norm",
            (Family::Gpt2, "ln_1") => norms::ATTENTION_INPUT,
            (Family::Gpt2, "ln_2") => norms::MLP_INPUT,
            (Family::Gpt2, "attn.c_proj") | (Family::GptNeoX, "attention.dense") => {
                MatrixKind::O.module()
            }
            (Family::Gpt2, "mlp.c_fc") | (Family::GptNeoX, "mlp.dense_h_to_4h") => {
                MatrixKind::Up.module()
            }
            (Family::Gpt2, "mlp.c_proj") | (Family::GptNeoX, "mlp.dense_4h_to_h") => {
                MatrixKind::Down.module()
            }
            (Family::Gemma2 | Family::Gemma3 | Family::Olmo2, "post_attention_layernorm") => {
                norms::ATTENTION_OUTPUT
            }
            (Family::Gemma2 | Family::Gemma3 | Family::Olmo2, "post_feedforward_layernorm") => {
                norms::MLP_OUTPUT
            }
            (Family::Gemma2 | Family::Gemma3, "pre_feedforward_layernorm") => norms::MLP_INPUT,
            // 1bitLLM's.
            (_, "self_attn.inner_attn_ln") => norms::ATTENTION_SUB,
            (_, "mlp.ffn_layernorm") => norms::MLP_SUB,
            _ => part,
        }
    }

    /// Whether norms multiply by 1 + weight.
    fn norms_from_one(self) -> bool {
        matches!(self, Family::Gemma | Family::Gemma2 | Family::Gemma3)
    }

    /// Context, ε of norms and θ where the file does not say.
    fn defaults(self) -> (usize, f32, f32) {
        match self {
            Family::BitNet => (2048, 1e-5, 500_000.0),
            Family::Mistral => (131_072, 1e-6, 10_000.0),
            Family::Qwen2 | Family::Qwen3 => (32_768, 1e-6, 10_000.0),
            Family::SmolLm3 => (32_768, 1e-6, 2_000_000.0),
            Family::Gemma | Family::Gemma2 => (8192, 1e-6, 10_000.0),
            Family::Gemma3 => (131_072, 1e-6, 1_000_000.0),
            Family::Phi3 | Family::StableLm => (4096, 1e-5, 10_000.0),
            Family::Olmo2 | Family::GptNeoX => (2048, 1e-5, 10_000.0),
            Family::Gpt2 => (1024, 1e-5, 10_000.0),
            Family::Llama | Family::Granite | Family::MiniCpm => (2048, 1e-6, 10_000.0),
        }
    }

    /// Shares of a head that are rotated where the file does not say.
    fn partial(self) -> f64 {
        match self {
            Family::StableLm | Family::GptNeoX => 0.25,
            _ => 1.0,
        }
    }

    fn activation(self, fields: &Fields) -> Result<Activation, ImportError> {
        // Gemma's older files have another name beside, which is not what is computed.
        let (name, default) = match self {
            Family::Gemma | Family::Gemma2 | Family::Gemma3 => {
                ("hidden_activation", "gelu_pytorch_tanh")
            }
            Family::Gpt2 => ("activation_function", "gelu_new"),
            Family::GptNeoX => ("hidden_act", "gelu"),
            Family::BitNet => ("hidden_act", "relu2"),
            _ => ("hidden_act", "silu"),
        };
        let given = fields.given(name).map(Value::as_str);
        Ok(match given.unwrap_or(Some(default)) {
            Some("silu" | "swish") => Activation::Silu,
            Some("relu2") => Activation::Relu2,
            Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Activation::Gelu,
            Some("gelu" | "gelu_python") => Activation::GeluErf,
            _ => return fields.refuse(name, "silu, relu2, gelu, gelu_pytorch_tanh"),
        })
    }
}

/// What a checkpoint's tensors tell of it.
pub(crate) struct Found<'a> {
    /// Whether a tensor has this part in its name.
    pub has: &'a dyn Fn(&str) -> bool,
}

impl Fields<'_> {
    pub fn family(&self) -> Result<Family, ImportError> {
        Family::find(self)
    }

    /// The decoder, and what becomes part of its weights.
    pub fn model(&self, found: &Found) -> Result<(ModelConfig, Folds), ImportError> {
        let family = self.family()?;
        let has = found.has;
        let gpt2 = family == Family::Gpt2;
        // GPT-2's fields have names of their own.
        let name = |usual: &'static str, theirs: &'static str| if gpt2 { theirs } else { usual };
        let hidden = self.size(name("hidden_size", "n_embd"), None)?;
        let heads = self.size(name("num_attention_heads", "n_head"), None)?;
        let (context, eps, theta) = family.defaults();
        let context = self.size(
            name("max_position_embeddings", "n_positions"),
            Some(context),
        )?;
        let head_dim = match family {
            Family::Gemma | Family::Gemma2 | Family::Gemma3 => 256,
            Family::Qwen3 => 128,
            _ => hidden / heads.max(1),
        };
        let head_dim = self.size("head_dim", Some(head_dim))?;
        let kv_heads = match family {
            Family::Gpt2 | Family::GptNeoX => heads,
            _ => self.size("num_key_value_heads", Some(heads))?,
        };
        let layers = self.size(name("num_hidden_layers", "n_layer"), None)?;
        let intermediate = match gpt2 {
            true => self.size("n_inner", Some(4 * hidden))?,
            false => self.size("intermediate_size", None)?,
        };
        let mut eps_given = None;
        for name in ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"] {
            eps_given = eps_given.or(self.number(name)?);
        }
        let layer_norms = matches!(family, Family::StableLm | Family::Gpt2 | Family::GptNeoX);
        let ropes = if gpt2 {
            Ropes::default()
        } else {
            self.ropes(context)?
        };
        let partial = ropes.all.partial.unwrap_or(family.partial());
        let rotary = (head_dim as f64 * partial) as usize;
        let mut config = ModelConfig {
            vocab_size: self.size("vocab_size", None)?,
            hidden_size: hidden,
            num_heads: heads,
            num_kv_heads: Some(kv_heads),
            head_dim: (head_dim.checked_mul(heads) != Some(hidden)).then_some(head_dim),
            num_layers: layers,
            intermediate_size: intermediate,
            max_seq_len: context,
            activation: Some(family.activation(self)?),
            use_swiglu: !matches!(family, Family::Gpt2 | Family::GptNeoX),
            use_sub_norm: has(params::norms::ATTENTION_SUB),
            use_qk_norm: has(params::norms::Q),
            // Without the key, what is in the files decides.
            tie_word_embeddings: self
                .flag("tie_word_embeddings")
                .unwrap_or(!has("lm_head.weight")),
            use_rope: !gpt2,
            rope_theta: ropes.all.theta.unwrap_or(theta),
            rope_scaling: ropes.all.scaling.clone(),
            rotary_dim: (!gpt2 && rotary != head_dim).then_some(rotary),
            rms_norm_eps: eps_given.map_or(eps, |eps| eps as f32),
            norm: match layer_norms {
                true => NormKind::Layer,
                false => NormKind::Rms,
            },
            biases: MatrixKind::ALL
                .into_iter()
                .filter(|kind| has(&format!("{}.bias", kind.module())))
                .collect(),
            ..decoder()
        };
        if config.use_qk_norm && !matches!(family, Family::Qwen3 | Family::Gemma3 | Family::Olmo2) {
            return Err(unsupported(
                "norms of queries and keys",
                format!("in a {} decoder, which has none", family.name()),
                "them in qwen3, gemma3 and olmo2",
            ));
        }
        let mut folds = Folds {
            norms_from_one: family.norms_from_one(),
            ..Folds::default()
        };
        self.own(family, &mut config, &mut folds, found)?;
        self.check_biases(&config)?;
        self.windows(family, &mut config)?;
        self.local_rope(family, &ropes, &mut config)?;
        Ok((config, folds))
    }

    /// Biases that the configuration speaks of must be there.
    fn check_biases(&self, config: &ModelConfig) -> Result<(), ImportError> {
        use MatrixKind::{Down, Gate, K, O, Q, Up, V};
        for (name, kinds) in [
            ("attention_bias", &[Q, K, V, O][..]),
            ("mlp_bias", &[Gate, Up, Down][..]),
            ("use_qkv_bias", &[Q, K, V][..]),
        ] {
            let missing = |kind: &&MatrixKind| !config.biases.contains(kind);
            if self.flag(name) == Some(true) && kinds.iter().any(|kind| missing(&kind)) {
                return self.refuse(name, "false, as the files have no such biases");
            }
        }
        Ok(())
    }

    /// What only this family has.
    fn own(
        &self,
        family: Family,
        config: &mut ModelConfig,
        folds: &mut Folds,
        found: &Found,
    ) -> Result<(), ImportError> {
        let factor = |name: &str| -> Result<Option<f32>, ImportError> {
            Ok(self.number(name)?.map(|v| v as f32).filter(|v| *v != 1.0))
        };
        let off = |name: &str| match self.flag(name) {
            Some(true) => self.refuse(name, "false"),
            _ => Ok(()),
        };
        match family {
            Family::Gemma | Family::Gemma2 | Family::Gemma3 => {
                let width = config.hidden_size as f64;
                config.embedding_multiplier = Some(libm::sqrt(width) as f32);
                off("use_bidirectional_attention")?;
                if family == Family::Gemma {
                    return Ok(());
                }
                config.norm_placement = NormPlacement::Sandwich;
                let scalar = self.number("query_pre_attn_scalar")?.unwrap_or(256.0);
                config.attention_multiplier = Some(libm::sqrt(1.0 / scalar) as f32);
                let capped = family == Family::Gemma2;
                for (name, default, cap) in [
                    (
                        "attn_logit_softcapping",
                        50.0,
                        &mut config.attention_softcap,
                    ),
                    ("final_logit_softcapping", 30.0, &mut config.logit_softcap),
                ] {
                    let absent = self.0.get(name).is_none();
                    let default = (absent && capped).then_some(default);
                    *cap = self.number(name)?.or(default).map(|cap| cap as f32);
                }
            }
            Family::Olmo2 => {
                config.norm_placement = NormPlacement::Post;
                config.qk_norm_over_heads = config.use_qk_norm;
            }
            Family::Granite => {
                config.embedding_multiplier = factor("embedding_multiplier")?;
                config.residual_multiplier = factor("residual_multiplier")?;
                // Its own default is 1, not 1/√head_dim.
                let scale = self.number("attention_multiplier")?.unwrap_or(1.0) as f32;
                let usual = 1.0 / libm::sqrtf(config.head_dim() as f32);
                config.attention_multiplier = Some(scale).filter(|v| *v != usual);
                folds.logit_factor = 1.0 / self.number("logits_scaling")?.unwrap_or(1.0) as f32;
            }
            Family::MiniCpm => {
                config.embedding_multiplier = factor("scale_emb")?;
                let depth = self.number("scale_depth")?.unwrap_or(1.0);
                let depth = depth / libm::sqrt(config.num_layers as f64);
                config.residual_multiplier = Some(depth as f32);
                if let Some(base) = self.number("dim_model_base")? {
                    folds.logit_factor = (base / config.hidden_size as f64) as f32;
                }
            }
            Family::StableLm => {
                off("qk_layernorm")?;
                config.parallel_residual = self.flag("use_parallel_residual") == Some(true);
            }
            Family::GptNeoX => {
                config.parallel_residual = self.flag("use_parallel_residual") != Some(false);
            }
            Family::Gpt2 => {
                off("scale_attn_by_inverse_layer_idx")?;
                off("add_cross_attention")?;
                if self.flag("scale_attn_weights") == Some(false) {
                    return self.refuse("scale_attn_weights", "true");
                }
            }
            Family::SmolLm3 => {
                let interval = self.size("no_rope_layer_interval", Some(4))?.max(1);
                let rotates = |layer: usize| !(layer + 1).is_multiple_of(interval);
                config.layers_without_rope = match self.given("no_rope_layers") {
                    None => (0..config.num_layers).filter(|l| !rotates(*l)).collect(),
                    // 1 where it is rotated, whatever the name says.
                    Some(list) => {
                        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
                        if list.len() < config.num_layers {
                            return self.refuse("no_rope_layers", "a number for every layer");
                        }
                        (0..config.num_layers)
                            .filter(|layer| list[*layer].as_u64() == Some(0))
                            .collect()
                    }
                };
            }
            Family::Llama
            | Family::BitNet
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Phi3 => {}
        }
        // Fused matrices bring their biases with them.
        if (found.has)("c_attn.bias") || (found.has)("query_key_value.bias") {
            let fused = [MatrixKind::Q, MatrixKind::K, MatrixKind::V];
            config.biases.splice(0..0, fused);
        }
        Ok(())
    }

    /// Which layers see a part of the text only.
    fn windows(&self, family: Family, config: &mut ModelConfig) -> Result<(), ImportError> {
        let layers = config.num_layers;
        let default = match family {
            Family::Mistral | Family::Gemma2 | Family::Gemma3
                if self.0.get("sliding_window").is_none() =>
            {
                Some(4096)
            }
            _ => None,
        };
        let window = match self.given("sliding_window") {
            Some(_) => Some(self.size("sliding_window", None)?),
            None => default,
        };
        let switched = self.flag("use_sliding_window") == Some(true);
        let by_default: Box<dyn Fn(usize) -> bool> = match family {
            Family::Mistral | Family::Phi3 => Box::new(|_| true),
            Family::Qwen2 | Family::Qwen3 if switched => {
                let first = self.size("max_window_layers", Some(28))?;
                Box::new(move |layer| layer >= first)
            }
            Family::SmolLm3 if switched => {
                let without = config.layers_without_rope.clone();
                Box::new(move |layer| without.contains(&layer))
            }
            Family::Gemma2 => Box::new(|layer| layer % 2 == 0),
            Family::Gemma3 => {
                let key = match self.given("sliding_window_pattern") {
                    Some(_) => "sliding_window_pattern",
                    None => "_sliding_window_pattern",
                };
                let pattern = self.size(key, Some(6))?.max(1);
                Box::new(move |layer| !(layer + 1).is_multiple_of(pattern))
            }
            Family::Qwen2 | Family::Qwen3 | Family::SmolLm3 => return Ok(()),
            _ if window.is_some_and(|w| w < config.max_seq_len) => {
                return self.refuse(
                    "sliding_window",
                    "null, or no less than max_position_embeddings, in such a decoder",
                );
            }
            _ => return Ok(()),
        };
        let Some(window) = window else {
            return Ok(());
        };
        let windowed: Vec<usize> = match self.given("layer_types").and_then(Value::as_array) {
            None => (0..layers).filter(|layer| by_default(*layer)).collect(),
            Some(types) => {
                let other = |t: &&Value| {
                    !["sliding_attention", "full_attention"].contains(&t.as_str().unwrap_or(""))
                };
                if types.len() != layers || types.iter().any(|t| other(&t)) {
                    return self.refuse(
                        "layer_types",
                        "sliding_attention or full_attention for every layer",
                    );
                }
                (0..layers)
                    .filter(|layer| types[*layer] == "sliding_attention")
                    .collect()
            }
        };
        // A window as long as the longest text is none, but for the RoPE of such layers.
        let matters = window < config.max_seq_len || family == Family::Gemma3;
        if !windowed.is_empty() && matters {
            config.sliding_window = Some(window);
            config.windowed_layers = (windowed.len() < layers).then_some(windowed);
        }
        Ok(())
    }

    /// RoPE of the layers with a window, where it is another.
    fn local_rope(
        &self,
        family: Family,
        ropes: &Ropes,
        config: &mut ModelConfig,
    ) -> Result<(), ImportError> {
        let older = match family {
            Family::Gemma3 => Some(self.number("rope_local_base_freq")?.unwrap_or(10_000.0)),
            _ => None,
        };
        let older = older.map(|theta| theta as f32);
        let theta = match &ropes.sliding {
            None => older,
            Some(rope) => {
                let partial = rope.partial.unwrap_or(family.partial());
                let rotary = (config.head_dim() as f64 * partial) as usize;
                if rope.scaling.is_some() || rotary != config.rotary_dim() {
                    return Err(unsupported(
                        &format!("{CONFIG}: rope_parameters.sliding_attention"),
                        "scaled, or rotating another share of a head than in the other layers",
                        "another rope_theta alone",
                    ));
                }
                rope.theta.or(older).or(Some(family.defaults().2))
            }
        };
        match (&ropes.sliding, config.sliding_window) {
            (_, Some(_)) => config.local_rope_theta = theta,
            (Some(_), None) => {
                return Err(unsupported(
                    &format!("{CONFIG}: rope_parameters.sliding_attention"),
                    "another than full_attention, in a model without sliding windows",
                    "one RoPE for all its layers",
                ));
            }
            (None, None) => {}
        }
        Ok(())
    }
}
