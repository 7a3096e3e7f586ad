//! A model that only this visit has, and keeping it.

use leptos::prelude::*;
use ternary::session::Event;

use super::load::Unkept;
use super::{Models, use_models};
use crate::protocol::{Request, Response, Source, StoreRequest, Task};
use crate::ui::engine::use_engine;
use crate::ui::page::Step;
use crate::ui::widgets::erased::{live, on_click};

impl Models {
    /// Keeps the loaded model in this browser, and asks the browser not to clear it by itself.
    pub(super) fn keep(self) {
        let Some(unkept) = self.unkept.get_untracked() else {
            return;
        };
        let loaded_by = self.loaded_by.get_value();
        let on_response = move |_, response| match response {
            // Another may be loaded by now.
            Response::Kept { id, name } if self.loaded_by.get_value() == loaded_by => {
                self.on_kept(Source::Stored { id, name });
            }
            Response::Event(Event::Error { message }) => {
                let step = Step::again(move || self.keep());
                self.page
                    .offer("The model could not be kept", message, [step]);
            }
            Response::Done => self.store.copying.set(false),
            _ => {}
        };
        self.store.copying.set(true);
        match unkept {
            Unkept::File(file) => {
                let request = Request::Store(StoreRequest::Keep(file));
                self.engine.request(request, on_response);
            }
            Unkept::Made => {
                let name = self.engine.model.with_untracked(|model| {
                    let name = model.as_ref().map(|model| model.name.clone());
                    format!("{}.1bit", name.unwrap_or_default())
                });
                self.engine.task(Task::Keep { name }, on_response);
            }
        }
        self.store.persist();
    }

    fn on_kept(self, source: Source) {
        self.settle(source.origin());
        let device = self.origin.get_value().map(|(_, device)| device);
        let device = device.unwrap_or_else(|| self.device.get_untracked());
        self.origin.set_value(Some((source, device)));
        self.unkept.set(None);
    }
}

/// Says that the model goes with the visit, and offers to keep it.
#[component]
pub fn KeepBar() -> impl IntoView {
    let (engine, models) = (use_engine(), use_models());
    let store = models.store;
    let nowhere = move || store.kept.with(|kept| kept.missing.is_some());
    let offer = move |name: String| {
        let told = match nowhere() {
            true => format!(
                "{name} is open for this visit only: this browser keeps nothing for this page."
            ),
            false => format!("{name} is open for this visit only."),
        };
        let button = (!nowhere()).then(|| {
            view! {
                <button type="button" id="keep" disabled=store.copying on:click=on_click(move || models.keep())>
                    {live(move || (if store.copying.get() { "Keeping it" } else { "Keep it in this browser" }).into_any())}
                </button>
            }
        });
        view! { <div class="keep-bar"><p>{told}</p>{button}</div> }
    };
    let unkept = move || {
        models.unkept.get()?;
        engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()))
    };
    // The region exists from the start: screen readers announce what is put into it.
    view! { <div role="status" id="unkept-model">{live(move || unkept().map(offer).into_any())}</div> }
}
