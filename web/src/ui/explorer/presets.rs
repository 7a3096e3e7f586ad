//! Maps that are chosen as a whole.

use leptos::prelude::*;
use ternary::config::QuantMode;

use super::cells::{Cell, rows, set_all};
use super::state::use_explorer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::live;

#[component]
pub fn Presets() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let all = move |mode: QuantMode, ends_only: bool| {
        let config = engine.model.get_untracked().map(|model| model.config);
        let Some((config, mut map)) = config.zip(e.map.get_untracked()) else {
            return;
        };
        let cells: Vec<Cell> = rows(&config)
            .into_iter()
            .flatten()
            .filter(|cell| !ends_only || !matches!(cell, Cell::Matrix(..)))
            .collect();
        set_all(&cells, &mut map, e.is_tied(), mode);
        e.choose(map);
    };
    let as_loaded = move || {
        if let Some(model) = engine.model.get_untracked() {
            e.choose(model.bit_map);
        }
    };
    let searched = move || {
        let found = e.found.with_untracked(|found| {
            let found = found.as_ref();
            found.map(|found| found.layer_bit_map.clone())
        });
        if let Some(map) = found {
            e.choose(map);
        }
    };
    let button = |id: &'static str, label: &'static str, act: Box<dyn Fn()>| {
        view! { <button type="button" id=id on:click=move |_| act()>{label}</button> }
    };
    view! {
        <div class="buttons presets" role="group" aria-label="Whole maps">
            {button("preset-loaded", "As loaded", Box::new(as_loaded))}
            {button("preset-ternary", "All ternary", Box::new(move || all(QuantMode::Ternary, false)))}
            {button("preset-ends", "8-bit ends", Box::new(move || all(QuantMode::EightBit, true)))}
            {live(move || (e.found.with(Option::is_some).then(|| {
                view! { <button type="button" id="preset-found" on:click=move |_| searched()>"What search found"</button> }
            })).into_any())}
        </div>
    }
}
