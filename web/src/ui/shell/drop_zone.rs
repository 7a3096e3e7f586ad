//! A file or a folder dropped anywhere on the page is taken.

use leptos::{ev, prelude::*};
use wasm_bindgen_futures::spawn_local;
use web_sys::DragEvent;

use super::use_shell;
use crate::ui::page::{Step, use_page};
use crate::ui::widgets::picked::Picked;

#[component]
pub fn DropZone() -> impl IntoView {
    let (page, shell) = (use_page(), use_shell());
    let over = RwSignal::new(false);
    // Text dragged into the prompt is none of this component's business.
    let carries_file = |event: &DragEvent| {
        event
            .data_transfer()
            .is_some_and(|data| data.types().includes(&"Files".into(), 0))
    };
    let enter = move |event: DragEvent| {
        if carries_file(&event) {
            // Says that a drop is welcome; without it the browser opens the file.
            event.prevent_default();
            over.set(true);
        }
    };
    let listeners = [
        window_event_listener(ev::dragenter, enter),
        window_event_listener(ev::dragover, enter),
        window_event_listener(ev::dragleave, move |event| {
            // Leaving one element for another names the other; leaving the window names none.
            if event.related_target().is_none() {
                over.set(false);
            }
        }),
        window_event_listener(ev::drop, move |event| {
            if !carries_file(&event) {
                return;
            }
            event.prevent_default();
            over.set(false);
            if let Some(data) = event.data_transfer() {
                let picked = Picked::dropped(&data);
                spawn_local(async move {
                    match picked.await {
                        Ok(picked) => shell.take(picked),
                        Err(problem) => {
                            let steps = [Step::ChooseFile];
                            page.offer("The folder could not be read", problem, steps);
                        }
                    }
                });
            }
        }),
    ];
    on_cleanup(move || listeners.into_iter().for_each(|listener| listener.remove()));
    view! {
        <div class="drop-overlay" hidden=Signal::derive(move || !over.get())>
            <p>"Drop a model ("<code>".1bit"</code>", "<code>".gguf"</code>" or a folder), an adapter, texts to learn from, or a bit-map"</p>
        </div>
    }
}
