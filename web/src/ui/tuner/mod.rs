//! Fine-tuning the model on a text of the reader's.

mod chart;
mod compare;
mod examples;
mod form;
mod progress;
mod state;

use leptos::prelude::*;

use super::engine::use_engine;
use crate::ui::widgets::erased::{When, live, on_click};
pub use state::Tuner;
use state::{Phase, use_tuner};

#[component]
pub fn TunerView() -> impl IntoView {
    let (engine, tuner) = (use_engine(), use_tuner());
    let begun = move || tuner.phase.get() != Phase::None;
    view! {
        <div class="tuner" id="tuner">
            {live(move || (tuner.unfinished.get().filter(|_| !begun()).map(|(step, steps)| view! {
                <section class="unfinished" aria-labelledby="unfinished-title">
                    <h2 id="unfinished-title">"An unfinished fine-tuning"</h2>
                    <p>{format!("It stands at step {step} of {steps}, kept in this browser.")}</p>
                    <div class="buttons">
                        <button type="button" id="tune-restore" class="primary" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || tuner.restore_tune())>"Take it up"</button>
                        <button type="button" id="tune-forget" on:click=on_click(move || tuner.forget_unfinished())>"Delete it"</button>
                    </div>
                </section>
            })).into_any())}
            <When
                when=Signal::derive(move || engine.model.with(Option::is_some))
                fallback=|| view! { <p class="hint">"Load a model first; then it can learn from your text."</p> }
            >
                <When when=Signal::derive(begun) fallback=|| view! { <form::Form /> }>
                    <progress::Progress />
                </When>
            </When>
        </div>
    }
}
