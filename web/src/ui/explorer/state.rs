//! Looking into the model and choosing another precision for its parts.

use std::sync::Arc;

use leptos::prelude::*;
use serde::Deserialize;
use ternary::config::{LayerBitMap, LayerMode, MatrixKind, MatrixModes, ModelConfig, QuantMode};
use ternary::format::{Packing, stored_bytes};
use ternary::params::{self, ParamKind};
use ternary::search::Entry;
use ternary::session::{MatrixDiff, Measured, ModelInfo, Weights, Which, Work};

use crate::protocol::{Source, Task};
use crate::ui::state::{AppState, Asked, Load};

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

    pub(crate) fn set(self, map: &mut LayerBitMap, mode: QuantMode) {
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

/// A search's result, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Found {
    pub evaluations: Vec<Entry>,
    pub pareto_front: Vec<Entry>,
}

/// Signals of the explorer, copied freely.
#[derive(Clone, Copy)]
pub struct Explorer {
    /// The map as it was edited; the model's own until then.
    pub map: RwSignal<Option<LayerBitMap>>,
    past: RwSignal<Vec<LayerBitMap>>,
    pub selected: RwSignal<Option<Cell>>,
    pub weights: RwSignal<Option<Arc<Weights>>>,
    /// The same matrix of the file beside.
    pub other_weights: RwSignal<Option<Arc<Weights>>>,
    /// The file beside, and what it has other.
    pub compared: RwSignal<Option<(String, Vec<MatrixDiff>)>>,
    pub text: RwSignal<String>,
    /// Newest last.
    pub measured: RwSignal<Vec<Measured>>,
    pub measuring: RwSignal<bool>,
    pub found: RwSignal<Option<Found>>,
}

impl Explorer {
    pub fn new() -> Self {
        Explorer {
            map: RwSignal::new(None),
            past: RwSignal::new(Vec::new()),
            selected: RwSignal::new(None),
            weights: RwSignal::new(None),
            other_weights: RwSignal::new(None),
            compared: RwSignal::new(None),
            text: RwSignal::new(String::new()),
            measured: RwSignal::new(Vec::new()),
            measuring: RwSignal::new(false),
            found: RwSignal::new(None),
        }
    }

    /// Another model: what was known of the one before goes, the text to measure on stays.
    pub(crate) fn reset(self, model: &ModelInfo) {
        self.map.set(Some(model.bit_map.clone()));
        self.past.set(Vec::new());
        self.selected.set(None);
        self.weights.set(None);
        self.other_weights.set(None);
        self.compared.set(None);
        self.measured.set(Vec::new());
        self.measuring.set(false);
        self.found.set(None);
    }

    pub fn can_undo(self) -> bool {
        !self.past.with(Vec::is_empty)
    }

    pub fn undo(self) {
        if let Some(before) = self.past.try_update(Vec::pop).flatten() {
            self.map.set(Some(before));
        }
    }

    /// Take another map; undo brings the one before back.
    pub fn choose(self, map: LayerBitMap) {
        let before = self.map.get_untracked();
        if let Some(before) = before.filter(|before| *before != map) {
            self.past.update(|past| past.push(before));
            self.map.set(Some(map));
        }
    }

    pub fn set_mode(self, cell: Cell, tied: bool, mode: QuantMode) {
        let Some(mut map) = self.map.get_untracked() else {
            return;
        };
        cell.set(&mut map, mode);
        // A tied head is the embedding.
        if tied && cell == Cell::Embedding {
            Cell::Head.set(&mut map, mode);
        }
        self.choose(map);
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

/// Bytes of every matrix in a file of `map`, by the parameters' names.
pub fn matrix_sizes(config: &ModelConfig, map: &LayerBitMap) -> Vec<(String, u64)> {
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
    let matrices: u64 = matrix_sizes(&model.config, map)
        .iter()
        .map(|(_, bytes)| bytes)
        .sum();
    model.file_bytes - model.matrix_bytes.min(model.file_bytes) + matrices
}

impl AppState {
    /// Shows a matrix.
    pub fn inspect(self, cell: Cell) {
        let e = self.explorer;
        e.selected.set(Some(cell));
        e.weights.set(None);
        e.other_weights.set(None);
        let compared = e.compared.with_untracked(Option::is_some);
        let wanted = [Some(Which::Loaded), compared.then_some(Which::Compared)];
        for of in wanted.into_iter().flatten() {
            let name = cell.parameter();
            self.run_work(Asked::Weights, Work::Weights { name, of });
        }
    }

    pub(crate) fn weights_came(self, weights: Weights) {
        let e = self.explorer;
        // The reader may have gone on to another matrix.
        let wanted = e.selected.get_untracked().map(Cell::parameter);
        if wanted.as_deref() == Some(&weights.name) {
            let target = match weights.of {
                Which::Loaded => e.weights,
                Which::Compared => e.other_weights,
            };
            target.set(Some(Arc::new(weights)));
        }
    }

    /// Opens a file beside the model.
    pub fn compare(self, source: Source) {
        self.notice.set(None);
        self.ask_task(Asked::Other, Task::Compare { source });
    }

    pub(crate) fn compared(self, name: String, changes: Vec<MatrixDiff>) {
        self.explorer.compared.set(Some((name, changes)));
        if let Some(cell) = self.explorer.selected.get_untracked() {
            self.inspect(cell);
        }
    }

    /// Measures the text in the edited map.
    pub fn measure(self) {
        let e = self.explorer;
        if let Some(map) = e.map.get_untracked() {
            self.notice.set(None);
            e.measuring.set(true);
            let text = e.text.get_untracked();
            self.run_work(Asked::Measure, Work::Measure { map, text });
        }
    }

    pub(crate) fn measured(self, measured: Measured) {
        self.explorer.measuring.set(false);
        self.explorer.measured.update(|all| all.push(measured));
    }

    /// Saves the model in the edited map.
    pub fn export_map(self) {
        if let Some(map) = self.explorer.map.get_untracked() {
            self.notice.set(None);
            self.run_work(Asked::Other, Work::Export { map });
        }
    }

    /// Goes on with the model in the edited map.
    pub fn adopt_map(self) {
        if let Some(map) = self.explorer.map.get_untracked() {
            self.notice.set(None);
            let load = Load::new(self.source(), self.device.get_untracked());
            self.loads.update(|loads| loads.push_back(load));
            self.run_work(Asked::Load, Work::Adopt { map });
        }
    }

    /// Takes the bit-map of a file: a search's result, a config, or the map alone.
    pub fn import_map(self, name: &str, text: &str) {
        let Some(model) = self.model.get_untracked() else {
            return;
        };
        self.notice.set(None);
        match LayerBitMap::from_json(text, model.config.num_layers) {
            Ok(map) => {
                self.explorer.choose(map);
                // Anything but a search's result holds the map alone.
                self.explorer.found.set(serde_json::from_str(text).ok());
            }
            Err(problem) => self.fail(
                "The bit-map could not be taken",
                format!("{name}: {problem}"),
            ),
        }
    }
}
