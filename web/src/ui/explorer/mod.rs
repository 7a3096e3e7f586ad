//! The bit-map: every matrix of the model, its precision, its weights, and what another choice
//! would cost.

mod actions;
mod camera;
mod cells;
mod drawing;
mod export;
mod front;
mod grid;
mod marking;
mod matrix;
mod measure;
mod outliers;
mod overview;
mod picture;
mod place;
mod poster;
mod presets;
mod profiles;
mod reading;
mod sight;
mod state;
mod strips;
mod viewer;

use leptos::prelude::*;

use super::engine::use_engine;
use super::widgets::erased::{When, live};
pub use state::Explorer;

#[component]
pub fn ExplorerView() -> impl IntoView {
    let engine = use_engine();
    let config = Memo::new(move |_| {
        engine
            .model
            .with(|model| model.as_ref().map(|model| model.config.clone()))
    });
    let map = move || {
        let config = config.get()?;
        let cells = cells::rows(&config).into_iter().flatten().collect();
        let cells = Signal::stored(cells);
        Some(view! {
            <grid::GridView config cells />
            <overview::Legend cells />
        })
    };
    view! {
        <div class="explorer" id="explorer">
            <When
                when=Signal::derive(move || config.with(Option::is_some))
                fallback=|| view! { <p class="hint">"A loaded model's bit-map is shown here."</p> }
            >
                <actions::Actions />
                <div class="workbench">
                    <div class="map-side">
                        <overview::OverviewChoice />
                        {live(move || map().into_any())}
                        <presets::Presets />
                    </div>
                    <div class="matrix-side">
                        <matrix::MatrixPanel />
                    </div>
                    <div class="cost-side">
                        <measure::Measure />
                        <front::Front />
                    </div>
                </div>
            </When>
        </div>
    }
}
