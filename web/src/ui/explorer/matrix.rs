//! The open matrix: its precision, its weights, what they are made of.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;

use ternary::config::QuantMode;
use ternary::format::ScalePer;
use ternary::session::Weights;

use super::cells::{Cell, matrix_sizes};
use super::profiles::Profiles;
use super::sight::Sight;
use super::state::use_explorer;
use super::viewer::Viewer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::figures;

#[component]
pub fn MatrixPanel() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    e.look();
    on_cleanup(move || e.look_away());
    // There is always one to look at.
    Effect::new(move |_| {
        let config = engine
            .model
            .with(|model| model.as_ref().map(|model| model.config.clone()));
        e.map.track();
        if let Some(config) = config {
            untrack(|| e.open_wanted(&config));
        }
    });
    let panel = move || {
        e.selected.get().map(|cell| {
            // Kept while the matrix is read in another precision.
            let there = Memo::new(move |_| e.weights.with(Option::is_some));
            view! {
                <section class="matrix" aria-labelledby="matrix-title" data-open=cell.parameter()>
                    <h2 id="matrix-title">{cell.label()}{live(move || (more(e.marked.get().len())).into_any())}</h2>
                    <ModeChoice />
                    {live(move || (match there.get() {
                        true => view! { <Opened /> }.into_any(),
                        false => view! { <Reading /> }.into_any(),
                    }).into_any())}
                </section>
            }
        })
    };
    view! { {panel} }
}

/// Stands where the weights will, or says why they will not.
#[component]
fn Reading() -> impl IntoView {
    let e = use_explorer();
    let told = move || {
        match e.unseen.get() {
        None => view! { <p class="hint" role="status">"Reading its weights"</p> }.into_any(),
        Some(problem) => view! {
            <p class="problem" id="matrix-unseen" role="status">{figures::sentence(&problem)}</p>
            <div class="buttons">
                <button type="button" id="read-again" on:click=on_click(move || e.read())>"Try again"</button>
            </div>
        }
        .into_any(),
    }
    };
    live(move || told().into_any())
}

fn more(marked: usize) -> Option<impl IntoView> {
    (marked > 1).then(|| {
        let others = figures::of_them(marked - 1, "other");
        view! { <span class="soft">{format!(" and {others}")}</span> }
    })
}

/// The precision of all that is marked, and what they take in a file.
#[component]
fn ModeChoice() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let chosen = Memo::new(move |_| {
        let marked = e.marked.get();
        let map = e.map.get()?;
        let mut modes = marked.iter().map(|cell| cell.mode(&map));
        let first = modes.next()?;
        modes.all(|mode| mode == first).then_some(first)
    });
    let options = QuantMode::CHOICES.map(|option| {
        view! {
            <label>
                <input
                    type="radio"
                    name="matrix-mode"
                    value=option.name()
                    prop:checked=Signal::derive(move || chosen.get() == Some(option))
                    on:change=move |_| e.set_mode(option)
                />
                <span>{figures::quant_mode(option)}</span>
            </label>
        }
    });
    let sizes = move || {
        let model = engine.model.get()?;
        let marked = e.marked.get();
        let now = sum(&marked, &e.sizes.get());
        let before = sum(&marked, &matrix_sizes(&model.config, &model.bit_map));
        Some(match now == before {
            true => figures::bytes(now),
            false => format!(
                "{} instead of {}",
                figures::bytes(now),
                figures::bytes(before)
            ),
        })
    };
    view! {
        <div class="mode-choice">
            <fieldset class="segmented">
                <legend class="unseen">"Precision of what is marked"</legend>
                {options.into_iter().collect_view()}
            </fieldset>
            <span class="figures" id="marked-size">{sizes}</span>
        </div>
    }
}

fn sum(cells: &[Cell], sizes: &HashMap<String, u64>) -> u64 {
    let sizes = cells.iter().filter_map(|cell| sizes.get(&cell.parameter()));
    sizes.sum()
}

#[component]
fn Opened() -> impl IntoView {
    let e = use_explorer();
    let weights: Signal<Option<Arc<Weights>>> = e.weights.into();
    let first = weights.get_untracked();
    first.map(|first| {
        let sight = Sight::of(e, &first);
        let about = move || weights.get().map(|weights| describe(&weights));
        let error = move || {
            let error = weights.with(|weights| weights.as_ref()?.error)?;
            let against = e.compared.with(|compared| {
                let name = compared.as_ref().map(|(name, _)| name.clone());
                name.unwrap_or_else(|| "the loaded file".to_owned())
            });
            let error = error * 100.0;
            Some(view! { <span id="matrix-error">{format!(" {error:.1} % from {against}.")}</span> })
        };
        let cut = move || {
            let strips = sight.strips.get();
            let (count, way) = (strips.count, strips.side_by_side);
            (count > 1).then(|| match way {
                true => format!(" Cut into {count} strips, side by side."),
                false => format!(" Cut into {count} strips, one below the other."),
            })
        };
        let turned = move || {
            e.turned().map(|(turned, all)| {
                view! {
                    <span id="matrix-turned">
                        " "<span class="swatch turned" aria-hidden="true"></span>
                        {format!(
                            " {} of {} have turned in the fine-tuning so far.",
                            figures::grouped(turned), figures::grouped(all)
                        )}
                    </span>
                }
            })
        };
        let unseen = move || {
            e.unseen.get().map(|problem| {
                view! {
                    <p class="problem" id="matrix-unseen" role="status">
                        {figures::sentence(&problem)}
                        " It is shown as the file has it; its size, what is measured and what is saved follow the precision that is chosen."
                    </p>
                }
            })
        };
        view! {
            {live(move || unseen().into_any())}
            <p class="figures">{about}{error}</p>
            {live(move || weights.get().map(|weights| view! { <Key weights /> }).into_any())}
            <p class="hint" id="matrix-sentence">{move || weights.get().map(|weights| sentence(weights.mode))}{cut}{live(move || turned().into_any())}</p>
            <Viewer sight weights />
            {live(move || weights.get().map(|weights| view! { <Profiles sight weights /> }).into_any())}
        }
    })
}

/// What a square of the picture is.
fn sentence(mode: QuantMode) -> &'static str {
    match mode {
        QuantMode::Ternary => "Each square is one weight: −1, 0 or +1, times its scale.",
        QuantMode::Binary => "Each square is one weight: −1 or +1, times its scale.",
        QuantMode::EightBit => {
            "Each square is one weight: a whole number from −127 to 127, times its scale."
        }
        QuantMode::F32 | QuantMode::F16 => {
            "Each square is one weight: the stronger its color, the farther it is from 0."
        }
    }
}

/// Size, precision and scales.
fn describe(weights: &Weights) -> String {
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
    let mode = figures::quant_mode(weights.mode);
    format!("{rows} weights, {mode}; {scales}.")
}

/// The colors: how many weights are −1, 0 and +1, or how far from 0 they reach.
#[component]
fn Key(weights: Arc<Weights>) -> impl IntoView {
    if !matches!(weights.mode, QuantMode::Ternary | QuantMode::Binary) {
        let most = weights
            .all_values()
            .fold(0f32, |most, value| most.max(value.abs()));
        return view! {
            <p class="ramp weights-ramp">
                <span>{format!("−{most:.3}")}</span>
                <span class="ramp-colors" aria-hidden="true"></span>
                <span>{format!("+{most:.3}")}</span>
            </p>
        }
        .into_any();
    }
    let total = weights.codes.len().max(1) as f64;
    let share = |code: u8| {
        weights.codes.iter().filter(|found| **found == code).count() as f64 * 100.0 / total
    };
    let parts = [
        ("minus", "−1", share(0xff)),
        ("zero", "0", share(0)),
        ("plus", "+1", share(1)),
    ];
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
    .into_any()
}
