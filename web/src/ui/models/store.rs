//! The models that this browser keeps.

use leptos::prelude::*;
use ternary::session::{Event, ModelInfo};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::File;

use super::Models;
use crate::protocol::{Handle, KeptModel, KeptModels, Request, Response, Source, StoreRequest};
use crate::ui::engine::Engine;
use crate::ui::page::Page;
use crate::ui::widgets::files;

/// What is kept, and asking for changes of it: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct ModelStore {
    engine: Engine,
    page: Page,
    pub kept: RwSignal<KeptModels>,
    /// A file is being copied there.
    pub copying: RwSignal<bool>,
}

impl ModelStore {
    pub fn new(engine: Engine, page: Page) -> Self {
        Self {
            engine,
            page,
            kept: RwSignal::new(KeptModels::default()),
            copying: RwSignal::new(false),
        }
    }

    pub fn list(self) {
        self.request(StoreRequest::List);
    }

    pub fn delete(self, model: &KeptModel) {
        self.request(StoreRequest::Delete {
            id: model.id.clone(),
            name: model.name.clone(),
        });
    }

    /// Hands a kept model to the reader as a download.
    pub fn save(self, model: &KeptModel) {
        self.request(StoreRequest::Save {
            id: model.id.clone(),
            name: model.name.clone(),
        });
    }

    /// Keeps a file, and asks the browser not to clear it by itself.
    pub fn keep(self, file: File) {
        self.copying.set(true);
        self.request(StoreRequest::Keep(file));
        self.persist();
    }

    /// Asks the browser not to clear what is kept by itself; the browser may ask the reader, and
    /// may say no.
    pub fn persist(self) {
        let Ok(asked) = window().navigator().storage().persist() else {
            return;
        };
        spawn_local(async move {
            // A refusal shows in the list that comes.
            JsFuture::from(asked).await.ok();
            self.list();
        });
    }

    fn request(self, request: StoreRequest) {
        if !self.engine.is_running() {
            return;
        }
        let keeps = matches!(request, StoreRequest::Keep(_));
        let request = Request::Store(request);
        self.engine
            .request(request, move |_, response| match response {
                Response::KeptModels(kept) => self.kept.set(kept),
                Response::Save { name, file } => self.save_file(&name, &file),
                Response::Event(Event::Error { message }) => {
                    self.page.fail("The kept models", message)
                }
                Response::Done if keeps => self.copying.set(false),
                _ => {}
            });
    }

    fn save_file(self, name: &str, Handle(file): &Handle) {
        if let Err(problem) = files::save_blob(name, file) {
            self.page.fail("The file could not be saved", problem);
        }
    }
}

impl Models {
    /// Whether a kept model is, by all appearances, the file of the present model.
    pub(super) fn has_loaded(self, kept: &KeptModel) -> bool {
        let of_its_size = |model: &ModelInfo| model.file_bytes == kept.bytes;
        let opened = |origin: &Option<(Source, _)>| matches!(origin, Some((Source::File(_), _)));
        self.engine
            .model
            .with(|model| model.as_ref().is_some_and(of_its_size))
            && !self.origin.with_value(opened)
    }

    /// Loads a kept model.
    pub(super) fn load_kept(self, kept: &KeptModel) {
        self.page.panel_open.set(false);
        self.load(Source::Stored {
            id: kept.id.clone(),
            name: kept.name.clone(),
        });
    }

    /// The loaded file, if only this visit has it.
    pub(super) fn unkept_file(self) -> Option<File> {
        self.engine.model.track();
        let Some((Source::File(file), _)) = self.origin.get_value() else {
            return None;
        };
        let same = |kept: &KeptModel| kept.name == file.name() && kept.bytes == file.size() as u64;
        let kept = self.store.kept.with(|kept| {
            // Where nothing can be kept nothing is offered to be.
            kept.missing.is_some() || kept.models.iter().any(same)
        });
        (!kept).then_some(file)
    }
}
