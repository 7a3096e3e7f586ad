//! The parameters of a model: names (Hugging Face's), shapes, precision, initialisation.

use crate::config::{MatrixKind, ModelConfig, QuantMode};
use crate::program::WeightQuant;
use crate::rng::Rng;

/// A weight matrix `[rows, cols]` = `[outputs, inputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub mode: QuantMode,
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
    Matrix(Matrix),
    /// Learned positions `[max_seq_len, hidden]`: float, without decay.
    Positions,
    /// RMSNorm weight.
    Norm,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: ParamKind,
}

impl Param {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Initial values: matrices and positions normal with the config's deviations, norms 1. The stream depends on the seed and the
    /// parameter's name only.
    pub fn init(&self, config: &ModelConfig, seed: u64) -> Vec<f32> {
        let std = match &self.kind {
            ParamKind::Norm => return vec![1.0; self.len()],
            ParamKind::Matrix(m) if m.name == EMBEDDING => config.embed_init_std,
            ParamKind::Positions | ParamKind::Matrix(_) => config.init_std,
        };
        let mut rng = Rng::named(seed, &self.name);
        (0..self.len()).map(|_| rng.normal() * std).collect()
    }
}

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const LM_HEAD: &str = "lm_head.weight";
pub const POSITIONS: &str = "model.embed_positions.weight";
pub const FINAL_NORM: &str = "model.norm.weight";

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

pub fn layer_matrix(config: &ModelConfig, layer: usize, kind: MatrixKind) -> Matrix {
    let part = match kind {
        MatrixKind::Q => "self_attn.q_proj",
        MatrixKind::K => "self_attn.k_proj",
        MatrixKind::V => "self_attn.v_proj",
        MatrixKind::O => "self_attn.o_proj",
        MatrixKind::Gate => "mlp.gate_proj",
        MatrixKind::Up => "mlp.up_proj",
        MatrixKind::Down => "mlp.down_proj",
    };
    let mode = config.bit_map().layer_modes[layer].get(kind);
    Matrix::new(
        config,
        format!("model.layers.{layer}.{part}.weight"),
        config.matrix_shape(kind),
        mode,
    )
}

pub fn layer_norm_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

/// Every parameter, in file order.
pub fn all(config: &ModelConfig) -> Vec<Param> {
    let matrix = |m: Matrix| Param {
        name: m.name.clone(),
        shape: vec![m.rows, m.cols],
        kind: ParamKind::Matrix(m),
    };
    let norm = |name: String, dim: usize| Param {
        name,
        shape: vec![dim],
        kind: ParamKind::Norm,
    };
    let mut params = vec![matrix(embedding(config))];
    if !config.use_rope {
        params.push(Param {
            name: POSITIONS.into(),
            shape: vec![config.max_seq_len, config.hidden_size],
            kind: ParamKind::Positions,
        });
    }
    for layer in 0..config.num_layers {
        let name = |part: &str| layer_norm_name(layer, part);
        params.push(norm(name("input_layernorm"), config.hidden_size));
        params.push(norm(name("post_attention_layernorm"), config.hidden_size));
        if config.use_qk_norm {
            params.push(norm(name("self_attn.q_norm"), config.head_dim()));
            params.push(norm(name("self_attn.k_norm"), config.head_dim()));
        }
        if config.use_sub_norm {
            params.push(norm(name("self_attn.attn_sub_norm"), config.hidden_size));
            params.push(norm(name("mlp.ffn_sub_norm"), config.intermediate_size));
        }
        for kind in config.matrices() {
            params.push(matrix(layer_matrix(config, layer, kind)));
        }
    }
    params.push(norm(FINAL_NORM.into(), config.hidden_size));
    if !config.tie_word_embeddings {
        params.push(matrix(lm_head(config)));
    }
    params
}
