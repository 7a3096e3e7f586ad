//! What can be done with the edited map as a whole.

use crate::ui::widgets::erased::{live, on_click};
use leptos::prelude::*;

use super::cells::file_size;
use super::state::use_explorer;
use crate::protocol::Source;
use crate::ui::engine::use_engine;
use crate::ui::page::use_page;
use crate::ui::widgets::figures;
use crate::ui::widgets::files;
use crate::ui::widgets::picker::Picker;

#[component]
pub fn Actions() -> impl IntoView {
    let (engine, page, e) = (use_engine(), use_page(), use_explorer());
    let edited = move || {
        let own = engine
            .model
            .with(|model| model.as_ref().map(|model| model.bit_map.clone()));
        own != e.map.get()
    };
    let summary = move || {
        let model = engine.model.get()?;
        let size = file_size(&model, &e.map.get()?);
        let before = model.file_bytes;
        let now = figures::bytes(size);
        Some(match size == before {
            true => format!("{now} as a file"),
            false => format!(
                "{now} as a file, {:+.1} %",
                (size as f64 / before as f64 - 1.0) * 100.0
            ),
        })
    };
    let perplexity = move || match e.perplexities() {
        (Some(before), Some(now)) if edited() => Some(format!(
            "perplexity {before:.3} before, {now:.3} now, {:+.2} %",
            (now / before - 1.0) * 100.0
        )),
        (Some(before), _) => Some(format!("perplexity {before:.3} as loaded")),
        _ => None,
    };
    let save_map = move |_| {
        let Some(map) = e.map.get_untracked() else {
            return;
        };
        let saved = serde_json::to_vec_pretty(&map)
            .map_err(|problem| problem.to_string())
            .and_then(|bytes| files::save("bit-map.json", &bytes));
        if let Err(problem) = saved {
            page.fail("The bit-map could not be saved", problem);
        }
    };
    view! {
        <section class="explorer-actions" aria-labelledby="bit-map-title">
            <div>
                <h2 id="bit-map-title">"Bit-map"</h2>
                <p class="figures" id="map-size" role="status">{summary}</p>
                <p class="figures" id="map-perplexity" role="status">{perplexity}</p>
            </div>
            <div class="buttons">
                <button type="button" id="undo-map" disabled=Signal::derive(move || !e.can_undo()) on:click=on_click(move || e.undo())>"Undo"</button>
                <Picker id="import-map" label="Import bit-map" on_files=move |picked| picked.first(|file| e.import_map_file(file)) />
                <button type="button" id="save-map" on:click=save_map>"Save bit-map"</button>
                <button type="button" id="export-map" disabled=Signal::derive(move || !engine.ready()) on:click=on_click(move || e.export_map())>"Save as .1bit"</button>
                <button type="button" id="apply-map" disabled=Signal::derive(move || !engine.ready() || !edited()) on:click=on_click(move || e.apply_map())>"Chat in this map"</button>
                <Picker id="compare" label="Compare with a file" on_files=move |picked| picked.first(|file| e.compare(Source::File(file))) />
            </div>
            {live(move || (e.compared.get().map(|(name, changes)| {
                let count = |of: fn(&ternary::session::MatrixDiff) -> usize| changes.iter().map(of).sum::<usize>();
                let changed = count(|change| change.changed.unwrap_or(change.weights));
                let all = count(|change| change.weights);
                view! {
                    <p class="hint" id="compared">
                        {format!(
                            "{name} differs in {} of {} weights ({:.2} %). Bars in the cells show where.",
                            figures::grouped(changed), figures::grouped(all), changed as f64 * 100.0 / all.max(1) as f64,
                        )}
                    </p>
                }
            })).into_any())}
        </section>
    }
}
