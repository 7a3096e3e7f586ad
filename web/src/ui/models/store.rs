//! The models that this browser keeps.

use leptos::prelude::*;
use ternary::session::{Event, ModelInfo};
use wasm_bindgen::{JsCast, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{BroadcastChannel, File, MessageEvent};

use super::Models;
use crate::protocol::{
    Handle, KEPT_CHANNEL, KeptModel, KeptModels, Request, Response, Source, StoreRequest, opened_id,
};
use crate::ui::engine::Engine;
use crate::ui::page::{Page, Step};
use crate::ui::widgets::files;

/// What is kept, and asking for changes of it: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct ModelStore {
    engine: Engine,
    page: Page,
    pub kept: RwSignal<KeptModels>,
    /// A model is being copied there.
    pub copying: RwSignal<bool>,
    channel: StoredValue<Option<BroadcastChannel>, LocalStorage>,
}

impl ModelStore {
    pub fn new(engine: Engine, page: Page) -> Self {
        Self {
            engine,
            page,
            kept: RwSignal::new(KeptModels::default()),
            copying: RwSignal::new(false),
            channel: StoredValue::new_local(None),
        }
    }

    pub fn list(self) {
        self.request(StoreRequest::List);
    }

    pub fn delete(self, id: &str, name: &str) {
        self.request(StoreRequest::Delete {
            id: id.to_owned(),
            name: name.to_owned(),
        });
    }

    /// Hands a kept model to the reader as a download.
    pub fn save(self, model: &KeptModel) {
        self.request(StoreRequest::Save {
            id: model.id.clone(),
            name: model.name.clone(),
        });
    }

    /// Calls a kept model something else.
    pub fn rename(self, id: String, name: String) {
        self.request(StoreRequest::Rename { id, name });
    }

    /// Lists anew whenever another tab changed what is kept.
    pub fn follow_other_tabs(self) {
        // A browser without channels lists when the tab is looked at again.
        let Ok(channel) = BroadcastChannel::new(KEPT_CHANNEL) else {
            return;
        };
        let on_message = move |_: MessageEvent| self.list();
        channel.set_onmessage(Some(
            Closure::<dyn Fn(_)>::new(on_message)
                .into_js_value()
                .unchecked_ref(),
        ));
        self.channel.set_value(Some(channel));
    }

    /// What is kept of a file that the reader opened.
    pub fn copy_of(self, file: &File) -> Option<Source> {
        let id = opened_id(file);
        self.kept.with_untracked(|kept| {
            let mut models = kept.models.iter();
            let copy = models.find(|kept| kept.id == id && kept.complete())?;
            Some(Source::Stored {
                id,
                name: copy.name.clone(),
            })
        })
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
        let again = request.clone();
        let on_response = move |_, response| match response {
            Response::KeptModels(kept) => self.kept.set(kept),
            Response::Save { name, file } => self.save_file(&name, &file),
            Response::Event(Event::Error { message }) => {
                let again = again.clone();
                let step = Step::again(move || self.request(again.clone()));
                self.page.offer("That could not be done", message, [step]);
            }
            _ => {}
        };
        self.engine.request(Request::Store(request), on_response);
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
        let of_its_size = |model: &ModelInfo| kept.complete() && model.file_bytes == kept.bytes;
        let opened = |origin: &Option<(Source, _)>| matches!(origin, Some((Source::File(_), _)));
        self.engine
            .model
            .with(|model| model.as_ref().is_some_and(of_its_size))
            && !self.origin.with_value(opened)
    }

    /// Loads a kept model, or goes on with what it does not have yet.
    pub(super) fn load_kept(self, kept: &KeptModel) {
        if kept.unfinished.is_some() {
            return self.finish(kept);
        }
        self.page.panel_open.set(false);
        self.load(Source::Stored {
            id: kept.id.clone(),
            name: kept.name.clone(),
        });
    }
}
