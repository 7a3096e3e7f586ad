//! The shape and the numerics of a model.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{ConfigError, LayerBitMap, MatrixKind, QuantMode, RopeScaling};

/// Limits that keep a damaged or hostile config from overflowing a size or filling the memory with
/// names.
const MAX_SIZE: usize = 1 << 24;
/// Widest input of a matrix: 127·127 times as much still fits the kernels' i32 sums.
const MAX_WIDTH: usize = 1 << 17;
const MAX_LAYERS: usize = 1 << 12;
const MAX_PARAMETERS: u128 = 1 << 40;

macro_rules! activations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Non-linearity of the MLP.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Activation {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Activation {
            /// Every one: what must hold for all is tested over them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As a configuration has it; in capitals, as a shader's constant.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

activations! {
    /// Tanh approximation (Hendrycks & Gimpel 2016).
    Gelu = "gelu",
    /// `x·Φ(x)` with the error function itself.
    GeluErf = "gelu_erf",
    /// `x·σ(x)` (Elfwing et al. 2017), also called swish.
    Silu = "silu",
    /// `max(x, 0)²` (So et al. 2021; BitNet b1.58 2B4T).
    Relu2 = "relu2",
}

/// How Arenas' ε moves over `arenas_anneal_steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArenasSchedule {
    /// From `arenas_initial` straight to 0.
    Linear,
    /// From 0 up to `arenas_initial` in the first tenth, then down to 0 along a cosine.
    Sherry,
}

/// How many weights share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightScale {
    /// No scale: weights are exactly −1, 0, +1.
    None,
    /// The whole matrix.
    Tensor,
    /// Each row, which is an output.
    Row,
    /// `weight_group_size` consecutive columns of a row.
    Group,
}

/// What the norms of the residual stream compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormKind {
    /// `x / rms(x) · w` (Zhang & Sennrich 2019).
    #[default]
    #[serde(rename = "rmsnorm")]
    Rms,
    /// `(x − mean(x)) / std(x) · w + b` (Ba et al. 2016).
    #[serde(rename = "layernorm")]
    Layer,
}

/// Where a branch is normalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormPlacement {
    /// Its input.
    #[default]
    Pre,
    /// Its output, before that joins the residual stream (OLMo 2).
    Post,
    /// Both (Gemma 2).
    Sandwich,
}

impl NormPlacement {
    /// Whether the branch's input is normalized.
    pub fn before(self) -> bool {
        self != NormPlacement::Post
    }

    /// Whether the branch's output is normalized.
    pub fn after(self) -> bool {
        self != NormPlacement::Pre
    }
}

/// For fields that are written only where they differ: older programs do not know them.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Everything that defines a decoder. `config/recommended.json` has the recipe to use.
///
/// ```
/// use ternary_core::config::{ModelConfig, QuantMode};
///
/// let json = r#"{"vocab_size": 300, "hidden_size": 64, "num_heads": 4, "num_layers": 2, "intermediate_size": 128}"#;
/// let config = ModelConfig::from_json(json)?;
/// assert_eq!(config.bit_map().layer_modes.len(), 2);
/// assert_eq!(config.bit_map().embedding, QuantMode::F16);
/// let e = ModelConfig::from_json(r#"{"hiden_size": 64}"#).unwrap_err();
/// assert!(e.to_string().contains("did you mean `hidden_size`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Tokens: rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads of a layer.
    pub num_heads: usize,
    /// Key/value heads (grouped-query attention); `num_heads` when unset.
    pub num_kv_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_heads` when unset, and then not written: older programs
    /// know no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Blocks of attention and MLP.
    pub num_layers: usize,
    /// Width of the MLP inside.
    pub intermediate_size: usize,
    /// Longest text, in tokens; the KV cache grows with it.
    pub max_seq_len: usize,
    /// With no `layer_bit_map`: unset or true = ternary body, false = binary body.
    pub use_ternary: Option<bool>,
    /// Unset: sandwich (embedding and lm_head F16, body as `use_ternary` says).
    pub layer_bit_map: Option<LayerBitMap>,
    /// A gate in the MLP, `act(gate(x))·up(x)` (Shazeer 2020); `act(up(x))` when false.
    pub use_swiglu: bool,
    /// Rotary positions; learned positions when false.
    pub use_rope: bool,
    /// RMSNorm of every query and key head.
    pub use_qk_norm: bool,
    /// Multiply each branch by 1/√2 before adding it to the residual stream.
    pub use_residual_scaling: bool,
    /// Ternary threshold δ = 0.7·mean|W| (TWN, Li et al. 2016); absmean rounding (BitNet b1.58)
    /// when false.
    pub use_dynamic_threshold: bool,
    /// Factor of the straight-through gradient.
    pub ste_scale_factor: f32,
    /// Latent weights are clamped to ± this in the forward pass; 0 switches it off.
    pub latent_clamp_max: f32,
    /// Latent weights are clipped to ± this after each optimizer step; 0 switches it off.
    pub latent_clip_max_training: f32,
    /// Share of the steps with the soft quantizer γ·tanh(αW/γ), α from 1 to 8; hard afterwards.
    pub anneal_fraction: f32,
    /// Initial ε of y = Q(W)x + ε·Wx (Arenas); unset = off.
    pub arenas_initial: Option<f32>,
    /// Steps over which ε falls to 0.
    pub arenas_anneal_steps: usize,
    /// How ε moves until then.
    pub arenas_schedule: ArenasSchedule,

    /// Unset: SiLU with SwiGLU, GELU without.
    pub activation: Option<Activation>,
    /// RMSNorm before the output and the down projections (BitNet b1.58 2B4T).
    pub use_sub_norm: bool,
    /// lm_head shares the embedding's matrix.
    pub tie_word_embeddings: bool,
    /// Base θ of the rotary frequencies.
    pub rope_theta: f32,
    /// Unset: frequencies are θ^(−2j/head_dim).
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean square, or the variance, under every norm's root.
    pub rms_norm_eps: f32,
    /// Bits of the activations that enter quantized matrices: 8, or null for float.
    pub activation_bits: Option<u32>,
    /// What shares a scale in ternary and binary matrices.
    pub weight_scale: WeightScale,
    /// Columns per scale with `weight_scale: group`: 32, 64, 128 or 256.
    pub weight_group_size: usize,
    /// Binary weights are taken about their mean.
    pub binary_centered: bool,
    /// Standard deviation that training starts all matrices but the embedding with.
    pub init_std: f32,
    /// Standard deviation that training starts the embedding with.
    pub embed_init_std: f32,

    /// Of the norms before and after branches and before the head; heads and sub-norms are
    /// RMSNorms.
    #[serde(skip_serializing_if = "is_default")]
    pub norm: NormKind,
    /// Whether branches are normalized before, behind, or both.
    #[serde(skip_serializing_if = "is_default")]
    pub norm_placement: NormPlacement,
    /// Matrices that a bias is added behind, in every layer.
    #[serde(skip_serializing_if = "is_default")]
    pub biases: Vec<MatrixKind>,
    /// With `use_qk_norm`: one norm over all heads of a token instead of one for each (OLMo 2).
    #[serde(skip_serializing_if = "is_default")]
    pub qk_norm_over_heads: bool,
    /// Attention and MLP read the same residual stream, and both are added to it (GPT-NeoX).
    #[serde(skip_serializing_if = "is_default")]
    pub parallel_residual: bool,
    /// Factor of every branch before it is added to the residual stream, instead of what
    /// `use_residual_scaling` says.
    #[serde(skip_serializing_if = "is_default")]
    pub residual_multiplier: Option<f32>,
    /// Factor of the embedding's rows.
    #[serde(skip_serializing_if = "is_default")]
    pub embedding_multiplier: Option<f32>,
    /// Factor of attention's scores; 1/√head_dim when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub attention_multiplier: Option<f32>,
    /// c of `c·tanh(score / c)` (Gemma 2); unset = off.
    #[serde(skip_serializing_if = "is_default")]
    pub attention_softcap: Option<f32>,
    /// c of `c·tanh(logit / c)`; unset = off.
    #[serde(skip_serializing_if = "is_default")]
    pub logit_softcap: Option<f32>,
    /// Tokens that a token attends to, itself included (Beltagy et al. 2020); unset = all before
    /// it.
    #[serde(skip_serializing_if = "is_default")]
    pub sliding_window: Option<usize>,
    /// Layers that `sliding_window` is for; all when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub windowed_layers: Option<Vec<usize>>,
    /// θ of the layers with a window, without `rope_scaling` (Gemma 3); unset = as in all others.
    #[serde(skip_serializing_if = "is_default")]
    pub local_rope_theta: Option<f32>,
    /// Layers whose queries and keys are not rotated (SmolLM3).
    #[serde(skip_serializing_if = "is_default")]
    pub layers_without_rope: Vec<usize>,
    /// First dimensions of a head that RoPE rotates; all when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub rotary_dim: Option<usize>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            vocab_size: 50257,
            hidden_size: 512,
            num_heads: 8,
            num_kv_heads: None,
            head_dim: None,
            num_layers: 6,
            intermediate_size: 2048,
            max_seq_len: 512,
            use_ternary: None,
            layer_bit_map: None,
            use_swiglu: false,
            use_rope: false,
            use_qk_norm: true,
            use_residual_scaling: true,
            use_dynamic_threshold: true,
            ste_scale_factor: 2.0,
            latent_clamp_max: 1.5,
            latent_clip_max_training: 1.2,
            anneal_fraction: 0.3,
            arenas_initial: None,
            arenas_anneal_steps: 10_000,
            arenas_schedule: ArenasSchedule::Linear,
            activation: None,
            use_sub_norm: false,
            tie_word_embeddings: true,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-6,
            activation_bits: Some(8),
            weight_scale: WeightScale::Row,
            weight_group_size: 128,
            binary_centered: true,
            init_std: 0.02,
            embed_init_std: 0.02,
            norm: NormKind::Rms,
            norm_placement: NormPlacement::Pre,
            biases: Vec::new(),
            qk_norm_over_heads: false,
            parallel_residual: false,
            residual_multiplier: None,
            embedding_multiplier: None,
            attention_multiplier: None,
            attention_softcap: None,
            logit_softcap: None,
            sliding_window: None,
            windowed_layers: None,
            local_rope_theta: None,
            layers_without_rope: Vec::new(),
            rotary_dim: None,
        }
    }
}

impl ModelConfig {
    /// Key and value heads, the query heads where no number is given.
    pub fn kv_heads(&self) -> usize {
        self.num_kv_heads.unwrap_or(self.num_heads)
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_heads)
    }

    /// Width of all query heads together: the attention's, inside.
    pub fn q_dim(&self) -> usize {
        self.num_heads * self.head_dim()
    }

    /// Width of all key heads together, and of all value heads.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads() * self.head_dim()
    }

    /// What a fine-tuning of such a model is computed with: a soft quantizer, as training from
    /// scratch begins with, would undo what the weights were trained for.
    pub fn for_finetuning(self) -> Self {
        ModelConfig {
            anneal_fraction: 0.0,
            arenas_initial: None,
            ..self
        }
    }

    /// The one in force.
    pub fn activation(&self) -> Activation {
        self.activation.unwrap_or(if self.use_swiglu {
            Activation::Silu
        } else {
            Activation::Gelu
        })
    }

    /// ε of Arenas at `step` (0-based); 0 when it is off or over.
    pub fn arenas_at(&self, step: usize) -> f32 {
        let t = step as f32 / self.arenas_anneal_steps.max(1) as f32;
        let Some(peak) = self.arenas_initial.filter(|_| t < 1.0) else {
            return 0.0;
        };
        const RISE: f32 = 0.1;
        match self.arenas_schedule {
            ArenasSchedule::Linear => peak * (1.0 - t),
            ArenasSchedule::Sherry if t < RISE => peak * t / RISE,
            ArenasSchedule::Sherry => {
                let t = (t - RISE) / (1.0 - RISE);
                peak * 0.5 * (1.0 + libm::cosf(core::f32::consts::PI * t))
            }
        }
    }

    /// Factor of a branch before it is added to the residual stream.
    pub fn residual_scale(&self) -> f32 {
        if let Some(factor) = self.residual_multiplier {
            factor
        } else if self.use_residual_scaling {
            core::f32::consts::FRAC_1_SQRT_2
        } else {
            1.0
        }
    }

    /// Factor of attention's scores.
    pub fn attention_scale(&self) -> f32 {
        let default = 1.0 / libm::sqrtf(self.head_dim() as f32);
        self.attention_multiplier.unwrap_or(default)
    }

    /// Tokens that a token of this layer attends to, if not all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let all = |layers: &Vec<usize>| layers.contains(&layer);
        self.sliding_window
            .filter(|_| self.windowed_layers.as_ref().is_none_or(all))
    }

    /// Whether RoPE rotates the queries and keys of this layer.
    pub fn rotates(&self, layer: usize) -> bool {
        self.use_rope && !self.layers_without_rope.contains(&layer)
    }

    /// Whether this layer's RoPE has the frequencies of `local_rope_theta`.
    pub fn rotates_locally(&self, layer: usize) -> bool {
        self.local_rope_theta.is_some() && self.window(layer).is_some()
    }

    /// First dimensions of a head that RoPE rotates.
    pub fn rotary_dim(&self) -> usize {
        self.rotary_dim.unwrap_or(self.head_dim())
    }

    /// Width of a norm of all queries, or of all keys if `keys`.
    pub fn qk_norm_dim(&self, keys: bool) -> usize {
        match (self.qk_norm_over_heads, keys) {
            (false, _) => self.head_dim(),
            (true, false) => self.q_dim(),
            (true, true) => self.kv_dim(),
        }
    }

    /// Fields that are written only where they are set, as they are set: what programs that know
    /// the older ones alone must refuse.
    pub fn newer_fields(&self) -> serde_json::Map<String, serde_json::Value> {
        let fields = |config: &ModelConfig| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let always = fields(&ModelConfig::default());
        let mut set = fields(self);
        set.retain(|name, _| !always.contains_key(name));
        set
    }

    /// The map in force: the given one, or the sandwich.
    pub fn bit_map(&self) -> LayerBitMap {
        self.layer_bit_map.clone().unwrap_or_else(|| {
            let body = if self.use_ternary.unwrap_or(true) {
                QuantMode::Ternary
            } else {
                QuantMode::Binary
            };
            LayerBitMap::sandwich(self.num_layers, body)
        })
    }

    /// The matrices each layer has, in recording order.
    pub fn matrices(&self) -> impl Iterator<Item = MatrixKind> + use<> {
        let swiglu = self.use_swiglu;
        MatrixKind::ALL
            .into_iter()
            .filter(move |k| *k != MatrixKind::Gate || swiglu)
    }

    /// Rows (outputs) and columns (inputs) of a layer's matrix.
    pub fn matrix_shape(&self, kind: MatrixKind) -> (usize, usize) {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        match kind {
            MatrixKind::Q => (self.q_dim(), d),
            MatrixKind::O => (d, self.q_dim()),
            MatrixKind::K | MatrixKind::V => (self.kv_dim(), d),
            MatrixKind::Gate | MatrixKind::Up => (f, d),
            MatrixKind::Down => (d, f),
        }
    }

    /// Number of weights, norms included; a tied head counts once.
    pub fn parameter_count(&self) -> usize {
        usize::try_from(self.wide_parameter_count()).unwrap_or(usize::MAX)
    }

    /// As [`parameter_count`](Self::parameter_count), in a type that no accepted combination of
    /// sizes overflows.
    fn wide_parameter_count(&self) -> u128 {
        let wide = |n: usize| n as u128;
        let d = wide(self.hidden_size);
        let matrices: u128 = self
            .matrices()
            .map(|k| {
                let (rows, cols) = self.matrix_shape(k);
                wide(rows) * wide(cols)
            })
            .sum();
        let placed =
            u128::from(self.norm_placement.before()) + u128::from(self.norm_placement.after());
        // A LayerNorm has a bias beside its weight.
        let norm = d * if self.norm == NormKind::Layer { 2 } else { 1 };
        let mut norms = 2 * placed * norm;
        if self.use_qk_norm {
            norms += wide(self.qk_norm_dim(false)) + wide(self.qk_norm_dim(true));
        }
        if self.use_sub_norm {
            norms += wide(self.q_dim()) + wide(self.intermediate_size);
        }
        let given = self.matrices().filter(|kind| self.biases.contains(kind));
        let biases: u128 = given.map(|kind| wide(self.matrix_shape(kind).0)).sum();
        let ends = if self.tie_word_embeddings { 1 } else { 2 };
        let positions = if self.use_rope { 0 } else { self.max_seq_len };
        wide(self.vocab_size) * d * ends
            + wide(positions) * d
            + wide(self.num_layers) * (matrices + norms + biases)
            + norm
    }

    /// Refuse impossible combinations, naming the numbers that clash.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_sizes()?;
        self.check_heads()?;
        self.check_positions()?;
        self.check_layers()?;
        self.check_quantization()?;
        self.check_numbers()?;
        self.check_bit_map()
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_heads", self.num_heads),
            ("num_kv_heads", self.kv_heads()),
            ("num_layers", self.num_layers),
            ("intermediate_size", self.intermediate_size),
            ("max_seq_len", self.max_seq_len),
        ] {
            if value == 0 {
                return fail(format!("{name} is 0; it must be at least 1"));
            }
            let most = match name {
                "num_layers" => MAX_LAYERS,
                "hidden_size" | "intermediate_size" => MAX_WIDTH,
                _ => MAX_SIZE,
            };
            if value > most {
                return fail(format!(
                    "{name} is {value}; the largest supported value is {most}"
                ));
            }
        }
        Ok(())
    }

    fn check_heads(&self) -> Result<(), ConfigError> {
        if let Some(width) = self.head_dim {
            let most = MAX_WIDTH / self.num_heads;
            if width == 0 || width > most {
                return fail(format!(
                    "head_dim is {width}; with num_heads {} it must be between 1 and {most}",
                    self.num_heads
                ));
            }
        } else if !self.hidden_size.is_multiple_of(self.num_heads) {
            return fail(format!(
                "hidden_size {} is not divisible by num_heads {}; give head_dim if the heads have another width",
                self.hidden_size, self.num_heads
            ));
        }
        if !self.num_heads.is_multiple_of(self.kv_heads()) {
            return fail(format!(
                "num_heads {} is not divisible by num_kv_heads {}",
                self.num_heads,
                self.kv_heads()
            ));
        }
        if self.qk_norm_over_heads && !self.use_qk_norm {
            return fail("qk_norm_over_heads is true, but use_qk_norm is false".into());
        }
        if self.wide_parameter_count() > MAX_PARAMETERS {
            return fail(format!(
                "vocab_size {}, hidden_size {}, num_layers {} and intermediate_size {} make {} weights; at most {MAX_PARAMETERS} are supported",
                self.vocab_size,
                self.hidden_size,
                self.num_layers,
                self.intermediate_size,
                self.wide_parameter_count()
            ));
        }
        Ok(())
    }

    fn check_positions(&self) -> Result<(), ConfigError> {
        if !self.use_rope {
            for (name, given) in [
                ("rope_scaling", self.rope_scaling.is_some()),
                ("local_rope_theta", self.local_rope_theta.is_some()),
                ("layers_without_rope", !self.layers_without_rope.is_empty()),
                ("rotary_dim", self.rotary_dim.is_some()),
            ] {
                if given {
                    return fail(format!("{name} is set, but use_rope is false"));
                }
            }
            return Ok(());
        }
        if let Some(rotary) = self.rotary_dim
            && (rotary == 0 || rotary > self.head_dim() || !rotary.is_multiple_of(2))
        {
            return fail(format!(
                "rotary_dim is {rotary}; it must be even, and between 2 and the head dimension {}",
                self.head_dim()
            ));
        }
        if !self.rotary_dim().is_multiple_of(2) {
            return fail(format!(
                "use_rope needs an even head dimension; head_dim, or hidden_size {} / num_heads {}, is {}",
                self.hidden_size,
                self.num_heads,
                self.head_dim()
            ));
        }
        if let Some(scaling) = &self.rope_scaling {
            scaling.validate(self.rotary_dim())?;
        }
        if self.local_rope_theta.is_some() && self.sliding_window.is_none() {
            return fail(
                "local_rope_theta is of the layers with a sliding_window, which is not set".into(),
            );
        }
        Ok(())
    }

    fn check_layers(&self) -> Result<(), ConfigError> {
        if self.windowed_layers.is_some() && self.sliding_window.is_none() {
            return fail("windowed_layers is set, but sliding_window is not".into());
        }
        if self.sliding_window == Some(0) {
            return fail("sliding_window is 0; a token attends to itself at least".into());
        }
        let windowed = self.windowed_layers.iter().flatten();
        for (name, layers) in [
            ("windowed_layers", windowed.collect::<Vec<_>>()),
            (
                "layers_without_rope",
                self.layers_without_rope.iter().collect(),
            ),
        ] {
            let mut last = None;
            for layer in layers {
                if *layer >= self.num_layers || last.is_some_and(|last| last >= *layer) {
                    return fail(format!(
                        "{name} has {layer}; it must list layers below num_layers {} in order, each once",
                        self.num_layers
                    ));
                }
                last = Some(*layer);
            }
        }
        Ok(())
    }

    fn check_quantization(&self) -> Result<(), ConfigError> {
        if !matches!(self.activation_bits, None | Some(8)) {
            return fail(format!(
                "activation_bits is {:?}; supported: 8, or null for float activations",
                self.activation_bits
            ));
        }
        if self.weight_scale != WeightScale::Group {
            return Ok(());
        }
        if ![32, 64, 128, 256].contains(&self.weight_group_size) {
            return fail(format!(
                "weight_group_size is {}; supported: 32, 64, 128, 256",
                self.weight_group_size
            ));
        }
        for kind in self.matrices() {
            let (_, cols) = self.matrix_shape(kind);
            if !cols.is_multiple_of(self.weight_group_size) {
                return fail(format!(
                    "weight_scale group: matrix {} has {cols} columns, not divisible by weight_group_size {}",
                    kind.key(),
                    self.weight_group_size
                ));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        for (name, value, least) in [
            ("ste_scale_factor", self.ste_scale_factor, 0.0),
            ("latent_clamp_max", self.latent_clamp_max, 0.0),
            (
                "latent_clip_max_training",
                self.latent_clip_max_training,
                0.0,
            ),
            ("rms_norm_eps", self.rms_norm_eps, 0.0),
            ("init_std", self.init_std, 0.0),
            ("embed_init_std", self.embed_init_std, 0.0),
            ("rope_theta", self.rope_theta, 1.0),
            (
                "local_rope_theta",
                self.local_rope_theta.unwrap_or(1.0),
                1.0,
            ),
        ] {
            if !value.is_finite() || value < least {
                return fail(format!("{name} is {value}; it must be at least {least}"));
            }
        }
        if self.rms_norm_eps == 0.0 {
            return fail(
                "rms_norm_eps is 0; it must be above 0, because a row may be all zeros".into(),
            );
        }
        for (name, value) in [
            ("residual_multiplier", self.residual_multiplier),
            ("embedding_multiplier", self.embedding_multiplier),
            ("attention_multiplier", self.attention_multiplier),
            ("attention_softcap", self.attention_softcap),
            ("logit_softcap", self.logit_softcap),
        ] {
            if let Some(value) = value
                && !(value.is_finite() && value > 0.0)
            {
                return fail(format!("{name} is {value}; it must be above 0, or null"));
            }
        }
        if !(0.0..=1.0).contains(&self.anneal_fraction) {
            return fail(format!(
                "anneal_fraction is {}; it must be between 0 and 1",
                self.anneal_fraction
            ));
        }
        if let Some(e) = self.arenas_initial
            && !(0.0..=1.0).contains(&e)
        {
            return fail(format!(
                "arenas_initial is {e}; it must be between 0 and 1, or null"
            ));
        }
        Ok(())
    }

    fn check_bit_map(&self) -> Result<(), ConfigError> {
        if let Some(map) = &self.layer_bit_map {
            if map.layer_modes.len() != self.num_layers {
                return fail(format!(
                    "layer_bit_map has {} layer_modes, but num_layers is {}",
                    map.layer_modes.len(),
                    self.num_layers
                ));
            }
            if self.tie_word_embeddings && map.embedding != map.lm_head {
                return fail(format!(
                    "tie_word_embeddings is true, but layer_bit_map gives embedding {} and lm_head {}: one matrix has one mode",
                    map.embedding, map.lm_head
                ));
            }
        }
        Ok(())
    }
}

fn fail(message: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid(message))
}
