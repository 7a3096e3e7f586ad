//! The weights themselves, from the whole matrix down to one of them.

use std::sync::Arc;

use leptos::{ev, prelude::*};
use ternary::session::Weights;

use super::camera::Camera;
use super::drawing::{Painted, draw, paint, palette};
use super::export::SavePicture;
use super::picture;
use super::sight::{Sight, Weight, ZOOM};
use super::state::use_explorer;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::scheme::{color_scheme, reduced_motion};

/// How long it takes until a weight that turned has its color, in milliseconds.
const LIGHTS_UP_MS: f64 = 400.0;

#[component]
pub fn Viewer(sight: Sight, weights: Signal<Option<Arc<Weights>>>) -> impl IntoView {
    let page = use_page();
    let e = use_explorer();
    let other = Memo::new_with_compare(move |_| e.beside(), is_other);
    let Sight {
        canvas,
        camera,
        cursor,
        strips,
        ..
    } = sight;
    let scheme = color_scheme();
    // Drawn once for each color scheme; panning and zooming only move it.
    let image = RwSignal::new_local(None::<Painted>);
    // When the newest picture began to come, and how much of it is there.
    let coming = RwSignal::new((0.0, 1.0));
    Effect::new(move |before: Option<_>| {
        let of = (weights.get(), strips.get(), scheme.get());
        if canvas.get().is_none() {
            return of;
        }
        if camera.get_untracked() == Camera::default() {
            sight.begin();
        }
        let (Some(shown), other) = (&of.0, other.get()) else {
            return of;
        };
        match paint(shown, other.as_deref(), of.1, &palette()) {
            Ok(painted) => {
                let shown_before = image
                    .get_untracked()
                    .filter(|_| before.as_ref() == Some(&of));
                image.set(Some(match shown_before {
                    // Only what turned is other: it lights up.
                    Some(before) if !reduced_motion() => {
                        let now = js_sys::Date::now();
                        coming.set((now, 0.0));
                        light_up(coming, now);
                        before.followed_by(painted)
                    }
                    _ => Painted::new(painted),
                }));
            }
            Err(problem) => page.fail("The weights could not be drawn", problem),
        }
        of
    });
    Effect::new(move |_| {
        let (camera, cursor, strips) = (camera.get(), cursor.get(), strips.get());
        let (_, share) = coming.get();
        let Some(weights) = weights.get() else { return };
        let drawn = image.with(|image| Some((canvas.get()?, image.clone()?)));
        let Some((element, image)) = drawn else {
            return;
        };
        request_animation_frame(move || {
            if let Err(problem) = draw(
                &element,
                (&image, share),
                (&weights, strips),
                camera,
                cursor,
            ) {
                log::error!("the weights could not be drawn: {problem}");
            }
        });
    });
    let resized = window_event_listener(ev::resize, move |_| sight.on_resize());
    on_cleanup(move || resized.remove());
    let about = move || {
        let at = weights.get().zip(cursor.get());
        match at {
            Some((weights, place)) => {
                let by = match e.compared.with(Option::is_some) {
                    true => "in the file beside",
                    false => "as fine-tuned so far",
                };
                describe_weight(&weights, (other.get().as_deref(), by), place)
            }
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

fn is_other(before: Option<&Option<Arc<Weights>>>, now: Option<&Option<Arc<Weights>>>) -> bool {
    let same = |(a, b): (&Arc<Weights>, &Arc<Weights>)| Arc::ptr_eq(a, b);
    match (before, now) {
        (Some(Some(before)), Some(Some(now))) => !same((before, now)),
        (Some(None), Some(None)) => false,
        _ => true,
    }
}

/// Lets the newest picture come over the one before.
fn light_up(coming: RwSignal<(f64, f64)>, began: f64) {
    request_animation_frame(move || {
        // A newer picture may be on its way by then, or none.
        if coming.try_get_untracked().map(|(began, _)| began) != Some(began) {
            return;
        }
        let share = ((js_sys::Date::now() - began) / LIGHTS_UP_MS).clamp(0.0, 1.0);
        coming.set((began, share));
        if share < 1.0 {
            light_up(coming, began);
        }
    });
}

/// A weight's place and value, and the value of what it is compared with where that is another.
fn describe_weight(
    weights: &Weights,
    (other, by): (Option<&Weights>, &str),
    (row, column): Weight,
) -> String {
    let value = weights.value(row, column);
    let mut text = match weights.code(row, column) {
        Some(code) => format!(
            "Row {row}, column {column}: {code:+} × {:.5} = {value:+.5}",
            weights.scale(row, column)
        ),
        None => format!("Row {row}, column {column}: {value:+.6}"),
    };
    if let Some(other) = other.filter(|other| picture::differs(weights, other, row, column)) {
        text += &format!("; {:+.5} {by}", other.value(row, column));
    }
    text
}
