//! Which matrices are marked, with the mouse and the keyboard.

use std::time::Duration;

use leptos::{ev, html, prelude::*};
use ternary::config::{MatrixKind, ModelConfig};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::cells::{Cell, rows};
use super::state::Explorer;

/// A button of the grid: its row, from the columns' names on, and its column, from the rows' names
/// on.
pub type Spot = (usize, usize);

/// The grid's parts and where the keyboard is in it: a handle, copied freely.
#[derive(Clone, Copy)]
pub struct Marking {
    explorer: Explorer,
    pub table: NodeRef<html::Table>,
    rows: StoredValue<Vec<Vec<Cell>>>,
    kinds: StoredValue<Vec<MatrixKind>>,
    pub at: RwSignal<Spot>,
    /// Where dragging, or marking with Shift, began.
    anchor: StoredValue<Spot>,
    dragging: StoredValue<bool>,
    /// A finger or a pen that may yet scroll.
    held: StoredValue<Option<Held>>,
    /// A finger marked: the click that it may end with is none.
    touched: StoredValue<bool>,
}

/// A finger or a pen that rests on a button: which, where, and since when.
#[derive(Clone, Copy, PartialEq)]
struct Held {
    pointer: i32,
    spot: Spot,
    x: i32,
    y: i32,
    since: f64,
}

/// A finger that rests so long marks from there on; one that moves before scrolls.
const HOLD: Duration = Duration::from_millis(400);
/// No finger rests more quietly, in pixels.
const REST: i32 = 10;

impl Marking {
    pub fn of(explorer: Explorer, config: &ModelConfig) -> Self {
        let rows = rows(config);
        let open = explorer.selected.get_untracked();
        let spot = rows.iter().enumerate().find_map(|(row, cells)| {
            let column = cells.iter().position(|cell| Some(*cell) == open)?;
            Some((row + 1, column + 1))
        });
        let spot = spot.unwrap_or((1, 1));
        Self {
            explorer,
            table: NodeRef::new(),
            rows: StoredValue::new(rows),
            kinds: StoredValue::new(config.matrices().collect()),
            at: RwSignal::new(spot),
            anchor: StoredValue::new(spot),
            dragging: StoredValue::new(false),
            held: StoredValue::new(None),
            touched: StoredValue::new(false),
        }
    }

    /// The cells of a row, or of a column, by its name's spot; else the one cell.
    fn cells(self, (row, column): Spot) -> Vec<Cell> {
        self.rows.with_value(|rows| match (row, column) {
            (0, column) => {
                let layers = rows.iter().filter(|cells| cells.len() > 1);
                let column = column.saturating_sub(1);
                layers
                    .filter_map(|cells| cells.get(column).copied())
                    .collect()
            }
            (row, 0) => rows.get(row - 1).cloned().unwrap_or_default(),
            (row, column) => {
                let cells = rows.get(row - 1);
                let cell = cells.and_then(|cells| cells.get((column - 1).min(cells.len() - 1)));
                cell.copied().into_iter().collect()
            }
        })
    }

    /// All cells from one spot to another.
    fn between(self, from: Spot, to: Spot) -> Vec<Cell> {
        let (top, bottom) = (from.0.min(to.0).max(1), from.0.max(to.0));
        let (left, right) = (from.1.min(to.1).max(1), from.1.max(to.1));
        self.rows.with_value(|rows| {
            let mut found = Vec::new();
            for cells in rows.iter().take(bottom).skip(top - 1) {
                // The ends have one cell, as wide as a layer.
                let (left, right) = match cells.len() {
                    1 => (1, 1),
                    _ => (left, right),
                };
                found.extend(cells.iter().take(right).skip(left - 1));
            }
            found
        })
    }

    fn mark_from_anchor(self, spot: Spot) {
        let cells = self.between(self.anchor.get_value(), spot);
        self.explorer.marked.set(cells);
    }

    pub fn choose(self, spot: Spot, event: &ev::MouseEvent) {
        if self.touched.try_update_value(std::mem::take) == Some(true) {
            return;
        }
        self.at.set(spot);
        if event.shift_key() {
            return self.mark_from_anchor(spot);
        }
        self.anchor.set_value(spot);
        let e = self.explorer;
        let cells = self.cells(spot);
        if event.ctrl_key() || event.meta_key() {
            return e.marked.update(|marked| {
                let all = cells.iter().all(|cell| marked.contains(cell));
                marked.retain(|cell| !cells.contains(cell));
                if !all {
                    marked.extend(cells);
                }
            });
        }
        if let Some(first) = cells.first() {
            let open = e.selected.get_untracked();
            let shown = open.filter(|open| cells.contains(open) && cells.len() > 1);
            e.open(shown.unwrap_or(*first));
            e.marked.set(cells);
        }
    }

    pub fn on_pointer_down(self, spot: Spot, event: &ev::PointerEvent) {
        self.touched.set_value(false);
        let plain = !event.shift_key() && !event.ctrl_key() && !event.meta_key();
        if !plain || event.button() != 0 || !event.is_primary() {
            // A second finger zooms.
            return self.held.set_value(None);
        }
        if event.pointer_type() == "mouse" {
            self.anchor.set_value(spot);
            return self.dragging.set_value(true);
        }
        let held = Held {
            pointer: event.pointer_id(),
            spot,
            x: event.client_x(),
            y: event.client_y(),
            since: event.time_stamp(),
        };
        self.held.set_value(Some(held));
        let mark = move || {
            // The grid may be gone by then.
            if self.held.try_get_value() == Some(Some(held)) {
                self.touched.set_value(true);
                self.dragging.set_value(true);
                self.anchor.set_value(spot);
                self.at.set(spot);
                self.mark_from_anchor(spot);
            }
        };
        set_timeout(mark, HOLD);
    }

    /// A finger stays with the button where it came down, wherever it goes. A pen does not, and may
    /// have left the screen elsewhere.
    pub fn on_pointer_move(self, event: &ev::PointerEvent) {
        let own = |held: &Held| held.pointer == event.pointer_id();
        let Some(held) = self.held.get_value().filter(own) else {
            return;
        };
        if event.buttons() & 1 == 0 {
            return self.on_pointer_end();
        }
        let (x, y) = (event.client_x(), event.client_y());
        if !self.dragging.get_value() {
            if (x - held.x).abs().max((y - held.y).abs()) > REST {
                self.held.set_value(None);
            }
            return;
        }
        if let Some(spot) = spot_at(x, y).filter(|spot| *spot != self.at.get_untracked()) {
            self.at.set(spot);
            self.mark_from_anchor(spot);
        }
    }

    pub fn on_pointer_end(self) {
        self.held.set_value(None);
        self.dragging.set_value(false);
    }

    /// A finger that marks does not scroll.
    pub fn on_touch_move(self, event: &ev::TouchEvent) {
        if self.dragging.get_value() && event.cancelable() {
            event.prevent_default();
        }
    }

    /// A finger that rests asks for a menu, too.
    pub fn on_context_menu(self, event: &ev::MouseEvent) {
        if self.held.with_value(Option::is_some) {
            event.prevent_default();
        }
    }

    /// Of the mouse; it may lie still somewhere while a finger or a pen marks.
    pub fn on_pointer_enter(self, spot: Spot, event: &ev::PointerEvent) {
        if event.pointer_type() != "mouse" || self.held.with_value(Option::is_some) {
            return;
        }
        if event.buttons() & 1 == 0 {
            self.dragging.set_value(false);
        }
        if self.dragging.get_value() && spot != self.anchor.get_value() {
            self.at.set(spot);
            self.mark_from_anchor(spot);
        }
    }

    pub fn on_key(self, event: &ev::KeyboardEvent) {
        let (row, column) = self.at.get_untracked();
        let last_row = self.rows.with_value(Vec::len);
        let last_column = self.kinds.with_value(Vec::len).max(1);
        let (row, column) = match event.key().as_str() {
            "ArrowUp" => (row.saturating_sub(1), column),
            "ArrowDown" => ((row + 1).min(last_row), column),
            "ArrowLeft" => (row, column.saturating_sub(1)),
            "ArrowRight" => (row, (column + 1).min(last_column)),
            "Home" => (row, 0),
            "End" => (row, last_column),
            _ => return,
        };
        event.prevent_default();
        let one = self.rows.with_value(|rows| {
            let cells = row.checked_sub(1).and_then(|row| rows.get(row));
            cells.is_some_and(|cells| cells.len() == 1)
        });
        let column = match (row, one) {
            // There is nothing in the corner.
            (0, _) => column.max(1),
            (_, true) => column.min(1),
            _ => column,
        };
        let spot = (row, column);
        if event.shift_key() {
            self.mark_from_anchor(spot);
        } else {
            self.anchor.set_value(spot);
        }
        self.at.set(spot);
        let selector = format!("[data-spot='{row} {column}']");
        let button = self.table.get_untracked();
        let button = button.and_then(|table| table.query_selector(&selector).ok().flatten());
        if let Some(button) = button.and_then(|button| button.dyn_into::<HtmlElement>().ok()) {
            button.focus().ok();
        }
    }
}

/// The cell at this place of the window.
fn spot_at(x: i32, y: i32) -> Option<Spot> {
    let element = document().element_from_point(x as f32, y as f32)?;
    let spot = element.closest("[data-spot]").ok().flatten()?;
    let spot = spot.get_attribute("data-spot")?;
    let (row, column) = spot.split_once(' ')?;
    let (row, column): Spot = (row.parse().ok()?, column.parse().ok()?);
    // Names of rows and columns are no cells.
    (row > 0 && column > 0).then_some((row, column))
}
