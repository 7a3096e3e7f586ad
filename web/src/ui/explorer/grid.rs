//! Layers × matrices, colored by what one asks about them. One stop of the tab key: arrow keys move
//! inside.

use leptos::prelude::*;
use ternary::config::{MatrixKind, ModelConfig, QuantMode};

use super::cells::{Cell, rows};
use super::marking::{Marking, Spot};
use super::overview::{Overview, bits, changed_share};
use super::state::use_explorer;
use crate::ui::engine::use_engine;
use crate::ui::widgets::erased::live;
use crate::ui::widgets::figures;

/// A row of the grid: its name and its matrices.
fn row_label(cell: Cell) -> String {
    match cell {
        Cell::Embedding => "Embedding".to_owned(),
        Cell::Head => "Head".to_owned(),
        Cell::Matrix(layer, _) => format!("Layer {layer}"),
    }
}

#[component]
pub fn GridView(config: ModelConfig, cells: Signal<Vec<Cell>>) -> impl IntoView {
    let e = use_explorer();
    let grid = Marking::of(e, &config);
    let extent = Memo::new(move |_| e.extent(e.overview.get(), &cells.get()));
    let kinds: Vec<MatrixKind> = config.matrices().collect();
    let columns = kinds.len().max(1);
    let heads = kinds.into_iter().enumerate().map(|(index, kind)| {
        let label = format!("All {}", kind.key());
        view! { <th scope="col"><NameButton grid spot=(0, index + 1) name=kind.key().to_owned() label /></th> }
    });
    let all = rows(&config);
    // Many rows are lower, so that more of them are seen at once.
    let high = if all.len() > 16 { "grid many" } else { "grid" };
    let body = all.into_iter().enumerate().map(|(index, cells)| {
        let name = cells.first().map(|cell| row_label(*cell)).unwrap_or_default();
        let span = if cells.len() == 1 { columns } else { 1 };
        let label = format!("All of {name}");
        let cells = cells.into_iter().enumerate().map(|(column, cell)| {
            view! { <td colspan=span><CellButton grid spot=(index + 1, column + 1) cell extent /></td> }
        });
        view! {
            <tr>
                <th scope="row"><NameButton grid spot=(index + 1, 0) name label /></th>
                {cells.collect_view()}
            </tr>
        }
    });
    view! {
        <table
            class=high
            role="grid"
            aria-label="The model's matrices: arrow keys move, Enter opens, Shift marks more"
            aria-multiselectable="true"
            node_ref=grid.table
            on:keydown=move |event| grid.on_key(&event)
            on:pointermove=move |event| grid.on_pointer_move(&event)
            on:pointerup=move |_| grid.on_pointer_end()
            on:pointercancel=move |_| grid.on_pointer_end()
            on:touchmove=move |event| grid.on_touch_move(&event)
            on:contextmenu=move |event| grid.on_context_menu(&event)
        >
            <thead><tr><td></td>{heads.collect_view()}</tr></thead>
            <tbody>{body.collect_view()}</tbody>
        </table>
    }
}

/// Marks a row or a column.
#[component]
fn NameButton(grid: Marking, spot: Spot, name: String, label: String) -> impl IntoView {
    view! {
        <button
            type="button"
            class="name"
            aria-label=label
            data-spot=format!("{} {}", spot.0, spot.1)
            tabindex=Signal::derive(move || tabindex(grid, spot))
            on:click=move |event| grid.choose(spot, &event)
        >
            {name}
        </button>
    }
}

fn tabindex(grid: Marking, spot: Spot) -> &'static str {
    if grid.at.get() == spot { "0" } else { "-1" }
}

#[component]
fn CellButton(
    grid: Marking,
    spot: Spot,
    cell: Cell,
    extent: Memo<Option<(f64, f64)>>,
) -> impl IntoView {
    let (engine, e) = (use_engine(), use_explorer());
    let mode = Memo::new(move |_| {
        e.map
            .with(|map| map.as_ref().map_or(QuantMode::F16, |map| cell.mode(map)))
    });
    let own = move || {
        engine.model.with(|model| {
            model
                .as_ref()
                .is_none_or(|model| cell.mode(&model.bit_map) == mode.get())
        })
    };
    let name = cell.parameter();
    let bytes = {
        let name = name.clone();
        Memo::new(move |_| e.sizes.with(|sizes| sizes.get(&name).copied().unwrap_or(0)))
    };
    let value = Memo::new(move |_| e.value(e.overview.get(), cell));
    // Of what differs from the file beside.
    let changed = Memo::new(move |_| {
        e.compared.with(|compared| {
            let (_, all) = compared.as_ref()?;
            let own = all.iter().find(|change| change.name == name)?;
            Some(changed_share(own))
        })
    });
    let shown = move || match (e.overview.get(), value.get()) {
        (Overview::Precision, _) => bits(mode.get()).to_owned(),
        (overview, Some(value)) => overview.short(value),
        (_, None) => "·".to_owned(),
    };
    let heat = move || {
        let heat = value.get().zip(extent.get());
        heat.map(|(value, extent)| format!("{:.3}", e.overview.get().heat(value, extent)))
    };
    let label = move || {
        let told = match e.overview.get() {
            Overview::Precision | Overview::Bytes => String::new(),
            _ => format!(", {}", shown()),
        };
        format!(
            "{}: {}, {}{told}",
            cell.label(),
            figures::quant_mode(mode.get()),
            figures::bytes(bytes.get())
        )
    };
    let class = move || {
        let mut class = format!("cell {}", mode.get().name());
        for (name, holds) in [
            ("heat", e.overview.get() != Overview::Precision),
            ("edited", !own()),
            ("marked", e.marked.with(|marked| marked.contains(&cell))),
            ("selected", e.selected.get() == Some(cell)),
        ] {
            if holds {
                class += " ";
                class += name;
            }
        }
        class
    };
    view! {
        <button
            type="button"
            class=Signal::derive(class)
            data-parameter=cell.parameter()
            data-spot=format!("{} {}", spot.0, spot.1)
            style:--heat=Signal::derive(move || heat().unwrap_or_else(|| "0".to_owned()))
            tabindex=Signal::derive(move || tabindex(grid, spot))
            aria-label=Signal::derive(label)
            title=Signal::derive(label)
            aria-pressed=Signal::derive(move || e.marked.with(|marked| marked.contains(&cell)).to_string())
            on:click=move |event| grid.choose(spot, &event)
            on:pointerdown=move |event| grid.on_pointer_down(spot, &event)
            on:pointerenter=move |event| grid.on_pointer_enter(spot, &event)
        >
            {shown}
            {live(move || (changed.get().map(|share| view! {
                <span class="changed" style:height=format!("{:.1}%", (share * 100.0).clamp(0.0, 100.0))></span>
            })).into_any())}
        </button>
    }
}
