//! What is seen of a matrix, and the weight that is pointed at.

use std::time::Duration;

use leptos::{ev, html, prelude::*};
use ternary::session::Weights;

use super::camera::{Camera, Size};
use super::place::View;
use super::state::Explorer;
use super::strips::Strips;

pub const ZOOM: f64 = 1.5;
/// How long the view rests before the page's address tells of it.
const REST: Duration = Duration::from_millis(250);
/// A weight, by its row and column.
pub type Weight = (usize, usize);

/// A handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Sight {
    explorer: Explorer,
    pub canvas: NodeRef<html::Canvas>,
    rows: usize,
    columns: usize,
    pub strips: RwSignal<Strips>,
    pub camera: RwSignal<Camera>,
    pub cursor: RwSignal<Option<Weight>>,
    /// All of the matrix is seen, and stays so when the canvas changes its size.
    fitted: StoredValue<bool>,
    /// Pointers that are down, by their number, where they were last.
    pointers: StoredValue<Vec<(i32, Size)>>,
}

impl Sight {
    pub fn of(explorer: Explorer, weights: &Weights) -> Self {
        let (rows, columns) = (weights.shown_rows, weights.columns);
        Self {
            explorer,
            canvas: NodeRef::new(),
            rows,
            columns,
            strips: RwSignal::new(Strips::of(rows, columns, (columns as f64, rows as f64))),
            camera: RwSignal::new(Camera::default()),
            cursor: RwSignal::new(None),
            fitted: StoredValue::new(true),
            pointers: StoredValue::new(Vec::new()),
        }
    }

    /// Of the canvas, in CSS pixels.
    fn size(self) -> Size {
        self.canvas.get_untracked().map_or((1.0, 1.0), |canvas| {
            (
                f64::from(canvas.client_width()),
                f64::from(canvas.client_height()),
            )
        })
    }

    fn matrix(self) -> Size {
        self.strips.get_untracked().size()
    }

    /// Once the canvas has its size: what the page's address asks for, or all of the matrix.
    pub fn begin(self) {
        self.cut();
        match self.explorer.take_wanted_view() {
            Some(view) => self.go_to(view),
            None => self.fit(),
        }
    }

    fn cut(self) {
        let strips = Strips::of(self.rows, self.columns, self.size());
        if self.strips.get_untracked() != strips {
            self.strips.set(strips);
        }
    }

    /// Shows all of the matrix.
    pub fn fit(self) {
        self.camera.set(Camera::fit(self.matrix(), self.size()));
        self.fitted.set_value(true);
        self.tell();
    }

    pub fn on_resize(self) {
        let middle = self.view();
        self.cut();
        match self.fitted.get_value() {
            true => self.fit(),
            false => self.go_to(middle),
        }
    }

    pub fn go_to(self, view: View) {
        let row = view.row.min(self.rows as f64 - 0.5);
        let point = self.strips.get_untracked().point(row, view.column);
        let camera = Camera::around(point, view.scale, self.matrix(), self.size());
        self.look(camera);
    }

    /// Shows a whole row.
    pub fn show_row(self, row: usize) {
        self.cursor.set(Some((row, 0)));
        let camera = self.camera.get_untracked();
        let scale = (self.size().0 / self.columns.max(1) as f64).max(camera.scale);
        self.go_to(View {
            row: row as f64 + 0.5,
            column: self.columns as f64 / 2.0,
            scale: scale.max(3.0),
        });
    }

    fn look(self, camera: Camera) {
        self.camera.set(camera);
        let fitted = Camera::fit(self.matrix(), self.size());
        self.fitted.set_value(camera == fitted);
        self.tell();
    }

    /// What is in the middle of the canvas.
    fn view(self) -> View {
        let camera = self.camera.get_untracked();
        let (width, height) = self.size();
        let middle = (
            camera.column + width / camera.scale / 2.0,
            camera.row + height / camera.scale / 2.0,
        );
        let (row, column) = self.strips.get_untracked().weight(middle);
        View {
            row,
            column,
            scale: camera.scale,
        }
    }

    /// Once the view rests, the page's address tells of it.
    fn tell(self) {
        let camera = self.camera.get_untracked();
        set_timeout(
            move || {
                // Another matrix may be open by then.
                if self.camera.try_get_untracked() == Some(camera) {
                    let fitted = self.fitted.get_value();
                    self.explorer.view.set((!fitted).then(|| self.view()));
                }
            },
            REST,
        );
    }

    fn zoom(self, factor: f64, at: Size) {
        let camera = self.camera.get_untracked();
        self.look(camera.zoomed(factor, at, self.matrix(), self.size()));
    }

    pub fn zoom_middle(self, factor: f64) {
        let (width, height) = self.size();
        let middle = (width / 2.0, height / 2.0);
        if factor < 1.0 || self.at(middle).is_some() {
            return self.zoom(factor, middle);
        }
        // Nothing lies between strips: into the middle of the one before.
        let view = self.view();
        let inside = |at: f64, count: usize| match at < count as f64 {
            true => at,
            false => count as f64 / 2.0,
        };
        self.go_to(View {
            row: inside(view.row, self.rows),
            column: inside(view.column, self.columns),
            scale: view.scale * factor,
        });
    }

    /// The weight at a pixel.
    fn at(self, (x, y): Size) -> Option<Weight> {
        let camera = self.camera.get_untracked();
        let (y, x) = camera.at(x, y, self.matrix())?;
        self.strips.get_untracked().at(x, y)
    }

    pub fn on_pointer_down(self, event: &ev::PointerEvent) {
        if let Some(canvas) = self.canvas.get_untracked() {
            // Fails only for a pointer that is gone.
            canvas.set_pointer_capture(event.pointer_id()).ok();
        }
        self.pointers
            .update_value(|all| all.push((event.pointer_id(), pixel(event))));
    }

    pub fn on_pointer_move(self, event: &ev::PointerEvent) {
        let now = pixel(event);
        self.cursor.set(self.at(now));
        let mut pointers = self.pointers.get_value();
        let Some(index) = pointers
            .iter()
            .position(|(id, _)| *id == event.pointer_id())
        else {
            return;
        };
        let before = pointers[index].1;
        match pointers.iter().find(|(id, _)| *id != event.pointer_id()) {
            // Two fingers: their distance is the zoom.
            Some((_, still)) => {
                let distance = |p: Size| (p.0 - still.0).hypot(p.1 - still.1).max(1.0);
                self.zoom(distance(now) / distance(before), *still);
            }
            None => {
                let camera = self.camera.get_untracked();
                let (x, y) = (now.0 - before.0, now.1 - before.1);
                self.look(camera.moved(x, y, self.matrix(), self.size()));
            }
        }
        pointers[index].1 = now;
        self.pointers.set_value(pointers);
    }

    pub fn on_pointer_up(self, event: &ev::PointerEvent) {
        self.pointers
            .update_value(|all| all.retain(|(id, _)| *id != event.pointer_id()));
    }

    pub fn on_wheel(self, event: &ev::WheelEvent) {
        event.prevent_default();
        let factor = (-event.delta_y() / 300.0).exp();
        self.zoom(factor, pixel(event));
    }

    pub fn on_key(self, event: &ev::KeyboardEvent) {
        let (row, column) = self.cursor.get_untracked().unwrap_or((0, 0));
        let step = if event.shift_key() { 16 } else { 1 };
        let (row, column) = match event.key().as_str() {
            "ArrowUp" => (row.saturating_sub(step), column),
            "ArrowDown" => (row + step, column),
            "ArrowLeft" => (row, column.saturating_sub(step)),
            "ArrowRight" => (row, column + step),
            "+" | "=" => return self.zoom_middle(ZOOM),
            "-" => return self.zoom_middle(1.0 / ZOOM),
            "0" => return self.fit(),
            _ => return,
        };
        event.prevent_default();
        let (row, column) = (row.min(self.rows - 1), column.min(self.columns - 1));
        self.cursor.set(Some((row, column)));
        let (x, y) = self.strips.get_untracked().place(row, column);
        let camera = self.camera.get_untracked();
        self.look(camera.showing(y, x, self.matrix(), self.size()));
    }
}

/// Where on the canvas.
fn pixel(event: &ev::MouseEvent) -> Size {
    (f64::from(event.offset_x()), f64::from(event.offset_y()))
}
