//! How a matrix's weights are spread: over its rows, its columns, its scales, and which rows stand
//! out.

use std::sync::Arc;

use leptos::prelude::*;
use ternary::config::QuantMode;
use ternary::session::Weights;

use super::outliers::outliers;
use super::sight::Sight;
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::figures;
use crate::ui::widgets::scale::range;

/// Bars of a histogram, and points of a profile at most.
const BINS: usize = 32;
const POINTS: usize = 160;

#[component]
pub fn Profiles(sight: Sight, weights: Arc<Weights>) -> impl IntoView {
    let (rows, columns) = sizes(&weights);
    let outliers = outliers(&rows);
    let named = match outliers.is_empty() {
        true => view! { <p class="hint" id="outliers">"No row stands out."</p> }.into_any(),
        false => {
            let buttons = outliers.into_iter().map(|(row, times)| {
                let label = format!("Row {row}, {times:.2}×");
                view! {
                    <button type="button" class="quiet outlier" on:click=on_click(move || sight.show_row(row))>{label}</button>
                }
            });
            view! {
                <div id="outliers">
                    <p class="hint">"Rows that stand out, and how large their weights are beside the middle row's:"</p>
                    <div class="buttons">{buttons.collect_view()}</div>
                </div>
            }
            .into_any()
        }
    };
    let scales = (weights.scales.len() > 1).then(|| {
        view! { <Histogram title="Scales" bins=Bins::of(weights.scales.iter().copied()) /> }
    });
    let values = (!matches!(weights.mode, QuantMode::Ternary | QuantMode::Binary)).then(|| {
        view! { <Histogram title="Weights" bins=Bins::of(weights.all_values()) /> }
    });
    view! {
        <div class="profiles">
            <Profile title="Mean size of a row's weights" values=rows />
            <Profile title="Mean size of a column's weights" values=columns />
            {scales}
            {values}
            {named}
        </div>
    }
}

/// The mean sizes of the weights of every row and of every column.
fn sizes(weights: &Weights) -> (Vec<f64>, Vec<f64>) {
    let mut rows = vec![0.0; weights.shown_rows];
    let mut columns = vec![0.0; weights.columns];
    let mut values = weights.all_values();
    for row in &mut rows {
        for (column, value) in columns.iter_mut().zip(&mut values) {
            let size = f64::from(value.abs());
            *row += size;
            *column += size;
        }
    }
    let mean = |sums: &mut [f64], count: usize| {
        for sum in sums {
            *sum /= count.max(1) as f64;
        }
    };
    mean(&mut rows, weights.columns);
    mean(&mut columns, weights.shown_rows);
    (rows, columns)
}

#[component]
fn Profile(title: &'static str, values: Vec<f64>) -> impl IntoView {
    let (low, high) = range(values.iter().copied());
    let each = values.len().div_ceil(POINTS).max(1);
    // The largest of each part: what stands out is seen.
    let points: Vec<f64> = values
        .chunks(each)
        .map(|part| part.iter().copied().fold(0.0, f64::max))
        .collect();
    let last = points.len().saturating_sub(1).max(1) as f64;
    let line: Vec<String> = points
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let x = index as f64 * 100.0 / last;
            let y = 40.0 - value * 38.0 / high.max(f64::MIN_POSITIVE);
            format!("{x:.2},{y:.2}")
        })
        .collect();
    let area = format!("0,40 {} 100,40", line.join(" "));
    let label = format!("{title}: {low:.4} to {high:.4}");
    view! {
        <figure class="histogram profile">
            <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label=label.clone()>
                <polygon points=area />
            </svg>
            <figcaption class="hint">{label}</figcaption>
        </figure>
    }
}

/// How many values lie in each part of their range.
struct Bins {
    low: f32,
    high: f32,
    count: usize,
    counts: [usize; BINS],
}

impl Bins {
    /// Goes through the values twice: a large matrix's are not kept.
    fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let (low, high) = range(values.clone().map(f64::from));
        let (low, high) = (low as f32, high as f32);
        let width = ((high - low) / BINS as f32).max(f32::MIN_POSITIVE);
        let (mut counts, mut count) = ([0usize; BINS], 0);
        for value in values {
            counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
            count += 1;
        }
        Self {
            low,
            high,
            count,
            counts,
        }
    }
}

#[component]
fn Histogram(title: &'static str, bins: Bins) -> impl IntoView {
    let Bins {
        low,
        high,
        count,
        counts,
    } = bins;
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let bars = counts.iter().enumerate().map(|(index, count)| {
        let height = *count as f64 * 40.0 / most as f64;
        view! { <rect x=index as f64 + 0.05 y=40.0 - height width="0.9" height=height /> }
    });
    let label = format!(
        "{title}: {} values from {low:.4} to {high:.4}",
        figures::grouped(count)
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
