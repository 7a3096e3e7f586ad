//! Fine-tuning the model on a text of the reader's.

mod chart;
mod form;
mod progress;
pub mod state;

use leptos::prelude::*;

use crate::ui::state::Phase;
use crate::ui::use_app;
use crate::ui::widgets::erased::{When, live, on_click};

#[component]
pub fn Tuner() -> impl IntoView {
    let state = use_app();
    let begun = move || state.tuner.phase.get() != Phase::None;
    view! {
        <div class="tuner" id="tuner">
            {live(move || (state.tuner.unfinished.get().filter(|_| !begun()).map(|(step, steps)| view! {
                <section class="unfinished" aria-labelledby="unfinished-title">
                    <h2 id="unfinished-title">"An unfinished fine-tuning"</h2>
                    <p>{format!("It stands at step {step} of {steps}, kept in this browser.")}</p>
                    <div class="buttons">
                        <button type="button" id="tune-restore" class="primary" disabled=Signal::derive(move || !state.ready()) on:click=on_click(move || state.restore_tune())>"Take it up"</button>
                        <button type="button" id="tune-forget" on:click=on_click(move || state.forget_unfinished())>"Delete it"</button>
                    </div>
                </section>
            })).into_any())}
            <When
                when=Signal::derive(move || state.model.with(Option::is_some))
                fallback=|| view! { <p class="hint">"Load a model first; then it can learn from your text."</p> }
            >
                <When when=Signal::derive(begun) fallback=|| view! { <form::Form /> }>
                    <progress::Progress />
                </When>
            </When>
        </div>
    }
}
