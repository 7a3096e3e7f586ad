//! A button that opens the browser's file picker.

use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, HtmlInputElement};

use super::erased::on_click;
use super::picked::Picked;

/// Opens the file picker that the button `id` opens.
pub fn press(id: &str) {
    let button = document().get_element_by_id(id);
    if let Some(button) = button.and_then(|button| button.dyn_into::<HtmlElement>().ok()) {
        button.click();
    }
}

/// A button that opens the file picker.
#[component]
pub fn Picker(
    id: &'static str,
    label: &'static str,
    #[prop(optional)] class: &'static str,
    #[prop(optional)] multiple: bool,
    on_files: impl Fn(Picked) + 'static,
) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    let chosen = move |event: ev::Targeted<ev::Event, HtmlInputElement>| {
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
            class=class
            on:click=on_click(move || {
                if let Some(input) = input.get_untracked() {
                    input.click();
                }
            })
        >
            {label}
        </button>
        // No list of endings: iOS greys files out whose kind it does not know.
        <input node_ref=input type="file" multiple=multiple data-for=id hidden on:change:target=chosen />
    }
}
