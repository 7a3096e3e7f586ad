//! The weights themselves, from the whole matrix down to one of them.

use std::sync::Arc;

use crate::ui::widgets::erased::on_click;
use leptos::{ev, html, prelude::*};
use ternary::session::Weights;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::camera::{Camera, Size};
use super::picture::{self, Palette, parse_color};
use super::state::use_explorer;
use crate::js::describe;
use crate::ui::page::use_page;

/// Pixels of a weight from which its value is written into it.
const READABLE: f64 = 30.0;
const ZOOM: f64 = 1.5;

#[component]
pub fn Viewer(weights: Arc<Weights>) -> impl IntoView {
    let page = use_page();
    let other = use_explorer().other_weights;
    let canvas = NodeRef::<html::Canvas>::new();
    let matrix: Size = (weights.columns as f64, weights.shown_rows as f64);
    let camera = RwSignal::new(Camera::default());
    let cursor = RwSignal::new(None::<(usize, usize)>);
    // Drawn once; panning and zooming only move it.
    let image = RwSignal::new_local(None::<HtmlCanvasElement>);

    let size = move || -> Size {
        canvas.get_untracked().map_or((1.0, 1.0), |c| {
            (f64::from(c.client_width()), f64::from(c.client_height()))
        })
    };
    let fit = move || camera.set(Camera::fit(matrix, size()));
    let zoom =
        move |factor: f64, at: Size| camera.update(|c| *c = c.zoomed(factor, at, matrix, size()));
    let zoom_middle = move |factor: f64| {
        let (width, height) = size();
        zoom(factor, (width / 2.0, height / 2.0));
    };

    {
        let weights = weights.clone();
        Effect::new(move |_| {
            let Some(element) = canvas.get() else { return };
            let other = other.get();
            match paint(&weights, other.as_deref(), &palette(&element)) {
                Ok(painted) => image.set(Some(painted)),
                Err(problem) => page.fail("The weights could not be drawn", problem),
            }
            if camera.get_untracked() == Camera::default() {
                fit();
            }
        });
    }
    {
        let weights = weights.clone();
        Effect::new(move |_| {
            let (camera, cursor) = (camera.get(), cursor.get());
            let weights = weights.clone();
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
    }
    let resized = window_event_listener(ev::resize, move |_| fit());
    on_cleanup(move || resized.remove());

    // Pointers that are down, by their number, where they were last.
    let pointers = StoredValue::new(Vec::<(i32, Size)>::new());
    let place =
        |event: &ev::PointerEvent| (f64::from(event.offset_x()), f64::from(event.offset_y()));
    let down = move |event: ev::PointerEvent| {
        if let Some(canvas) = canvas.get_untracked() {
            // Fails only for a pointer that is gone.
            canvas.set_pointer_capture(event.pointer_id()).ok();
        }
        pointers.update_value(|all| all.push((event.pointer_id(), place(&event))));
    };
    let moved = move |event: ev::PointerEvent| {
        let now = place(&event);
        cursor.set(camera.get_untracked().at(now.0, now.1, matrix));
        pointers.update_value(|all| {
            let Some(index) = all.iter().position(|(id, _)| *id == event.pointer_id()) else {
                return;
            };
            let before = all[index].1;
            match all.iter().find(|(id, _)| *id != event.pointer_id()) {
                // Two fingers: their distance is the zoom.
                Some((_, still)) => {
                    let distance = |p: Size| (p.0 - still.0).hypot(p.1 - still.1).max(1.0);
                    zoom(distance(now) / distance(before), *still);
                }
                None => camera.update(|c| {
                    *c = c.moved(now.0 - before.0, now.1 - before.1, matrix, size());
                }),
            }
            all[index].1 = now;
        });
    };
    let up = move |event: ev::PointerEvent| {
        pointers.update_value(|all| all.retain(|(id, _)| *id != event.pointer_id()));
    };
    let wheel = move |event: ev::WheelEvent| {
        event.prevent_default();
        let factor = (-event.delta_y() / 300.0).exp();
        zoom(
            factor,
            (f64::from(event.offset_x()), f64::from(event.offset_y())),
        );
    };
    let key = move |event: ev::KeyboardEvent| {
        let (row, column) = cursor.get_untracked().unwrap_or((0, 0));
        let step = if event.shift_key() { 16 } else { 1 };
        let next = match event.key().as_str() {
            "ArrowUp" => (row.saturating_sub(step), column),
            "ArrowDown" => (row + step, column),
            "ArrowLeft" => (row, column.saturating_sub(step)),
            "ArrowRight" => (row, column + step),
            "+" | "=" => return zoom_middle(ZOOM),
            "-" => return zoom_middle(1.0 / ZOOM),
            "0" => return fit(),
            _ => return,
        };
        event.prevent_default();
        let next = (
            next.0.min(matrix.1 as usize - 1),
            next.1.min(matrix.0 as usize - 1),
        );
        cursor.set(Some(next));
        camera.update(|c| *c = c.showing(next.0, next.1, matrix, size()));
    };
    let about = move || {
        let Some((row, column)) = cursor.get() else {
            return "Point at a weight, or move with the arrow keys.".to_owned();
        };
        let value = picture::value(&weights, row, column);
        let mut text = match picture::code(&weights, row, column) {
            Some(code) => format!(
                "Row {row}, column {column}: {code:+} × {:.5} = {value:+.5}",
                picture::scale(&weights, row, column)
            ),
            None => format!("Row {row}, column {column}: {value:+.6}"),
        };
        let beside = other
            .get()
            .filter(|other| picture::differs(&weights, other, row, column));
        if let Some(other) = beside {
            text += &format!(
                "; {:+.5} in the file beside",
                picture::value(&other, row, column)
            );
        }
        text
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
                on:pointerdown=down
                on:pointermove=moved
                on:pointerup=up
                on:pointercancel=up
                on:wheel=wheel
                on:keydown=key
            ></canvas>
            <div class="viewer-foot">
                <p class="figures" id="weight-at">{about}</p>
                <div class="buttons">
                    <button type="button" id="zoom-in" on:click=on_click(move || zoom_middle(ZOOM * ZOOM))>"Zoom in"</button>
                    <button type="button" id="zoom-out" on:click=on_click(move || zoom_middle(1.0 / (ZOOM * ZOOM)))>"Zoom out"</button>
                    <button type="button" id="zoom-fit" on:click=on_click(fit)>"Whole matrix"</button>
                </div>
            </div>
        </div>
    }
}

/// The scheme's colours, from the style sheet.
fn palette(element: &HtmlCanvasElement) -> Palette {
    let style = window().get_computed_style(element).ok().flatten();
    let color = |name: &str| {
        let text = style.as_ref()?.get_property_value(name).ok()?;
        parse_color(&text)
    };
    Palette {
        minus: color("--minus").unwrap_or([190, 90, 30]),
        zero: color("--zero").unwrap_or([240, 240, 240]),
        plus: color("--plus").unwrap_or([30, 90, 85]),
        flip: color("--flip").unwrap_or([200, 0, 120]),
    }
}

fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, String> {
    canvas
        .get_context("2d")
        .map_err(describe)?
        .and_then(|context| context.dyn_into().ok())
        .ok_or_else(|| "this browser draws no canvas".to_owned())
}

/// The matrix, a pixel per weight.
fn paint(
    weights: &Weights,
    other: Option<&Weights>,
    palette: &Palette,
) -> Result<HtmlCanvasElement, String> {
    let canvas: HtmlCanvasElement = document()
        .create_element("canvas")
        .map_err(describe)?
        .unchecked_into();
    let (width, height) = (weights.columns as u32, weights.shown_rows as u32);
    canvas.set_width(width);
    canvas.set_height(height);
    let pixels = picture::pixels(weights, other, palette);
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height)
        .map_err(describe)?;
    context(&canvas)?
        .put_image_data(&data, 0.0, 0.0)
        .map_err(describe)?;
    Ok(canvas)
}

fn draw(
    canvas: &HtmlCanvasElement,
    image: &HtmlCanvasElement,
    weights: &Weights,
    camera: Camera,
    cursor: Option<(usize, usize)>,
) -> Result<(), String> {
    let ratio = window().device_pixel_ratio();
    let (width, height) = (
        f64::from(canvas.client_width()),
        f64::from(canvas.client_height()),
    );
    let (wide, high) = ((width * ratio) as u32, (height * ratio) as u32);
    if (canvas.width(), canvas.height()) != (wide, high) {
        canvas.set_width(wide);
        canvas.set_height(high);
    }
    let context = context(canvas)?;
    context
        .set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0)
        .map_err(describe)?;
    context.clear_rect(0.0, 0.0, width, height);
    // Several weights in a pixel are averaged, one weight over several is a square.
    context.set_image_smoothing_enabled(camera.scale < 1.0);
    context
        .draw_image_with_html_canvas_element_and_dw_and_dh(
            image,
            -camera.column * camera.scale,
            -camera.row * camera.scale,
            weights.columns as f64 * camera.scale,
            weights.shown_rows as f64 * camera.scale,
        )
        .map_err(describe)?;
    if camera.scale >= READABLE {
        write_values(&context, weights, camera, (width, height))?;
    }
    if let Some((row, column)) = cursor {
        context.set_line_width(2.0);
        context.set_stroke_style_str(&style(canvas, "--text"));
        context.stroke_rect(
            (column as f64 - camera.column) * camera.scale,
            (row as f64 - camera.row) * camera.scale,
            camera.scale.max(3.0),
            camera.scale.max(3.0),
        );
    }
    Ok(())
}

fn style(canvas: &HtmlCanvasElement, name: &str) -> String {
    let style = window().get_computed_style(canvas).ok().flatten();
    style
        .and_then(|style| style.get_property_value(name).ok())
        .unwrap_or_default()
}

fn write_values(
    context: &CanvasRenderingContext2d,
    weights: &Weights,
    camera: Camera,
    (width, height): Size,
) -> Result<(), String> {
    let ground = context
        .canvas()
        .map(|canvas| style(&canvas, "--weight-text"));
    context.set_fill_style_str(&ground.unwrap_or_default());
    context.set_font(&format!("{:.0}px sans-serif", camera.scale * 0.3));
    context.set_text_align("center");
    context.set_text_baseline("middle");
    let last = |from: f64, seen: f64, count: usize| {
        ((from + seen / camera.scale).ceil() as usize).min(count)
    };
    let first = |from: f64| from.max(0.0) as usize;
    for row in first(camera.row)..last(camera.row, height, weights.shown_rows) {
        for column in first(camera.column)..last(camera.column, width, weights.columns) {
            let text = match picture::code(weights, row, column) {
                Some(0) => "0".to_owned(),
                Some(code) => format!("{code:+}"),
                None => format!("{:+.2}", picture::value(weights, row, column)),
            };
            let middle = |index: usize, from: f64| (index as f64 + 0.5 - from) * camera.scale;
            context
                .fill_text(
                    &text,
                    middle(column, camera.column),
                    middle(row, camera.row),
                )
                .map_err(describe)?;
        }
    }
    Ok(())
}
