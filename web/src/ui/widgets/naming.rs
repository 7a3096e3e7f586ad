//! A name that is being changed, in place.

use leptos::{ev, html, prelude::*};

use super::keys;

/// Enter and leaving take it, Escape does not.
#[component]
pub fn Naming(
    label: &'static str,
    name: String,
    /// Takes the new name, or nothing if the old one stays.
    done: impl Fn(Option<String>) + Copy + Send + 'static,
) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    input.on_load(|input| {
        request_animation_frame(move || {
            // Fails only for an element that is not in the page.
            input.focus().ok();
            input.select();
        });
    });
    // It may be gone already when the keyboard leaves it.
    let value = move || {
        let input = input.try_get_untracked().flatten();
        input.map(|input| input.value())
    };
    let keydown = move |event: ev::KeyboardEvent| {
        if keys::is_taken(&event) {
            return;
        }
        match event.key().as_str() {
            "Enter" => done(value()),
            "Escape" => {
                // Nothing else is meant by it.
                event.stop_propagation();
                done(None);
            }
            _ => {}
        }
    };
    view! {
        <input
            type="text"
            class="naming"
            aria-label=label
            maxlength="120"
            node_ref=input
            prop:value=name
            on:keydown=keydown
            on:blur=move |_| done(value())
        />
    }
}
