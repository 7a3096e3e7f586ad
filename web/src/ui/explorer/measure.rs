//! What a text costs in the edited map.

use crate::ui::widgets::erased::{When, live, on_click};
use leptos::prelude::*;

use super::cells::file_size;
use super::state::use_explorer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::figures;

#[component]
pub fn Measure() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let measuring = move || e.measuring.get();
    let rows = move || {
        let model = engine.model.get()?;
        let all = e.measured.get();
        let own = all
            .iter()
            .find(|m| m.map == model.bit_map)
            .map(|m| m.perplexity);
        let rows = all.into_iter().rev().map(|m| {
            let size = file_size(&model, &m.map);
            let change = match own {
                Some(own) if m.map != model.bit_map => format!("{:+.2} %", (m.perplexity / own - 1.0) * 100.0),
                _ => String::new(),
            };
            let name = if m.map == model.bit_map { "As loaded" } else { "Edited" };
            let map = m.map.clone();
            view! {
                <tr>
                    <td><button type="button" class="quiet" on:click=on_click(move || e.choose(map.clone()))>{name}</button></td>
                    <td>{figures::bytes(size)}</td>
                    <td class="perplexity">{format!("{:.3}", m.perplexity)}</td>
                    <td>{change}</td>
                    <td>{format!("{} tokens in {}", figures::grouped(m.tokens), figures::milliseconds(m.ms))}</td>
                </tr>
            }
        });
        Some(rows.collect_view())
    };
    view! {
        <section class="measure" aria-labelledby="measure-title">
            <h2 id="measure-title">"Perplexity"</h2>
            <label for="measure-text" class="hint">
                "A text the model should be good at: its perplexity in the map above is measured here, and in no other place."
            </label>
            <textarea
                id="measure-text"
                rows="3"
                placeholder="Paste a page of text"
                prop:value=Signal::derive(move || e.text.get())
                on:input:target=move |event| e.text.set(event.target().value())
            ></textarea>
            <div class="buttons">
                <button
                    type="button"
                    id="measure"
                    class="primary"
                    disabled=Signal::derive(move || measuring() || !engine.ready() || e.text.with(|text| text.trim().is_empty()))
                    on:click=on_click(move || e.measure())
                >
                    {live(move || (if measuring() { "Measuring" } else { "Measure" }).into_any())}
                </button>
            </div>
            <When when=Signal::derive(move || !e.measured.with(Vec::is_empty))>
                <div class="wide">
                    <table id="measured">
                        <thead><tr><th>"Map"</th><th>"File"</th><th>"Perplexity"</th><th>"Change"</th><th>"Text"</th></tr></thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </When>
        </section>
    }
}
