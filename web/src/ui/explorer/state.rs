//! Looking into the model and choosing another precision for its parts.

use std::sync::Arc;

use leptos::prelude::*;
use serde::Deserialize;
use ternary::config::{LayerBitMap, QuantMode};
use ternary::search::Entry;
use ternary::session::{Event, MapLoss, MatrixDiff, ModelInfo, ModelTask, WeightSource, Weights};
use wasm_bindgen_futures::spawn_local;
use web_sys::File;

use super::cells::Cell;
use crate::protocol::{RequestId, Response, Source, Task};
use crate::ui::engine::{Engine, EngineEvent, ModelRequest};
use crate::ui::page::Page;
use crate::ui::widgets::files;

/// A search's result, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Found {
    pub evaluations: Vec<Entry>,
    pub pareto_front: Vec<Entry>,
}

/// What is looked at, and the edited map: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Explorer {
    engine: Engine,
    page: Page,
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
    pub measured: RwSignal<Vec<MapLoss>>,
    pub measuring: RwSignal<bool>,
    pub found: RwSignal<Option<Found>>,
    /// What asked for the weights of the selected matrix.
    reading: StoredValue<Vec<RequestId>>,
}

pub fn use_explorer() -> Explorer {
    expect_context()
}

impl Explorer {
    pub fn new(engine: Engine, page: Page) -> Self {
        let explorer = Explorer {
            engine,
            page,
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
            reading: StoredValue::new(Vec::new()),
        };
        engine.listen(move |event| match event {
            EngineEvent::ModelLoaded {
                model,
                changed: true,
            } => explorer.reset(model),
            EngineEvent::Died(_) => explorer.measuring.set(false),
            _ => {}
        });
        explorer
    }

    /// Another model: what was known of the one before goes, the text to measure on stays.
    fn reset(self, model: &ModelInfo) {
        self.forget_reading();
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

    /// Shows a matrix.
    pub fn inspect(self, cell: Cell) {
        // The reader went on from the one before.
        self.forget_reading();
        self.selected.set(Some(cell));
        self.weights.set(None);
        self.other_weights.set(None);
        let compared = self.compared.with_untracked(Option::is_some);
        let wanted = [
            Some(WeightSource::Model),
            compared.then_some(WeightSource::Compared),
        ];
        for from in wanted.into_iter().flatten() {
            let name = cell.parameter();
            let task = Task::Model(ModelTask::Weights { name, from });
            let on_response = move |_, response| self.on_response(response);
            let request = self.engine.task(task, on_response);
            self.reading.update_value(|all| all.extend(request));
        }
    }

    fn forget_reading(self) {
        let reading = self.reading.try_update_value(std::mem::take);
        for request in reading.into_iter().flatten() {
            self.engine.forget(request);
        }
    }

    fn on_response(self, response: Response) {
        match response {
            Response::Event(Event::Weights { weights }) => {
                let target = match weights.from {
                    WeightSource::Model => self.weights,
                    WeightSource::Compared => self.other_weights,
                };
                target.set(Some(Arc::new(*weights)));
            }
            Response::Event(Event::Compared { name, changes }) => {
                self.compared.set(Some((name, changes)));
                if let Some(cell) = self.selected.get_untracked() {
                    self.inspect(cell);
                }
            }
            Response::Event(Event::File { name, bytes }) => self.page.save_file(&name, &bytes),
            Response::Event(Event::Error { message }) => {
                self.fail("The engine could not do that", message);
            }
            _ => {}
        }
    }

    fn fail(self, title: &str, message: String) {
        // Why there is no model was told.
        if self.engine.has_model() {
            self.page.fail(title, message);
        }
    }

    /// Opens a file beside the model.
    pub fn compare(self, source: Source) {
        self.page.notice.set(None);
        let on_response = move |_, response| self.on_response(response);
        self.engine.task(Task::Compare { source }, on_response);
    }

    /// Measures the text in the edited map.
    pub fn measure(self) {
        let Some(map) = self.map.get_untracked() else {
            return;
        };
        self.page.notice.set(None);
        self.measuring.set(true);
        let text = self.text.get_untracked();
        let on_response = move |_, response| match response {
            Response::Event(Event::Measured { measured }) => {
                self.measuring.set(false);
                self.measured.update(|all| all.push(*measured));
            }
            Response::Event(Event::Error { message }) => {
                self.measuring.set(false);
                self.fail("The text could not be measured", message);
            }
            _ => {}
        };
        let task = ModelTask::Measure { map, text };
        self.engine.task(Task::Model(task), on_response);
    }

    /// Saves the model in the edited map.
    pub fn export_map(self) {
        if let Some(map) = self.map.get_untracked() {
            self.page.notice.set(None);
            let on_response = move |_, response| self.on_response(response);
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
                Err(problem) => self.page.fail(
                    "The bit-map could not be read",
                    format!("{name}: {problem}"),
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
            Err(problem) => self.page.fail(
                "The bit-map could not be taken",
                format!("{name}: {problem}"),
            ),
        }
    }
}
