//! The models kept in this browser.

use leptos::prelude::*;
use ternary::session::ModelInfo;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::protocol::{Handle, Kept, Request, Shelf, ShelfRequest, Source};
use crate::ui::state::AppState;
use crate::ui::widgets::files;

impl AppState {
    /// Whether it is, by all appearances, the file of the present model.
    pub fn has_loaded(self, kept: &Kept) -> bool {
        let of_its_size = |model: &ModelInfo| model.file_bytes == kept.bytes;
        let opened = |loaded: &Option<(Source, _)>| matches!(loaded, Some((Source::File(_), _)));
        self.model
            .with(|model| model.as_ref().is_some_and(of_its_size))
            && !self.loaded.with_value(opened)
    }

    /// Loads a kept model.
    pub fn load_kept(self, kept: &Kept) {
        self.panel_open.set(false);
        self.load(Source::Stored {
            id: kept.id.clone(),
            name: kept.name.clone(),
        });
    }

    pub fn delete_kept(self, kept: &Kept) {
        self.ask_shelf(ShelfRequest::Delete {
            id: kept.id.clone(),
            name: kept.name.clone(),
        });
    }

    /// Hands a kept model to the reader as a download.
    pub fn export_kept(self, kept: &Kept) {
        self.ask_shelf(ShelfRequest::Save {
            id: kept.id.clone(),
            name: kept.name.clone(),
        });
    }

    pub(crate) fn save_kept(self, name: &str, Handle(file): &Handle) {
        if let Err(problem) = files::save_blob(name, file) {
            self.fail("The file could not be saved", problem);
        }
    }

    /// The loaded file, if only this visit has it.
    pub fn unkept_file(self) -> Option<web_sys::File> {
        self.model.track();
        let Some((Source::File(file), _)) = self.loaded.get_value() else {
            return None;
        };
        let same = |kept: &Kept| kept.name == file.name() && kept.bytes == file.size() as u64;
        let kept = self.shelf.with(|shelf| {
            // Where nothing can be kept nothing is offered to be.
            shelf.missing.is_some() || shelf.models.iter().any(same)
        });
        (!kept).then_some(file)
    }

    /// Keeps the loaded file, and asks the browser not to clear it by itself.
    pub fn keep(self, file: web_sys::File) {
        self.keeping.set(true);
        self.ask_shelf(ShelfRequest::Keep(file));
        self.persist();
    }

    /// Asks the browser not to clear what is kept by itself; the browser may ask the reader, and may say no.
    pub fn persist(self) {
        let Ok(asked) = window().navigator().storage().persist() else {
            return;
        };
        spawn_local(async move {
            // A refusal shows in the list that comes.
            JsFuture::from(asked).await.ok();
            self.list_kept();
        });
    }

    pub fn list_kept(self) {
        self.ask_shelf(ShelfRequest::List);
    }

    pub(crate) fn shelf_came(self, shelf: Shelf) {
        self.keeping.set(false);
        self.shelf.set(shelf);
    }

    pub(crate) fn ask_shelf(self, request: ShelfRequest) {
        if self.engine.with_value(Option::is_some) {
            self.request(&Request::Shelf(request));
        }
    }
}
