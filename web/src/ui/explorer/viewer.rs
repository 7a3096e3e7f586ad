//! The weights themselves, from the whole matrix down to one of them.

use std::sync::Arc;

use leptos::{ev, prelude::*};
use ternary::session::Weights;
use web_sys::HtmlCanvasElement;

use super::camera::Camera;
use super::drawing::{draw, paint, palette};
use super::export::SavePicture;
use super::picture;
use super::sight::{Sight, Weight, ZOOM};
use super::state::use_explorer;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::scheme::color_scheme;

#[component]
pub fn Viewer(sight: Sight, weights: Signal<Option<Arc<Weights>>>) -> impl IntoView {
    let page = use_page();
    let other = use_explorer().other_weights;
    let Sight {
        canvas,
        camera,
        cursor,
        strips,
        ..
    } = sight;
    let scheme = color_scheme();
    // Drawn once for each color scheme; panning and zooming only move it.
    let image = RwSignal::new_local(None::<HtmlCanvasElement>);
    Effect::new(move |_| {
        if canvas.get().is_none() {
            return;
        }
        if camera.get_untracked() == Camera::default() {
            sight.begin();
        }
        let Some(weights) = weights.get() else { return };
        let other = other.get();
        scheme.track();
        match paint(&weights, other.as_deref(), strips.get(), &palette()) {
            Ok(painted) => image.set(Some(painted)),
            Err(problem) => page.fail("The weights could not be drawn", problem),
        }
    });
    Effect::new(move |_| {
        let (camera, cursor, strips) = (camera.get(), cursor.get(), strips.get());
        let Some(weights) = weights.get() else { return };
        let drawn = image.with(|image| Some((canvas.get()?, image.clone()?)));
        let Some((element, image)) = drawn else {
            return;
        };
        request_animation_frame(move || {
            if let Err(problem) = draw(&element, &image, (&weights, strips), camera, cursor) {
                log::error!("the weights could not be drawn: {problem}");
            }
        });
    });
    let resized = window_event_listener(ev::resize, move |_| sight.on_resize());
    on_cleanup(move || resized.remove());
    let about = move || {
        let at = weights.get().zip(cursor.get());
        match at {
            Some((weights, place)) => describe_weight(&weights, other.get().as_deref(), place),
            None => "Point at a weight, or move with the arrow keys.".to_owned(),
        }
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
            <p class="figures" id="weight-at">{about}</p>
            <div class="buttons">
                <button type="button" id="zoom-in" on:click=on_click(move || sight.zoom_middle(ZOOM * ZOOM))>"Zoom in"</button>
                <button type="button" id="zoom-out" on:click=on_click(move || sight.zoom_middle(1.0 / (ZOOM * ZOOM)))>"Zoom out"</button>
                <button type="button" id="zoom-fit" on:click=on_click(move || sight.fit())>"Whole matrix"</button>
                <SavePicture sight />
            </div>
        </div>
    }
}

/// A weight's place and value, and the value in the file beside where that is another.
fn describe_weight(weights: &Weights, other: Option<&Weights>, (row, column): Weight) -> String {
    let value = weights.value(row, column);
    let mut text = match weights.code(row, column) {
        Some(code) => format!(
            "Row {row}, column {column}: {code:+} × {:.5} = {value:+.5}",
            weights.scale(row, column)
        ),
        None => format!("Row {row}, column {column}: {value:+.6}"),
    };
    if let Some(other) = other.filter(|other| picture::differs(weights, other, row, column)) {
        text += &format!("; {:+.5} in the file beside", other.value(row, column));
    }
    text
}
