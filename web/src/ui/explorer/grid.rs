//! Layers × matrices, colored by precision, as wide as they are large in the file.

use crate::ui::widgets::erased::{live, on_click};
use leptos::prelude::*;
use ternary::config::QuantMode;

use super::cells::{Cell, matrix_sizes, rows};
use super::state::use_explorer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::figures;

/// A row of the grid: its name and its matrices.
fn row_label(cell: Cell) -> String {
    match cell {
        Cell::Embedding => "Embedding".to_owned(),
        Cell::Head => "Head".to_owned(),
        Cell::Matrix(layer, _) => format!("Layer {layer}"),
    }
}

fn short(cell: Cell) -> &'static str {
    match cell {
        Cell::Embedding => "embedding",
        Cell::Head => "head",
        Cell::Matrix(_, kind) => kind.key(),
    }
}

#[component]
pub fn Grid() -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let sizes = Memo::new(move |_| {
        let model = engine.model.get()?;
        let map = e.map.get()?;
        Some(matrix_sizes(&model.config, &map))
    });
    let bytes = move |cell: Cell| {
        let name = cell.parameter();
        sizes.with(|sizes| {
            let of = sizes.iter().flatten().find(|(found, _)| *found == name);
            of.map_or(0, |(_, bytes)| *bytes)
        })
    };
    let body = move || {
        let config = engine.model.get().map(|model| model.config)?;
        let all = rows(&config);
        // The widest row fills the line.
        let row_bytes = move |cells: &[Cell]| cells.iter().map(|cell| bytes(*cell)).sum::<u64>();
        let widest = {
            let all = all.clone();
            Memo::new(move |_| all.iter().map(|cells| row_bytes(cells)).max().unwrap_or(1))
        };
        let rows = all.into_iter().map(|cells| {
            let label = cells.first().map(|cell| row_label(*cell)).unwrap_or_default();
            let share = {
                let cells = cells.clone();
                move || format!("{:.2}%", row_bytes(&cells) as f64 * 100.0 / widest.get().max(1) as f64)
            };
            view! {
                <tr>
                    <th scope="row">{label}</th>
                    <td>
                        <div class="cells" style:width=share>
                            {cells.into_iter().map(|cell| view! { <CellButton cell bytes=Signal::derive(move || bytes(cell)) /> }).collect_view()}
                        </div>
                    </td>
                </tr>
            }
        });
        Some(rows.collect_view())
    };
    view! {
        <table class="grid" aria-label="Precision of every matrix">
            <tbody>{body}</tbody>
        </table>
    }
}

#[component]
fn CellButton(cell: Cell, bytes: Signal<u64>) -> impl IntoView {
    let e = use_explorer();
    let mode = move || {
        e.map
            .with(|map| map.as_ref().map_or(QuantMode::F16, |map| cell.mode(map)))
    };
    let name = cell.parameter();
    // Of what differs from the file beside, or was changed by the fine-tuning.
    let changed = move || {
        let of = |all: &[ternary::session::MatrixDiff]| {
            let found = all.iter().find(|change| change.name == name)?;
            Some(match found.changed {
                Some(count) => count as f64 / found.weights.max(1) as f64,
                None => 1.0,
            })
        };
        e.compared
            .with(|compared| compared.as_ref().and_then(|(_, all)| of(all)))
    };
    let label = move || {
        format!(
            "{}: {}, {}",
            cell.label(),
            figures::quant_mode(mode()),
            figures::bytes(bytes.get())
        )
    };
    view! {
        <button
            type="button"
            class=Signal::derive(move || {
                let selected = if e.selected.get() == Some(cell) { " selected" } else { "" };
                format!("cell {}{selected}", mode().name())
            })
            data-parameter=cell.parameter()
            style:flex-grow=move || bytes.get().to_string()
            aria-label=label
            title=label
            aria-pressed=Signal::derive(move || (e.selected.get() == Some(cell)).to_string())
            on:click=on_click(move || e.inspect(cell))
        >
            <span>{short(cell)}</span>
            {live(move || (changed().map(|share| view! {
                <span class="changed" style:height=format!("{:.1}%", (share * 100.0).clamp(0.0, 100.0))></span>
            })).into_any())}
        </button>
    }
}
