//! What is loaded.

use leptos::prelude::*;
use ternary::session::ModelInfo;

use super::adapters::AdapterList;
use super::bit_map::BitMap;
use super::open_file::OpenFile;
use crate::ui::engine::use_engine;
use crate::ui::widgets::figures;
use crate::ui::widgets::picked::Picked;

#[component]
pub fn ModelCard(on_files: impl Fn(Picked) + Copy + 'static) -> impl IntoView {
    let engine = use_engine();
    let card = move || match engine.model.get() {
        Some(model) => facts(&model).into_any(),
        None => view! { <p class="hint">"None loaded yet."</p> }.into_any(),
    };
    view! {
        <section aria-labelledby="model-title">
            <h2 id="model-title">"Model"</h2>
            {card}
            <div class="row">
                <OpenFile on_files />
            </div>
        </section>
    }
}

fn facts(model: &ModelInfo) -> impl IntoView + use<> {
    let config = &model.config;
    let rows = [
        ("File", figures::bytes(model.file_bytes)),
        ("Parameters", figures::count(model.parameters)),
        (
            "Shape",
            format!(
                "{} of {}, {}",
                figures::of_them(config.num_layers, "layer"),
                config.hidden_size,
                figures::of_them(config.num_heads, "head")
            ),
        ),
        (
            "Context",
            match config.max_seq_len {
                full if full > model.context => format!(
                    "{} tokens, of {}: what there is memory for",
                    figures::grouped(model.context),
                    figures::grouped(full)
                ),
                full => format!("{} tokens", figures::grouped(full)),
            },
        ),
        (
            "Vocabulary",
            format!("{} tokens", figures::grouped(config.vocab_size)),
        ),
        (
            "Weights in memory",
            figures::bytes(model.weight_bytes as u64),
        ),
        (
            "Cache of a full context",
            figures::bytes(model.cache_bytes as u64),
        ),
        ("Loaded in", figures::milliseconds(model.load_ms)),
    ];
    let engine = use_engine();
    let kind = figures::device_kind(&model.device);
    let runs_at = move || match engine.speed.get() {
        Some(speed) => format!("{} on the {kind}", figures::speed(speed)),
        None => format!("Runs on the {kind}"),
    };
    let held = model.program_bytes.map(figures::bytes);
    let rows = rows
        .into_iter()
        .chain(held.map(|held| ("Worker's memory", held)));
    let rows = rows.map(|(term, value)| view! { <div><dt>{term}</dt><dd>{value}</dd></div> });
    view! {
        <p class="model-name">{model.name.clone()}</p>
        <p class="hint" id="runs-at">{runs_at}</p>
        // Of a model on the server nothing is known of its weights.
        {(model.config.num_layers == model.bit_map.layer_modes.len()).then(|| view! {
            <BitMap config=model.config.clone() map=model.bit_map.clone() />
        })}
        <AdapterList model=model.name.clone() />
        <details id="model-info">
            <summary>"Info"</summary>
            {(!model.description.is_empty()).then(|| view! { <p class="description">{model.description.clone()}</p> })}
            <dl>{rows.collect_view()}</dl>
        </details>
    }
}
