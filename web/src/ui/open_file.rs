//! The file picker.

use leptos::{ev, html, prelude::*};

use super::use_app;
use crate::protocol::Source;
use crate::ui::erased::on_click;

#[component]
pub fn OpenFile() -> impl IntoView {
    let state = use_app();
    let input = NodeRef::<html::Input>::new();
    let chosen = move |event: ev::Targeted<ev::Event, web_sys::HtmlInputElement>| {
        let input = event.target();
        if let Some(file) = input.files().and_then(|files| files.get(0)) {
            state.panel_open.set(false);
            state.load(Source::File(file));
        }
        // So that choosing the same file again is a change.
        input.set_value("");
    };
    view! {
        <button
            type="button"
            on:click=on_click(move || {
                if let Some(input) = input.get_untracked() {
                    input.click();
                }
            })
        >
            "Open a .1bit file"
        </button>
        <input node_ref=input type="file" accept=".1bit" hidden on:change:target=chosen />
    }
}
