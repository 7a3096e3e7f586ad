//! How the model's weights divide over the precisions.

use leptos::prelude::*;
use ternary::config::{LayerBitMap, ModelConfig, QuantMode};

use crate::ui::widgets::figures;

#[component]
pub fn BitMap(config: ModelConfig, map: LayerBitMap) -> impl IntoView {
    let weights = weights_by_mode(&config, &map);
    let total: usize = weights.iter().map(|(_, count)| count).sum();
    let share = move |count: usize| count as f64 * 100.0 / total.max(1) as f64;
    let bits: f64 = weights
        .iter()
        .map(|(mode, count)| mode.bits() * *count as f64)
        .sum();

    let mut start = 0.0;
    let bars = weights
        .iter()
        .map(|(mode, count)| {
            let (x, width) = (start, share(*count));
            start += width;
            view! { <rect class=mode.name() x=x y="0" width=width height="6" /> }
        })
        .collect_view();
    let legend = weights
        .iter()
        .map(|(mode, count)| {
            view! {
                <li>
                    <span class=format!("swatch {}", mode.name()) aria-hidden="true"></span>
                    {figures::quant_mode(*mode)}
                    <span class="share">{format!("{:.1} %", share(*count))}</span>
                </li>
            }
        })
        .collect_view();
    view! {
        <h3>"Bit-map"</h3>
        <svg class="bit-map" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
            {bars}
        </svg>
        <ul class="modes">{legend}</ul>
        <p class="hint">{format!("{:.2} bits per weight on average.", bits / total.max(1) as f64)}</p>
    }
}

/// Weights of every mode that occurs, the finest first. Norms are not counted: they are never
/// quantized.
fn weights_by_mode(config: &ModelConfig, map: &LayerBitMap) -> Vec<(QuantMode, usize)> {
    let ends = config.vocab_size * config.hidden_size;
    let mut matrices = vec![(map.embedding, ends)];
    if !config.tie_word_embeddings {
        matrices.push((map.lm_head, ends));
    }
    for layer in &map.layer_modes {
        matrices.extend(config.matrices().map(|kind| {
            let (rows, columns) = config.matrix_shape(kind);
            (layer.get(kind), rows * columns)
        }));
    }
    QuantMode::ALL
        .into_iter()
        .map(|mode| {
            let of_mode = matrices.iter().filter(|(found, _)| *found == mode);
            (mode, of_mode.map(|(_, count)| count).sum())
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}
