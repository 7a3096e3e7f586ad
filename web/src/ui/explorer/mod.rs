//! The bit-map: every matrix of the model, its precision, its weights, and what another choice would cost.

mod actions;
mod camera;
mod front;
mod grid;
mod matrix;
mod measure;
mod picture;
pub mod state;
mod viewer;

use leptos::prelude::*;

use crate::ui::use_app;
use crate::ui::widgets::erased::When;

#[component]
pub fn Explorer() -> impl IntoView {
    let state = use_app();
    view! {
        <div class="explorer" id="explorer">
            <When
                when=Signal::derive(move || state.model.with(Option::is_some))
                fallback=|| view! { <p class="hint">"A loaded model's bit-map is shown here."</p> }
            >
                <actions::Actions />
                <grid::Grid />
                <matrix::MatrixPanel />
                <measure::Measure />
                <front::Front />
            </When>
        </div>
    }
}

pub use actions::import;
use grid::mode_label;
