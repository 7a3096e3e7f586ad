//! The selected matrix: its precision, its weights, what they are made of.

use std::sync::Arc;

use leptos::prelude::*;

use crate::ui::widgets::erased::live;
use ternary::config::QuantMode;
use ternary::format::ScalePer;
use ternary::session::Weights;

use super::cells::Cell;
use super::state::use_explorer;
use super::viewer::Viewer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::figures;
use crate::ui::widgets::scale::range;

/// Bars of a histogram.
const BINS: usize = 32;

#[component]
pub fn MatrixPanel() -> impl IntoView {
    let e = use_explorer();
    let panel = move || {
        e.selected.get().map(|cell| {
            view! {
                <section class="matrix" aria-labelledby="matrix-title">
                    <h2 id="matrix-title">{cell.label()}</h2>
                    <ModeChoice cell />
                    {live(move || (match e.weights.get() {
                        Some(weights) => view! { <Opened weights /> }.into_any(),
                        None => view! { <p class="hint" role="status">"Reading its weights"</p> }.into_any(),
                    }).into_any())}
                </section>
            }
        })
    };
    view! {
        {live(move || (e.selected.get().is_none().then(|| view! {
            <p class="hint">"Choose a matrix to see its weights and to give it another precision."</p>
        })).into_any())}
        {panel}
    }
}

#[component]
fn ModeChoice(cell: Cell) -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let tied = engine.model.with_untracked(|model| {
        model
            .as_ref()
            .is_some_and(|model| model.config.tie_word_embeddings)
    });
    let mode = move || e.map.with(|map| map.as_ref().map(|map| cell.mode(map)));
    let options = QuantMode::CHOICES.map(|option| {
        view! {
            <label>
                <input
                    type="radio"
                    name="matrix-mode"
                    value=option.name()
                    prop:checked=Signal::derive(move || mode() == Some(option))
                    on:change=move |_| e.set_mode(cell, tied, option)
                />
                <span>{figures::quant_mode(option)}</span>
            </label>
        }
    });
    view! {
        <fieldset class="segmented">
            <legend class="unseen">"Precision of this matrix"</legend>
            {options.into_iter().collect_view()}
        </fieldset>
    }
}

#[component]
fn Opened(weights: Arc<Weights>) -> impl IntoView {
    let rows = match weights.shown_rows == weights.rows {
        true => format!("{} × {}", weights.rows, weights.columns),
        false => format!(
            "first {} of {} rows × {}",
            weights.shown_rows, weights.rows, weights.columns
        ),
    };
    let scales = match weights.scale_per {
        ScalePer::None => "no scale".to_owned(),
        ScalePer::Tensor => format!(
            "one scale, {:.5}",
            weights.scales.first().copied().unwrap_or_default()
        ),
        ScalePer::Row => format!("a scale per row, {}", weights.scales.len()),
        ScalePer::Group | ScalePer::GroupF16 => format!(
            "a scale per {} columns, {}",
            weights.group,
            weights.scales.len()
        ),
    };
    view! {
        <p class="figures">{format!("{rows} weights in the file, {}; {scales}", figures::quant_mode(weights.mode))}</p>
        <Shares weights=weights.clone() />
        <Viewer weights=weights.clone() />
        {(weights.scales.len() > 1).then(|| view! { <Histogram title="Scales" values=weights.scales.clone() /> })}
        {(!matches!(weights.mode, QuantMode::Ternary | QuantMode::Binary)).then(|| {
            let values = super::picture::values(&weights);
            view! { <Histogram title="Weights" values /> }
        })}
    }
}

/// How many weights are −1, 0 and +1.
#[component]
fn Shares(weights: Arc<Weights>) -> impl IntoView {
    matches!(weights.mode, QuantMode::Ternary | QuantMode::Binary).then(|| {
        let total = weights.codes.len().max(1) as f64;
        let share = |code: u8| {
            weights.codes.iter().filter(|found| **found == code).count() as f64 * 100.0 / total
        };
        let parts = [("minus", "−1", share(0xff)), ("zero", "0", share(0)), ("plus", "+1", share(1))];
        let mut start = 0.0;
        let bars = parts.map(|(class, _, width)| {
            let x = start;
            start += width;
            view! { <rect class=class x=x y="0" width=width height="4" /> }
        });
        let legend = parts.map(|(class, name, width)| {
            view! {
                <li>
                    <span class=format!("swatch {class}") aria-hidden="true"></span>
                    {name}<span class="share">{format!("{width:.1} %")}</span>
                </li>
            }
        });
        view! {
            <div class="shares">
                <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{bars.into_iter().collect_view()}</svg>
                <ul>{legend.into_iter().collect_view()}</ul>
            </div>
        }
    })
}

#[component]
fn Histogram(title: &'static str, values: Vec<f32>) -> impl IntoView {
    let (low, high) = range(values.iter().copied().map(f64::from));
    let (low, high) = (low as f32, high as f32);
    let width = ((high - low) / BINS as f32).max(f32::MIN_POSITIVE);
    let mut bins = [0usize; BINS];
    for value in &values {
        bins[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let most = bins.iter().copied().max().unwrap_or(1).max(1);
    let bars = bins.iter().enumerate().map(|(index, count)| {
        let height = *count as f64 * 40.0 / most as f64;
        view! { <rect x=index as f64 + 0.05 y=40.0 - height width="0.9" height=height /> }
    });
    let label = format!(
        "{title}: {} values from {low:.4} to {high:.4}",
        figures::grouped(values.len())
    );
    view! {
        <figure class="histogram">
            <svg viewBox=format!("0 0 {BINS} 40") preserveAspectRatio="none" role="img" aria-label=label.clone()>
                {bars.collect_view()}
            </svg>
            <figcaption class="hint">{label}</figcaption>
        </figure>
    }
}
