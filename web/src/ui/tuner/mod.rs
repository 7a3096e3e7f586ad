//! Fine-tuning the model on a text of the reader's.

mod chart;
mod form;
mod progress;

use leptos::prelude::*;

use super::state::Phase;
use super::use_app;

pub use form::read_text;

#[component]
pub fn Tuner() -> impl IntoView {
    let state = use_app();
    let begun = move || state.tuner.phase.get() != Phase::None;
    view! {
        <div class="tuner" id="tuner">
            <Show
                when=move || state.model.with(Option::is_some)
                fallback=|| view! { <p class="hint">"Load a model first; then it can learn from your text."</p> }
            >
                <Show when=begun fallback=|| view! { <form::Form /> }>
                    <progress::Progress />
                </Show>
            </Show>
        </div>
    }
}
