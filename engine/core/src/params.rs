//! The parameters of a model: names (Hugging Face's), shapes, precision, initialization.

use alloc::{format, string::String, vec, vec::Vec};

use crate::config::{LoraConfig, MatrixKind, ModelConfig, NormKind, QuantMode};
use crate::quant::WeightQuant;
use crate::rng::Rng;

/// A weight matrix `[rows, cols]` = `[outputs, inputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Of its parameter.
    pub name: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// As the bit-map has it.
    pub mode: QuantMode,
    /// How its weights become codes and scales.
    pub quant: WeightQuant,
}

impl Matrix {
    fn new(
        config: &ModelConfig,
        name: String,
        (rows, cols): (usize, usize),
        mode: QuantMode,
    ) -> Self {
        Matrix {
            name,
            rows,
            cols,
            mode,
            quant: WeightQuant::new(config, mode, cols),
        }
    }

    /// Columns per scale at run time, where a tensor's one scale is repeated for each row.
    pub fn run_time_group(&self) -> usize {
        if self.quant.group == 0 {
            self.cols
        } else {
            self.quant.group
        }
    }
}

/// How a parameter is stored and trained.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// A weight in the mode of its bit-map.
    Matrix(Matrix),
    /// Learned positions `[max_seq_len, hidden]`: float, without decay.
    Positions,
    /// Weight of a norm.
    Norm,
    /// Of a LayerNorm or behind a matrix: float, without decay.
    Bias,
    /// A or B of a low-rank adapter.
    Adapter,
}

/// A parameter of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As in Hugging Face's Llama, where it has such a parameter.
    pub name: String,
    /// `[rows, cols]` or `[length]`.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: ParamKind,
}

impl Param {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The matrix that Muon changes, if it is one: those of the layers. Embedding, head and
    /// adapters are not.
    pub fn muon(&self) -> Option<&Matrix> {
        match &self.kind {
            ParamKind::Matrix(m) if m.name != EMBEDDING && m.name != LM_HEAD => Some(m),
            _ => None,
        }
    }

    /// Whether it has none, which no parameter of a valid model does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Initial values: matrices and positions normal with the config's deviations, norms 1, biases
    /// 0. An adapter's A is uniform within ±1/√in, as in the code of Hu et al. 2021 (Kaiming's rule
    /// with a = √5), and its B is 0, so that it begins as nothing. The stream depends on the seed
    /// and the parameter's name only.
    pub fn init(&self, config: &ModelConfig, seed: u64) -> Vec<f32> {
        let std = match &self.kind {
            ParamKind::Norm => return vec![1.0; self.len()],
            ParamKind::Bias => return vec![0.0; self.len()],
            ParamKind::Adapter if self.name.ends_with(LORA_B) => return vec![0.0; self.len()],
            ParamKind::Adapter => {
                let bound = 1.0 / libm::sqrt(f64::from(*self.shape.last().unwrap_or(&1) as u32));
                let mut rng = Rng::named(seed, &self.name);
                return (0..self.len())
                    .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
                    .collect();
            }
            ParamKind::Matrix(m) if m.name == EMBEDDING => config.embed_init_std,
            ParamKind::Positions | ParamKind::Matrix(_) => config.init_std,
        };
        let mut rng = Rng::named(seed, &self.name);
        (0..self.len()).map(|_| rng.normal() * std).collect()
    }
}

/// End of the name of an adapter's first matrix, `[rank, cols]`, in place of `weight`.
pub const LORA_A: &str = "lora_A.weight";
/// End of the name of an adapter's second matrix, `[rows, rank]`.
pub const LORA_B: &str = "lora_B.weight";

/// The rows that tokens become, `[vocab, hidden]`.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output matrix, `[vocab, hidden]`, where it is not the embedding.
pub const LM_HEAD: &str = "lm_head.weight";
/// Learned positions, `[max_seq_len, hidden]`, without RoPE.
pub const POSITIONS: &str = "model.embed_positions.weight";
/// Before the head, `[hidden]`.
pub const FINAL_NORM: &str = "model.norm.weight";

/// The embedding's matrix.
pub fn embedding(config: &ModelConfig) -> Matrix {
    Matrix::new(
        config,
        EMBEDDING.into(),
        (config.vocab_size, config.hidden_size),
        config.bit_map().embedding,
    )
}

/// The output matrix; the embedding itself when tied.
pub fn lm_head(config: &ModelConfig) -> Matrix {
    if config.tie_word_embeddings {
        return embedding(config);
    }
    Matrix::new(
        config,
        LM_HEAD.into(),
        (config.vocab_size, config.hidden_size),
        config.bit_map().lm_head,
    )
}

/// The matrix `kind` of layer `layer`.
pub fn layer_matrix(config: &ModelConfig, layer: usize, kind: MatrixKind) -> Matrix {
    let mode = config.bit_map().layer_modes[layer].get(kind);
    Matrix::new(
        config,
        format!("model.layers.{layer}.{}.weight", kind.module()),
        config.matrix_shape(kind),
        mode,
    )
}

/// The name of a layer's norm; `part` is one of [`norms`].
pub fn layer_norm_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

/// The bias beside a weight of this name.
pub fn bias_name(weight: &str) -> String {
    let module = weight.strip_suffix("weight").unwrap_or(weight);
    format!("{module}bias")
}

/// Parts of the names of a layer's norms.
pub mod norms {
    /// Before attention.
    pub const ATTENTION_INPUT: &str = "input_layernorm";
    /// Behind attention.
    pub const ATTENTION_OUTPUT: &str = "self_attn.output_norm";
    /// Before the MLP.
    pub const MLP_INPUT: &str = "post_attention_layernorm";
    /// Behind the MLP.
    pub const MLP_OUTPUT: &str = "mlp.output_norm";
    /// Before the output projection.
    pub const ATTENTION_SUB: &str = "self_attn.attn_sub_norm";
    /// Before the down projection.
    pub const MLP_SUB: &str = "mlp.ffn_sub_norm";
    /// Of queries.
    pub const Q: &str = "self_attn.q_norm";
    /// Of keys.
    pub const K: &str = "self_attn.k_norm";
}

/// Every matrix of a model in its bit-map, in file order.
pub fn matrices(config: &ModelConfig) -> impl Iterator<Item = Matrix> + use<> {
    all(config).into_iter().filter_map(|p| match p.kind {
        ParamKind::Matrix(m) => Some(m),
        _ => None,
    })
}

/// Every parameter, in file order.
pub fn all(config: &ModelConfig) -> Vec<Param> {
    let matrix = |m: Matrix| Param {
        name: m.name.clone(),
        shape: vec![m.rows, m.cols],
        kind: ParamKind::Matrix(m),
    };
    let vector = |name: String, dim: usize, kind: ParamKind| Param {
        name,
        shape: vec![dim],
        kind,
    };
    let hidden = config.hidden_size;
    let stream_norm = |name: String| {
        let bias = (config.norm == NormKind::Layer)
            .then(|| vector(bias_name(&name), hidden, ParamKind::Bias));
        core::iter::once(vector(name, hidden, ParamKind::Norm)).chain(bias)
    };
    let mut params = vec![matrix(embedding(config))];
    if !config.use_rope {
        params.push(Param {
            name: POSITIONS.into(),
            shape: vec![config.max_seq_len, hidden],
            kind: ParamKind::Positions,
        });
    }
    for layer in 0..config.num_layers {
        let name = |part: &str| layer_norm_name(layer, part);
        let norm = |part: &str, dim: usize| vector(name(part), dim, ParamKind::Norm);
        if config.norm_placement.before() {
            params.extend(stream_norm(name(norms::ATTENTION_INPUT)));
            params.extend(stream_norm(name(norms::MLP_INPUT)));
        }
        if config.norm_placement.after() {
            params.extend(stream_norm(name(norms::ATTENTION_OUTPUT)));
            params.extend(stream_norm(name(norms::MLP_OUTPUT)));
        }
        if config.use_qk_norm {
            params.push(norm(norms::Q, config.qk_norm_dim(false)));
            params.push(norm(norms::K, config.qk_norm_dim(true)));
        }
        if config.use_sub_norm {
            params.push(norm(norms::ATTENTION_SUB, config.q_dim()));
            params.push(norm(norms::MLP_SUB, config.intermediate_size));
        }
        for kind in config.matrices() {
            let m = layer_matrix(config, layer, kind);
            let bias = config
                .biases
                .contains(&kind)
                .then(|| vector(bias_name(&m.name), m.rows, ParamKind::Bias));
            params.push(matrix(m));
            params.extend(bias);
        }
    }
    params.extend(stream_norm(FINAL_NORM.into()));
    if !config.tie_word_embeddings {
        params.push(matrix(lm_head(config)));
    }
    params
}

/// The adapter of matrix `m`: A `[rank, cols]` and B `[rows, rank]`.
pub fn adapter(m: &Matrix, rank: usize) -> [Param; 2] {
    let module = m.name.strip_suffix("weight").unwrap_or(&m.name);
    let param = |end: &str, shape| Param {
        name: format!("{module}{end}"),
        shape,
        kind: ParamKind::Adapter,
    };
    [
        param(LORA_A, vec![rank, m.cols]),
        param(LORA_B, vec![m.rows, rank]),
    ]
}

/// The matrices that `lora` adapts, in file order.
pub fn adapted(config: &ModelConfig, lora: &LoraConfig) -> Vec<Matrix> {
    (0..config.num_layers)
        .flat_map(|layer| config.matrices().map(move |kind| (layer, kind)))
        .filter(|(_, kind)| lora.targets.contains(kind))
        .map(|(layer, kind)| layer_matrix(config, layer, kind))
        .collect()
}

/// What training changes: the adapters if there are any, otherwise every parameter.
pub fn trained(config: &ModelConfig, lora: Option<&LoraConfig>) -> Vec<Param> {
    match lora {
        None => all(config),
        Some(lora) => adapted(config, lora)
            .iter()
            .flat_map(|m| adapter(m, lora.rank))
            .collect(),
    }
}
