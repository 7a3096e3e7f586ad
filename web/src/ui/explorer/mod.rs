//! The bit-map: every matrix of the model, its precision, its weights, and what another choice
//! would cost.

mod actions;
mod camera;
mod cells;
mod drawing;
mod front;
mod grid;
mod matrix;
mod measure;
mod picture;
mod state;
mod viewer;

use leptos::prelude::*;

use super::engine::use_engine;
use super::widgets::erased::When;
pub use state::Explorer;

#[component]
pub fn ExplorerView() -> impl IntoView {
    let engine = use_engine();
    view! {
        <div class="explorer" id="explorer">
            <When
                when=Signal::derive(move || engine.model.with(Option::is_some))
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
