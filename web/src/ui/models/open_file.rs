//! The pickers: model files, and a folder of a published model.

use leptos::{ev, html, prelude::*};

use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::picked::Picked;

#[component]
pub fn OpenFile(on_files: impl Fn(Picked) + Copy + 'static) -> impl IntoView {
    view! {
        <Pick id="open-file" label="Open a file" folder=false on_files />
        <Pick id="open-folder" label="Open a folder" folder=true on_files />
    }
}

#[component]
fn Pick(
    id: &'static str,
    label: &'static str,
    folder: bool,
    on_files: impl Fn(Picked) + 'static,
) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    // No attribute that views know.
    input.on_load(move |input| input.set_webkitdirectory(folder));
    let chosen = move |event: ev::Targeted<ev::Event, web_sys::HtmlInputElement>| {
        let input = event.target();
        if let Some(list) = input.files() {
            on_files(Picked::chosen(&list));
        }
        // So that choosing the same file again is a change.
        input.set_value("");
    };
    view! {
        <button
            type="button"
            id=id
            on:click=on_click(move || {
                if let Some(input) = input.get_untracked() {
                    input.click();
                }
            })
        >
            {label}
        </button>
        <input
            node_ref=input
            type="file"
            // No list of endings: iOS greys files out whose kind it does not know.
            multiple=!folder
            data-for=id
            hidden
            on:change:target=chosen
        />
    }
}
