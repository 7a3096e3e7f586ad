//! Looking into the model and choosing another precision for its parts.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use serde::Deserialize;
use ternary::config::{LayerBitMap, QuantMode};
use ternary::search::Entry;
use ternary::session::{Event, MatrixDiff, MatrixFigures, ModelInfo, ModelTask, Weights};
use wasm_bindgen_futures::spawn_local;
use web_sys::File;

use super::cells::{Cell, matrix_sizes, set_all};
use super::measure::Measured;
use super::overview::Overview;
use super::place::{Place, View};
use crate::protocol::{RequestId, Response, Task};
use crate::ui::engine::{Engine, EngineEvent, ModelRequest};
use crate::ui::page::{Page, Step};
use crate::ui::widgets::files;

/// A search's result, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Found {
    pub evaluations: Vec<Entry>,
    pub pareto_front: Vec<Entry>,
    /// What the search chose.
    pub layer_bit_map: LayerBitMap,
}

/// What is looked at, and the edited map: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Explorer {
    pub(super) engine: Engine,
    pub(super) page: Page,
    /// The map as it was edited; the model's own until then.
    pub map: RwSignal<Option<LayerBitMap>>,
    past: RwSignal<Vec<LayerBitMap>>,
    /// Bytes of every matrix in a file of that map, by the parameters' names.
    pub sizes: Memo<HashMap<String, u64>>,
    /// The matrix that is open.
    pub selected: RwSignal<Option<Cell>>,
    /// Those that are given a precision together.
    pub marked: RwSignal<Vec<Cell>>,
    /// The open matrix in the edited map's precision.
    pub weights: RwSignal<Option<Arc<Weights>>>,
    /// The same matrix of the file beside.
    pub other_weights: RwSignal<Option<Arc<Weights>>>,
    /// The same matrix as a fine-tuning has it by now.
    pub tuned_weights: RwSignal<Option<Arc<Weights>>>,
    /// Why the open matrix is not seen, or not in the precision that is chosen for it.
    pub unseen: RwSignal<Option<String>>,
    /// The file beside, and what it has other.
    pub compared: RwSignal<Option<(String, Vec<MatrixDiff>)>>,
    /// What the map is colored by.
    pub overview: RwSignal<Overview>,
    /// What is known of the matrices, in the precisions they had then.
    pub figures: RwSignal<HashMap<String, MatrixFigures>>,
    pub text: RwSignal<String>,
    /// Newest last.
    pub measured: RwSignal<Vec<Measured>>,
    pub measuring: RwSignal<usize>,
    pub found: RwSignal<Option<Found>>,
    /// What is seen of the open matrix; none: all of it.
    pub view: RwSignal<Option<View>>,
    /// What the page's address asked for, until it is there.
    pub(super) wanted: RwSignal<Option<Place>>,
    /// What asked for the weights of the open matrix.
    pub(super) reading: StoredValue<Vec<RequestId>>,
    /// What asked for figures.
    pub(super) counting: StoredValue<Option<RequestId>>,
}

pub fn use_explorer() -> Explorer {
    expect_context()
}

impl Explorer {
    pub fn new(engine: Engine, page: Page) -> Self {
        let map = RwSignal::new(None::<LayerBitMap>);
        let sizes = Memo::new(move |_| {
            let config = engine
                .model
                .with(|model| model.as_ref().map(|model| model.config.clone()));
            let sizes = config.zip(map.get());
            sizes.map_or_else(HashMap::new, |(config, map)| matrix_sizes(&config, &map))
        });
        let explorer = Explorer {
            engine,
            page,
            map,
            past: RwSignal::new(Vec::new()),
            sizes,
            selected: RwSignal::new(None),
            marked: RwSignal::new(Vec::new()),
            weights: RwSignal::new(None),
            other_weights: RwSignal::new(None),
            tuned_weights: RwSignal::new(None),
            unseen: RwSignal::new(None),
            compared: RwSignal::new(None),
            overview: RwSignal::new(Overview::Precision),
            figures: RwSignal::new(HashMap::new()),
            text: RwSignal::new(String::new()),
            measured: RwSignal::new(Vec::new()),
            measuring: RwSignal::new(0),
            found: RwSignal::new(None),
            view: RwSignal::new(None),
            wanted: RwSignal::new(None),
            reading: StoredValue::new(Vec::new()),
            counting: StoredValue::new(None),
        };
        engine.listen(move |event| match event {
            EngineEvent::ModelLoaded {
                model,
                changed: true,
            } => explorer.reset(model),
            EngineEvent::Watched(weights) => explorer.on_watched(weights),
            EngineEvent::Tuned(weights) => explorer.on_tuned(weights.clone()),
            EngineEvent::Died(_) => explorer.measuring.set(0),
            _ => {}
        });
        explorer.follow_map();
        explorer
    }

    /// Another model: what was known of the one before goes, the text to measure on stays.
    fn reset(self, model: &ModelInfo) {
        self.forget_reading();
        self.map.set(Some(model.bit_map.clone()));
        self.past.set(Vec::new());
        self.selected.set(None);
        self.marked.set(Vec::new());
        self.weights.set(None);
        self.other_weights.set(None);
        self.tuned_weights.set(None);
        self.compared.set(None);
        self.overview.set(Overview::Precision);
        self.figures.set(HashMap::new());
        self.measured.set(Vec::new());
        self.measuring.set(0);
        self.found.set(None);
        self.view.set(None);
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

    /// Gives the marked matrices a precision.
    pub fn set_mode(self, mode: QuantMode) {
        if let Some(mut map) = self.map.get_untracked() {
            let marked = self.marked.get_untracked();
            set_all(&marked, &mut map, self.is_tied(), mode);
            self.choose(map);
        }
    }

    /// The embedding is the head, too.
    pub fn is_tied(self) -> bool {
        self.engine.model.with_untracked(|model| {
            model
                .as_ref()
                .is_some_and(|model| model.config.tie_word_embeddings)
        })
    }

    pub(super) fn on_response(self, response: Response) {
        match response {
            Response::Event(Event::File { name, bytes }) => self.page.save_file(&name, &bytes),
            Response::Event(Event::Error { message }) => {
                self.fail("The engine could not do that", message);
            }
            _ => {}
        }
    }

    pub(super) fn fail(self, title: &str, message: String) {
        // Why there is no model was told.
        if self.engine.has_model() {
            self.page.fail(title, message);
        }
    }

    /// Saves the model in the edited map.
    pub fn export_map(self) {
        if let Some(map) = self.map.get_untracked() {
            self.page.notice.set(None);
            let on_response = move |_, response| match response {
                Response::Event(Event::Error { message }) if self.engine.has_model() => {
                    let step = Step::again(move || self.export_map());
                    self.page
                        .offer("The model could not be saved", message, [step]);
                }
                other => self.on_response(other),
            };
            let task = ModelTask::Export { map };
            self.engine.task(Task::Model(task), on_response);
        }
    }

    /// Goes on with the model in the edited map.
    pub fn apply_map(self) {
        if let Some(map) = self.map.get_untracked() {
            self.page.notice.set(None);
            let request = ModelRequest::Task(ModelTask::Apply { map });
            self.engine.emit(&EngineEvent::ModelRequested(request));
        }
    }

    /// Reads a dropped or chosen bit-map.
    pub fn import_map_file(self, file: File) {
        spawn_local(async move {
            let name = file.name();
            match files::text(&file).await {
                Ok(text) => self.import_map(&name, &text),
                Err(problem) => self.page.offer(
                    "The bit-map could not be read",
                    format!("{name}: {problem}"),
                    [Step::ChooseFile],
                ),
            }
        });
    }

    /// Takes the bit-map of a file: a search's result, a config, or the map alone.
    fn import_map(self, name: &str, text: &str) {
        let Some(model) = self.engine.model.get_untracked() else {
            return;
        };
        self.page.notice.set(None);
        match LayerBitMap::from_json(text, model.config.num_layers) {
            Ok(map) => {
                self.choose(map);
                // Anything but a search's result holds the map alone.
                self.found.set(serde_json::from_str(text).ok());
            }
            Err(problem) => self.page.offer(
                "The bit-map could not be taken",
                format!("{name}: {problem}"),
                [Step::ChooseFile],
            ),
        }
    }
}
