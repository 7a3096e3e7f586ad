//! The matrices of a model, and what they take in a file.

use std::collections::HashMap;

use ternary::config::{LayerBitMap, LayerMode, MatrixKind, MatrixModes, ModelConfig, QuantMode};
use ternary::format::{Packing, stored_bytes};
use ternary::params::{self, ParamKind};
use ternary::session::ModelInfo;

/// A matrix of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    Embedding,
    Matrix(usize, MatrixKind),
    Head,
}

impl Cell {
    /// The parameter's name.
    pub fn parameter(self) -> String {
        match self {
            Cell::Embedding => params::EMBEDDING.to_owned(),
            Cell::Head => params::LM_HEAD.to_owned(),
            Cell::Matrix(layer, kind) => format!("model.layers.{layer}.{}.weight", kind.module()),
        }
    }

    /// For people to read.
    pub fn label(self) -> String {
        match self {
            Cell::Embedding => "Embedding".to_owned(),
            Cell::Head => "Head".to_owned(),
            Cell::Matrix(layer, kind) => format!("Layer {layer}, {}", kind.key()),
        }
    }

    pub fn mode(self, map: &LayerBitMap) -> QuantMode {
        match self {
            Cell::Embedding => map.embedding,
            Cell::Head => map.lm_head,
            Cell::Matrix(layer, kind) => map
                .layer_modes
                .get(layer)
                .map_or(QuantMode::F16, |modes| modes.get(kind)),
        }
    }

    fn set(self, map: &mut LayerBitMap, mode: QuantMode) {
        match self {
            Cell::Embedding => map.embedding = mode,
            Cell::Head => map.lm_head = mode,
            Cell::Matrix(layer, kind) => {
                if let Some(modes) = map.layer_modes.get_mut(layer) {
                    let mut all = MatrixModes::all(QuantMode::F16);
                    for kind in MatrixKind::ALL {
                        all.set(kind, modes.get(kind));
                    }
                    all.set(kind, mode);
                    *modes = LayerMode::from(all);
                }
            }
        }
    }
}

/// Rows of the grid: the embedding, the layers, the head unless it is the embedding.
pub fn rows(config: &ModelConfig) -> Vec<Vec<Cell>> {
    let mut rows = vec![vec![Cell::Embedding]];
    for layer in 0..config.num_layers {
        rows.push(
            config
                .matrices()
                .map(|kind| Cell::Matrix(layer, kind))
                .collect(),
        );
    }
    if !config.tie_word_embeddings {
        rows.push(vec![Cell::Head]);
    }
    rows
}

impl Cell {
    /// The matrix of this parameter.
    pub fn of(parameter: &str, config: &ModelConfig) -> Option<Cell> {
        let mut all = rows(config).into_iter().flatten();
        all.find(|cell| cell.parameter() == parameter)
    }
}

/// Gives all of these matrices a precision.
pub fn set_all(cells: &[Cell], map: &mut LayerBitMap, tied: bool, mode: QuantMode) {
    for cell in cells {
        cell.set(map, mode);
        // A tied head is the embedding.
        if tied && *cell == Cell::Embedding {
            Cell::Head.set(map, mode);
        }
    }
}

/// Bytes of every matrix in a file of `map`, by the parameters' names.
pub fn matrix_sizes(config: &ModelConfig, map: &LayerBitMap) -> HashMap<String, u64> {
    let config = ModelConfig {
        layer_bit_map: Some(map.clone()),
        ..config.clone()
    };
    let all = params::all(&config).into_iter();
    all.filter_map(|p| match p.kind {
        ParamKind::Matrix(m) => Some((p.name, stored_bytes(&m, Packing::Ternary2))),
        _ => None,
    })
    .collect()
}

/// Bytes of the file that the model in `map` would be.
pub fn file_size(model: &ModelInfo, map: &LayerBitMap) -> u64 {
    let matrices: u64 = matrix_sizes(&model.config, map).values().sum();
    model.file_bytes - model.matrix_bytes.min(model.file_bytes) + matrices
}
