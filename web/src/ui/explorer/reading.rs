//! What the engine is asked about matrices: their weights, their figures, another file beside.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use ternary::config::{LayerBitMap, ModelConfig};
use ternary::session::{Event, MatrixFigures, ModelTask, WeightSource, Weights};

use super::cells::{Cell, rows};
use super::place::{Place, View};
use super::state::Explorer;
use crate::protocol::{Request, Response, Source, Task};
use crate::ui::page::Step;
use crate::ui::widgets::picker::press;

impl Explorer {
    /// Opens a matrix, and marks it alone.
    pub fn inspect(self, cell: Cell) {
        self.marked.set(vec![cell]);
        self.open(cell);
    }

    /// Shows a matrix.
    pub fn open(self, cell: Cell) {
        if self.selected.get_untracked() != Some(cell) {
            self.weights.set(None);
            self.other_weights.set(None);
            self.tuned_weights.set(None);
            self.view.set(None);
        }
        self.selected.set(Some(cell));
        self.read();
    }

    /// Opens what the page's address asks for, or the first matrix.
    pub fn open_wanted(self, config: &ModelConfig) {
        let wanted = self.wanted.get_untracked();
        let wanted = wanted.and_then(|place| Cell::of(&place.parameter, config));
        if wanted.is_none() {
            self.wanted.set(None);
        }
        let first = config.matrices().next();
        let first = first.map_or(Cell::Embedding, |kind| Cell::Matrix(0, kind));
        if wanted.is_some() || self.selected.get_untracked().is_none() {
            self.inspect(wanted.unwrap_or(first));
        }
    }

    /// What the page's address asks to be seen of the open matrix, once.
    pub fn take_wanted_view(self) -> Option<View> {
        let open = self.selected.get_untracked().map(Cell::parameter);
        let wanted = self.wanted.get_untracked();
        let wanted = wanted.filter(|place| Some(&place.parameter) == open.as_ref())?;
        self.wanted.set(None);
        self.view.set(wanted.view);
        wanted.view
    }

    /// For the page's address.
    pub fn place(self) -> Option<String> {
        let open = self.selected.get().map(|cell| Place {
            parameter: cell.parameter(),
            view: self.view.get(),
        });
        self.wanted.get().or(open).map(|place| place.write())
    }

    /// What the page's address asks for; nothing in particular where that is empty.
    pub fn go_to(self, place: &str) {
        if let Some(place) = Place::read(place) {
            self.wanted.set(Some(place));
            let config = self
                .engine
                .model
                .with_untracked(|model| model.as_ref().map(|model| model.config.clone()));
            if let Some(config) = config {
                // The same matrix is drawn anew, where the address says.
                self.selected.set(None);
                self.open_wanted(&config);
            }
        }
    }

    /// Asks again when a change of the map concerns what is shown.
    pub(super) fn follow_map(self) {
        Effect::new(move |before: Option<_>| {
            let mode = self.map.with(|map| {
                let open = self.selected.get();
                map.as_ref()
                    .zip(open)
                    .map(|(map, cell)| (cell, cell.mode(map)))
            });
            let other_mode =
                before
                    .flatten()
                    .zip(mode)
                    .is_some_and(|(before, now): ((Cell, _), (Cell, _))| {
                        before.0 == now.0 && before.1 != now.1
                    });
            if other_mode {
                self.read();
            }
            mode
        });
        Effect::new(move |_| {
            self.map.track();
            self.overview.track();
            self.count();
        });
    }

    /// What is drawn may be other by now.
    pub fn look(self) {
        if self.selected.with_untracked(Option::is_some) {
            self.read();
        }
    }

    /// Nothing of it is seen any more.
    pub fn look_away(self) {
        self.watch(None);
    }

    /// While a model learns, it alone tells of its weights.
    fn watch(self, name: Option<String>) {
        if self.engine.is_running() {
            self.engine.request(Request::Watch(name), |_, _| {});
        }
    }

    /// Asks for the weights of the open matrix.
    pub fn read(self) {
        // The reader went on from the one before.
        self.forget_reading();
        let Some(cell) = self.selected.get_untracked() else {
            return;
        };
        let mode = self
            .map
            .with_untracked(|map| map.as_ref().map(|map| cell.mode(map)));
        let Some(mode) = mode else { return };
        self.stop_counting();
        let name = cell.parameter();
        self.engine.use_full_worker();
        self.watch(Some(name.clone()));
        self.unseen.set(None);
        let own = ModelTask::Preview {
            name: name.clone(),
            mode,
        };
        let of_file = name.clone();
        self.ask_for(own, move |message| {
            // It may be one that no preview is made of.
            let task = ModelTask::Weights {
                name: of_file.clone(),
                from: WeightSource::Model,
            };
            self.ask_for(task, move |message| self.unseen.set(Some(message)));
            self.unseen.set(Some(message));
        });
        if self.compared.with_untracked(Option::is_some) {
            let other = ModelTask::Weights {
                name,
                from: WeightSource::Compared,
            };
            self.ask_for(other, move |message| {
                self.fail("The other file could not be read", message);
            });
        }
        self.count();
    }

    /// Asks for weights of the open matrix.
    fn ask_for(self, task: ModelTask, on_error: impl Fn(String) + 'static) {
        let on_response = move |_, response| match response {
            Response::Event(Event::Weights { weights }) => {
                let target = match weights.from {
                    WeightSource::Model => self.weights,
                    WeightSource::Compared => self.other_weights,
                };
                target.set(Some(Arc::new(*weights)));
            }
            Response::Event(Event::TuneWeights { weights }) => {
                self.on_tuned(Some(Arc::new(*weights)));
            }
            // Why there is no model was told.
            Response::Event(Event::Error { message }) if self.engine.has_model() => {
                on_error(message);
            }
            _ => {}
        };
        let request = self.engine.task(Task::Model(task), on_response);
        self.reading.update_value(|all| all.extend(request));
    }

    /// The open matrix, of a model that learns.
    pub(super) fn on_watched(self, weights: &Arc<Weights>) {
        // In the precision that was chosen for it, it comes when the model has learnt.
        let own = |map: &Option<LayerBitMap>| {
            let cell = self.selected.get_untracked()?;
            Some(cell.parameter() == weights.name && cell.mode(map.as_ref()?) == weights.mode)
        };
        if self.map.with_untracked(own).unwrap_or(false)
            && self.weights.with_untracked(Option::is_none)
        {
            self.weights.set(Some(Arc::clone(weights)));
        }
    }

    /// What a fine-tuning has made of the open matrix by now.
    pub(super) fn on_tuned(self, weights: Option<Arc<Weights>>) {
        let open = self.selected.get_untracked().map(Cell::parameter);
        let of_open = |weights: &Arc<Weights>| open.as_ref() == Some(&weights.name);
        if weights.as_ref().is_none_or(of_open) {
            self.tuned_weights.set(weights);
        }
    }

    /// What the open matrix is compared with, weight by weight: the file beside, or the model as a
    /// fine-tuning has it by now.
    pub(super) fn beside(self) -> Option<Arc<Weights>> {
        if self.compared.with(Option::is_some) {
            return self.other_weights.get();
        }
        let mode = self.weights.with(|weights| Some(weights.as_ref()?.mode));
        let tuned = self.tuned_weights.get();
        tuned.filter(|tuned| Some(tuned.mode) == mode)
    }

    /// How many of the open matrix's weights a fine-tuning has turned, and how many there are.
    pub(super) fn turned(self) -> Option<(usize, usize)> {
        if self.compared.with(Option::is_some) {
            return None;
        }
        let (now, then) = (self.beside()?, self.weights.get()?);
        let pairs = now.codes.iter().zip(&then.codes);
        Some((pairs.filter(|(a, b)| a != b).count(), then.codes.len()))
    }

    pub(super) fn forget_reading(self) {
        let reading = self.reading.try_update_value(std::mem::take);
        for request in reading.into_iter().flatten() {
            self.engine.forget(request);
        }
    }

    fn stop_counting(self) {
        if let Some(request) = self.counting.try_update_value(Option::take).flatten() {
            self.engine.stop(request);
            self.engine.forget(request);
        }
    }

    /// Asks for the figures that are shown and not known.
    fn count(self) {
        self.stop_counting();
        let config = self
            .engine
            .model
            .with_untracked(|model| model.as_ref().map(|model| model.config.clone()));
        let Some((config, map)) = config.zip(self.map.get_untracked()) else {
            return;
        };
        if !self.overview.get_untracked().needs_figures() {
            return;
        }
        let unknown = |cell: &Cell| {
            let known = |figures: &HashMap<_, MatrixFigures>| {
                let of_cell = figures.get(&cell.parameter());
                of_cell.is_some_and(|figures| figures.mode == cell.mode(&map))
            };
            !self.figures.with_untracked(known)
        };
        let all = rows(&config).into_iter().flatten();
        let names: Vec<String> = all.filter(unknown).map(Cell::parameter).collect();
        if names.is_empty() {
            return;
        }
        let on_response = move |_, response| match response {
            Response::Event(Event::Figures { figures }) => {
                self.figures
                    .update(|all| drop(all.insert(figures.name.clone(), figures)));
            }
            Response::Done => self.counting.set_value(None),
            other => self.on_response(other),
        };
        let task = Task::Model(ModelTask::Figures { map, names });
        self.counting.set_value(self.engine.task(task, on_response));
    }

    /// Opens a file beside the model.
    pub fn compare(self, source: Source) {
        self.page.notice.set(None);
        let on_response = move |_, response| match response {
            Response::Event(Event::Compared { name, changes }) => {
                self.compared.set(Some((name, changes)));
                // Errors are against that file from now on.
                self.figures.update(HashMap::clear);
                self.read();
                self.count();
            }
            Response::Event(Event::Error { message }) if self.engine.has_model() => {
                let choose = || press("compare");
                let step = Step::new("another-compared", "Choose another file", choose);
                self.page
                    .offer("The files can't be compared", message, [step]);
            }
            other => self.on_response(other),
        };
        self.engine.task(Task::Compare { source }, on_response);
    }
}
