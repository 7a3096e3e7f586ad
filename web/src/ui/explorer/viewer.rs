//! The weights themselves, from the whole matrix down to one of them.

use std::sync::Arc;

use leptos::{ev, html, prelude::*};
use ternary::session::Weights;
use web_sys::HtmlCanvasElement;

use super::camera::{Camera, Size};
use super::drawing::{draw, paint, palette};
use super::picture;
use super::state::use_explorer;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::scheme::color_scheme;

const ZOOM: f64 = 1.5;
/// A weight, by its row and column.
type Place = (usize, usize);

/// What is seen of a matrix, and the weight that is pointed at: a handle of signals, copied freely.
#[derive(Clone, Copy)]
struct Sight {
    canvas: NodeRef<html::Canvas>,
    matrix: Size,
    camera: RwSignal<Camera>,
    cursor: RwSignal<Option<Place>>,
    /// Pointers that are down, by their number, where they were last.
    pointers: StoredValue<Vec<(i32, Size)>>,
}

impl Sight {
    fn of(weights: &Weights) -> Self {
        Self {
            canvas: NodeRef::new(),
            matrix: (weights.columns as f64, weights.shown_rows as f64),
            camera: RwSignal::new(Camera::default()),
            cursor: RwSignal::new(None),
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

    /// Shows all of the matrix.
    fn fit(self) {
        self.camera.set(Camera::fit(self.matrix, self.size()));
    }

    fn zoom(self, factor: f64, at: Size) {
        self.camera
            .update(|camera| *camera = camera.zoomed(factor, at, self.matrix, self.size()));
    }

    fn zoom_middle(self, factor: f64) {
        let (width, height) = self.size();
        self.zoom(factor, (width / 2.0, height / 2.0));
    }

    fn on_pointer_down(self, event: &ev::PointerEvent) {
        if let Some(canvas) = self.canvas.get_untracked() {
            // Fails only for a pointer that is gone.
            canvas.set_pointer_capture(event.pointer_id()).ok();
        }
        self.pointers
            .update_value(|all| all.push((event.pointer_id(), at(event))));
    }

    fn on_pointer_move(self, event: &ev::PointerEvent) {
        let now = at(event);
        self.cursor
            .set(self.camera.get_untracked().at(now.0, now.1, self.matrix));
        self.pointers.update_value(|all| {
            let Some(index) = all.iter().position(|(id, _)| *id == event.pointer_id()) else {
                return;
            };
            let before = all[index].1;
            match all.iter().find(|(id, _)| *id != event.pointer_id()) {
                // Two fingers: their distance is the zoom.
                Some((_, still)) => {
                    let distance = |p: Size| (p.0 - still.0).hypot(p.1 - still.1).max(1.0);
                    self.zoom(distance(now) / distance(before), *still);
                }
                None => self.camera.update(|camera| {
                    let (x, y) = (now.0 - before.0, now.1 - before.1);
                    *camera = camera.moved(x, y, self.matrix, self.size());
                }),
            }
            all[index].1 = now;
        });
    }

    fn on_pointer_up(self, event: &ev::PointerEvent) {
        self.pointers
            .update_value(|all| all.retain(|(id, _)| *id != event.pointer_id()));
    }

    fn on_wheel(self, event: &ev::WheelEvent) {
        event.prevent_default();
        let factor = (-event.delta_y() / 300.0).exp();
        self.zoom(factor, at(event));
    }

    fn on_key(self, event: &ev::KeyboardEvent) {
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
        let (columns, rows) = self.matrix;
        let (row, column) = (row.min(rows as usize - 1), column.min(columns as usize - 1));
        self.cursor.set(Some((row, column)));
        self.camera
            .update(|camera| *camera = camera.showing(row, column, self.matrix, self.size()));
    }
}

/// Where on the canvas.
fn at(event: &ev::MouseEvent) -> Size {
    (f64::from(event.offset_x()), f64::from(event.offset_y()))
}

#[component]
pub fn Viewer(weights: Arc<Weights>) -> impl IntoView {
    let page = use_page();
    let other = use_explorer().other_weights;
    let sight = Sight::of(&weights);
    let Sight {
        canvas,
        camera,
        cursor,
        ..
    } = sight;
    let scheme = color_scheme();
    // Drawn once for each color scheme; panning and zooming only move it.
    let image = RwSignal::new_local(None::<HtmlCanvasElement>);
    let painted = weights.clone();
    Effect::new(move |_| {
        let Some(element) = canvas.get() else { return };
        let other = other.get();
        scheme.track();
        match paint(&painted, other.as_deref(), &palette(&element)) {
            Ok(painted) => image.set(Some(painted)),
            Err(problem) => page.fail("The weights could not be drawn", problem),
        }
        if camera.get_untracked() == Camera::default() {
            sight.fit();
        }
    });
    let drawn = weights.clone();
    Effect::new(move |_| {
        let (camera, cursor) = (camera.get(), cursor.get());
        let weights = drawn.clone();
        let drawn = image.with(|image| Some((canvas.get()?, image.clone()?)));
        let Some((element, image)) = drawn else {
            return;
        };
        request_animation_frame(move || {
            if let Err(problem) = draw(&element, &image, &weights, camera, cursor) {
                log::error!("the weights could not be drawn: {problem}");
            }
        });
    });
    let resized = window_event_listener(ev::resize, move |_| sight.fit());
    on_cleanup(move || resized.remove());
    let about = move || match cursor.get() {
        Some(place) => describe_weight(&weights, other.get().as_deref(), place),
        None => "Point at a weight, or move with the arrow keys.".to_owned(),
    };
    view! {
        <div class="viewer">
            <canvas
                node_ref=canvas
                id="weights"
                tabindex="0"
                role="img"
                aria-label="The matrix's weights; arrow keys move from one to the next, plus and minus zoom"
                aria-describedby="weight-at"
                on:pointerdown=move |event| sight.on_pointer_down(&event)
                on:pointermove=move |event| sight.on_pointer_move(&event)
                on:pointerup=move |event| sight.on_pointer_up(&event)
                on:pointercancel=move |event| sight.on_pointer_up(&event)
                on:wheel=move |event| sight.on_wheel(&event)
                on:keydown=move |event| sight.on_key(&event)
            ></canvas>
            <div class="viewer-foot">
                <p class="figures" id="weight-at">{about}</p>
                <div class="buttons">
                    <button type="button" id="zoom-in" on:click=on_click(move || sight.zoom_middle(ZOOM * ZOOM))>"Zoom in"</button>
                    <button type="button" id="zoom-out" on:click=on_click(move || sight.zoom_middle(1.0 / (ZOOM * ZOOM)))>"Zoom out"</button>
                    <button type="button" id="zoom-fit" on:click=on_click(move || sight.fit())>"Whole matrix"</button>
                </div>
            </div>
        </div>
    }
}

/// A weight's place and value, and the value in the file beside where that is another.
fn describe_weight(weights: &Weights, other: Option<&Weights>, (row, column): Place) -> String {
    let value = picture::value(weights, row, column);
    let mut text = match picture::code(weights, row, column) {
        Some(code) => format!(
            "Row {row}, column {column}: {code:+} × {:.5} = {value:+.5}",
            picture::scale(weights, row, column)
        ),
        None => format!("Row {row}, column {column}: {value:+.6}"),
    };
    if let Some(other) = other.filter(|other| picture::differs(weights, other, row, column)) {
        text += &format!(
            "; {:+.5} in the file beside",
            picture::value(other, row, column)
        );
    }
    text
}
